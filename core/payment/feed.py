"""Feed: the service's events by revision, as pages and as a stream. Invariant: nothing is left out and nothing comes
twice within one stream; a tenant sees its own events only, revisions of others pass as heartbeats."""

from __future__ import annotations

from collections.abc import AsyncIterator

from core.payment.page import page_size_of
from runtime.clock import Clock
from runtime.context import current_scope, decode_platform
from runtime.database import Database
from runtime.outbox import Outbox, StoredEvent

_BATCH_EVENTS = 200
SHORTEST_HEARTBEAT_SECONDS = 1.0
DEFAULT_HEARTBEAT_SECONDS = 10.0


class Feed:
    """Reads the event log for callers."""

    def __init__(self, *, database: Database, outbox: Outbox, clock: Clock) -> None:
        self._database = database
        self._outbox = outbox
        self._clock = clock

    async def list(self, *, start_revision: int, page_size: int) -> tuple[list[StoredEvent], int]:
        """Returns a page of the tenant's events from `start_revision` on, and the revision to go on from.

        Raises PaycenterError(REVISION_COMPACTED).
        """
        row_limit = page_size_of(page_size)
        after_revision = max(start_revision, 1) - 1
        tenant_id = current_scope().platform.tenant_id
        page: list[StoredEvent] = []
        async with self._database.read() as connection:
            while True:
                batch = await self._outbox.read_events(
                    connection, after_revision=after_revision, limit=_BATCH_EVENTS
                )
                for event in batch:
                    after_revision = event.revision
                    if _is_of(event, tenant_id):
                        page.append(event)
                        if len(page) == row_limit:
                            return page, after_revision + 1
                if len(batch) < _BATCH_EVENTS:
                    return page, after_revision + 1

    async def watch(
        self, *, start_revision: int, business_id: str, heartbeat_seconds: float
    ) -> AsyncIterator[StoredEvent | int]:
        """Yields the tenant's events from `start_revision` on for ever, and after each silence how far the feed is.

        Raises PaycenterError(REVISION_COMPACTED).
        """
        tenant_id = current_scope().platform.tenant_id
        silence_seconds = max(heartbeat_seconds or DEFAULT_HEARTBEAT_SECONDS, SHORTEST_HEARTBEAT_SECONDS)
        after_revision = max(start_revision, 1) - 1
        spoken_at = self._clock.monotonic_seconds()
        while True:
            async with self._database.read() as connection:
                batch = await self._outbox.read_events(
                    connection, after_revision=after_revision, limit=_BATCH_EVENTS
                )
            for event in batch:
                after_revision = event.revision
                if _is_of(event, tenant_id) and business_id in ("", event.business_id):
                    yield event
                    spoken_at = self._clock.monotonic_seconds()
            silent_seconds = self._clock.monotonic_seconds() - spoken_at
            if silent_seconds >= silence_seconds:
                yield after_revision
                spoken_at = self._clock.monotonic_seconds()
                continue
            if len(batch) < _BATCH_EVENTS:
                await self._outbox.revisions.wait_beyond(
                    after_revision, timeout_seconds=silence_seconds - silent_seconds
                )


def _is_of(event: StoredEvent, tenant_id: str) -> bool:
    return decode_platform(event.platform).tenant_id == tenant_id
