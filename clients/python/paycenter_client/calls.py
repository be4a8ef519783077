"""What both clients do with one call: its metadata, its deadline and when to repeat it."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import grpc

from paycenter_client.context import CONTEXT_KEY, TRACEPARENT_KEY, Caller, new_traceparent
from paycenter_client.errors import PaycenterError

_LONGEST_BACKOFF_SECONDS = 2.0
_business_id: ContextVar[str] = ContextVar("paycenter_business_id", default="")
_traceparent: ContextVar[str] = ContextVar("paycenter_traceparent", default="")


@contextmanager
def business_case(*, business_id: str = "", traceparent: str = "") -> Iterator[None]:
    """Puts a business identifier and a W3C trace of the caller's own on every call made inside.

    Without it the center names the case by the order's number, and each call begins a trace of its own.
    """
    tokens = (_business_id.set(business_id), _traceparent.set(traceparent))
    try:
        yield
    finally:
        _business_id.reset(tokens[0])
        _traceparent.reset(tokens[1])


class CallDetails(NamedTuple):
    """The details of one call as gRPC wants them from an interceptor."""

    method: Any
    timeout: float | None
    metadata: Any
    credentials: Any
    wait_for_ready: bool | None
    compression: Any = None


def details_with_context(details: Any, caller: Caller, timeout_seconds: float | None) -> CallDetails:
    """Copies call details with platform context, trace and deadline; metadata given by the caller stays."""
    metadata: list[tuple[str, str | bytes]] = list(_pairs(details.metadata))
    keys = {key for key, _ in metadata}
    if CONTEXT_KEY not in keys:
        metadata.append((CONTEXT_KEY, caller.metadata_value(_business_id.get())))
    if TRACEPARENT_KEY not in keys:
        metadata.append((TRACEPARENT_KEY, _traceparent.get() or new_traceparent()))
    return CallDetails(details.method, timeout_seconds, metadata, details.credentials, details.wait_for_ready)


def _pairs(metadata: Any) -> Sequence[tuple[str, str | bytes]]:
    return tuple(metadata) if metadata is not None else ()


def retry_delay_seconds(
    error: PaycenterError, try_number: int, remaining_seconds: float, *, streaming: bool = False
) -> float | None:
    """Tells how long to wait before the same call is repeated; None when it should not be.

    Only conflicts are repeated here: the transport has repeated UNAVAILABLE by its own policy already.
    A stream is also taken up again when its server went away or ran out of time.
    """
    repeatable = {grpc.StatusCode.ABORTED}
    if streaming:
        repeatable = {grpc.StatusCode.ABORTED, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
    if error.code not in repeatable or error.reason == "ETAG_MISMATCH" or error.reason == "VERSION_MISMATCH":
        return None
    jitter = random.uniform(0.8, 1.2)  # noqa: S311 - spreads callers, keeps no secret
    backoff_seconds = min(0.02 * 2.0**try_number, _LONGEST_BACKOFF_SECONDS) * jitter
    delay_seconds = max(error.retry_after_seconds or 0.0, backoff_seconds)
    return delay_seconds if delay_seconds < remaining_seconds else None
