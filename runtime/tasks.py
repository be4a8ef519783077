"""Ending of asyncio tasks. Invariant: a task that is told to end does end, even when a library swallows one
cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

_CANCEL_AGAIN_SECONDS: Final = 0.2


async def cancel_and_wait(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancels the tasks until they are done; what they raise is left in them.

    Python 3.11's `asyncio.wait_for` loses a cancellation that arrives together with the awaited result
    (python/cpython#86296), and nats-py waits by it.
    """
    pending = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_CANCEL_AGAIN_SECONDS)
