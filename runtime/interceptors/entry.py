"""What a call brings with it: trace, platform context, deadline. Invariant: reading it never fails; a
context that is missing or broken is kept as the refusal that the call will get."""

from __future__ import annotations

import time
from typing import Any

from runtime.context import (
    PLATFORM_CONTEXT_KEY,
    CallRecord,
    CallScope,
    PlatformContext,
    TraceContext,
    decode_platform,
)
from runtime.errors import PaycenterError, Reason
from runtime.interceptors.method import MethodProfile
from runtime.telemetry import new_trace

ANONYMOUS = PlatformContext(caller_service="unknown", tenant_id="unknown")


class Arrival:
    """One call as it came in: its scope, its record, and the refusal when it may not enter.

    `cap_seconds` is the method's cap where the server has to keep it, None where the caller's deadline comes
    first.
    """

    __slots__ = (
        "attempts",
        "cap_seconds",
        "error",
        "record",
        "remaining_seconds",
        "scope",
        "started_seconds",
    )

    def __init__(self, profile: MethodProfile, servicer_context: Any, *, streaming: bool = False) -> None:
        self.started_seconds = time.monotonic()
        self.remaining_seconds: float | None = servicer_context.time_remaining()
        cap_seconds = profile.deadline_cap_seconds
        caller_ends_first = self.remaining_seconds is not None and self.remaining_seconds <= cap_seconds
        self.cap_seconds = None if caller_ends_first or streaming else cap_seconds
        self.attempts = 0
        self.error: PaycenterError | None = None
        traceparent = trace_state = ""
        platform_bytes: bytes | None = None
        for key, value in servicer_context.invocation_metadata():
            if key == PLATFORM_CONTEXT_KEY:
                platform_bytes = value
            elif key == "traceparent":
                traceparent = value
            elif key == "tracestate":
                trace_state = value
            elif key == "grpc-previous-rpc-attempts":
                self.attempts = int(value) if value.isdecimal() else 0
        trace = (TraceContext.parse(traceparent, trace_state) if traceparent else None) or new_trace()
        platform = self._identify(platform_bytes, profile)
        self.record = CallRecord(method=profile.full_name, business_id=platform.business_id)
        self.scope = CallScope(platform, trace, self._deadline(profile, streaming), self.record)

    def _identify(self, platform_bytes: bytes | None, profile: MethodProfile) -> PlatformContext:
        if platform_bytes is None:
            if profile.context_required:
                self.error = PaycenterError(
                    Reason.CONTEXT_MISSING, f"The call has no platform context in {PLATFORM_CONTEXT_KEY}."
                )
            return ANONYMOUS
        try:
            return decode_platform(platform_bytes)
        except PaycenterError as error:
            self.error = error
            return ANONYMOUS

    def _deadline(self, profile: MethodProfile, streaming: bool) -> float | None:
        if streaming:
            return None if self.remaining_seconds is None else self.started_seconds + self.remaining_seconds
        cap_seconds = profile.deadline_cap_seconds
        if profile.mutating or self.remaining_seconds is None:
            return self.started_seconds + cap_seconds
        return self.started_seconds + min(cap_seconds, self.remaining_seconds)
