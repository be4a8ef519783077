"""What every use case of the service works with. Invariant: made once at start; nothing here is needed
for correctness but the database."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
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

    `calls_under_way` holds the attempts for which this process waits for an answer of PaymentCore: it says what the
    events of the same moment would say.
    """

    database: Database
    outbox: Outbox
    idempotency: Idempotency
    payment_core: PaymentCoreClient
    plan: Plan
    clock: Clock
    database_clock: DatabaseClock
    nudges: Nudges = field(default_factory=Nudges)
    calls_under_way: set[str] = field(default_factory=set)
    order_expire_seconds: float = 900.0
    order_longest_expire_seconds: float = 604800.0

    @contextmanager
    def calling_for(self, attempt_id: str) -> Iterator[None]:
        """Marks an attempt as one whose call is under way inside the block."""
        self.calls_under_way.add(attempt_id)
        try:
            yield
        finally:
            self.calls_under_way.discard(attempt_id)
