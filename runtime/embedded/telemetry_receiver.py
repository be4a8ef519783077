"""Receives spans by OTLP/gRPC and keeps them in a SQLite file: `python -m runtime.embedded.telemetry_receiver`.

Invariant: an export is answered only after its spans are stored; sending it again changes nothing.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.json_format import MessageToDict
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

from runtime.embedded.ports import LOOPBACK
from runtime.embedded.span_writer import DEFAULT_ROWS_CAP, SpanWriter
from runtime.embedded.trace_store import Span, SpanLink

_LOGGER = logging.getLogger("telemetry_receiver")
_LARGEST_EXPORT_BYTES = 64 * 1024 * 1024
_GRACE_SECONDS = 2.0


class TraceReceiver(trace_service_pb2_grpc.TraceServiceServicer):
    """Stores what it is sent."""

    def __init__(self, writer: SpanWriter) -> None:
        self._writer = writer

    def Export(  # noqa: N802
        self,
        request: trace_service_pb2.ExportTraceServiceRequest,
        context: grpc.ServicerContext,  # noqa: ARG002
    ) -> trace_service_pb2.ExportTraceServiceResponse:
        """Store the spans of one export in one transaction."""
        self._writer.write(spans_from_export(request))
        return trace_service_pb2.ExportTraceServiceResponse()


def spans_from_export(request: trace_service_pb2.ExportTraceServiceRequest) -> list[Span]:
    """The spans of an export, with the service's name taken from their resource."""
    return [
        _span(span, service=str(_attributes(group.resource.attributes).get("service.name", "")))
        for group in request.resource_spans
        for scope in group.scope_spans
        for span in scope.spans
    ]


def _span(span: trace_pb2.Span, *, service: str) -> Span:
    return Span(
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_span_id=span.parent_span_id.hex(),
        service=service,
        name=span.name,
        kind=_enum_name(trace_pb2.Span.SpanKind, span.kind, prefix="SPAN_KIND_"),
        start_nanoseconds=span.start_time_unix_nano,
        end_nanoseconds=span.end_time_unix_nano,
        status=_enum_name(trace_pb2.Status.StatusCode, span.status.code, prefix="STATUS_CODE_"),
        status_message=span.status.message,
        attributes=_attributes(span.attributes),
        links=tuple(
            SpanLink(
                trace_id=link.trace_id.hex(),
                span_id=link.span_id.hex(),
                attributes=_attributes(link.attributes),
            )
            for link in span.links
        ),
    )


def _enum_name(enumeration: Any, number: int, *, prefix: str) -> str:
    """A value's name in lower case without its prefix; its number when this version does not know it."""
    if number not in enumeration.values():
        return str(number)
    return str(enumeration.Name(number)).removeprefix(prefix).lower()


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: common_pb2.AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    if kind == "kvlist_value":
        return _attributes(value.kvlist_value.values)
    if kind == "bytes_value":
        return value.bytes_value.hex()
    if kind in {"string_value", "bool_value", "int_value", "double_value"}:
        return getattr(value, kind)
    return MessageToDict(value)


def serve(*, port: int, file: Path, rows_cap: int) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code."""
    stopping = threading.Event()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signal_number, lambda *_: stopping.set())
    server = grpc.server(
        ThreadPoolExecutor(max_workers=2),
        options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", _LARGEST_EXPORT_BYTES)],
    )
    with SpanWriter(file, rows_cap=rows_cap) as writer:
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(  # type: ignore[no-untyped-call]
            TraceReceiver(writer), server
        )
        health_servicer = health.HealthServicer()  # type: ignore[no-untyped-call]
        health_pb2_grpc.add_HealthServicer_to_server(  # type: ignore[no-untyped-call]
            health_servicer, server
        )
        try:
            server.add_insecure_port(f"{LOOPBACK}:{port}")
        except RuntimeError:
            _LOGGER.error("cannot listen on %s:%d: the port is in use", LOOPBACK, port)  # noqa: TRY400
            return 1
        server.start()
        health_servicer.set(  # type: ignore[no-untyped-call]
            "", health_pb2.HealthCheckResponse.SERVING
        )
        _LOGGER.info("receiving spans on %s:%d into %s", LOOPBACK, port, file)
        stopping.wait()
        server.stop(_GRACE_SECONDS).wait()
    _LOGGER.info("stopped")
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="telemetry_receiver", description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="port on the loopback address")
    parser.add_argument("--file", type=Path, required=True, help="SQLite file, created when missing")
    parser.add_argument("--rows-cap", type=int, default=DEFAULT_ROWS_CAP, help="most spans that are kept")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    return serve(port=options.port, file=options.file, rows_cap=options.rows_cap)


if __name__ == "__main__":
    sys.exit(main())
