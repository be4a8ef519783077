"""What every use case of the service works with. Invariant: made once at start; nothing here is needed
for correctness but the database."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from core.transaction.database_clock import DatabaseClock
from core.transaction.domain.plan import Plan
from core.transaction.remote import PaymentCoreClient
from runtime.clock import Clock
from runtime.database import Database
from runtime.idempotency import Idempotency
from runtime.outbox import Outbox


@dataclass(frozen=True, slots=True)
class Nudges:
    """Wakes the background workers of this process right after a commit; without them they only wake later."""

    attempt: asyncio.Event = field(default_factory=asyncio.Event)
    refund: asyncio.Event = field(default_factory=asyncio.Event)
    notification: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The service's database, event log, request ids, the service below, and its waits.

    `settling` holds the attempts whose money this process is moving at this moment: the answer of that call says what
    the event of the same transfer would say.
    """

    database: Database
    outbox: Outbox
    idempotency: Idempotency
    payment_core: PaymentCoreClient
    plan: Plan
    clock: Clock
    database_clock: DatabaseClock
    nudges: Nudges = field(default_factory=Nudges)
    settling: set[str] = field(default_factory=set)
    order_expire_seconds: float = 900.0
    order_longest_expire_seconds: float = 604800.0
