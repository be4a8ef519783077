"""Waits for what nobody announces. Invariant: the condition is looked at once more when the time is over."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

_LOOK_EVERY_SECONDS = 0.05


async def holds_within(timeout_seconds: float, condition: Callable[[], Awaitable[bool]]) -> bool:
    """Whether the condition came to hold in time."""
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + timeout_seconds
    while True:
        is_over = loop.time() >= give_up_at
        if await condition():
            return True
        if is_over:
            return False
        await asyncio.sleep(_LOOK_EVERY_SECONDS)
