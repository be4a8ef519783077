"""The database's clock without asking for it each time. Invariant: it runs as evenly as the machine's monotonic clock
and is set right by every instant that the database tells."""

from __future__ import annotations

from datetime import datetime, timedelta

from runtime.clock import Clock


class DatabaseClock:
    """Carries the database's instant on by the monotonic seconds that have passed since it was told.

    Rows keep the database's time, and a change can be put together before it is written. Until the database has told
    its time the machine's stands in.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._told = clock.now()
        self._told_at_seconds = clock.monotonic_seconds()

    def observe(self, database_time: datetime) -> None:
        """Takes over an instant that the database has just told."""
        self._told = database_time
        self._told_at_seconds = self._clock.monotonic_seconds()

    def now(self) -> datetime:
        """Returns the database's instant as far as this process knows."""
        return self._told + timedelta(seconds=self._clock.monotonic_seconds() - self._told_at_seconds)
