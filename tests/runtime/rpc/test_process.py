"""A server as a process: how it starts, refuses to start, says how it is, and stops."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from paycenter.transaction.v1 import transaction_core_pb2_grpc as rpc

from runtime.startup import StartupError
from tests.runtime.rpc.conftest import OpenFrontDesk
from tests.runtime.rpc.front_desk import from_shop, order_request

ROOT = Path(__file__).parents[3]
PROGRAM = """
import asyncio, sys
from contextlib import AsyncExitStack
from runtime.grpc_server import GrpcServer
from runtime.service_main import run_service
from runtime.settings import RuntimeSettings
from tests.runtime.rpc.front_desk import SERVICE, Desk, rpc

async def build(settings: RuntimeSettings, resources: AsyncExitStack) -> GrpcServer:
    desk = Desk()

    async def slowly(request):
        await asyncio.sleep(float(request.subject))

    desk.create_order = slowly
    resources.callback(lambda: print("closed", flush=True))

    async def work(drain_event):
        if settings.log_level == "DEBUG":
            raise ValueError("the worker broke")
        await drain_event.wait()
        print("worker stopped", flush=True)

    return GrpcServer(settings, "front-desk", [SERVICE],
        lambda server: rpc.add_TransactionCoreServicer_to_server(desk, server), background=[work])

sys.exit(run_service("front-desk", RuntimeSettings, build))
"""

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts the front desk as a process of its own; what still runs after the test is killed."""
    running: list[subprocess.Popen[str]] = []

    def start_process(**settings: Any) -> subprocess.Popen[str]:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PAYCENTER_")}
        environment |= {f"PAYCENTER_{key.upper()}": str(value) for key, value in settings.items()}
        environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "generated")])
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        return process

    yield start_process
    for process in running:
        if process.poll() is None:
            process.kill()
        process.communicate()


@asynccontextmanager
async def calling(port: int) -> AsyncIterator[rpc.TransactionCoreAsyncStub]:
    """A stub of a server that has come up."""
    eager = [("grpc.max_reconnect_backoff_ms", 100), ("grpc.initial_reconnect_backoff_ms", 100)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=eager) as channel:
        async with asyncio.timeout(60):
            await channel.channel_ready()
        yield rpc.TransactionCoreStub(channel)


async def test_a_server_stops_at_sigterm_after_the_command_that_it_carries_out(
    start: Start, free_port: int
) -> None:
    process = start(port=free_port)
    async with calling(free_port) as stub:
        call = asyncio.ensure_future(stub.CreateOrder(order_request(subject="0.6"), metadata=from_shop()))
        await asyncio.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        assert (await call).order.order_id == "O-0001"
    output, errors = await asyncio.to_thread(process.communicate, timeout=60)

    assert process.returncode == 0, errors
    assert output.splitlines() == ["worker stopped", "closed"]
    assert json.loads(errors.splitlines()[-1])["event"] == "stopped"


async def test_a_second_signal_ends_the_drain_at_once(start: Start, free_port: int) -> None:
    process = start(port=free_port, drain_grace_seconds=60)
    async with calling(free_port) as stub:
        call = asyncio.ensure_future(stub.CreateOrder(order_request(subject="4"), metadata=from_shop()))
        await asyncio.sleep(0.3)
        process.send_signal(signal.SIGINT)
        await asyncio.sleep(0.3)
        assert process.poll() is None
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        await asyncio.to_thread(process.communicate, timeout=60)
        await asyncio.gather(call, return_exceptions=True)

    assert time.monotonic() - began < 3


async def test_a_second_start_on_one_port_says_what_is_wrong(start: Start, free_port: int) -> None:
    start(port=free_port)
    async with calling(free_port):
        second = start(port=free_port)
        _, errors = await asyncio.to_thread(second.communicate, timeout=60)

    assert second.returncode == 1
    assert errors.strip() == (
        f"front-desk cannot listen on 127.0.0.1:{free_port}: the port is taken. "
        "Is this server running already? Set PAYCENTER_PORT to use another."
    )


async def test_a_taken_metrics_port_says_what_is_wrong(start: Start, free_port: int) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        metrics_port = taken.getsockname()[1]
        process = start(port=free_port, metrics_port=metrics_port)
        _, errors = await asyncio.to_thread(process.communicate, timeout=60)

    assert process.returncode == 1
    assert errors.strip() == f"cannot serve metrics on 127.0.0.1:{metrics_port}: Address already in use"


async def test_a_wrong_setting_is_named_without_a_stack(start: Start) -> None:
    process = start(port="many", trace_sample_ratio=7)
    _, errors = await asyncio.to_thread(process.communicate, timeout=60)

    assert process.returncode == 2
    assert errors.startswith("front-desk: invalid setting: PAYCENTER_PORT: ")
    assert "PAYCENTER_TRACE_SAMPLE_RATIO: " in errors
    assert len(errors.splitlines()) == 1


async def test_a_server_whose_background_work_breaks_stops_with_an_error(start: Start) -> None:
    process = start(log_level="DEBUG")
    _, errors = await asyncio.to_thread(process.communicate, timeout=60)

    assert process.returncode == 1
    assert errors.splitlines()[-1] == "front-desk stopped: its background work failed."
    assert "the worker broke" in errors


class SwitchableDatabase:
    """A database that answers as long as the test lets it."""

    def __init__(self) -> None:
        self.up = False

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Any]:
        if not self.up:
            raise ConnectionError("the database is gone")
        yield self

    async def execute(self, _statement: Any) -> None:
        return None


async def test_the_health_follows_the_database(open_desk: OpenFrontDesk) -> None:
    database = SwitchableDatabase()
    front = await open_desk(database=database)
    health: Any = health_pb2_grpc.HealthStub(front.channel)  # type: ignore[no-untyped-call]

    async def becomes(status: Any) -> None:
        async with asyncio.timeout(20):
            while (await health.Check(health_pb2.HealthCheckRequest(service=""))).status != status:
                await asyncio.sleep(0.05)

    states = health_pb2.HealthCheckResponse
    await becomes(states.NOT_SERVING)
    database.up = True
    await becomes(states.SERVING)
    database.up = False
    await becomes(states.NOT_SERVING)


async def test_a_taken_port_is_refused_in_one_sentence(open_desk: OpenFrontDesk) -> None:
    first = await open_desk()

    with pytest.raises(StartupError, match="the port is taken"):
        await open_desk(port=first.server.port)
