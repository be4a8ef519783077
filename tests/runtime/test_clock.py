"""A clock that a test moves wakes exactly those whose time has come."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta, timezone

import pytest

from runtime.clock import Clock, ManualClock, SystemClock

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


async def test_sleepers_wake_in_order_of_their_time_and_not_before() -> None:
    clock = ManualClock(NOON)
    woken: list[str] = []

    async def sleep(name: str, seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append(name)

    tasks = [asyncio.create_task(sleep("late", 10)), asyncio.create_task(sleep("early", 3))]
    await asyncio.sleep(0)
    clock.advance(2.9)
    await asyncio.sleep(0)
    assert woken == []
    clock.advance(7.1)
    await asyncio.gather(*tasks)
    assert woken == ["early", "late"]
    assert clock.now() == NOON + timedelta(seconds=10)
    assert clock.monotonic_seconds() == 10


async def test_a_sleeper_that_was_cancelled_does_not_disturb_the_clock() -> None:
    clock = ManualClock(NOON)
    sleeper = asyncio.create_task(clock.sleep(1))
    await asyncio.sleep(0)
    sleeper.cancel()
    await asyncio.gather(sleeper, return_exceptions=True)
    clock.advance(5)
    assert clock.monotonic_seconds() == 5


async def test_no_sleep_returns_at_once() -> None:
    await ManualClock(NOON).sleep(0)


def test_a_clock_has_a_time_zone_and_never_runs_backwards() -> None:
    with pytest.raises(ValueError, match="aware"):
        ManualClock(datetime(2026, 1, 1))  # noqa: DTZ001 - refused for exactly this
    with pytest.raises(ValueError, match="backwards"):
        ManualClock(NOON).advance(-1)
    beijing_noon = datetime(2026, 11, 21, 12, 0, tzinfo=timezone(timedelta(hours=8)))
    assert ManualClock(beijing_noon).now().utcoffset() == timedelta(0)


async def test_the_system_clock_tells_utc_and_sleeps() -> None:
    clock: Clock = SystemClock()
    assert clock.now().utcoffset() == timedelta(0)
    started = clock.monotonic_seconds()
    await clock.sleep(0.02)
    await clock.sleep(-1)
    assert 0.015 < clock.monotonic_seconds() - started < 2
