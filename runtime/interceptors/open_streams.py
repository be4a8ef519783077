"""Open streams, which a drain ends at once. Invariant: a stream is interrupted only while it waits for its
handler, never in the middle of a message on its way to the caller."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from runtime.errors import PaycenterError, Reason

END = object()


class OpenStreams:
    """Every stream that the server has open."""

    def __init__(self, drain_event: asyncio.Event) -> None:
        self.drain_event = drain_event
        self._streams: set[OpenStream] = set()

    def open(self) -> OpenStream:
        """Registers the running task as a stream; close it with `close`."""
        stream = OpenStream(self)
        self._streams.add(stream)
        return stream

    def close(self, stream: OpenStream) -> None:
        """Forgets a stream that has ended. Idempotent."""
        self._streams.discard(stream)

    def interrupt_all(self) -> None:
        """Ends every stream, and each that is opened from now on, with SERVER_DRAINING. Idempotent."""
        self.drain_event.set()
        for stream in tuple(self._streams):
            stream.interrupt()


class OpenStream:
    """One stream and the task that feeds it."""

    __slots__ = ("_interrupted", "_owner", "_task", "_waiting")

    def __init__(self, owner: OpenStreams) -> None:
        self._owner = owner
        self._task = asyncio.current_task()
        self._waiting = False
        self._interrupted = False

    def interrupt(self) -> None:
        """Wakes the stream if it waits for its handler; otherwise it ends after the message on its way."""
        if self._waiting and not self._interrupted and self._task is not None:
            self._interrupted = True
            self._task.cancel()

    async def next(self, messages: AsyncIterator[Any]) -> Any:
        """Returns the handler's next message, or END; raises SERVER_DRAINING when the server drains."""
        if self._owner.drain_event.is_set():
            raise _draining()
        self._waiting = True
        try:
            return await anext(messages, END)
        except asyncio.CancelledError:
            if self._interrupted and self._task is not None and self._task.uncancel() == 0:
                raise _draining() from None
            raise
        finally:
            self._waiting = False


def _draining() -> PaycenterError:
    return PaycenterError(
        Reason.SERVER_DRAINING, "The server is about to stop; resume the stream from its last revision."
    )
