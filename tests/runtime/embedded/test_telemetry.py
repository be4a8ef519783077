from __future__ import annotations

import os
import signal
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import Link, SpanKind, Status, StatusCode

from runtime.embedded import readiness
from runtime.embedded.child_process import Command
from runtime.embedded.managed_process import ManagedProcess, ProcessPlan
from runtime.embedded.ports import PortBook
from runtime.embedded.servers import center_servers
from runtime.embedded.span_writer import SpanWriter
from runtime.embedded.trace_store import Span, TraceStore
from tests.runtime.embedded.embedded_support import ROOT


def span(number: int, *, business_id: str = "") -> Span:
    return Span(
        trace_id=f"{number:032x}",
        span_id=f"{number:016x}",
        parent_span_id="",
        service="test",
        name="work",
        kind="internal",
        start_nanoseconds=number,
        end_nanoseconds=number + 5,
        status="unset",
        status_message="",
        attributes={"paycenter.business_id": business_id} if business_id else {},
        links=(),
    )


def test_spans_are_found_by_trace_and_by_business_id(tmp_path: Path) -> None:
    file = tmp_path / "traces.sqlite"
    store = TraceStore(file)
    assert store.spans_of_trace("00") == []
    assert store.span_count() == 0
    with SpanWriter(file) as writer:
        writer.write([span(2, business_id="B1"), span(1, business_id="B1"), span(3)])
        assert [found.start_nanoseconds for found in store.spans_of_business_id("B1")] == [1, 2]
        assert store.spans_of_trace(f"{3:032x}") == [span(3)]
        assert store.spans_of_business_id("") == []
    assert store.span_count() == 3
    assert store.spans_of_business_id("B1")[0].duration_nanoseconds == 5


def test_an_export_that_is_sent_again_changes_nothing(tmp_path: Path) -> None:
    with SpanWriter(tmp_path / "traces.sqlite") as writer:
        writer.write([span(1)])
        writer.write([span(1), span(2)])
    assert TraceStore(tmp_path / "traces.sqlite").span_count() == 2


def test_the_oldest_spans_go_when_the_cap_is_reached(tmp_path: Path) -> None:
    with SpanWriter(tmp_path / "traces.sqlite", rows_cap=100) as writer:
        for start in range(0, 1000, 50):
            writer.write([span(number, business_id="B") for number in range(start, start + 50)])
    kept = TraceStore(tmp_path / "traces.sqlite").spans_of_business_id("B")
    assert len(kept) <= 150
    assert kept[-1].start_nanoseconds == 999


@pytest.mark.parametrize(
    ("statement", "index"),
    [
        ("SELECT * FROM span WHERE trace_id = ?", "span_by_trace"),
        ("SELECT * FROM span WHERE business_id = ? AND business_id <> ''", "span_by_business_id"),
    ],
)
def test_lookups_use_an_index(tmp_path: Path, statement: str, index: str) -> None:
    with SpanWriter(tmp_path / "traces.sqlite") as writer:
        writer.write([span(1)])
    connection = sqlite3.connect(tmp_path / "traces.sqlite")
    plan = connection.execute(f"EXPLAIN QUERY PLAN {statement}", ("x",)).fetchall()
    connection.close()
    assert index in plan[0][3]


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[ManagedProcess]:
    book = PortBook(tmp_path / "ports.json")
    port = book.claim("telemetry")
    file = tmp_path / "traces.sqlite"
    command = Command(
        name="telemetry",
        arguments=[sys.executable, *center_servers()[0].arguments, "--port", str(port), "--file", str(file)],
        environment=dict(os.environ),
        working_directory=ROOT,
        log_file=tmp_path / "telemetry.log",
        death_signal=signal.SIGTERM,
    )
    process = ManagedProcess(
        ProcessPlan(
            name="telemetry",
            port=port,
            command=lambda: command,
            ready=lambda: readiness.grpc_serves(port),
            stop_steps=((signal.SIGTERM, 10.0),),
            start_timeout_seconds=60.0,
        )
    )
    process.start()
    yield process
    process.stop()
    book.close()


def test_what_the_sdk_exports_is_stored_whole(receiver: ManagedProcess, tmp_path: Path) -> None:
    provider = TracerProvider(resource=Resource.create({"service.name": "payment"}))
    exporter = OTLPSpanExporter(endpoint=f"http://127.0.0.1:{receiver.plan.port}", insecure=True)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("test")
    with tracer.start_as_current_span("outer", kind=SpanKind.SERVER) as outer:
        outer.set_attribute("paycenter.business_id", "B7")
        outer.set_attribute("amounts", [1, 2])
        outer.set_attribute("ratio", 0.5)
        with tracer.start_as_current_span(
            "inner", kind=SpanKind.CLIENT, links=[Link(outer.get_span_context(), {"why": "made it"})]
        ) as inner:
            inner.set_status(Status(StatusCode.ERROR, "CHANNEL_UNAVAILABLE"))
    provider.shutdown()
    trace_id = f"{outer.get_span_context().trace_id:032x}"
    stored = {found.name: found for found in TraceStore(tmp_path / "traces.sqlite").spans_of_trace(trace_id)}
    assert set(stored) == {"outer", "inner"}
    assert (stored["outer"].service, stored["outer"].kind, stored["outer"].status) == (
        "payment",
        "server",
        "unset",
    )
    assert stored["outer"].attributes == {"paycenter.business_id": "B7", "amounts": [1, 2], "ratio": 0.5}
    assert stored["outer"].business_id == "B7"
    assert (stored["inner"].kind, stored["inner"].status) == ("client", "error")
    assert stored["inner"].status_message == "CHANNEL_UNAVAILABLE"
    assert stored["inner"].parent_span_id == stored["outer"].span_id
    assert stored["inner"].links[0].span_id == stored["outer"].span_id
    assert stored["inner"].links[0].attributes == {"why": "made it"}
    assert stored["inner"].duration_nanoseconds > 0


def test_a_stopped_receiver_exits_cleanly(receiver: ManagedProcess) -> None:
    receiver.stop()
    assert receiver.exit_code == 0
