"""The gateway's background work. Invariant: each worker does one bounded step at a time and may run in
several processes."""

from __future__ import annotations

from collections.abc import Sequence

from channel_gateway.inbox import Inbox, InboxRepair
from channel_gateway.parts import GatewayParts
from channel_gateway.repair import OrderRepair
from runtime.bus import Bus
from runtime.relay import Relay
from runtime.workers import Worker


class RequestIdPurge:
    """Forgets request ids that nobody repeats any more."""

    name = "request id purge"
    idle_seconds = 600.0

    def __init__(self, parts: GatewayParts) -> None:
        self._parts = parts

    async def step(self) -> int:
        """Deletes a batch of old request ids; returns how many."""
        async with self._parts.database.begin() as connection:
            return await self._parts.idempotency.purge(connection)


def gateway_workers(parts: GatewayParts, inbox: Inbox, bus: Bus) -> Sequence[Worker]:
    """Returns the workers of one server process."""
    return (
        Relay(parts.database, parts.outbox, bus, parts.clock),
        OrderRepair(parts),
        InboxRepair(parts, inbox),
        RequestIdPurge(parts),
    )
