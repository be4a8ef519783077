"""Work that goes on when its caller has gone. Invariant: only the end of the process stops it, and a drain
waits for it first."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

ResultT = TypeVar("ResultT")


class DetachedWork:
    """The mutating commands that are being carried out, each in a task of its own."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    async def run(self, work: Coroutine[Any, Any, ResultT], *, wait_seconds: float | None) -> ResultT:
        """Starts `work` and waits for its result; giving up the wait, by cancellation or time, leaves it
        running.

        Raises TimeoutError when it has not ended after `wait_seconds`.
        """
        loop = asyncio.get_running_loop()
        task = loop.create_task(work)
        self._tasks.add(task)
        ended = loop.create_future()

        def release(_task: asyncio.Task[ResultT]) -> None:
            self._tasks.discard(task)
            _set(ended)

        task.add_done_callback(release)
        timer = None if wait_seconds is None else loop.call_later(wait_seconds, _set, ended)
        try:
            await ended
        finally:
            if timer is not None:
                timer.cancel()
        if not task.done():
            raise TimeoutError
        return task.result()

    async def drain(self, timeout_seconds: float) -> int:
        """Waits until all work has ended, at most `timeout_seconds`; returns how many are left."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=max(0.0, timeout_seconds))
        return len(self._tasks)


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
