"""Things that the channel does later: a call at an instant, on the event loop.

Invariant: a timer holds no truth; what is due stands in a record and is scheduled again after a restart.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from channel_gateway.sandbox.clock import now_milliseconds

logger = logging.getLogger(__name__)


class Schedule:
    """Calls a function at an instant; needs a running event loop."""

    def __init__(self) -> None:
        self._handles: set[asyncio.TimerHandle] = set()

    def at(self, milliseconds: int, call: Callable[[], None]) -> None:
        """Calls at the instant, or on the next turn of the loop when it has passed."""
        loop = asyncio.get_running_loop()
        delay_seconds = max(0.0, (milliseconds - now_milliseconds()) / 1000)

        def run() -> None:
            self._handles.discard(handle)
            try:
                call()
            except Exception:  # one step that fails must not take the loop of all channels with it
                logger.exception("a scheduled step failed")

        handle = loop.call_later(delay_seconds, run)
        self._handles.add(handle)

    def clear(self) -> None:
        """Forgets everything that was scheduled."""
        for handle in self._handles:
            handle.cancel()
        self._handles.clear()
