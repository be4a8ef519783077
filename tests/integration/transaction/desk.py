"""A running TransactionCore with its surroundings, and short words for what a business system does with it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, TypeVar

import grpc
import psycopg
from nats.aio.client import Client
from paycenter.payment.v1 import payment_core_pb2 as pc
from paycenter.transaction.v1 import transaction_core_pb2 as tc
from paycenter.transaction.v1.transaction_core_pb2_grpc import TransactionCoreStub
from paycenter.type.v1 import credential_pb2, money_pb2, party_pb2

from core.transaction.server import Wiring, wire
from core.transaction.settings import TransactionSettings
from runtime.bus import Bus
from runtime.context import (
    PLATFORM_CONTEXT_KEY,
    CallScope,
    PlatformContext,
    TraceContext,
    encode_platform,
)
from runtime.errors import PaycenterError
from runtime.ids import NumberKind, new_number, new_request_id, shard_of_number, shard_of_owner
from runtime.outbox import StoredEvent
from runtime.rich_status import error_from_rpc
from tests.integration.transaction.business_system import BusinessSystem
from tests.integration.transaction.fake_payment_core import FakePaymentCore

QR = credential_pb2.INVOKE_METHOD_QR
PC = credential_pb2.INVOKE_METHOD_PC
MERCHANT = party_pb2.ACCOUNT_OWNER_KIND_MERCHANT
USER = party_pb2.ACCOUNT_OWNER_KIND_USER
Value = TypeVar("Value")


def yuan(minor_units: int, currency_code: str = "CNY") -> money_pb2.Money:
    return money_pb2.Money(minor_units=minor_units, currency_code=currency_code)


def owner(kind: int, owner_id: str) -> party_pb2.AccountOwner:
    return party_pb2.AccountOwner(kind=kind, owner_id=owner_id)  # type: ignore[arg-type]


async def eventually(
    read: Callable[[], Awaitable[Value]], holds: Callable[[Value], bool], *, seconds: float = 8.0
) -> Value:
    give_up_at = time.monotonic() + seconds
    while True:
        value = await read()
        if holds(value):
            return value
        assert time.monotonic() < give_up_at, f"did not happen in time; last seen: {value}"
        await asyncio.sleep(0.02)


@dataclass
class Caller:
    """A business system's connection: every call raises PaycenterError with the reason that the wire carried."""

    target: str
    tenant_id: str
    service: str = "shop"
    business_id: str = ""
    trace: TraceContext = field(default_factory=lambda: TraceContext.new(sampled=False))

    def __post_init__(self) -> None:
        self.channel = grpc.aio.insecure_channel(self.target)
        self.stub = TransactionCoreStub(self.channel)
        self.last_metadata: dict[str, Any] = {}

    @property
    def platform(self) -> PlatformContext:
        return PlatformContext(
            caller_service=self.service, tenant_id=self.tenant_id, business_id=self.business_id
        )

    @property
    def metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        return (
            (PLATFORM_CONTEXT_KEY, encode_platform(self.platform)),
            ("traceparent", self.trace.format()),
        )

    async def call(self, method: str, request: Any, timeout: float = 20) -> Any:
        call = getattr(self.stub, method)(request, metadata=self.metadata, timeout=timeout)
        try:
            answer = await call
        except grpc.aio.AioRpcError as error:
            raise error_from_rpc(error) from None
        self.last_metadata = dict(await call.initial_metadata())
        return answer

    async def close(self) -> None:
        await self.channel.close()


@dataclass
class Desk:
    """One TransactionCore in this process, its database, the bus, PaymentCore below and the shop above."""

    wiring: Wiring
    settings: TransactionSettings
    payment_core: FakePaymentCore
    shop_system: BusinessSystem
    bus: Bus
    caller: Caller
    stranger: Caller
    resources: AsyncExitStack
    merchant_id: str
    _order_number: int = 0

    @property
    def shard(self) -> int:
        return shard_of_owner(self.merchant_id)

    @property
    def scope(self) -> CallScope:
        return CallScope(platform=self.caller.platform, trace=self.caller.trace)

    # What a business system does.

    def order_request(self, minor_units: int = 1000, **fields: Any) -> tc.CreateOrderRequest:
        self._order_number += 1
        if not {
            "purchase",
            "recharge",
            "withdrawal",
            "transfer",
            "split_purchase",
            "preauthorized_purchase",
        } & set(fields):
            fields["purchase"] = tc.Purchase()
        return tc.CreateOrderRequest(
            **{
                "request_id": new_request_id(),
                "merchant_id": self.merchant_id,
                "merchant_order_id": f"shop-{self._order_number}",
                "amount": yuan(minor_units),
                "subject": "a book",
                "notify_url": self.shop_system.url(),
                **fields,
            }
        )

    async def order(self, minor_units: int = 1000, **fields: Any) -> tc.Order:
        order: tc.Order = (
            await self.caller.call("CreateOrder", self.order_request(minor_units, **fields))
        ).order
        return order

    def pay_request(self, order: tc.Order, **fields: Any) -> tc.PayOrderRequest:
        return tc.PayOrderRequest(
            **{
                "request_id": new_request_id(),
                "merchant_id": order.merchant_id,
                "order_id": order.order_id,
                "payment_account_id": "K1",
                "invoke_method": QR,
                **fields,
            }
        )

    async def pay(self, order: tc.Order, **fields: Any) -> tc.Attempt:
        answer = await self.caller.call("PayOrder", self.pay_request(order, **fields))
        attempt: tc.Attempt = answer.attempt
        return attempt

    async def paid_order(self, minor_units: int = 1000, **fields: Any) -> tc.Order:
        """An order that is paid, by way of an event of PaymentCore."""
        order = await self.order(minor_units, **fields)
        attempt = await self.pay(order)
        await self.payment_succeeds(attempt)
        return await self.until(order, tc.ORDER_STATE_PAID)

    def refund_request(self, order: tc.Order, minor_units: int, **fields: Any) -> tc.CreateRefundRequest:
        return tc.CreateRefundRequest(
            **{
                "request_id": new_request_id(),
                "merchant_id": order.merchant_id,
                "order_id": order.order_id,
                "amount": yuan(minor_units),
                "reason": "unwanted",
                **fields,
            }
        )

    async def refund(self, order: tc.Order, minor_units: int, **fields: Any) -> tc.Refund:
        refund: tc.Refund = (
            await self.caller.call("CreateRefund", self.refund_request(order, minor_units, **fields))
        ).refund
        return refund

    async def close(self, order: tc.Order, request_id: str = "") -> tc.Order:
        request = tc.CloseOrderRequest(
            request_id=request_id or new_request_id(), merchant_id=order.merchant_id, order_id=order.order_id
        )
        closed: tc.Order = (await self.caller.call("CloseOrder", request)).order
        return closed

    async def see(self, order: tc.Order) -> tc.Order:
        seen: tc.Order = (
            await self.caller.call("GetOrder", tc.GetOrderRequest(order_id=order.order_id))
        ).order
        return seen

    async def until(self, order: tc.Order, state: int) -> tc.Order:
        return await eventually(lambda: self.see(order), lambda seen: seen.state == state)

    async def refused(self, method: str, request: Any) -> PaycenterError:
        try:
            await self.caller.call(method, request)
        except PaycenterError as error:
            return error
        raise AssertionError(f"{method} was not refused")

    # What happens below.

    async def payment_succeeds(self, attempt: tc.Attempt) -> pc.Payment:
        payment = self.payment_core.becomes(
            self.payment_core.of(attempt.attempt_id),
            pc.PAYMENT_STATE_SUCCEEDED,
            channel_transaction_id=f"4200{attempt.attempt_id}",
        )
        await self.tell(payment)
        return payment

    async def tell(self, payment: pc.Payment, *, times: int = 1, business_id: str = "") -> None:
        """Publishes an event of PaymentCore on the bus, each time under an id of its own."""
        names = {
            pc.PAYMENT_STATE_SUCCEEDED: "PAYMENT_SUCCEEDED",
            pc.PAYMENT_STATE_FAILED: "PAYMENT_FAILED",
            pc.PAYMENT_STATE_CLOSED: "PAYMENT_CLOSED",
        }
        name = names.get(payment.state, "PAYMENT_CHANGED")
        shard = shard_of_number(payment.payment_id)
        events = []
        for _ in range(times):
            event_id = new_number(NumberKind.EVENT, shard=shard)
            body = pc.PaymentEvent(
                event_id=event_id,
                event_type=pc.PaymentEventType.Value(f"PAYMENT_EVENT_TYPE_{name}"),
                business_id=payment.business_id,
                payment=payment,
            )
            events.append(
                StoredEvent(
                    revision=1,
                    shard=shard,
                    event_id=event_id,
                    subject=f"paycenter.payment.{shard}.{name.lower()}",
                    event_type=name,
                    resource_id=payment.payment_id,
                    resource_version=payment.version,
                    business_id=business_id or payment.business_id,
                    payload=body.SerializeToString(),
                    traceparent=f"00-{payment.trace_id}-00f067aa0ba902b7-00",
                    platform=encode_platform(
                        PlatformContext(
                            caller_service="transaction-core",
                            tenant_id=self.caller.tenant_id,
                            business_id=payment.business_id,
                        )
                    ),
                    created_time=None,  # type: ignore[arg-type]
                    published_time=None,
                )
            )
        assert await self.bus.publish(events) == times

    # What a test looks at.

    def sql(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Runs SQL past the server."""
        with psycopg.connect(
            self.settings.database_url.replace("+psycopg", ""), autocommit=True
        ) as connection:
            cursor = connection.execute(statement.encode(), values)
            return cursor.fetchall() if cursor.description else []

    def make_due(self, table: str = "attempt") -> None:
        """Lets the waits of the repair worker be over."""
        self.sql(f"UPDATE {table} SET next_step_time = now() WHERE next_step_time IS NOT NULL")

    def events_of(self, order: tc.Order) -> list[tuple[str, int]]:
        return [
            (str(name), int(version))
            for name, version in self.sql(
                "SELECT event_type, resource_version FROM outbox_event WHERE resource_id = %s ORDER BY sequence",
                order.order_id,
            )
        ]

    async def step(self, *names: str) -> None:
        """Lets the named background workers work until they find nothing to do."""
        for name in names:
            worker = next(worker for worker in self.wiring.workers if worker.name == name)
            for _ in range(20):
                if not await worker.step():
                    break

    async def invariants_hold(self) -> dict[str, int]:
        """Asks the server for its invariants; returns how many records each looked at."""
        answer = await self.caller.call("CheckInvariants", tc.CheckInvariantsRequest())
        broken = [(r.name, list(r.examples)) for r in answer.results if r.violation_count]
        assert not broken, broken
        return {r.name: r.checked_count for r in answer.results}


async def open_desk(
    database_url: str, nats_url: str, *, working: bool, data_directory: Any, **settings_fields: Any
) -> Desk:
    """Starts everything; with `working` the background workers run, else a test steps them."""
    resources = AsyncExitStack()
    payment_core = FakePaymentCore()  # type: ignore[abstract]  # it plays what is called
    target = await payment_core.start()
    resources.push_async_callback(payment_core.stop)
    shop_system = BusinessSystem()
    await shop_system.start()
    resources.push_async_callback(shop_system.stop)
    settings = TransactionSettings(
        **{
            "database_url": database_url,
            "database_pool_size": 8,
            "nats_url": nats_url,
            "payment_target": target,
            "payment_timeout_seconds": 0.5,
            "workers_enabled": working,
            "idle_seconds": 0.05,
            "drain_grace_seconds": 2.0,
            "data_directory": data_directory,
            "closing_schedule": (0.05, 0.1),
            "settle_schedule": (0.05, 0.1),
            "callback_schedule": (0.05, 0.1, 0.1),
            "expire_grace_seconds": 0.0,
            "reflection_enabled": False,
            **settings_fields,
        }
    )
    bus = await Bus.connect(nats_url, name="test", wait_seconds=5)
    resources.push_async_callback(bus.close)
    await _empty_streams(bus)
    await bus.ensure_stream("payment")
    wiring = await wire(settings, resources)
    await wiring.server.start()
    resources.push_async_callback(wiring.server.stop)
    mark = new_request_id()[-12:]
    address = f"127.0.0.1:{wiring.server.port}"
    caller = Caller(address, tenant_id=f"tenant-{mark}")
    stranger = Caller(address, tenant_id="somebody-else")
    resources.push_async_callback(caller.close)
    resources.push_async_callback(stranger.close)
    return Desk(
        wiring=wiring,
        settings=settings,
        payment_core=payment_core,
        shop_system=shop_system,
        bus=bus,
        caller=caller,
        stranger=stranger,
        resources=resources,
        merchant_id=new_number(NumberKind.MERCHANT, shard=7),
    )


async def _empty_streams(bus: Bus) -> None:
    jetstream = bus.state.jetstream
    for stream in await jetstream.streams_info():
        await jetstream.delete_stream(str(stream.config.name))


def client_of(bus: Bus) -> Client:
    return bus.state.jetstream._nc
