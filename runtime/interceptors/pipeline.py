"""The way of every call through a server, in one pass: entry, span, admission, validation, handler, refusal,
outcome. Invariant: each concern lives in its own file; here they are put together once per method and not
per call."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc

from runtime.interceptors.admission import Admission
from runtime.interceptors.detached import DetachedWork
from runtime.interceptors.messages import request_reader, stream_reader
from runtime.interceptors.method import MethodProfile, is_exempt, profile_of
from runtime.interceptors.open_streams import OpenStreams
from runtime.interceptors.stream import interruptible, stream_handler
from runtime.interceptors.unary import unary_handler


class CallPipeline(grpc.aio.ServerInterceptor):
    """Wraps each method's handler at its first call and serves the wrapped one from then on.

    `calls_limit` bounds the unary calls that are carried out at the same time; above it they are refused with
    OVERLOADED before anything has begun.
    """

    def __init__(self, *, calls_limit: int, drain_event: asyncio.Event) -> None:
        self.detached = DetachedWork()
        self.streams = OpenStreams(drain_event)
        self._admission = Admission(calls_limit)
        self._handlers: dict[str, Any] = {}

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """Returns the wrapped handler of the method, or None when the server has none."""
        path: str = handler_call_details.method
        handler = self._handlers.get(path)
        if handler is None:
            handler = await continuation(handler_call_details)
            if handler is not None:
                handler = self._pass(handler) if is_exempt(path) else self._wrap(profile_of(path), handler)
                self._handlers[path] = handler
        return handler

    def _wrap(self, profile: MethodProfile, handler: Any) -> Any:
        parse = handler.request_deserializer
        if handler.request_streaming and handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(
                stream_handler(profile, handler.stream_stream, stream_reader(parse), self.streams)
            )
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(
                stream_handler(profile, handler.unary_stream, request_reader(profile, parse), self.streams)
            )
        if handler.request_streaming:
            return grpc.stream_unary_rpc_method_handler(
                unary_handler(profile, handler.stream_unary, stream_reader(parse), self._admission, None)
            )
        detached = self.detached if profile.mutating else None
        return grpc.unary_unary_rpc_method_handler(
            unary_handler(
                profile, handler.unary_unary, request_reader(profile, parse), self._admission, detached
            )
        )

    def _pass(self, handler: Any) -> Any:
        if handler.response_streaming and not handler.request_streaming:
            return grpc.unary_stream_rpc_method_handler(
                interruptible(handler.unary_stream, self.streams),
                request_deserializer=handler.request_deserializer,
                response_serializer=handler.response_serializer,
            )
        return handler
