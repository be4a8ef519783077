"""The background loops of PaymentCore, each one step at a time: relay, channel events, repair, purge of request ids."""

from __future__ import annotations

from typing import Final

from core.payment.channel_events import channel_event_consumer
from core.payment.parts import Parts
from core.payment.settings import PaymentSettings
from runtime.bus import Bus
from runtime.clock import Clock
from runtime.database import Database
from runtime.idempotency import Idempotency
from runtime.relay import Relay
from runtime.workers import Worker

_PURGE_IDLE_SECONDS: Final = 300.0


class RequestIdPurge:
    """Deletes request ids that are older than they have to be kept."""

    name = "payment-request-id-purge"
    idle_seconds = _PURGE_IDLE_SECONDS

    def __init__(self, *, database: Database, idempotency: Idempotency) -> None:
        self._database = database
        self._idempotency = idempotency

    async def step(self) -> int:
        """Deletes a batch; returns how many records went."""
        async with self._database.begin() as connection:
            return await self._idempotency.purge(connection)


def build_workers(settings: PaymentSettings, parts: Parts, *, bus: Bus, clock: Clock) -> list[Worker]:
    """Returns the workers that one process runs beside its calls; several processes share the work."""
    return [
        Relay(parts.database, parts.outbox, bus, clock),
        channel_event_consumer(
            bus, parts.channel_events, clock, concurrency=settings.channel_event_consumers
        ),
        parts.repair,
        parts.database_clock,
        RequestIdPurge(database=parts.database, idempotency=parts.idempotency),
    ]
