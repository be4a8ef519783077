"""A center on a real socket that answers as a test tells it. What callers sent is kept."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2, status_pb2
from paycenter.context.v1 import platform_context_pb2
from paycenter.transaction.v1 import transaction_core_pb2 as transaction

Answer = Callable[[Any, Any], Awaitable[Any]]
CONTEXT_KEY = "x-platform-context-bin"


async def refuse(
    context: Any,
    code: grpc.StatusCode,
    reason: str = "",
    message: str = "refused",
    *,
    field_at_fault: str = "",
    retry_after_milliseconds: int = 0,
    metadata: dict[str, str] | None = None,
) -> None:
    """Ends a call with a rich status, as the center does."""
    details: list[Message] = []
    if reason:
        details.append(
            error_details_pb2.ErrorInfo(
                reason=reason, domain="transaction.paycenter", metadata=metadata or {"traceId": "ab" * 16}
            )
        )
    if field_at_fault:
        violation = error_details_pb2.BadRequest.FieldViolation(field=field_at_fault, description="is wrong")
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    if retry_after_milliseconds:
        delay = duration_pb2.Duration(nanos=retry_after_milliseconds * 1_000_000)
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    packed = []
    for detail in details:
        packed.append(any_pb2.Any())
        packed[-1].Pack(detail)
    status = status_pb2.Status(code=code.value[0], message=message, details=packed)
    context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    await context.abort(code, message)


@dataclass
class ScriptedCenter:
    """Each answer is a coroutine function of request and context; the calls are counted by method."""

    answers: dict[str, Answer] = field(default_factory=dict)
    watch: Callable[[Any, Any, int], AsyncIterator[Any]] | None = None
    calls: list[tuple[str, Any, dict[str, Any], float | None]] = field(default_factory=list)

    def count(self, method: str) -> int:
        return sum(1 for name, *_ in self.calls if name == method)

    def last_metadata(self) -> dict[str, Any]:
        return self.calls[-1][2]

    def last_context(self) -> platform_context_pb2.PlatformContext:
        return platform_context_pb2.PlatformContext.FromString(self.last_metadata()[CONTEXT_KEY])

    def _note(self, method: str, request: Any, context: Any) -> None:
        metadata = dict(context.invocation_metadata())
        self.calls.append((method, request, metadata, context.time_remaining()))

    async def _answer(self, method: str, request: Any, context: Any) -> Any:
        self._note(method, request, context)
        return await self.answers[method](request, context)

    async def _watch(self, request: Any, context: Any) -> AsyncIterator[Any]:
        self._note("WatchTransactions", request, context)
        assert self.watch is not None
        async for event in self.watch(request, context, self.count("WatchTransactions")):
            yield transaction.WatchTransactionsResponse(event=event)

    def handlers(self) -> Any:
        """Handlers of every method of the contract's service."""
        service = transaction.DESCRIPTOR.services_by_name["TransactionCore"]
        handlers = {}
        for method in service.methods:
            parse = GetMessageClass(method.input_type).FromString
            serialize = GetMessageClass(method.output_type).SerializeToString
            handlers[method.name] = (
                grpc.unary_stream_rpc_method_handler(self._watch, parse, serialize)
                if method.server_streaming
                else grpc.unary_unary_rpc_method_handler(partial(self._answer, method.name), parse, serialize)
            )
        return grpc.method_handlers_generic_handler(service.full_name, handlers)


@asynccontextmanager
async def serving(center: ScriptedCenter, *, port: int = 0) -> AsyncIterator[str]:
    """Serves the center on a loopback port and gives its target."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((center.handlers(),))
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield f"127.0.0.1:{bound}"
    finally:
        await server.stop(grace=0)
