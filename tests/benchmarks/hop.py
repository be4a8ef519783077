"""What one rpc costs with all interceptors, beside a bare grpc.aio echo of the same messages, in alternating rounds."""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from typing import Any

import grpc
import psutil
import uvloop
from paycenter.context.v1 import platform_context_pb2
from paycenter.transaction.v1 import transaction_core_pb2 as tc
from paycenter.transaction.v1.transaction_core_pb2_grpc import (
    TransactionCoreServicer,
    TransactionCoreStub,
    add_TransactionCoreServicer_to_server,
)
from paycenter.type.v1 import money_pb2

from runtime.grpc_server import GrpcServer
from runtime.logs import setup_logging
from runtime.settings import RuntimeSettings
from runtime.telemetry import setup_telemetry

SERVICE = "paycenter.transaction.v1.TransactionCore"
ROUNDS = 3
CALLS_ALONE = 1000
CALLS_TOGETHER = 4000
CALLERS = 32


class _Echo(TransactionCoreServicer):
    """Answers at once, so that only the way there and back is measured."""

    async def CreateOrder(self, request: tc.CreateOrderRequest, context: Any) -> tc.CreateOrderResponse:  # noqa: N802 - the contract's name
        return tc.CreateOrderResponse(order=tc.Order(order_id=request.merchant_order_id))


def _register(server: grpc.aio.Server) -> None:
    add_TransactionCoreServicer_to_server(_Echo(), server)  # type: ignore[abstract]


async def _serve(kind: str) -> None:
    if kind == "bare":
        server = grpc.aio.server()
        _register(server)
        print(server.add_insecure_port("127.0.0.1:0"), flush=True)
        await server.start()
        await server.wait_for_termination()
        return
    settings = RuntimeSettings(port=0, trace_sample_ratio=0.0, log_level="WARNING")
    setup_logging("hop", level="WARNING")
    setup_telemetry("hop", settings)
    full = GrpcServer(settings, "hop", [SERVICE], _register)
    await full.start()
    print(full.port, flush=True)
    await asyncio.Event().wait()


def measure() -> dict[str, Any]:
    """Runs both servers, calls them in turn; gives medians over the rounds."""
    with ExitStack() as stack:
        servers = {kind: _start(kind, stack) for kind in ("bare", "full")}
        return uvloop.run(_measure(servers))


def _start(kind: str, stack: ExitStack) -> tuple[int, psutil.Process]:
    process = stack.enter_context(
        subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.hop", kind], stdout=subprocess.PIPE, text=True
        )
    )
    stack.callback(process.kill)
    assert process.stdout is not None
    return int(process.stdout.readline()), psutil.Process(process.pid)


async def _measure(servers: dict[str, tuple[int, psutil.Process]]) -> dict[str, Any]:
    rounds: dict[str, dict[str, list[float]]] = {kind: {} for kind in servers}
    for _ in range(ROUNDS):
        for kind, (port, process) in servers.items():
            for name, value in (await _round(port, process)).items():
                rounds[kind].setdefault(name, []).append(value)
    medians = {
        kind: {name: round(statistics.median(values), 1) for name, values in found.items()}
        for kind, found in rounds.items()
    }
    return medians | {
        "overhead": {
            "server_microseconds_per_call": round(
                medians["full"]["server_microseconds_per_call"]
                - medians["bare"]["server_microseconds_per_call"],
                1,
            ),
            "calls_per_second_ratio": round(
                medians["full"]["calls_per_second_32_callers"]
                / medians["bare"]["calls_per_second_32_callers"],
                2,
            ),
        }
    }


async def _round(port: int, process: psutil.Process) -> dict[str, float]:
    platform = platform_context_pb2.PlatformContext(caller_service="benchmark", tenant_id="benchmark")
    metadata = (
        ("x-platform-context-bin", platform.SerializeToString()),
        ("traceparent", f"00-{'a' * 32}-{'b' * 16}-00"),
    )
    request = tc.CreateOrderRequest(
        request_id="4f0c2f0e-7f43-4c3e-8f0b-6f3e2a3d4c5b",
        merchant_id="M01ABC",
        merchant_order_id="order-1",
        amount=money_pb2.Money(minor_units=1000, currency_code="CNY"),
        subject="benchmark",
        purchase=tc.Purchase(),
    )
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = TransactionCoreStub(channel).CreateOrder
        for _ in range(200):
            await call(request, metadata=metadata, timeout=5)
        started = time.perf_counter()
        for _ in range(CALLS_ALONE):
            await call(request, metadata=metadata, timeout=5)
        alone_seconds = time.perf_counter() - started
        numbers = iter(range(CALLS_TOGETHER))

        async def caller() -> None:
            for _ in numbers:
                await call(request, metadata=metadata, timeout=5)

        before = sum(process.cpu_times()[:2])
        started = time.perf_counter()
        await asyncio.gather(*[caller() for _ in range(CALLERS)])
        together_seconds = time.perf_counter() - started
        used = sum(process.cpu_times()[:2]) - before
    return {
        "milliseconds_alone": alone_seconds / CALLS_ALONE * 1000,
        "calls_per_second_32_callers": CALLS_TOGETHER / together_seconds,
        "server_microseconds_per_call": used / CALLS_TOGETHER * 1e6,
    }


if __name__ == "__main__":
    uvloop.run(_serve(sys.argv[1]))
