"""Channels turned off by hand. Invariant: a switch that was set in this process holds at once, one that was
set in another within the cache's seconds."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from channel_gateway.domain.vocabulary import Operation
from channel_gateway.store import accounts as store
from runtime.clock import Clock
from runtime.database import Database


class Switches:
    """Reads the switches at most once every `cache_seconds`."""

    def __init__(self, database: Database, clock: Clock, *, cache_seconds: float) -> None:
        self._database = database
        self._clock = clock
        self._cache_seconds = cache_seconds
        self._known: Mapping[tuple[str, str], bool] = {}
        self._read_at: float | None = None
        self._reading = asyncio.Lock()

    async def lets_out(self, channel: str, operation: Operation) -> bool:
        """Tells whether calls of an operation may go out to a channel."""
        known = await self._current()
        return known.get((channel, ""), True) and known.get((channel, operation.value), True)

    async def channel_is_enabled(self, channel: str) -> bool:
        """Tells whether the channel as a whole is on."""
        return (await self._current()).get((channel, ""), True)

    def forget(self) -> None:
        """Makes the next question read anew."""
        self._read_at = None

    async def _current(self) -> Mapping[tuple[str, str], bool]:
        if self._is_fresh():
            return self._known
        async with self._reading:
            if not self._is_fresh():
                asked_at = self._clock.monotonic_seconds()
                async with self._database.read() as connection:
                    self._known = await store.list_switches(connection)
                self._read_at = asked_at
        return self._known

    def _is_fresh(self) -> bool:
        now = self._clock.monotonic_seconds()
        return self._read_at is not None and now - self._read_at < self._cache_seconds
