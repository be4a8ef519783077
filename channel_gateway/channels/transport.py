"""HTTP to a channel with certainty about what was sent. Invariant: `NotReached` is raised only when no byte of the
request can have arrived; everything else that goes wrong is `NoAnswer`; no platform or trace header ever leaves."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlsplit

from channel_gateway.channels.http_connection import HttpAnswer, HttpConnection, NoAnswer, NotReached

__all__ = ["HttpAnswer", "NoAnswer", "NotReached", "Transport", "TransportFactory", "transport_factory"]

_IDLE_SECONDS = 4.0
_DEFAULT_PORTS = {"http": 80, "https": 443}
_VISIBLE = re.compile(r"[\x21-\x7e]+")
_HEADER_VALUE = re.compile(r"[\x20-\x7e]*")


@dataclass(frozen=True, slots=True)
class _Origin:
    scheme: str
    host: str
    port: int
    host_header: str


class Transport:
    """The connection pool of one payment account; a slow channel fills its own pool and nobody else's."""

    def __init__(
        self,
        *,
        timeout_seconds: float,
        connect_timeout_seconds: float,
        pool_size: int,
        tls: ssl.SSLContext,
    ) -> None:
        self._timeout_seconds = timeout_seconds
        self._connect_timeout_seconds = connect_timeout_seconds
        self._tls = tls
        self._slots = asyncio.Semaphore(pool_size)
        self._idle: dict[_Origin, deque[HttpConnection]] = {}
        self._is_closed = False

    async def send(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, content: bytes | None = None
    ) -> HttpAnswer:
        """Sends one request and reads its whole answer within the deadline.

        Raises NotReached or NoAnswer; neither tells anything of what was sent.
        """
        origin, target = _split(url)
        request = _request(method, origin, target, headers or {}, content)
        deadline_seconds = asyncio.get_running_loop().time() + self._timeout_seconds
        await self._take_slot()
        try:
            connection = self._pop_idle(origin) or await self._connect(origin)
            answer = await connection.exchange(request, deadline_seconds=deadline_seconds)
            self._keep(origin, connection)
            return answer
        finally:
            self._slots.release()

    async def close(self) -> None:
        """Closes the connections that are idle; those in use close after their exchange. Idempotent."""
        self._is_closed = True
        for connections in self._idle.values():
            while connections:
                connections.pop().close()

    async def _take_slot(self) -> None:
        if not self._slots.locked():
            await self._slots.acquire()
            return
        try:
            async with asyncio.timeout(self._connect_timeout_seconds):
                await self._slots.acquire()
        except TimeoutError:
            raise NotReached("PoolTimeout") from None

    async def _connect(self, origin: _Origin) -> HttpConnection:
        loop = asyncio.get_running_loop()
        tls = self._tls if origin.scheme == "https" else None
        try:
            async with asyncio.timeout(self._connect_timeout_seconds):
                _, connection = await loop.create_connection(
                    HttpConnection,
                    origin.host,
                    origin.port,
                    ssl=tls,
                    server_hostname=origin.host if tls is not None else None,
                )
        except (OSError, ssl.SSLError, UnicodeError) as error:
            raise NotReached(type(error).__name__) from None
        return connection

    def _pop_idle(self, origin: _Origin) -> HttpConnection | None:
        connections = self._idle.get(origin)
        oldest_allowed = asyncio.get_running_loop().time() - _IDLE_SECONDS
        while connections:
            connection = connections.pop()
            if connection.is_usable and connection.idle_since_seconds >= oldest_allowed:
                return connection
            connection.close()
        return None

    def _keep(self, origin: _Origin, connection: HttpConnection) -> None:
        if self._is_closed or not connection.is_usable:
            connection.close()
            return
        connection.idle_since_seconds = asyncio.get_running_loop().time()
        self._idle.setdefault(origin, deque()).append(connection)


TransportFactory = Callable[[], Transport]


def transport_factory(
    *, timeout_seconds: float, connect_timeout_seconds: float, pool_size: int
) -> TransportFactory:
    """Returns a maker of pools that share one set of trusted certificate authorities."""
    tls = ssl.create_default_context()

    def make() -> Transport:
        return Transport(
            timeout_seconds=timeout_seconds,
            connect_timeout_seconds=connect_timeout_seconds,
            pool_size=pool_size,
            tls=tls,
        )

    return make


def _split(url: str) -> tuple[_Origin, str]:
    parts = urlsplit(url)
    target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
    origin = _origin(parts.scheme, parts.netloc)
    if origin is None or _VISIBLE.fullmatch(target) is None:
        raise NotReached("InvalidAddress")
    return origin, target


@lru_cache(maxsize=1024)
def _origin(scheme: str, netloc: str) -> _Origin | None:
    parts = urlsplit(f"{scheme}://{netloc}")
    try:
        port = parts.port
    except ValueError:
        return None
    if scheme not in _DEFAULT_PORTS or not parts.hostname or _VISIBLE.fullmatch(netloc) is None:
        return None
    return _Origin(scheme, parts.hostname, port or _DEFAULT_PORTS[scheme], netloc.rpartition("@")[2])


def _request(
    method: str, origin: _Origin, target: str, headers: Mapping[str, str], content: bytes | None
) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", f"host: {origin.host_header}", "user-agent: paycenter"]
    for name, value in headers.items():
        if _HEADER_VALUE.fullmatch(value) is None:
            raise NotReached("InvalidHeader")
        lines.append(f"{name}: {value}")
    if content is not None or method != "GET":
        lines.append(f"content-length: {len(content or b'')}")
    return "\r\n".join([*lines, "", ""]).encode("ascii") + (content or b"")
