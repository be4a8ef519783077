"""Streams a tenant's events. Invariant: revisions strictly increase and none of the tenant's is left out; whoever
resumes with the last revision plus one has missed nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from core.transaction.parts import Parts
from runtime.context import current_scope, decode_platform
from runtime.outbox import StoredEvent

READ_AHEAD = 200
DEFAULT_PROGRESS_SECONDS = 10.0
SHORTEST_PROGRESS_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class FeedEntry:
    """An event, or only a position in the feed when `event` is None."""

    revision: int
    event: StoredEvent | None


async def watch(
    parts: Parts, *, start_revision: int, business_id: str, progress_seconds: float | None
) -> AsyncIterator[FeedEntry]:
    """Yields the tenant's events from `start_revision` on (below 1: from the first) and a heartbeat when nothing came
    for `progress_seconds` (default 10, at least 1). Never ends by itself.

    Raises PaycenterError(REVISION_COMPACTED, metadata compactRevision) when `start_revision` is no longer kept.
    """
    tenant_id = current_scope().platform.tenant_id
    silence_seconds = max(SHORTEST_PROGRESS_SECONDS, progress_seconds or DEFAULT_PROGRESS_SECONDS)
    position = max(start_revision, 1) - 1
    told_at = parts.clock.monotonic_seconds()
    while True:
        async with parts.database.read() as connection:
            events = await parts.outbox.read_events(connection, after_revision=position, limit=READ_AHEAD)
        for event in events:
            position = event.revision
            if _is_wanted(event, tenant_id, business_id):
                yield FeedEntry(position, event)
                told_at = parts.clock.monotonic_seconds()
        if len(events) == READ_AHEAD:
            continue
        left_seconds = told_at + silence_seconds - parts.clock.monotonic_seconds()
        grown = left_seconds > 0 and await parts.outbox.revisions.wait_beyond(
            position, timeout_seconds=left_seconds
        )
        if not grown:
            yield FeedEntry(position, None)
            told_at = parts.clock.monotonic_seconds()


async def list_events(parts: Parts, *, start_revision: int, most: int) -> tuple[list[StoredEvent], int]:
    """Returns up to `most` of the tenant's events from `start_revision` on, and the revision to go on from.

    Raises PaycenterError(REVISION_COMPACTED).
    """
    tenant_id = current_scope().platform.tenant_id
    position = max(start_revision, 1) - 1
    found: list[StoredEvent] = []
    async with parts.database.read() as connection:
        while len(found) < most:
            events = await parts.outbox.read_events(connection, after_revision=position, limit=READ_AHEAD)
            for event in events:
                if len(found) == most:
                    break
                position = event.revision
                if _is_wanted(event, tenant_id, ""):
                    found.append(event)
            if len(events) < READ_AHEAD:
                break
    return found, position + 1


def _is_wanted(event: StoredEvent, tenant_id: str, business_id: str) -> bool:
    if business_id and event.business_id != business_id:
        return False
    return decode_platform(event.platform).tenant_id == tenant_id
