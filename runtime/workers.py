"""Background work, one step at a time. Invariant: a worker never dies of an error, and stops within one
step when the server stops.

A worker's `step` does a bounded piece of work, commits it, and says how much it did; a test calls it
directly.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, Protocol, runtime_checkable

from prometheus_client import Counter

from runtime.clock import Clock, SystemClock
from runtime.errors import PaycenterError
from runtime.logs import get_logger
from runtime.tasks import cancel_and_wait

FIRST_BACK_OFF_SECONDS: Final = 0.1
LONGEST_BACK_OFF_SECONDS: Final = 10.0
_STOP_GRACE_SECONDS: Final = 5.0

_failures = Counter("paycenter_worker_failures_total", "Steps of background work that failed.", ("worker",))


class Worker(Protocol):
    """Background work of a server."""

    @property
    def name(self) -> str:
        """Names the worker in logs and metrics."""
        ...

    @property
    def idle_seconds(self) -> float:
        """Says how long to wait when a step found nothing to do."""
        ...

    async def step(self) -> int:
        """Does one bounded piece of work; returns how many things were done, 0 when there was nothing."""
        ...


@runtime_checkable
class NudgedWorker(Protocol):
    """A worker that is woken before its idle time is over."""

    @property
    def nudge(self) -> asyncio.Event:
        """Is set by whoever made work; `run_workers` clears it before each step."""
        ...


@runtime_checkable
class KnowingWorker(Protocol):
    """A worker that knows after a step whether there is more to do; others are asked again until they do
    nothing."""

    @property
    def has_more(self) -> bool:
        """Whether the next step is to follow at once."""
        ...


@runtime_checkable
class ClosableWorker(Protocol):
    """A worker that has something to end."""

    async def close(self) -> None:
        """Ends what the worker holds, after its last step."""
        ...


async def run_workers(workers: Sequence[Worker], clock: Clock, stop_event: asyncio.Event) -> None:
    """Runs every worker in its own loop until `stop_event` is set, then ends them and returns.

    An error of a step is logged and counted, and the worker tries again after a growing, jittered wait. On
    stop the running steps have a few seconds to end before they are cancelled.
    """
    loops = [asyncio.create_task(_run(worker, clock, stop_event), name=worker.name) for worker in workers]
    try:
        await stop_event.wait()
        for worker in workers:
            if isinstance(worker, NudgedWorker):
                worker.nudge.set()
        if loops:
            await asyncio.wait(loops, timeout=_STOP_GRACE_SECONDS)
    finally:
        await cancel_and_wait(loops)
        for worker in workers:
            await _close(worker)


async def _run(worker: Worker, clock: Clock, stop_event: asyncio.Event) -> None:
    nudge = worker.nudge if isinstance(worker, NudgedWorker) else stop_event
    knowing = worker if isinstance(worker, KnowingWorker) else None
    failures_in_row = 0
    while True:
        if nudge is not stop_event:
            nudge.clear()
        if stop_event.is_set():
            return
        try:
            done = await worker.step()
        except Exception as error:  # noqa: BLE001 - whatever fails, the work has to go on
            failures_in_row += 1
            wait_seconds = back_off_seconds(failures_in_row)
            _tell(worker, error, failures_in_row, wait_seconds)
            await _wait(stop_event, wait_seconds, clock)
            continue
        failures_in_row = 0
        if not (knowing.has_more if knowing is not None else done):
            await _wait(nudge, worker.idle_seconds, clock)
        else:
            await asyncio.sleep(0)


def back_off_seconds(failures_in_row: int) -> float:
    """Returns how long to wait after so many failures in a row: doubling to a limit, half of it by chance."""
    doublings = min(failures_in_row - 1, 16)
    longest_seconds = min(LONGEST_BACK_OFF_SECONDS, FIRST_BACK_OFF_SECONDS * (1 << doublings))
    return longest_seconds * (0.5 + random.random() / 2)  # noqa: S311


def _tell(worker: Worker, error: Exception, failures_in_row: int, wait_seconds: float) -> None:
    _failures.labels(worker.name).inc()
    expected = isinstance(error, PaycenterError)
    log = get_logger()
    (log.warning if expected else log.error)(
        "worker step failed",
        worker=worker.name,
        error=type(error).__name__,
        reason=error.reason.value if isinstance(error, PaycenterError) else "",
        failures_in_row=failures_in_row,
        next_step_in_seconds=round(wait_seconds, 2),
        exc_info=None if expected else error,
    )


async def _wait(event: asyncio.Event, seconds: float, clock: Clock) -> None:
    """Returns when `event` is set or `seconds` have passed on `clock`."""
    if seconds <= 0 or event.is_set():
        await asyncio.sleep(0)
        return
    if isinstance(clock, SystemClock):
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await event.wait()
        return
    waits = (asyncio.ensure_future(clock.sleep(seconds)), asyncio.ensure_future(_until_set(event)))
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


async def _until_set(event: asyncio.Event) -> None:
    await event.wait()


async def _close(worker: Worker) -> None:
    if isinstance(worker, ClosableWorker):
        with suppress(asyncio.CancelledError):
            try:
                await worker.close()
            except Exception as error:  # noqa: BLE001 - the others still have to be ended
                get_logger().warning(
                    "worker did not end cleanly", worker=worker.name, error=type(error).__name__
                )
