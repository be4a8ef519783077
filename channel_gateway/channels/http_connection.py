"""One HTTP/1.1 connection to a channel, one exchange at a time. Invariant: an answer is complete or there is
none, and a connection on which an exchange broke off is never used again.

httpx spends more CPU on one exchange than everything else that the gateway does for a payment; this is the part of
HTTP that channels speak, on the parser of httptools.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import httptools

RESPONSE_LIMIT_BYTES = 1024 * 1024

_WITHOUT_BODY = frozenset({100, 101, 102, 103, 204, 304})


class NotReached(Exception):
    """The request provably did not leave: safe to send again."""


class NoAnswer(Exception):
    """The request may have reached the channel, and no answer that can be trusted came back."""


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """A complete answer: status, headers by lower-case name, raw body."""

    status_code: int
    headers: Mapping[str, str]
    body: bytes


class HttpConnection(asyncio.Protocol):
    """The protocol of one connection; `exchange` is called by one task at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._waiting: asyncio.Future[HttpAnswer] | None = None
        self._headers: dict[str, str] = {}
        self._body = bytearray()
        self._ends_at_close = False
        self._keep_alive = False
        self.idle_since_seconds = 0.0

    @property
    def is_usable(self) -> bool:
        """Whether another exchange may begin."""
        return self._transport is not None and self._keep_alive and not self._transport.is_closing()

    async def exchange(self, request: bytes, *, deadline_seconds: float) -> HttpAnswer:
        """Writes a request and returns its answer before `deadline_seconds` of the loop's clock.

        Raises NotReached when the connection was closed before anything was written, else NoAnswer.
        """
        transport = self._transport
        if transport is None or transport.is_closing():
            raise NotReached("ConnectionClosed")
        self._parser = httptools.HttpResponseParser(self)
        self._headers, self._body = {}, bytearray()
        self._ends_at_close = self._keep_alive = False
        self._waiting = asyncio.get_running_loop().create_future()
        transport.write(request)
        try:
            async with asyncio.timeout_at(deadline_seconds):
                return await self._waiting
        except TimeoutError:
            raise NoAnswer("Timeout") from None
        finally:
            self._waiting = None
            if not self._keep_alive:
                transport.abort()

    def close(self) -> None:
        """Closes the connection. Idempotent."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Is called by the loop."""
        self._transport = cast("asyncio.Transport", transport)
        self._keep_alive = True

    def data_received(self, data: bytes) -> None:
        """Is called by the loop; bytes that nobody asked for end the connection."""
        if self._parser is None or self._waiting is None:
            self._break_off("UnexpectedData")
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._break_off("MalformedAnswer")

    def eof_received(self) -> None:
        """Is called by the loop."""
        if self._ends_at_close:
            self.on_message_complete()
        self._break_off("ConnectionClosed")

    def connection_lost(self, _error: Exception | None) -> None:
        """Is called by the loop."""
        self._break_off("ConnectionClosed")

    def on_message_begin(self) -> None:
        """Is called by the parser; what follows a complete answer unasked makes the connection unusable."""
        if self._waiting is None or self._waiting.done():
            self._keep_alive = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Is called by the parser; a name that comes twice holds both values, which no signature survives."""
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        known = self._headers.get(key)
        self._headers[key] = text if known is None else f"{known}, {text}"

    def on_headers_complete(self) -> None:
        """Is called by the parser."""
        headers, parser = self._headers, self._parser
        has_body = parser is not None and parser.get_status_code() not in _WITHOUT_BODY
        has_length = "content-length" in headers or "transfer-encoding" in headers
        self._ends_at_close = has_body and not has_length

    def on_body(self, part: bytes) -> None:
        """Is called by the parser."""
        self._body += part
        if len(self._body) > RESPONSE_LIMIT_BYTES:
            self._break_off("ResponseTooLarge")

    def on_message_complete(self) -> None:
        """Is called by the parser; an interim answer (1xx) is followed by the real one."""
        if self._parser is None or self._waiting is None or self._waiting.done():
            return
        status_code = self._parser.get_status_code()
        if status_code < 200:
            self._headers, self._body = {}, bytearray()
            return
        self._keep_alive = self._parser.should_keep_alive() and not self._ends_at_close
        self._waiting.set_result(HttpAnswer(status_code, self._headers, bytes(self._body)))

    def _break_off(self, reason: str) -> None:
        if self._waiting is None or not self._waiting.done():
            self._keep_alive = False
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(NoAnswer(reason))
        if self._transport is not None:
            self._transport.abort()
