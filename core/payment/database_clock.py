"""The database's clock without a question for each change. Invariant: it advances with the machine's monotonic clock
and is set right by the database; two changes of one payment never share an instant."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from core.payment.store.saving import read_clock
from runtime.clock import Clock
from runtime.database import Database

SHORTEST_STEP: Final = timedelta(microseconds=1)


class DatabaseClock:
    """Tells the database's instant, so that a change and its event can be composed before they are written.

    As a worker it asks the database now and then; until the first answer the machine's clock stands in.
    """

    name = "payment-database-clock"
    idle_seconds = 30.0

    def __init__(self, *, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._told = clock.now()
        self._told_at_seconds = clock.monotonic_seconds()

    def now(self) -> datetime:
        """Returns the database's instant as far as this process knows."""
        return self._told + timedelta(seconds=self._clock.monotonic_seconds() - self._told_at_seconds)

    def after(self, instant: datetime | None) -> datetime:
        """Returns the present instant, or the shortest step after `instant` when that is not past."""
        now = self.now()
        return now if instant is None else max(now, instant + SHORTEST_STEP)

    async def step(self) -> int:
        """Takes over the database's instant; returns 0, since there is nothing to do at once."""
        async with self._database.read() as connection:
            self._told = await read_clock(connection)
        self._told_at_seconds = self._clock.monotonic_seconds()
        return 0
