"""The database's clock without asking for it each time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from core.transaction.database_clock import DatabaseClock
from runtime.clock import ManualClock

MACHINE = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)


def test_it_runs_on_from_what_the_database_told() -> None:
    machine = ManualClock(MACHINE)
    clock = DatabaseClock(machine)
    assert clock.now() == MACHINE
    clock.observe(MACHINE + timedelta(hours=1))
    machine.advance(2.5)
    assert clock.now() == MACHINE + timedelta(hours=1, seconds=2.5)
    clock.observe(MACHINE)
    assert clock.now() == MACHINE
