"""The HTTP listener to which channels send their notices. Invariant: it shares the server's process and loop,
reads at most 64 KiB, and answers in the channel's own words only after the notice is committed."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from channel_gateway.directory import AccountDirectory
from channel_gateway.inbox import Inbox
from channel_gateway.trouble import tell_trouble
from runtime.errors import Code, PaycenterError
from runtime.startup import StartupError

BODY_LIMIT_BYTES = 64 * 1024
_BACKLOG = 1024
_KEEP_ALIVE_SECONDS = 30


class NoticeListener:
    """Serves `/notices/{channel}/{payment_account_id}`."""

    def __init__(self, host: str, port: int, *, drain_grace_seconds: float) -> None:
        self._socket = _listen(host, port)
        self.port: int = self._socket.getsockname()[1]
        self.address = f"http://{host}:{self.port}"
        self._drain_grace_seconds = drain_grace_seconds

    async def serve(self, accounts: AccountDirectory, inbox: Inbox, drain_event: asyncio.Event) -> None:
        """Serves until `drain_event` is set, then ends the notices under way."""
        config = uvicorn.Config(
            build_app(accounts, inbox),
            loop="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=max(1, int(self._drain_grace_seconds)),
        )
        server = _QuietServer(config)
        serving = asyncio.ensure_future(server.serve(sockets=[self._socket]))
        draining = asyncio.ensure_future(drain_event.wait())
        try:
            await asyncio.wait({serving, draining}, return_when=asyncio.FIRST_COMPLETED)
            server.should_exit = True
            await serving
        finally:
            draining.cancel()

    def close(self) -> None:
        """Closes the socket. Idempotent."""
        self._socket.close()


def build_app(accounts: AccountDirectory, inbox: Inbox) -> Starlette:
    """Returns the listener's application."""

    async def take_in(request: Request) -> Response:
        try:
            account = await accounts.get(request.path_params["payment_account_id"])
        except PaycenterError as error:
            return PlainTextResponse("fail", status_code=404 if error.code is Code.NOT_FOUND else 503)
        if account.record.channel != request.path_params["channel"]:
            return PlainTextResponse("fail", status_code=404)
        body = await _body(request)
        if body is None:
            return PlainTextResponse("fail", status_code=413)
        try:
            verdict = await inbox.take_in(account, request.headers, body)
        except Exception as error:  # noqa: BLE001  the channel repeats what was not kept
            tell_trouble("notice not kept", error, channel=account.record.channel)
            return PlainTextResponse("fail", status_code=503)
        reply = account.channel.notice_reply(accepted=verdict.is_accepted)
        return Response(reply.body, status_code=reply.status_code, media_type=reply.media_type)

    return Starlette(routes=[Route("/notices/{channel}/{payment_account_id}", take_in, methods=["POST"])])


async def _body(request: Request) -> bytes | None:
    chunks = bytearray()
    try:
        async for chunk in request.stream():
            chunks += chunk
            if len(chunks) > BODY_LIMIT_BYTES:
                return None
    except ClientDisconnect:
        return None
    return bytes(chunks)


class _QuietServer(uvicorn.Server):
    """Leaves the signals to the gRPC server, which drains both."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise StartupError(
            f"the notice listener cannot listen on {host}:{port}: the port is taken. "
            "Is this server running already? Set PAYCENTER_NOTICE_PORT to use another."
        ) from None
    listener.setblocking(False)
    return listener
