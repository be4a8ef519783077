"""The newest revision of a service's event log, for whoever waits for more. Invariant: it never goes back."""

from __future__ import annotations

import asyncio
from contextlib import suppress


class Revisions:
    """Wakes the streams of one process when the log has grown, so that none of them polls the database."""

    def __init__(self) -> None:
        self.newest = 0
        self.waiter_count = 0
        self._grown = asyncio.Event()

    def advance(self, revision: int) -> None:
        """Notes that the log has reached `revision` and wakes whoever waited for it; an older one is
        ignored."""
        if revision <= self.newest:
            return
        self.newest = revision
        grown, self._grown = self._grown, asyncio.Event()
        grown.set()

    async def wait_beyond(self, revision: int, *, timeout_seconds: float) -> bool:
        """Waits until the log holds a revision above `revision`; returns False when the time ran out
        first."""
        self.waiter_count += 1
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout_seconds):
                    while self.newest <= revision:
                        await self._grown.wait()
        finally:
            self.waiter_count -= 1
        return self.newest > revision
