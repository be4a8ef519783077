"""The only source of time in the center. Invariant: code that waits or compares instants takes a Clock, so
that a test can decide what time it is."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Tells the time and waits."""

    def now(self) -> datetime:
        """Returns the present instant, time-zone aware, in UTC."""
        ...

    def monotonic_seconds(self) -> float:
        """Returns seconds on a scale that never runs backwards; only differences mean something."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Returns when `seconds` have passed on this clock; at once when not above zero."""
        ...


class SystemClock:
    """The machine's clock; its `monotonic_seconds` is the scale of the running event loop."""

    def now(self) -> datetime:
        """Returns the machine's instant in UTC."""
        return datetime.now(UTC)

    def monotonic_seconds(self) -> float:
        """Returns the machine's monotonic seconds."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Suspends the task for `seconds`."""
        await asyncio.sleep(max(0.0, seconds))


class ManualClock:
    """A clock that moves only when told; the task of a test moves it by `advance`."""

    def __init__(self, start: datetime) -> None:
        if start.tzinfo is None:
            raise ValueError("A clock starts at a time-zone aware instant.")
        self._start = start.astimezone(UTC)
        self._elapsed_seconds = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._ticket = itertools.count()

    def now(self) -> datetime:
        """Returns the start plus what was advanced."""
        return self._start + timedelta(seconds=self._elapsed_seconds)

    def monotonic_seconds(self) -> float:
        """Returns the seconds that were advanced."""
        return self._elapsed_seconds

    async def sleep(self, seconds: float) -> None:
        """Suspends the task until the clock was advanced by `seconds`."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        sleeper = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._elapsed_seconds + seconds, next(self._ticket), sleeper))
        await sleeper

    def advance(self, seconds: float) -> None:
        """Moves the clock forward and wakes whoever slept until then, the earliest first.

        Raises ValueError when `seconds` is negative.
        """
        if seconds < 0:
            raise ValueError("A clock never runs backwards.")
        self._elapsed_seconds += seconds
        while self._sleepers and self._sleepers[0][0] <= self._elapsed_seconds:
            _, _, sleeper = heapq.heappop(self._sleepers)
            if not sleeper.done():
                sleeper.set_result(None)
