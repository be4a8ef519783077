"""HTTP to a channel with certainty about what was sent. Invariant: `NotReached` is raised only when no byte
of the request can have arrived; everything else that goes wrong is `NoAnswer`; no platform or trace header
ever leaves."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import httpx

RESPONSE_LIMIT_BYTES = 1024 * 1024

_NOT_REACHED = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.UnsupportedProtocol,
    httpx.InvalidURL,
    httpx.ProxyError,
)


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


class Transport:
    """The connection pool of one payment account; a slow channel fills its own pool and nobody else's."""

    def __init__(
        self, *, timeout_seconds: float, connect_timeout_seconds: float, pool_size: int, tls: ssl.SSLContext
    ) -> None:
        self._timeout_seconds = timeout_seconds
        self._client = httpx.AsyncClient(
            verify=tls,
            trust_env=False,
            follow_redirects=False,
            timeout=httpx.Timeout(
                timeout_seconds, connect=connect_timeout_seconds, pool=connect_timeout_seconds
            ),
            limits=httpx.Limits(
                max_connections=pool_size, max_keepalive_connections=pool_size, keepalive_expiry=4.0
            ),
            headers={"user-agent": "paycenter"},
        )

    async def send(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, content: bytes | None = None
    ) -> HttpAnswer:
        """Sends one request and reads its whole answer within the deadline.

        Raises NotReached or NoAnswer; neither tells anything of what was sent.
        """
        try:
            async with asyncio.timeout(self._timeout_seconds):
                response = await self._client.request(
                    method, url, headers=None if headers is None else dict(headers), content=content
                )
        except _NOT_REACHED as error:
            raise NotReached(type(error).__name__) from None
        except TimeoutError:
            raise NoAnswer("Timeout") from None
        except httpx.HTTPError as error:
            raise NoAnswer(type(error).__name__) from None
        if len(response.content) > RESPONSE_LIMIT_BYTES:
            raise NoAnswer("ResponseTooLarge")
        return HttpAnswer(response.status_code, response.headers, response.content)

    async def close(self) -> None:
        """Closes the connections. Idempotent."""
        await self._client.aclose()


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
