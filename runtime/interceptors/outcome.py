"""What stays of a call: its canonical log line, its figures and the attributes of its span. Invariant: one
line per call, written when the work ends, even when the caller has long gone."""

from __future__ import annotations

import time

from runtime.errors import SERVER_FAULT_CODES, PaycenterError
from runtime.interceptors.entry import Arrival
from runtime.interceptors.method import MethodProfile
from runtime.interceptors.refusal import Refusal, as_paycenter_error, refuse
from runtime.logs import write_canonical_line
from runtime.metrics import server_duration
from runtime.telemetry import Span, span

_SERVER_FAULTS = frozenset(code.value for code in SERVER_FAULT_CODES)


def server_span(profile: MethodProfile) -> Span:
    """Opens the span of a call, named by its full method."""
    return span(
        profile.full_name,
        kind="server",
        attributes={"rpc.system.name": "grpc", "rpc.method": profile.full_name},
    )


def conclude_refused(arrival: Arrival, call_span: Span, exception: Exception) -> Refusal:
    """Concludes a call that failed and returns what its caller gets."""
    error = as_paycenter_error(exception)
    conclude(arrival, call_span, code=error.code.value, error=error)
    scope = arrival.scope
    return refuse(error, trace_id=scope.trace.trace_id, caller_service=scope.platform.caller_service)


def conclude_cancelled(arrival: Arrival, call_span: Span) -> None:
    """Concludes a call that its caller gave up or whose deadline passed."""
    arrival.record.caller_gone = True
    remaining_seconds = arrival.remaining_seconds
    overdue = (
        remaining_seconds is not None and time.monotonic() - arrival.started_seconds >= remaining_seconds
    )
    conclude(arrival, call_span, code="DEADLINE_EXCEEDED" if overdue else "CANCELLED")


def conclude(arrival: Arrival, call_span: Span, *, code: str, error: PaycenterError | None = None) -> None:
    """Writes the canonical line, observes the duration and finishes the attributes of the server span."""
    record = arrival.record
    duration_seconds = time.monotonic() - arrival.started_seconds
    server_duration(record.method, code).observe(duration_seconds)
    server_fault = code in _SERVER_FAULTS
    if arrival.scope.trace.sampled:
        _describe(call_span, arrival, code, error, server_fault)
    platform = arrival.scope.platform
    line: dict[str, object] = {
        "method": record.method,
        "code": code,
        "caller_service": platform.caller_service,
        "tenant_id": platform.tenant_id,
        "duration_ms": round(duration_seconds * 1000, 2),
    }
    if error is not None:
        line["reason"] = error.reason.value
    if record.request_id:
        line["request_id"] = record.request_id
    if record.replayed:
        line["replayed"] = True
    if record.caller_gone:
        line["caller_gone"] = True
    if arrival.remaining_seconds is not None:
        line["deadline_left_ms"] = round((arrival.remaining_seconds - duration_seconds) * 1000)
    if arrival.attempts:
        line["previous_attempts"] = arrival.attempts
    if platform.shadow:
        line["shadow"] = True
    line.update(record.fields)
    write_canonical_line(line, failed=server_fault)


def _describe(
    call_span: Span, arrival: Arrival, code: str, error: PaycenterError | None, server_fault: bool
) -> None:
    call_span.set_attribute("rpc.response.status_code", code)
    call_span.set_attribute("paycenter.caller_service", arrival.scope.platform.caller_service)
    if arrival.record.replayed:
        call_span.set_attribute("paycenter.replayed", True)
    if error is not None:
        call_span.set_attribute("paycenter.reason", error.reason.value)
    if server_fault:
        call_span.set_error(code)
