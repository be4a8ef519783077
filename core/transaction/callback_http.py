"""Sends callbacks over HTTP. Invariant: no redirect is followed, no answer is waited for longer than the limit, and
with private addresses forbidden the connection goes to the very address that was checked."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

import httpx

MOST_CONNECTIONS_IDLE = 64
USER_AGENT = "paycenter-callback/1"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one delivery: the HTTP status (0: no answer) and why there was none."""

    status: int
    error: str = ""

    @property
    def is_taken(self) -> bool:
        """Whether the business system took it."""
        return 200 <= self.status < 300


class CallbackSender:
    """Posts bodies by a pool of connections; `timeout_seconds` bounds the whole delivery."""

    def __init__(self, *, timeout_seconds: float, concurrency: int, forbid_private_addresses: bool) -> None:
        self._timeout_seconds = timeout_seconds
        self._forbid_private_addresses = forbid_private_addresses
        self._client = httpx.AsyncClient(
            timeout=timeout_seconds,
            limits=httpx.Limits(max_connections=concurrency, max_keepalive_connections=MOST_CONNECTIONS_IDLE),
            follow_redirects=False,
            trust_env=False,
            headers={"user-agent": USER_AGENT, "content-type": "application/json"},
        )

    async def send(self, url: str, *, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Posts `body` to `url` and returns what came of it; raises nothing but cancellation."""
        try:
            async with asyncio.timeout(self._timeout_seconds):
                request = await self._request(url, body, headers)
                response = await self._client.send(request, stream=True)
                status = response.status_code
                await response.aclose()
                return Answer(status)
        except TimeoutError:
            return Answer(0, "TIMEOUT")
        except AddressForbidden:
            return Answer(0, "ADDRESS_FORBIDDEN")
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            return Answer(0, type(error).__name__)

    async def close(self) -> None:
        """Closes the connections. Idempotent."""
        await self._client.aclose()

    async def _request(self, url: str, body: bytes, headers: Mapping[str, str]) -> httpx.Request:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or parts.hostname is None:
            raise AddressForbidden
        if not self._forbid_private_addresses:
            return self._client.build_request("POST", url, content=body, headers=headers)
        address = await _public_address(
            parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
        )
        bracketed = f"[{address}]" if ":" in address else address
        netloc = bracketed if parts.port is None else f"{bracketed}:{parts.port}"
        pinned = urlunsplit((parts.scheme, netloc, parts.path, parts.query, ""))
        own_headers = {**headers, "host": parts.netloc.rpartition("@")[2]}
        return self._client.build_request(
            "POST", pinned, content=body, headers=own_headers, extensions={"sni_hostname": parts.hostname}
        )


class AddressForbidden(Exception):
    """The address is one that callbacks do not go to."""


async def _public_address(host: str, port: int) -> str:
    """Returns an address of `host`; raises AddressForbidden when any of its addresses is not a public one."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [str(entry[4][0]) for entry in found]
    if not addresses or not all(_is_public(address) for address in addresses):
        raise AddressForbidden
    return addresses[0]


def _is_public(text: str) -> bool:
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    checked = mapped or address
    return checked.is_global and not checked.is_multicast
