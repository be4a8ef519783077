"""The background work of TransactionCore. Invariant: each worker does one bounded piece of work at a step, so that a
test can step it; several processes may run them all side by side."""

from __future__ import annotations

from core.transaction.notification import DeliveryWorker
from core.transaction.parts import Parts
from core.transaction.payment_events import payment_consumer
from core.transaction.repair import repair_workers
from core.transaction.settings import TransactionSettings
from runtime.bus import Bus
from runtime.clock import Clock
from runtime.relay import Relay
from runtime.workers import Worker

PURGE_EVERY_SECONDS = 300.0


class RequestIdPurge:
    """Forgets request ids that are older than they have to be kept."""

    name = "request-id-purge"
    idle_seconds = PURGE_EVERY_SECONDS

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def step(self) -> int:
        """Deletes a batch; returns how many records went."""
        async with self._parts.database.begin() as connection:
            return await self._parts.idempotency.purge(connection)


def build_workers(
    parts: Parts,
    *,
    relay: Relay,
    bus: Bus,
    delivery: DeliveryWorker,
    clock: Clock,
    settings: TransactionSettings,
) -> list[Worker]:
    """Returns the relay, the consumer of payment events, the callbacks' delivery and the repair of each record."""
    return [
        relay,
        payment_consumer(parts, bus, clock, concurrency=settings.payment_event_concurrency),
        delivery,
        RequestIdPurge(parts),
        *repair_workers(parts, batch=settings.repair_batch, idle_seconds=settings.idle_seconds),
    ]
