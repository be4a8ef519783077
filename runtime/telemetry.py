"""Spans of the running scope, exported by OTLP. Invariant: outside a sampled trace a span costs about as
much as a function call, and a collector that is down never delays or fails a call.

Finished spans are handed to the SDK's batch processor as `ReadableSpan` values. The SDK's own tracer is left
out: its locks, attribute checks and context bookkeeping cost more than the interceptors altogether.
"""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from contextvars import Token
from types import TracebackType
from typing import Literal, Protocol

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from runtime.context import (
    CallScope,
    TraceContext,
    current_scope,
    decode_platform,
    enter_scope,
    leave_scope,
    new_span_id,
    scope_or_none,
)
from runtime.errors import PaycenterError
from runtime.settings import RuntimeSettings

AttributeValue = str | int | float | bool
Kind = Literal["internal", "server", "client", "producer", "consumer"]

_KINDS: Mapping[str, SpanKind] = {
    "internal": SpanKind.INTERNAL,
    "server": SpanKind.SERVER,
    "client": SpanKind.CLIENT,
    "producer": SpanKind.PRODUCER,
    "consumer": SpanKind.CONSUMER,
}
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_UNSET = Status(StatusCode.UNSET)
_INSTRUMENTATION = InstrumentationScope("paycenter.runtime")
_QUEUE_SPANS = 8192
_EXPORT_EVERY_MILLISECONDS = 500
_EXPORT_TIMEOUT_SECONDS = 5.0


class _Telemetry:
    """What `setup_telemetry` decided for the process."""

    def __init__(self) -> None:
        self.processor: SpanProcessor | None = None
        self.resource = Resource({})
        self.sample_ratio = 0.0


_telemetry = _Telemetry()


def setup_telemetry(
    service_name: str, settings: RuntimeSettings, *, processor: SpanProcessor | None = None
) -> None:
    """Starts the export of spans to `settings.telemetry_otlp_endpoint`; with an empty endpoint nothing is
    recorded.

    `processor` takes the place of the exporter in tests. Call once, before the first call is served.
    """
    _telemetry.sample_ratio = settings.trace_sample_ratio
    _telemetry.resource = Resource(
        {
            "service.name": service_name,
            "service.namespace": "paycenter",
            "service.instance.id": str(uuid.uuid4()),
        }
    )
    if processor is None and settings.telemetry_otlp_endpoint:
        exporter = OTLPSpanExporter(
            endpoint=settings.telemetry_otlp_endpoint, timeout=_EXPORT_TIMEOUT_SECONDS
        )
        processor = BatchSpanProcessor(
            exporter, max_queue_size=_QUEUE_SPANS, schedule_delay_millis=_EXPORT_EVERY_MILLISECONDS
        )
    _telemetry.processor = processor


async def shutdown_telemetry(timeout_seconds: float) -> None:
    """Exports what waits and stops, within `timeout_seconds` also when the collector is down. Idempotent."""
    processor, _telemetry.processor = _telemetry.processor, None
    if processor is None:
        return
    stopping = threading.Thread(target=processor.shutdown, name="telemetry-shutdown", daemon=True)
    stopping.start()
    await asyncio.to_thread(stopping.join, timeout_seconds)


def new_trace() -> TraceContext:
    """Starts a trace, sampled by the process's ratio; the trace id decides, as OpenTelemetry's ratio sampler
    does."""
    trace = TraceContext.new(sampled=True)
    if int(trace.trace_id[16:], 16) < _telemetry.sample_ratio * 2**64:
        return trace
    return TraceContext(trace.trace_id, trace.span_id, sampled=False)


def scope_from_stored(traceparent: str, platform: bytes) -> CallScope:
    """Rebuilds the scope that was stored with a row or message, so that later work continues the same trace.

    A malformed `traceparent` gives a new trace. Raises PaycenterError(CONTEXT_INVALID) when `platform` is
    unreadable. The scope has no deadline. Open the step's span with `links=(scope.trace,)`.
    """
    trace = TraceContext.parse(traceparent) or new_trace()
    return CallScope(platform=decode_platform(platform), trace=trace)


class Span(Protocol):
    """What a step may tell about itself; nothing sensitive, no amounts of people, no exception text.

    As a context manager it becomes the parent of what happens in the block. `begin` and `end` are the form
    for a step that ends elsewhere, such as a call that is awaited later.
    """

    def begin(self) -> TraceContext:
        """Starts the clock and returns the trace context to send along; does not change the current scope."""
        ...

    def end(self) -> None:
        """Stops the clock and hands the span over."""
        ...

    def set_attribute(self, key: str, value: AttributeValue, /) -> None:
        """Sets one attribute; the last value wins."""
        ...

    def set_error(self, error_type: str, /) -> None:
        """Marks the step as failed with a class name, gRPC code or reason."""
        ...

    def __enter__(self) -> Span: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...


def span(
    name: str,
    *,
    kind: Kind = "internal",
    attributes: Mapping[str, AttributeValue] | None = None,
    links: Sequence[TraceContext] = (),
) -> Span:
    """Returns a context manager that records the block as a span of the current scope and becomes its
    parent.

    Outside of a scope, in a trace that is not sampled, or with export off, it does nothing. An error that
    leaves the block is recorded as its class name and reason only.
    """
    scope = scope_or_none()
    if scope is None or not scope.trace.sampled or _telemetry.processor is None:
        return _NO_SPAN
    return _RecordedSpan(name, kind, attributes, links)


class _NoSpan:
    """Stands in for a span that nobody records."""

    __slots__ = ()

    def begin(self) -> TraceContext:
        return current_scope().trace

    def end(self) -> None:
        return None

    def set_attribute(self, _key: str, _value: AttributeValue, /) -> None:
        return None

    def set_error(self, _error_type: str, /) -> None:
        return None

    def __enter__(self) -> Span:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        return None


_NO_SPAN = _NoSpan()


class _RecordedSpan:
    """Takes the times of a block and hands the finished span to the processor."""

    __slots__ = (
        "_attributes",
        "_error_type",
        "_kind",
        "_links",
        "_name",
        "_parent",
        "_started",
        "_token",
        "_trace",
    )

    _parent: CallScope
    _started: int
    _trace: TraceContext
    _token: Token[CallScope]

    def __init__(
        self,
        name: str,
        kind: Kind,
        attributes: Mapping[str, AttributeValue] | None,
        links: Sequence[TraceContext],
    ) -> None:
        self._name = name
        self._kind = kind
        self._attributes: dict[str, AttributeValue] = dict(attributes) if attributes else {}
        self._links = links
        self._error_type = ""

    def set_attribute(self, key: str, value: AttributeValue, /) -> None:
        self._attributes[key] = value

    def set_error(self, error_type: str, /) -> None:
        self._error_type = error_type

    def begin(self) -> TraceContext:
        parent = current_scope()
        trace = parent.trace
        self._parent = parent
        self._trace = TraceContext(trace.trace_id, new_span_id(), True, trace.trace_state)
        self._started = time.time_ns()
        return self._trace

    def end(self) -> None:
        processor = _telemetry.processor
        if processor is not None:
            processor.on_end(self._finish(time.time_ns()))

    def __enter__(self) -> Span:
        own_trace = self.begin()
        parent = self._parent
        self._token = enter_scope(
            CallScope(parent.platform, own_trace, parent.deadline_monotonic_seconds, parent.record)
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        leave_scope(self._token)
        if error is not None and not self._error_type:
            self._error_type = type(error).__name__
            if isinstance(error, PaycenterError):
                self._attributes["paycenter.reason"] = error.reason.value
        self.end()

    def _finish(self, ended: int) -> ReadableSpan:
        attributes = self._attributes
        attributes["paycenter.trace_id"] = self._trace.trace_id
        record = self._parent.record
        business_id = (record.business_id if record else "") or self._parent.platform.business_id
        if business_id:
            attributes["paycenter.business_id"] = business_id
        status = _UNSET
        if self._error_type:
            attributes["error.type"] = self._error_type
            status = Status(StatusCode.ERROR, self._error_type)
        parent_trace = self._parent.trace
        return ReadableSpan(
            name=self._name,
            context=_span_context(self._trace),
            parent=_span_context(parent_trace) if parent_trace.has_span else None,
            resource=_telemetry.resource,
            attributes=attributes,
            links=[Link(_span_context(linked), {}) for linked in self._links if linked.has_span],
            kind=_KINDS[self._kind],
            status=status,
            start_time=self._started,
            end_time=ended,
            instrumentation_scope=_INSTRUMENTATION,
        )


def _span_context(trace: TraceContext) -> SpanContext:
    return SpanContext(
        trace_id=int(trace.trace_id, 16),
        span_id=int(trace.span_id, 16),
        is_remote=False,
        trace_flags=_SAMPLED,
    )
