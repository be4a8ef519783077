"""Channels from one server to another: context, trace and deadline go along by themselves. Invariant: a call
leaves only inside a scope and with a deadline; the transport repeats nothing but UNAVAILABLE.

The channel wraps the stub's callables instead of using interceptors, which cost a task per call.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Generator
from dataclasses import replace
from functools import lru_cache
from typing import Any

import grpc

from runtime.context import (
    PLATFORM_CONTEXT_KEY,
    PlatformContext,
    TraceContext,
    current_scope,
    encode_platform,
)
from runtime.errors import PaycenterError, Reason
from runtime.interceptors.method import MethodProfile, profile_of
from runtime.metrics import client_duration
from runtime.rich_status import error_from_rpc
from runtime.telemetry import Span, span

DEADLINE_MARGIN_SECONDS = 0.05
SHORTEST_CALL_SECONDS = 0.01

_SERVICE_CONFIG = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "methodConfig": [
        {
            "name": [{}],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.05s",
                "maxBackoff": "1s",
                "backoffMultiplier": 3,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ],
    "retryThrottling": {"maxTokens": 10, "tokenRatio": 0.1},
}
CHANNEL_OPTIONS: tuple[tuple[str, str | int], ...] = (
    ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
    ("grpc.enable_retries", 1),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 2_000),  # time that one attempt to connect has
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.max_send_message_length", 1024 * 1024),
    ("grpc.max_receive_message_length", 4 * 1024 * 1024),
)


def open_channel(target: str, *, caller_service: str) -> grpc.aio.Channel:
    """Opens a channel to a service below; open one per target, keep it and close it at the end.

    Every call needs a current scope (LookupError without one) and carries its trace, its platform context
    with `caller_service` in place of the caller above (request ids are scoped by caller), and min(time left
    - margin, the method's cap, the given timeout) as its deadline. When no time is left the call raises
    PaycenterError(DEADLINE_TOO_SHORT) before anything is sent; refusals come as AioRpcError, see
    `raise_for_rpc`.
    """
    return _ScopedChannel(grpc.aio.insecure_channel(target, options=CHANNEL_OPTIONS), caller_service)


def raise_for_rpc(error: grpc.aio.AioRpcError) -> PaycenterError:
    """Returns the error to raise for a refusal by a service below: `raise raise_for_rpc(error) from error`.

    Business refusals keep reason, metadata, violations and resource; a service that cannot be reached or
    answered too late gives DEPENDENCY_UNAVAILABLE. `may_have_begun` is False only when the command provably
    had no effect below.
    """
    return error_from_rpc(error)


class _ScopedChannel(grpc.aio.Channel):
    """A channel whose callables take what goes along from the current scope."""

    def __init__(self, channel: grpc.aio.Channel, caller_service: str) -> None:
        self._channel = channel
        self._caller_service = caller_service

    def unary_unary(self, method: str, *arguments: Any, **options: Any) -> Any:
        inner = self._channel.unary_unary(method, *arguments, **options)
        return _ScopedUnary(inner, profile_of(method), self._caller_service)

    def unary_stream(self, method: str, *arguments: Any, **options: Any) -> Any:
        inner = self._channel.unary_stream(method, *arguments, **options)
        return _ScopedStream(inner, self._caller_service)

    def stream_unary(self, method: str, *arguments: Any, **options: Any) -> Any:
        inner = self._channel.stream_unary(method, *arguments, **options)
        return _ScopedStream(inner, self._caller_service)

    def stream_stream(self, method: str, *arguments: Any, **options: Any) -> Any:
        inner = self._channel.stream_stream(method, *arguments, **options)
        return _ScopedStream(inner, self._caller_service)

    async def close(self, grace: float | None = None) -> None:
        await self._channel.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        return self._channel.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        await self._channel.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        await self._channel.channel_ready()

    async def __aenter__(self) -> _ScopedChannel:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.close()


class _ScopedUnary:
    """One method with one answer."""

    __slots__ = ("_attributes", "_caller_service", "_inner", "_profile")

    def __init__(self, inner: Any, profile: MethodProfile, caller_service: str) -> None:
        self._inner = inner
        self._profile = profile
        self._caller_service = caller_service
        self._attributes = {"rpc.system.name": "grpc", "rpc.method": profile.full_name}

    def __call__(
        self, request: Any, *, timeout: float | None = None, metadata: Any = None, **options: Any
    ) -> _RunningCall:
        scope = current_scope()
        timeout_seconds = _time_for(self._profile, scope.deadline_monotonic_seconds, timeout)
        call_span = span(self._profile.full_name, kind="client", attributes=self._attributes)
        own_metadata = _metadata(scope.platform, call_span.begin(), self._caller_service)
        call = self._inner(
            request,
            timeout=timeout_seconds,
            metadata=own_metadata if metadata is None else (*own_metadata, *metadata),
            **options,
        )
        return _RunningCall(call, call_span, self._profile.full_name)


class _RunningCall:
    """A call on its way; awaiting it gives the response, everything else is the call of gRPC."""

    __slots__ = ("_call", "_method", "_span", "_started_seconds")

    def __init__(self, call: Any, call_span: Span, method: str) -> None:
        self._call = call
        self._span = call_span
        self._method = method
        self._started_seconds = time.monotonic()

    def __await__(self) -> Generator[Any, None, Any]:
        try:
            response = yield from self._call.__await__()
        except grpc.aio.AioRpcError as error:
            self._conclude(error.code().name, error)
            raise
        except asyncio.CancelledError:
            self._conclude("CANCELLED", None)
            raise
        self._conclude("OK", None)
        return response

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)

    def _conclude(self, code: str, error: grpc.aio.AioRpcError | None) -> None:
        client_duration(self._method, code).observe(time.monotonic() - self._started_seconds)
        self._span.set_attribute("rpc.response.status_code", code)
        if code != "OK":
            self._span.set_error(code)
        if error is not None:
            self._span.set_attribute("paycenter.reason", error_from_rpc(error).reason.value)
        self._span.end()


class _ScopedStream:
    """One method that streams; it carries the scope and has the caller's deadline, if any."""

    __slots__ = ("_caller_service", "_inner")

    def __init__(self, inner: Any, caller_service: str) -> None:
        self._inner = inner
        self._caller_service = caller_service

    def __call__(self, *arguments: Any, metadata: Any = None, **options: Any) -> Any:
        scope = current_scope()
        own_metadata = _metadata(scope.platform, scope.trace, self._caller_service)
        return self._inner(*arguments, metadata=(*own_metadata, *(metadata or ())), **options)


def _time_for(
    profile: MethodProfile, deadline_monotonic_seconds: float | None, timeout: float | None
) -> float:
    time_seconds = (
        profile.deadline_cap_seconds if timeout is None else min(timeout, profile.deadline_cap_seconds)
    )
    if deadline_monotonic_seconds is None:
        return time_seconds
    left_seconds = deadline_monotonic_seconds - time.monotonic() - DEADLINE_MARGIN_SECONDS
    if left_seconds < SHORTEST_CALL_SECONDS:
        raise PaycenterError(
            Reason.DEADLINE_TOO_SHORT,
            f"No time was left to call {profile.full_name}.",
            metadata={"method": profile.full_name},
        )
    return min(time_seconds, left_seconds)


def _metadata(
    platform: PlatformContext, trace: TraceContext, caller_service: str
) -> tuple[tuple[str, str | bytes], ...]:
    metadata: tuple[tuple[str, str | bytes], ...] = (
        ("traceparent", trace.format()),
        (PLATFORM_CONTEXT_KEY, _encode_for(platform, caller_service)),
    )
    return (*metadata, ("tracestate", trace.trace_state)) if trace.trace_state else metadata


@lru_cache(maxsize=4096)
def _encode_for(platform: PlatformContext, caller_service: str) -> bytes:
    return encode_platform(replace(platform, caller_service=caller_service))
