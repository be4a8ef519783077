"""A gRPC server with everything that each of the four needs: interceptors, health, reflection, drain.
Invariant: it listens on its port alone, and stops without cutting a command that has begun."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import grpc
from google.protobuf import descriptor_pool, message_factory
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from sqlalchemy import text

from runtime import validation
from runtime.interceptors.pipeline import CallPipeline
from runtime.logs import get_logger
from runtime.metrics import start_metrics_server
from runtime.settings import RuntimeSettings
from runtime.startup import StartupError

SERVER_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", 1024 * 1024),
    ("grpc.max_send_message_length", 4 * 1024 * 1024),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 30_000),
    ("grpc.max_connection_age_ms", 300_000),
    ("grpc.max_connection_age_grace_ms", 60_000),
)
DATABASE_CHECK_EVERY_SECONDS = 1.0
DATABASE_CHECK_TIMEOUT_SECONDS = 2.0

Background = Callable[[asyncio.Event], Awaitable[None]]


class ReadableDatabase(Protocol):
    """The part of `runtime.database.Database` that the health check needs."""

    def read(self) -> AbstractAsyncContextManager[Any]:
        """Opens a connection for reading."""
        ...


class GrpcServer:
    """One service's server.

    `services` are the full names that health and reflection tell; `register` adds the servicers. With a
    `database` the health follows whether it answers. Each of `background` runs beside the calls until the
    drain event that it is given is set; when one fails the server stops and `serve_until_signal` raises
    StartupError.
    """

    def __init__(
        self,
        settings: RuntimeSettings,
        service_name: str,
        services: Sequence[str],
        register: Callable[[grpc.aio.Server], None],
        database: ReadableDatabase | None = None,
        *,
        background: Sequence[Background] = (),
    ) -> None:
        self._settings = settings
        self._service_name = service_name
        self._services = tuple(services)
        self._register = register
        self._database = database
        self._background = tuple(background)
        self._server: grpc.aio.Server | None = None
        self._health = health.aio.HealthServicer()  # type: ignore[attr-defined]
        self._tasks: list[asyncio.Task[None]] = []
        self._stop_requested = asyncio.Event()
        self._failure: StartupError | None = None
        self.drain_event = asyncio.Event()
        self._pipeline = CallPipeline(calls_limit=settings.calls_limit, drain_event=self.drain_event)
        self.port = 0

    async def start(self) -> None:
        """Binds the port and serves; raises StartupError with one clear sentence when the port is taken."""
        settings = self._settings
        server = grpc.aio.server(interceptors=(self._pipeline,), options=SERVER_OPTIONS)
        self._register(server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)  # type: ignore[no-untyped-call]
        if settings.reflection_enabled:
            names = (*self._services, health.SERVICE_NAME, reflection.SERVICE_NAME)
            reflection.enable_server_reflection(names, server)  # type: ignore[no-untyped-call]
        self.port = self._bind(server)
        start_metrics_server(host=settings.host, port=settings.metrics_port)
        for service in self._services:
            _prepare_validation(service)
        await self._set_health(serving=await self._database_answers())
        await server.start()
        self._server = server
        if self._database is not None:
            self._tasks.append(asyncio.create_task(self._watch_database()))
        self._tasks.extend(asyncio.create_task(self._run_background(work)) for work in self._background)
        get_logger().info("listening", address=f"{settings.host}:{self.port}")

    def _bind(self, server: grpc.aio.Server) -> int:
        settings = self._settings
        try:
            _probe(settings.host, settings.port)
            return server.add_insecure_port(f"{settings.host}:{settings.port}")
        except (OSError, RuntimeError) as error:
            if isinstance(error, OSError) and error.errno != errno.EADDRINUSE:
                cause = f"{error.strerror}."
            else:
                cause = "the port is taken. Is this server running already?"
            raise StartupError(
                f"{self._service_name} cannot listen on {settings.host}:{settings.port}: {cause} "
                "Set PAYCENTER_PORT to use another."
            ) from None

    async def serve_until_signal(self) -> None:
        """Starts, serves until SIGTERM or SIGINT, drains. A second signal ends the drain at once."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.request_stop)
        try:
            await self.start()
            gc.collect()
            gc.freeze()
            await self._stop_requested.wait()
            self._stop_requested.clear()
            stopping = asyncio.create_task(self.stop())
            impatient = asyncio.create_task(self._stop_requested.wait())
            await asyncio.wait({stopping, impatient}, return_when=asyncio.FIRST_COMPLETED)
            if not stopping.done():
                stopping.cancel()
            impatient.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await stopping
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)
        if self._failure is not None:
            raise self._failure

    def request_stop(self) -> None:
        """Asks `serve_until_signal` to drain and return; a second request cuts the drain short."""
        self._stop_requested.set()

    async def stop(self) -> None:
        """Drains within `drain_grace_seconds`: no new calls, streams end at once, commands end by
        themselves.

        Idempotent. What is left after the grace is logged; the durable commands are taken up by the repair
        workers.
        """
        server, self._server = self._server, None
        if server is None:
            return
        grace_seconds = self._settings.drain_grace_seconds
        ends_at = time.monotonic() + grace_seconds
        await self._health.enter_graceful_shutdown()
        await asyncio.sleep(self._settings.drain_announce_seconds)
        self._pipeline.streams.interrupt_all()
        await asyncio.gather(server.stop(grace_seconds), self._end_tasks(ends_at))
        left = await self._pipeline.detached.drain(ends_at - time.monotonic())
        if left:
            get_logger().warning("stopped with commands still running", commands=left)
        get_logger().info("stopped")

    async def _end_tasks(self, ends_at: float) -> None:
        if not self._tasks:
            return
        _, late = await asyncio.wait(self._tasks, timeout=max(0.0, ends_at - time.monotonic()))
        for task in late:
            task.cancel()
        if late:
            get_logger().warning("stopped with background work still running", tasks=len(late))
            await asyncio.wait(late, timeout=1.0)

    async def _run_background(self, work: Background) -> None:
        try:
            await work(self.drain_event)
        except Exception:  # noqa: BLE001  background work that fails must stop the server, whatever the cause
            get_logger().exception("background work failed")
            self._failure = StartupError(f"{self._service_name} stopped: its background work failed.")
            self.request_stop()

    async def _watch_database(self) -> None:
        serving: bool | None = None
        while not self.drain_event.is_set():
            answers = await self._database_answers()
            if answers is not serving:
                if serving is not None:
                    get_logger().warning("health changed", serving=answers)
                await self._set_health(serving=answers)
                serving = answers
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.drain_event.wait(), DATABASE_CHECK_EVERY_SECONDS)

    async def _database_answers(self) -> bool:
        if self._database is None:
            return True
        try:
            async with asyncio.timeout(DATABASE_CHECK_TIMEOUT_SECONDS), self._database.read() as connection:
                await connection.execute(text("SELECT 1"))
        except Exception:  # noqa: BLE001  whatever the driver raises, the database did not answer
            return False
        return True

    async def _set_health(self, *, serving: bool) -> None:
        states = health_pb2.HealthCheckResponse
        state = states.SERVING if serving else states.NOT_SERVING
        for name in ("", *self._services):
            await self._health.set(name, state)


def _probe(host: str, port: int) -> None:
    """Raises OSError when the port cannot be bound; asked first because gRPC's core writes its own lines about it."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)


def _prepare_validation(service: str) -> None:
    """Compiles the rules of every request of a service, so that the first caller does not pay for it."""
    for method in descriptor_pool.Default().FindServiceByName(service).methods:
        validation.prepare(message_factory.GetMessageClass(method.input_type))
