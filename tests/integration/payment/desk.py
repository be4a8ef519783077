"""A running PaymentCore between its fakes, and short words for what the tests do with it."""

from __future__ import annotations

import asyncio
import secrets
import uuid
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar, cast

import grpc
import sqlalchemy as sa
from paycenter.accounting.v1.accounting_pb2_grpc import add_AccountingServicer_to_server
from paycenter.channel.v1 import channel_gateway_pb2 as channel_pb
from paycenter.channel.v1.channel_gateway_pb2_grpc import add_ChannelGatewayServicer_to_server
from paycenter.payment.v1 import payment_core_pb2 as pb
from paycenter.payment.v1.payment_core_pb2_grpc import PaymentCoreStub
from paycenter.type.v1 import credential_pb2, money_pb2, party_pb2

from core.payment.api import SERVICE_NAME, add_to_server
from core.payment.parts import Parts, build_parts
from core.payment.settings import PaymentSettings
from core.payment.store.tables import idempotency_record, outbox_event
from runtime.bus import BusMessage
from runtime.clock import SystemClock
from runtime.context import CallScope, PlatformContext, TraceContext, encode_platform, use_scope
from runtime.database import Database
from runtime.errors import PaycenterError
from runtime.grpc_client import open_channel, raise_for_rpc
from runtime.grpc_server import GrpcServer
from runtime.idempotency import Idempotency
from runtime.ids import NumberKind, new_number
from runtime.outbox import Outbox
from runtime.settings import RuntimeSettings
from tests.integration.payment.fake_gateway import FakeGateway
from tests.integration.payment.fake_ledger import FakeLedger

if TYPE_CHECKING:
    from paycenter.payment.v1.payment_core_pb2_grpc import PaymentCoreAsyncStub

TENANT = "tenant-1"
CALLER = "transaction"
SOON = (0.0,)

_Response = TypeVar("_Response")


def settings_for_tests(database_url: str, **changes: Any) -> PaymentSettings:
    """Settings under which every repair is due at once."""
    values: dict[str, Any] = {
        "database_url": database_url,
        "route_cache_seconds": 0.0,
        "submitting_lease_seconds": 60.0,
        "repair_lease_seconds": 5.0,
        "pending_schedule_seconds": SOON,
        "unknown_schedule_seconds": (0.0,) * 4,
        "closing_schedule_seconds": (0.0,) * 4,
        "closed_watch_schedule_seconds": (0.0, 0.0),
        "review_interval_seconds": 0.001,
        "channel_call_seconds": 1.0,
        "ledger_call_seconds": 1.0,
        "drain_grace_seconds": 1.0,
        **changes,
    }
    return PaymentSettings(**values)


@dataclass(slots=True)
class Desk:
    """PaymentCore under test."""

    settings: PaymentSettings
    gateway: FakeGateway
    ledger: FakeLedger
    parts: Parts
    stub: PaymentCoreAsyncStub
    business_id: str = field(default_factory=lambda: f"B-{secrets.token_hex(6)}")
    merchant_id: str = field(default_factory=lambda: new_number(NumberKind.MERCHANT, shard=1))
    payment_account_id: str = ""
    gateway_port: int = 0
    ledger_port: int = 0

    @property
    def transit(self) -> str:
        return f"2201:{self.merchant_id}:CNY"

    @property
    def balance(self) -> str:
        return f"2101:{self.merchant_id}:CNY"

    @property
    def clearing(self) -> str:
        return f"1101:{self.payment_account_id}:CNY"

    def scope(self, *, tenant_id: str = TENANT, caller: str = CALLER) -> CallScope:
        platform = PlatformContext(
            caller_service=caller, tenant_id=tenant_id, business_id=self.business_id, operator="lin"
        )
        return CallScope(platform, TraceContext.new(sampled=False))

    async def call(
        self, call: Callable[[Any], Awaitable[_Response]], request: Any, *, tenant_id: str = TENANT
    ) -> _Response:
        """Calls the server over its socket; a refusal comes as PaycenterError."""
        with use_scope(self.scope(tenant_id=tenant_id)):
            try:
                return await call(request)
            except grpc.aio.AioRpcError as error:
                raise raise_for_rpc(error) from error

    async def refusal(
        self, call: Callable[[Any], Awaitable[Any]], request: Any, **options: Any
    ) -> PaycenterError:
        """Returns the refusal of a call that has to be refused."""
        try:
            answer = await self.call(call, request, **options)
        except PaycenterError as error:
            return error
        raise AssertionError(f"not refused: {answer}")

    def recharge_request(self, minor_units: int = 10_000, **changes: Any) -> pb.CreateRechargeRequest:
        values: dict[str, Any] = {
            "request_id": str(uuid.uuid4()),
            "merchant_id": self.merchant_id,
            "order_id": "O-1",
            "transaction_number": "A-1",
            "amount": cny(minor_units),
            "payer_transit": True,
            "payment_account_id": self.payment_account_id,
            "invoke_method": credential_pb2.INVOKE_METHOD_QR,
            "subject": "tea",
            "payer": party_pb2.Payer(user_id="user-1"),
            **changes,
        }
        if "balance_owner" in changes:
            del values["payer_transit"]
        return pb.CreateRechargeRequest(**values)

    async def recharge(self, minor_units: int = 10_000, **changes: Any) -> pb.Payment:
        response = await self.call(self.stub.CreateRecharge, self.recharge_request(minor_units, **changes))
        return response.payment

    async def paid_recharge(self, minor_units: int = 10_000, **changes: Any) -> pb.Payment:
        """A recharge that the payer has paid and whose event was heard."""
        payment = await self.recharge(minor_units, **changes)
        self.gateway.move(payment.payment_id, channel_pb.CHANNEL_ORDER_STATE_SUCCEEDED)
        await self.hear(payment.payment_id)
        paid = await self.get(payment.payment_id)
        assert paid.state == pb.PAYMENT_STATE_SUCCEEDED
        return paid

    async def funded(self, minor_units: int) -> None:
        """Puts money into the merchant's balance: a purchase that was paid and settled."""
        await self.paid_recharge(minor_units)
        transfer = await self.transfer(minor_units)
        assert transfer.state == pb.PAYMENT_STATE_SUCCEEDED

    def transfer_request(self, minor_units: int, **changes: Any) -> pb.CreateTransferRequest:
        values: dict[str, Any] = {
            "request_id": str(uuid.uuid4()),
            "merchant_id": self.merchant_id,
            "amount": cny(minor_units),
            "payer_transit": True,
            "receivers": [party_pb2.SplitReceiver(receiver=merchant(self.merchant_id), remainder=True)],
            **changes,
        }
        if "source_owner" in changes:
            del values["payer_transit"]
        return pb.CreateTransferRequest(**values)

    async def transfer(self, minor_units: int, **changes: Any) -> pb.Payment:
        response = await self.call(self.stub.CreateTransfer, self.transfer_request(minor_units, **changes))
        return response.payment

    def refund_request(self, payment_id: str, minor_units: int, **changes: Any) -> pb.CreateRefundRequest:
        values: dict[str, Any] = {
            "request_id": str(uuid.uuid4()),
            "merchant_id": self.merchant_id,
            "amount": cny(minor_units),
            "refunded_payment_id": payment_id,
            "payer_transit": True,
            "reason": "changed mind",
            **changes,
        }
        if "balance_owner" in changes:
            del values["payer_transit"]
        return pb.CreateRefundRequest(**values)

    async def refund(self, payment_id: str, minor_units: int, **changes: Any) -> pb.Payment:
        response = await self.call(
            self.stub.CreateRefund, self.refund_request(payment_id, minor_units, **changes)
        )
        return response.payment

    def withdrawal_request(self, minor_units: int, **changes: Any) -> pb.CreateWithdrawalRequest:
        values: dict[str, Any] = {
            "request_id": str(uuid.uuid4()),
            "merchant_id": self.merchant_id,
            "amount": cny(minor_units),
            "balance_owner": merchant(self.merchant_id),
            "payment_account_id": self.payment_account_id,
            "payee": party_pb2.Payee(channel_payee_id="openid-9"),
            **changes,
        }
        return pb.CreateWithdrawalRequest(**values)

    async def withdraw(self, minor_units: int, **changes: Any) -> pb.Payment:
        response = await self.call(
            self.stub.CreateWithdrawal, self.withdrawal_request(minor_units, **changes)
        )
        return response.payment

    async def close(self, payment_id: str) -> pb.Payment:
        request = pb.ClosePaymentRequest(request_id=str(uuid.uuid4()), payment_id=payment_id)
        return (await self.call(self.stub.ClosePayment, request)).payment

    async def get(self, payment_id: str) -> pb.Payment:
        return (await self.call(self.stub.GetPayment, pb.GetPaymentRequest(payment_id=payment_id))).payment

    async def hear(self, payment_id: str, order: channel_pb.ChannelOrder | None = None) -> None:
        """Delivers the event of a channel order, as the bus does."""
        payload = channel_pb.ChannelEvent(
            channel_order=order or self.gateway.order_of(payment_id)
        ).SerializeToString()
        await self.parts.channel_events.handle(
            BusMessage(
                subject="paycenter.channel.1.channel_order_succeeded",
                event_id="E-1",
                event_type="CHANNEL_ORDER_SUCCEEDED",
                resource_id="C-1",
                resource_version=1,
                revision=1,
                business_id=self.business_id,
                traceparent=TraceContext.new(sampled=False).format(),
                platform=encode_platform(PlatformContext(caller_service="channel", tenant_id=TENANT)),
                payload=payload,
                delivery_count=1,
            )
        )

    async def repair(self, *, steps: int = 1, wait_seconds: float = 0.0) -> int:
        """Steps the repair worker; returns how many payments it took up."""
        await asyncio.sleep(wait_seconds)
        return sum([await self.parts.repair.step() for _ in range(steps)])

    async def let_leases_run_out(self) -> None:
        """Time passes: whoever began something and is gone has it to himself no more."""
        await self.write("UPDATE payment SET next_step_time = now() WHERE next_step_time IS NOT NULL")
        await self.write("UPDATE idempotency_record SET locked_until = now() WHERE response IS NULL")

    async def sql(self, statement: str, **values: Any) -> list[Any]:
        """Reads past the service."""
        async with self.parts.database.read() as connection:
            found = await connection.execute(sa.text(statement), values)
            return list(found.all()) if found.returns_rows else []

    async def write(self, statement: str) -> None:
        """Tampers with the database past the service."""
        async with self.parts.database.begin() as connection:
            await connection.execute(sa.text(statement))

    async def events_of(self, payment_id: str) -> list[tuple[int, str]]:
        rows = await self.sql(
            "SELECT resource_version, event_type FROM outbox_event WHERE resource_id = :number"
            " ORDER BY resource_version, event_id",
            number=payment_id,
        )
        return [(row[0], row[1]) for row in rows]

    async def violations(self) -> list[str]:
        """Everything that the service's own invariants find."""
        response = await self.call(self.stub.CheckInvariants, pb.CheckInvariantsRequest())
        return [f"{result.name}: {example}" for result in response.results for example in result.examples]


def cny(minor_units: int) -> money_pb2.Money:
    return money_pb2.Money(minor_units=minor_units, currency_code="CNY")


def merchant(merchant_id: str) -> party_pb2.AccountOwner:
    return party_pb2.AccountOwner(kind=party_pb2.ACCOUNT_OWNER_KIND_MERCHANT, owner_id=merchant_id)


def user(user_id: str) -> party_pb2.AccountOwner:
    return party_pb2.AccountOwner(kind=party_pb2.ACCOUNT_OWNER_KIND_USER, owner_id=user_id)


async def open_desk(database_url: str, stack: AsyncExitStack, **changes: Any) -> Desk:
    """Starts the fakes and PaymentCore on free ports of this process."""
    settings = settings_for_tests(database_url, **changes)
    gateway: FakeGateway = cast("Any", FakeGateway)()
    ledger: FakeLedger = cast("Any", FakeLedger)()
    gateway_server = await _serve(
        stack,
        RuntimeSettings(drain_grace_seconds=0.2),
        "paycenter.channel.v1.ChannelGateway",
        lambda server: add_ChannelGatewayServicer_to_server(gateway, server),
    )
    ledger_server = await _serve(
        stack,
        RuntimeSettings(drain_grace_seconds=0.2),
        "paycenter.accounting.v1.Accounting",
        lambda server: add_AccountingServicer_to_server(ledger, server),
    )
    parts = await open_parts(
        settings, stack, gateway_port=gateway_server.port, ledger_port=ledger_server.port
    )
    server = await _serve(
        stack,
        settings,
        SERVICE_NAME,
        lambda grpc_server: add_to_server(parts.use_cases, grpc_server, release="test"),
    )
    channel = open_channel(f"127.0.0.1:{server.port}", caller_service=CALLER)
    stack.push_async_callback(channel.close)
    desk = Desk(settings, gateway, ledger, parts, PaymentCoreStub(channel))
    desk.gateway_port, desk.ledger_port = gateway_server.port, ledger_server.port
    desk.payment_account_id = gateway.open_account(desk.merchant_id, tenant_id=TENANT)
    return desk


async def open_parts(
    settings: PaymentSettings, stack: AsyncExitStack, *, gateway_port: int, ledger_port: int
) -> Parts:
    """Builds PaymentCore's parts as its server does."""
    database = Database(settings.database_url, pool_size=8, application_name="payment-test")
    stack.push_async_callback(database.close)
    gateway_channel = open_channel(f"127.0.0.1:{gateway_port}", caller_service="payment")
    stack.push_async_callback(gateway_channel.close)
    ledger_channel = open_channel(f"127.0.0.1:{ledger_port}", caller_service="payment")
    stack.push_async_callback(ledger_channel.close)
    return build_parts(
        settings,
        database=database,
        outbox=Outbox(outbox_event, service="payment"),
        idempotency=Idempotency(idempotency_record),
        gateway_channel=gateway_channel,
        ledger_channel=ledger_channel,
        clock=SystemClock(),
    )


async def _serve(
    stack: AsyncExitStack,
    settings: RuntimeSettings,
    service: str,
    register: Callable[[grpc.aio.Server], None],
) -> GrpcServer:
    server = GrpcServer(settings, service, [service], register)
    await server.start()
    stack.push_async_callback(server.stop)
    return server
