"""Spans reach a collector by OTLP, and a collector that is down hurts nobody."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from concurrent import futures
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from runtime.context import CallScope, PlatformContext, TraceContext, use_scope
from runtime.settings import RuntimeSettings
from runtime.telemetry import setup_telemetry, shutdown_telemetry, span

SCOPE = CallScope(
    PlatformContext(caller_service="shop", tenant_id="tenant-1", business_id="O-1"),
    TraceContext("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", sampled=True),
)


@dataclass
class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """An OTLP collector that keeps what it gets."""

    exports: list[Any] = field(default_factory=list)

    def Export(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.exports.append(request)
        return trace_service_pb2.ExportTraceServiceResponse()


@pytest.fixture
def collector() -> Iterator[tuple[Collector, str]]:
    """A collector and its endpoint."""
    server = grpc.server(futures.ThreadPoolExecutor(2))
    servicer = Collector()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(servicer, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield servicer, f"http://127.0.0.1:{port}"
    server.stop(None)


async def test_what_waits_is_exported_when_the_server_stops(collector: tuple[Collector, str]) -> None:
    servicer, endpoint = collector
    setup_telemetry("front-desk", RuntimeSettings(telemetry_otlp_endpoint=endpoint))
    with use_scope(SCOPE), span("route", attributes={"channel": "alipay", "weight": 3, "tried": True}):
        pass

    await shutdown_telemetry(5.0)

    [export] = servicer.exports
    [resource] = export.resource_spans
    attributes = {one.key: one.value.string_value for one in resource.resource.attributes}
    assert (attributes["service.name"], attributes["service.namespace"]) == ("front-desk", "paycenter")
    [exported] = resource.scope_spans[0].spans
    assert (exported.name, exported.trace_id.hex()) == ("route", SCOPE.trace.trace_id)
    assert exported.parent_span_id.hex() == SCOPE.trace.span_id
    told = {one.key: one.value for one in exported.attributes}
    assert told["paycenter.business_id"].string_value == "O-1"
    assert (told["channel"].string_value, told["weight"].int_value, told["tried"].bool_value) == (
        "alipay",
        3,
        True,
    )


async def test_a_collector_that_is_down_holds_up_neither_the_work_nor_the_stop() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{unused.getsockname()[1]}"
    setup_telemetry("front-desk", RuntimeSettings(telemetry_otlp_endpoint=endpoint))

    began = time.monotonic()
    with use_scope(SCOPE):
        for _ in range(20_000):
            with span("route"):
                pass
    worked = time.monotonic()
    await shutdown_telemetry(0.5)

    assert worked - began < 10
    assert time.monotonic() - worked < 4


def test_a_step_that_nobody_records_costs_next_to_nothing() -> None:
    setup_telemetry("front-desk", RuntimeSettings())
    began = time.perf_counter()
    with use_scope(SCOPE):
        for _ in range(20_000):
            with span("route"):
                pass

    assert (time.perf_counter() - began) / 20_000 < 50e-6
