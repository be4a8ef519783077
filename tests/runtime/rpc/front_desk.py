"""A front desk that takes orders: a real server on a real socket, whose servicer each test tells what to do."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from paycenter.transaction.v1 import transaction_core_pb2 as pb
from paycenter.transaction.v1 import transaction_core_pb2_grpc as rpc
from paycenter.type.v1 import money_pb2

from runtime.context import PLATFORM_CONTEXT_KEY, PlatformContext, encode_platform
from runtime.grpc_server import Background, GrpcServer, ReadableDatabase
from runtime.rich_status import STATUS_DETAILS_KEY
from runtime.settings import RuntimeSettings

SERVICE = "paycenter.transaction.v1.TransactionCore"
SHOP = PlatformContext(caller_service="shop", tenant_id="tenant-1", business_id="O-0001", operator="clerk-7")
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
SAMPLED = f"00-{TRACE_ID}-00f067aa0ba902b7-01"
UNSAMPLED = f"00-{TRACE_ID}-00f067aa0ba902b7-00"

Metadata = tuple[tuple[str, str | bytes], ...]


def from_shop(platform: PlatformContext = SHOP, *, traceparent: str = UNSAMPLED) -> Metadata:
    """What a business system sends along."""
    return ((PLATFORM_CONTEXT_KEY, encode_platform(platform)), ("traceparent", traceparent))


def order_request(**changes: Any) -> pb.CreateOrderRequest:
    """A sound order of 12.30 yuan, but for `changes`."""
    request = pb.CreateOrderRequest(
        request_id=str(uuid.uuid4()),
        merchant_id="M1",
        merchant_order_id="shop-1",
        amount=money_pb2.Money(minor_units=1230, currency_code="CNY"),
        subject="a cup of tea",
        purchase=pb.Purchase(),
    )
    request.MergeFrom(pb.CreateOrderRequest(**changes))
    return request


class Desk(rpc.TransactionCoreServicer):
    """A servicer of one line a method: each behaviour is set by the test."""

    def __init__(self) -> None:
        self.create_order: Callable[[pb.CreateOrderRequest], Awaitable[None]] | None = None
        self.get_order: Callable[[pb.GetOrderRequest], Awaitable[None]] | None = None
        self.watch: Callable[[pb.WatchTransactionsRequest], AsyncGenerator[int, None]] | None = None
        self.orders: list[str] = []

    async def CreateOrder(self, request: pb.CreateOrderRequest, context: Any) -> pb.CreateOrderResponse:  # noqa: N802
        if self.create_order is not None:
            await self.create_order(request)
        self.orders.append(request.merchant_order_id)
        return pb.CreateOrderResponse(order=pb.Order(order_id="O-0001"))

    async def GetOrder(self, request: pb.GetOrderRequest, context: Any) -> pb.GetOrderResponse:  # noqa: N802
        if self.get_order is not None:
            await self.get_order(request)
        return pb.GetOrderResponse(order=pb.Order(order_id=request.order_id))

    async def WatchTransactions(  # noqa: N802
        self, request: pb.WatchTransactionsRequest, context: Any
    ) -> AsyncIterator[pb.WatchTransactionsResponse]:
        assert self.watch is not None
        async with aclosing(self.watch(request)) as revisions:
            async for revision in revisions:
                yield pb.WatchTransactionsResponse(event=pb.TransactionEvent(revision=revision))

    async def GetServerInfo(self, request: Any, context: Any) -> pb.GetServerInfoResponse:  # noqa: N802
        return pb.GetServerInfoResponse()


@dataclass
class FrontDesk:
    """A running server, its servicer, and a stub that calls it as a business system would."""

    server: GrpcServer
    desk: Desk
    channel: grpc.aio.Channel
    stub: rpc.TransactionCoreAsyncStub = field(init=False)

    def __post_init__(self) -> None:
        self.stub = rpc.TransactionCoreStub(self.channel)

    @property
    def target(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.server.port}"

    async def close(self) -> None:
        """Hangs up and stops the server."""
        await self.channel.close()
        await self.server.stop()


async def open_front_desk(
    *,
    database: ReadableDatabase | None = None,
    background: tuple[Background, ...] = (),
    **settings: Any,
) -> FrontDesk:
    """Starts a front desk on a free port."""
    desk = Desk()  # type: ignore[abstract]  # the rest stays unimplemented, as in an early release
    server = GrpcServer(
        RuntimeSettings(**{"drain_grace_seconds": 5.0, **settings}),
        "front-desk",
        [SERVICE],
        lambda grpc_server: rpc.add_TransactionCoreServicer_to_server(desk, grpc_server),
        database,
        background=background,
    )
    await server.start()
    return FrontDesk(server, desk, grpc.aio.insecure_channel(f"127.0.0.1:{server.port}"))


async def give_up_soon(front: FrontDesk, begun: asyncio.Event, *, timeout_seconds: float) -> None:
    """Creates an order with too little patience, until one such command has begun before its caller gave up."""
    await front.channel.channel_ready()
    async with asyncio.timeout(30):
        while not begun.is_set():
            call = front.stub.CreateOrder(order_request(), metadata=from_shop(), timeout=timeout_seconds)
            assert (await refused(call)).code == "DEADLINE_EXCEEDED"
            await asyncio.sleep(0.05)


class Spans(SpanProcessor):
    """Keeps every finished span."""

    def __init__(self) -> None:
        self.finished: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.finished.append(span)

    def named(self, ending: str, kind: str) -> ReadableSpan:
        """The one finished span of a kind whose name ends so."""
        found = [span for span in self.finished if span.name.endswith(ending) and span.kind.name == kind]
        assert len(found) == 1, [(span.name, span.kind.name) for span in self.finished]
        return found[0]


class Refused:
    """What a refused caller can read."""

    def __init__(self, error: grpc.aio.AioRpcError) -> None:
        self.code = error.code().name
        self.message = error.details() or ""
        trailers: dict[str, Any] = dict(error.trailing_metadata() or ())
        self.trailers = trailers
        self.raw: bytes = trailers.get(STATUS_DETAILS_KEY, b"")
        self.status = status_pb2.Status.FromString(self.raw)
        self.info = self.detail(error_details_pb2.ErrorInfo())
        self.reason = self.info.reason

    def detail(self, message: Any) -> Any:
        """The detail of that type, empty when there is none."""
        for packed in self.status.details:
            if packed.Unpack(message):
                return message
        return type(message)()

    def has(self, message_class: Any) -> bool:
        """Whether there is a detail of that type."""
        return any(packed.Is(message_class.DESCRIPTOR) for packed in self.status.details)

    @property
    def fields(self) -> list[str]:
        """The fields that are at fault."""
        return [v.field for v in self.detail(error_details_pb2.BadRequest()).field_violations]


async def refused(call: Awaitable[Any]) -> Refused:
    """Awaits a call that must be refused."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return Refused(caught.value)


def rpc_lines(text: str) -> list[dict[str, Any]]:
    """The canonical lines in what was logged."""
    return [line for line in log_lines(text) if line.get("event") == "rpc"]


def log_lines(text: str) -> list[dict[str, Any]]:
    """Every log line."""
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]
