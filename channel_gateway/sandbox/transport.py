"""Ways of not answering: the connection that hangs, the one that is reset, and the proxy's error page.

Invariant: an unanswered request leaves neither a line in the error log nor an open connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Mapping

from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_TRANSPORT = "sandbox.transport"
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)

BAD_GATEWAY_HTML = (
    b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n"
    b"<center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
)


class SandboxProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which also hands the transport to the application."""

    def on_message_begin(self) -> None:
        """Starts a request and puts the transport into its scope."""
        super().on_message_begin()
        self.scope["state"][_TRANSPORT] = self.transport


class NoAnswer(Response):
    """Keeps the client waiting, then closes the connection without a word; seconds 0 resets it at once."""

    def __init__(self, *, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - the form that ASGI gives
        """Waits until the client gives up or the time is over."""
        transport: asyncio.Transport = scope["state"][_TRANSPORT]
        if self._seconds == 0:
            _make_close_a_reset(transport)
        else:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(_disconnected(receive), self._seconds)
        transport.abort()
        await _disconnected(receive)


def bad_gateway() -> Response:
    """Answers as a proxy in front of the channel does when the channel is away."""
    headers: Mapping[str, str] = {"server": "nginx"}
    return Response(BAD_GATEWAY_HTML, status_code=502, media_type="text/html", headers=headers)


def _make_close_a_reset(transport: asyncio.Transport) -> None:
    connection = transport.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
