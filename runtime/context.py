"""Who acts, in which trace and until when: the scope that every call, message and background step runs in.
Invariant: a scope is immutable and lives in one context variable; only the record of the running rpc is
mutable."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from dataclasses import dataclass, field, replace
from functools import lru_cache

from google.protobuf.message import DecodeError
from paycenter.context.v1 import platform_context_pb2

from runtime.errors import PaycenterError, Reason
from runtime.validation import violations_of

PLATFORM_CONTEXT_KEY = "x-platform-context-bin"
PLATFORM_CONTEXT_LIMIT_BYTES = 1024
DEFAULT_LOCALE = "zh-CN"

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_TRACE_STATE_LIMIT = 512
_NO_TRACE_ID = "0" * 32
_NO_SPAN_ID = "0" * 16


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformContext:
    """Who acts, for whom and under which business identifier; mirrors
    `paycenter.context.v1.PlatformContext`."""

    caller_service: str
    tenant_id: str
    business_line: str = ""
    business_id: str = ""
    operator: str = ""
    locale: str = DEFAULT_LOCALE
    origin: str = ""
    shadow: bool = False


@lru_cache(maxsize=4096)
def encode_platform(platform: PlatformContext) -> bytes:
    """Serializes `platform` for the metadata key, the outbox row and the message header.

    Raises PaycenterError(CONTEXT_INVALID) when a field breaks its rule or the result is above 1 KiB.
    Idempotent.
    """
    message = platform_context_pb2.PlatformContext(
        business_line=platform.business_line,
        business_id=platform.business_id,
        caller_service=platform.caller_service,
        tenant_id=platform.tenant_id,
        operator=platform.operator,
        locale=platform.locale,
        origin=platform.origin,
        shadow=platform.shadow,
    )
    encoded: bytes = message.SerializeToString(deterministic=True)
    _check(message, size_bytes=len(encoded))
    return encoded


@lru_cache(maxsize=4096)
def decode_platform(encoded: bytes) -> PlatformContext:
    """Reads what `encode_platform` wrote, strictly.

    Raises PaycenterError(CONTEXT_INVALID) when it is above 1 KiB, cannot be parsed or breaks a rule of the
    contract; the violations name the fields. Unknown fields are dropped. Idempotent.
    """
    message = platform_context_pb2.PlatformContext()
    if len(encoded) > PLATFORM_CONTEXT_LIMIT_BYTES:
        _check(message, size_bytes=len(encoded))
    try:
        message.ParseFromString(encoded)
    except DecodeError:
        raise PaycenterError(
            Reason.CONTEXT_INVALID, "The platform context cannot be parsed.", field=PLATFORM_CONTEXT_KEY
        ) from None
    _check(message, size_bytes=len(encoded))
    return PlatformContext(
        business_line=message.business_line,
        business_id=message.business_id,
        caller_service=message.caller_service,
        tenant_id=message.tenant_id,
        operator=message.operator,
        locale=message.locale or DEFAULT_LOCALE,
        origin=message.origin,
        shadow=message.shadow,
    )


def _check(message: platform_context_pb2.PlatformContext, *, size_bytes: int) -> None:
    if size_bytes > PLATFORM_CONTEXT_LIMIT_BYTES:
        raise PaycenterError(
            Reason.CONTEXT_INVALID,
            f"The platform context has {size_bytes} bytes; at most {PLATFORM_CONTEXT_LIMIT_BYTES} may be.",
            field=PLATFORM_CONTEXT_KEY,
            metadata={"sizeBytes": str(size_bytes), "limitBytes": str(PLATFORM_CONTEXT_LIMIT_BYTES)},
        )
    violations = violations_of(message)
    if violations:
        raise PaycenterError(
            Reason.CONTEXT_INVALID, "The platform context breaks a rule.", violations=violations
        )


@dataclass(frozen=True, slots=True)
class TraceContext:
    """A position in a W3C trace: 32 hexadecimal digits of trace, 16 of the current span (zeros: no span
    yet)."""

    trace_id: str
    span_id: str
    sampled: bool
    trace_state: str = ""

    @classmethod
    def new(cls, sampled: bool) -> TraceContext:
        """Starts a trace that has no span yet."""
        return cls(trace_id=f"{random.getrandbits(128) or 1:032x}", span_id=_NO_SPAN_ID, sampled=sampled)

    @classmethod
    def parse(cls, traceparent: str, trace_state: str = "") -> TraceContext | None:
        """Reads a W3C `traceparent`; returns None when it is malformed, as the standard asks."""
        match = _TRACEPARENT.fullmatch(traceparent)
        if match is None:
            return None
        version, trace_id, span_id, flags, rest = match.groups()
        if (
            version == "ff"
            or (version == "00" and rest)
            or trace_id == _NO_TRACE_ID
            or span_id == _NO_SPAN_ID
        ):
            return None
        return cls(
            trace_id=trace_id,
            span_id=span_id,
            sampled=bool(int(flags, 16) & 1),
            trace_state=trace_state if len(trace_state) <= _TRACE_STATE_LIMIT else "",
        )

    @property
    def has_span(self) -> bool:
        """Whether a span of this trace exists, so that a new one has a parent."""
        return self.span_id != _NO_SPAN_ID

    def format(self) -> str:
        """Writes the W3C `traceparent` (55 characters)."""
        span_id = self.span_id if self.has_span else new_span_id()
        return f"00-{self.trace_id}-{span_id}-{'01' if self.sampled else '00'}"


def new_span_id() -> str:
    """Returns 16 random hexadecimal digits, never all zero."""
    return f"{random.getrandbits(64) or 1:016x}"


@dataclass(slots=True, kw_only=True)
class CallRecord:
    """What one rpc tells in its canonical log line; the only mutable part of a scope.

    `business_id` follows `with_business_id`, so that a command that finds its business identifier on the way
    is logged and traced under it.
    """

    method: str
    business_id: str = ""
    request_id: str = ""
    replayed: bool = False
    caller_gone: bool = False
    fields: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CallScope:
    """Everything that goes down with a call: who acts, the trace, and the instant (monotonic) at which time
    is up.

    For a mutating rpc the deadline is the server's own cap and not the caller's: once recorded, the command
    goes on after its caller has gone.
    """

    platform: PlatformContext
    trace: TraceContext
    deadline_monotonic_seconds: float | None = None
    record: CallRecord | None = None


_scope: ContextVar[CallScope] = ContextVar("paycenter_call_scope")


def current_scope() -> CallScope:
    """Returns the scope that the running task is in; raises LookupError when there is none."""
    return _scope.get()


def scope_or_none() -> CallScope | None:
    """Returns the current scope, or None outside of any."""
    return _scope.get(None)


def enter_scope(scope: CallScope) -> Token[CallScope]:
    """Makes `scope` current until `leave_scope(token)` or the end of the task; `use_scope` is the usual
    form."""
    return _scope.set(scope)


def leave_scope(token: Token[CallScope]) -> None:
    """Makes the scope current again that was so before the matching `enter_scope`."""
    _scope.reset(token)


@contextmanager
def use_scope(scope: CallScope) -> Iterator[CallScope]:
    """Makes `scope` current inside the block."""
    token = _scope.set(scope)
    try:
        yield scope
    finally:
        _scope.reset(token)


@contextmanager
def with_business_id(business_id: str) -> Iterator[CallScope]:
    """Puts `business_id` into the current scope inside the block, so that rows, messages and calls below
    carry it.

    Raises LookupError outside of any scope.
    """
    scope = _scope.get()
    if scope.record is not None:
        scope.record.business_id = business_id
    with use_scope(replace(scope, platform=replace(scope.platform, business_id=business_id))) as inner:
        yield inner


def mark_replayed() -> None:
    """Notes that the running rpc answers from a stored response; the server then sends `x-idempotent-replay:
    true`.

    Does nothing outside of an rpc. Idempotent.
    """
    scope = _scope.get(None)
    if scope is not None and scope.record is not None:
        scope.record.replayed = True
