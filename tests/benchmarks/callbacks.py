"""Takes callbacks as cheaply as possible, so that the business system is not what is measured."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"


class CallbackSink(asyncio.Protocol):
    """Answers 200 to every POST and tells who waits for the order that its body names."""

    def __init__(self, arrived: dict[str, asyncio.Future[float]]) -> None:
        self._arrived = arrived
        self._buffer = b""
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the connection for the answers."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answers each whole request in the buffer."""
        self._buffer += data
        while True:
            head, separator, rest = self._buffer.partition(b"\r\n\r\n")
            if not separator:
                return
            length = next(
                int(line.split(b":", 1)[1])
                for line in head.split(b"\r\n")
                if line.lower().startswith(b"content-length:")
            )
            if len(rest) < length:
                return
            body, self._buffer = rest[:length], rest[length:]
            self._transport.write(_ANSWER)
            self._tell(body)

    def _tell(self, body: bytes) -> None:
        content = json.loads(body)
        if content["event_type"] != "ORDER_PAID":
            return
        order = content["order"]
        waiting = self._arrived.get(order.get("order_id") or order.get("orderId"))
        if waiting is not None and not waiting.done():
            waiting.set_result(time.perf_counter())
