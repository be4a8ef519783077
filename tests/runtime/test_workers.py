"""Background work goes on whatever happens to one step, and stops when the server stops."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from runtime import workers as workers_module
from runtime.clock import Clock, ManualClock, SystemClock
from runtime.errors import PaycenterError, Reason
from runtime.workers import back_off_seconds, run_workers
from tests.runtime.support import eventually


class Sweeper:
    """A worker that does what its test tells it."""

    def __init__(self, work: Callable[[int], int], *, idle_seconds: float = 0.01) -> None:
        self.name = "sweeper"
        self.idle_seconds = idle_seconds
        self.steps = 0
        self.closed = False
        self._work = work

    async def step(self) -> int:
        self.steps += 1
        return self._work(self.steps)

    async def close(self) -> None:
        self.closed = True


class NudgedSweeper(Sweeper):
    def __init__(self, work: Callable[[int], int], *, idle_seconds: float) -> None:
        super().__init__(work, idle_seconds=idle_seconds)
        self.nudge = asyncio.Event()


async def _stop(task: asyncio.Task[None], stop: asyncio.Event) -> float:
    started = time.monotonic()
    stop.set()
    await task
    return time.monotonic() - started


def _run(worker: Sweeper, clock: Clock | None = None) -> tuple[asyncio.Task[None], asyncio.Event]:
    stop = asyncio.Event()
    return asyncio.create_task(run_workers([worker], clock or SystemClock(), stop)), stop


async def test_work_that_is_there_is_done_without_waiting() -> None:
    worker = Sweeper(lambda step: 1 if step < 1000 else 0, idle_seconds=3600)
    task, stop = _run(worker)
    await eventually(lambda: worker.steps == 1000)
    assert await _stop(task, stop) < 1
    assert worker.closed


async def test_a_step_that_fails_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(workers_module, "FIRST_BACK_OFF_SECONDS", 0.001)

    def fail_at_first(step: int) -> int:
        if step < 3:
            raise KeyError
        if step == 3:
            raise PaycenterError(Reason.DATABASE_UNAVAILABLE, "The database did not answer.")
        return 0

    worker = Sweeper(fail_at_first)
    task, stop = _run(worker)
    await eventually(lambda: worker.steps > 5)
    await _stop(task, stop)
    captured = capsys.readouterr()
    assert (captured.out + captured.err).count("worker step failed") == 3
    assert "DATABASE_UNAVAILABLE" in captured.out + captured.err


def test_the_wait_grows_to_a_limit_and_no_two_servers_wait_alike() -> None:
    assert 0.05 <= back_off_seconds(1) <= 0.1
    assert 0.4 <= back_off_seconds(4) <= 0.8
    assert 5 <= back_off_seconds(1000) <= 10
    assert len({back_off_seconds(5) for _ in range(20)}) > 10


async def test_a_nudge_wakes_the_worker_at_once() -> None:
    worker = NudgedSweeper(lambda _step: 0, idle_seconds=3600)
    task, stop = _run(worker)
    await eventually(lambda: worker.steps == 1)
    worker.nudge.set()
    await eventually(lambda: worker.steps == 2, timeout_seconds=1)
    assert await _stop(task, stop) < 1


async def test_a_nudge_during_a_step_is_not_lost() -> None:
    worker = NudgedSweeper(lambda _step: 0, idle_seconds=3600)

    def nudge_itself(step: int) -> int:
        if step == 1:
            worker.nudge.set()
        return 0

    worker._work = nudge_itself
    task, stop = _run(worker)
    await eventually(lambda: worker.steps == 2, timeout_seconds=1)
    await _stop(task, stop)


async def test_a_worker_that_knows_its_work_is_done_is_not_asked_again() -> None:
    class Knowing(Sweeper):
        has_more = True

    worker = Knowing(lambda _step: 1, idle_seconds=3600)

    def end_after_three(step: int) -> int:
        worker.has_more = step < 3
        return 1

    worker._work = end_after_three
    task, stop = _run(worker)
    await eventually(lambda: worker.steps == 3)
    await asyncio.sleep(0.02)
    assert worker.steps == 3
    await _stop(task, stop)


async def test_idle_time_passes_on_the_injected_clock() -> None:
    clock = ManualClock(datetime(2026, 11, 21, tzinfo=UTC))
    worker = Sweeper(lambda _step: 0, idle_seconds=60)
    task, stop = _run(worker, clock)
    await eventually(lambda: worker.steps == 1)
    clock.advance(59)
    await asyncio.sleep(0.02)
    assert worker.steps == 1
    clock.advance(1)
    await eventually(lambda: worker.steps == 2)
    assert await _stop(task, stop) < 1


async def test_a_step_that_never_ends_does_not_keep_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers_module, "_STOP_GRACE_SECONDS", 0.05)

    class Stuck(Sweeper):
        async def step(self) -> int:
            self.steps += 1
            await asyncio.Event().wait()
            return 0

    worker = Stuck(lambda _step: 0)
    task, stop = _run(worker)
    await eventually(lambda: worker.steps == 1)
    assert await _stop(task, stop) < 2
    assert worker.closed


async def test_a_step_that_swallows_its_cancellation_ends_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workers_module, "_STOP_GRACE_SECONDS", 0.05)

    class Deaf(Sweeper):
        async def step(self) -> int:
            self.steps += 1
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                await asyncio.sleep(3600)
            return 0

    worker = Deaf(lambda _step: 0)
    task, stop = _run(worker)
    await eventually(lambda: worker.steps == 1)
    assert await _stop(task, stop) < 5


async def test_without_workers_a_server_waits_for_its_stop() -> None:
    stop = asyncio.Event()
    task = asyncio.create_task(run_workers([], SystemClock(), stop))
    await asyncio.sleep(0.01)
    assert not task.done()
    stop.set()
    await task
