"""A small HTTP client that posts notices: keep-alive connections per merchant, a bounded number in flight.

It exists because a general client costs several times the CPU of the notice itself when hundreds are waiting.
Invariant: a post that is not answered whole and in time raises DeliveryError, and its connection is not used again.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urlsplit

import httptools

_CONNECTIONS_PER_MERCHANT = 32
_KEPT_ANSWER_BYTES = 4096


class DeliveryError(Exception):
    """Raised when no whole answer came; the message is one of the words below."""


REFUSED = "CONNECTION_REFUSED"
BROKEN = "CONNECTION_BROKEN"
TIMED_OUT = "TIMED_OUT"
BAD_ADDRESS = "BAD_ADDRESS"
BAD_ANSWER = "BAD_ANSWER"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a connection leads."""

    host: str
    port: int
    secure: bool


@dataclass(slots=True)
class _Merchant:
    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_CONNECTIONS_PER_MERCHANT))
    idle: list[_Connection] = field(default_factory=list)


class _Connection(asyncio.Protocol):
    """One connection, on which one request is under way at a time."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._status = 0
        self._body = b""
        self.transport: asyncio.Transport | None = None
        self.reusable = False

    def post(self, request: bytes) -> asyncio.Future[tuple[int, bytes]]:
        """Writes a request and returns the future of status and body."""
        assert self.transport is not None
        self.reusable = False
        self._status, self._body = 0, b""
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return self._answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are Transports in all but name.
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._fail(BAD_ANSWER)

    def on_headers_complete(self) -> None:
        """Takes the status of the answer."""
        self._status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        """Keeps the beginning of the answer."""
        self._body = (self._body + body)[:_KEPT_ANSWER_BYTES]

    def on_message_complete(self) -> None:
        """Ends the request, unless the answer was an interim one."""
        if self._status >= 200:
            self.reusable = bool(self._parser.should_keep_alive())
            self._complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self.reusable = False
        if self._status >= 200 and exc is None:
            self._complete()
        else:
            self._fail(BROKEN)

    def _complete(self) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result((self._status, self._body))

    def _fail(self, word: str) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(DeliveryError(word))
        if self.transport is not None:
            self.transport.abort()


class Delivery:
    """Posts notices to merchants."""

    def __init__(self) -> None:
        self._merchants: defaultdict[Origin, _Merchant] = defaultdict(_Merchant)
        self._tls = ssl.create_default_context()

    async def post(
        self, url: str, *, headers: Mapping[str, str], body: bytes, timeout_seconds: float
    ) -> tuple[int, bytes]:
        """Posts a body and returns the status and the beginning of the answer; raises DeliveryError.

        The time counts from the moment a connection is free. A kept connection that turns out to be closed is
        replaced once, so a merchant may see a notice twice, as it may from the real channels.
        """
        origin, request = _compose(url, headers, body)
        merchant = self._merchants[origin]
        async with merchant.slots:
            try:
                async with asyncio.timeout(timeout_seconds):
                    return await self._exchange(origin, merchant, request)
            except TimeoutError as error:
                raise DeliveryError(TIMED_OUT) from error

    def close(self) -> None:
        """Closes the idle connections."""
        for merchant in self._merchants.values():
            for connection in merchant.idle:
                if connection.transport is not None:
                    connection.transport.abort()
            merchant.idle.clear()

    async def _exchange(self, origin: Origin, merchant: _Merchant, request: bytes) -> tuple[int, bytes]:
        while merchant.idle:
            connection = merchant.idle.pop()
            if connection.reusable:
                try:
                    return await self._request(connection, merchant, request)
                except DeliveryError:
                    break
        return await self._request(await self._connect(origin), merchant, request)

    async def _connect(self, origin: Origin) -> _Connection:
        loop = asyncio.get_running_loop()
        tls = self._tls if origin.secure else None
        try:
            _, connection = await loop.create_connection(_Connection, origin.host, origin.port, ssl=tls)
        except OSError as error:
            raise DeliveryError(REFUSED) from error
        return connection

    @staticmethod
    async def _request(connection: _Connection, merchant: _Merchant, request: bytes) -> tuple[int, bytes]:
        try:
            answer = await connection.post(request)
        except BaseException:
            if connection.transport is not None:
                connection.transport.abort()
            raise
        if connection.reusable:
            merchant.idle.append(connection)
        elif connection.transport is not None:
            connection.transport.close()
        return answer


def _compose(url: str, headers: Mapping[str, str], body: bytes) -> tuple[Origin, bytes]:
    try:
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise DeliveryError(BAD_ADDRESS)
        origin = Origin(host=parts.hostname, port=parts.port or (443 if secure else 80), secure=secure)
        target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        lines = [f"POST {target} HTTP/1.1", f"Host: {parts.netloc.rpartition('@')[2]}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        lines += [f"Content-Length: {len(body)}", "", ""]
        if any("\r" in line or "\n" in line or " " in target for line in lines):
            raise DeliveryError(BAD_ADDRESS)
        return origin, "\r\n".join(lines).encode("ascii") + body
    except ValueError as error:
        raise DeliveryError(BAD_ADDRESS) from error
