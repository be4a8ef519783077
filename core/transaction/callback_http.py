"""Sends callbacks over HTTP/1.1. Invariant: no redirect is followed, no answer is waited for longer than the limit, and
with private addresses forbidden the connection goes to the very address that was checked.

A delivery by httpx costs about a millisecond of processor time, forty times what these few lines cost; and here the
address that was checked is the one that is connected to.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, urlsplit

MOST_IDLE_PER_HOST: Final = 16
LONGEST_IDLE_SECONDS: Final = 20.0
LARGEST_HEAD_BYTES: Final = 16 * 1024
LARGEST_BODY_BYTES: Final = 64 * 1024
USER_AGENT: Final = "paycenter-callback/1"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one delivery: the HTTP status (0: no answer) and why there was none."""

    status: int
    error: str = ""

    @property
    def is_taken(self) -> bool:
        """Whether the business system took it."""
        return 200 <= self.status < 300


class AddressForbidden(Exception):
    """The address is one that callbacks do not go to."""


class _AnswerUnreadable(Exception):
    """The other side does not speak HTTP, or too much of it."""


@dataclass(slots=True)
class _Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    used_at_seconds: float = 0.0


class CallbackSender:
    """Posts bodies over connections that are kept open; `timeout_seconds` bounds the whole delivery."""

    def __init__(self, *, timeout_seconds: float, forbid_private_addresses: bool) -> None:
        self._timeout_seconds = timeout_seconds
        self._forbid_private_addresses = forbid_private_addresses
        self._idle: dict[tuple[str, str], list[_Connection]] = defaultdict(list)
        self._tls: ssl.SSLContext | None = None

    async def send(self, url: str, *, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Posts `body` to `url` and returns what came of it; raises nothing but cancellation."""
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return Answer(await self._post(_split(url), body, headers))
        except TimeoutError:
            return Answer(0, "TIMEOUT")
        except AddressForbidden:
            return Answer(0, "ADDRESS_FORBIDDEN")
        except (_AnswerUnreadable, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return Answer(0, "ANSWER_UNREADABLE")
        except ssl.SSLError:
            return Answer(0, "TLS_FAILED")
        except (OSError, ValueError):
            return Answer(0, "NOT_CONNECTED")

    async def close(self) -> None:
        """Closes the connections. Idempotent."""
        for connections in self._idle.values():
            for connection in connections:
                connection.writer.close()
        self._idle.clear()

    async def _post(self, target: SplitResult, body: bytes, headers: Mapping[str, str]) -> int:
        request = _request(target, body, headers)
        key = (target.scheme, target.netloc)
        kept = self._take_idle(key)
        if kept is not None:
            try:
                return await self._exchange(key, kept, request)
            except (asyncio.IncompleteReadError, OSError) as error:
                if isinstance(error, asyncio.IncompleteReadError) and error.partial:
                    raise
        return await self._exchange(key, await self._connect(target), request)

    async def _exchange(self, key: tuple[str, str], connection: _Connection, request: bytes) -> int:
        """Sends one request and reads its answer; the connection is kept when the answer allows it."""
        reusable = False
        try:
            connection.writer.write(request)
            await connection.writer.drain()
            status, reusable = await _read_answer(connection.reader)
            return status
        finally:
            if reusable and len(self._idle[key]) < MOST_IDLE_PER_HOST:
                connection.used_at_seconds = asyncio.get_running_loop().time()
                self._idle[key].append(connection)
            else:
                connection.writer.close()

    def _take_idle(self, key: tuple[str, str]) -> _Connection | None:
        oldest_seconds = asyncio.get_running_loop().time() - LONGEST_IDLE_SECONDS
        connections = self._idle.get(key)
        while connections:
            connection = connections.pop()
            usable = not connection.reader.at_eof() and not connection.writer.is_closing()
            if usable and connection.used_at_seconds >= oldest_seconds:
                return connection
            connection.writer.close()
        return None

    async def _connect(self, target: SplitResult) -> _Connection:
        host = target.hostname or ""
        port = target.port or (443 if target.scheme == "https" else 80)
        address = await _public_address(host, port) if self._forbid_private_addresses else host
        secured = target.scheme == "https"
        reader, writer = await asyncio.open_connection(
            address,
            port,
            limit=LARGEST_HEAD_BYTES,
            ssl=self._tls_context() if secured else None,
            server_hostname=host if secured else None,
        )
        return _Connection(reader, writer)

    def _tls_context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
        return self._tls


def is_callable_url(url: str) -> bool:
    """Whether callbacks can go to `url` as far as its text tells: http or https, a host, a port in range, ASCII."""
    try:
        return _split(url).port != 0
    except (AddressForbidden, ValueError):
        return False


def _split(url: str) -> SplitResult:
    """Takes a URL apart; raises AddressForbidden for what is no http or https address, or could smuggle a header."""
    target = urlsplit(url)
    printable = url.isascii() and url.isprintable() and " " not in url
    if target.scheme not in ("http", "https") or not target.hostname or not printable:
        raise AddressForbidden
    return target


def _request(target: SplitResult, body: bytes, headers: Mapping[str, str]) -> bytes:
    path = (target.path or "/") + (f"?{target.query}" if target.query else "")
    lines = [
        f"POST {path} HTTP/1.1",
        f"host: {target.netloc.rpartition('@')[2]}",
        f"user-agent: {USER_AGENT}",
        "content-type: application/json",
        f"content-length: {len(body)}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def _read_answer(reader: asyncio.StreamReader) -> tuple[int, bool]:
    """Reads one answer and drops its body; returns the status and whether the connection can be used again."""
    while True:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status_line, *field_lines = head.split("\r\n")
        version, _, rest = status_line.partition(" ")
        if not version.startswith("HTTP/1.") or not rest[:3].isdecimal():
            raise _AnswerUnreadable
        status = int(rest[:3])
        if status >= 200:
            break
    fields = {name.strip().lower(): value.strip().lower() for name, _, value in map(_partition, field_lines)}
    keeps_open = version == "HTTP/1.1" and fields.get("connection", "") != "close"
    if status == 204:
        return status, keeps_open
    length = fields.get("content-length", "")
    if "transfer-encoding" in fields or not length.isdecimal() or int(length) > LARGEST_BODY_BYTES:
        return status, False
    await reader.readexactly(int(length))
    return status, keeps_open


def _partition(line: str) -> tuple[str, str, str]:
    return line.partition(":")


async def _public_address(host: str, port: int) -> str:
    """Returns an address of `host`; raises AddressForbidden when any of its addresses is not a public one."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [str(entry[4][0]) for entry in found]
    if not addresses or not all(_is_public(address) for address in addresses):
        raise AddressForbidden
    return addresses[0]


def _is_public(text: str) -> bool:
    address = ipaddress.ip_address(text.partition("%")[0])
    checked = getattr(address, "ipv4_mapped", None) or address
    return checked.is_global and not checked.is_multicast
