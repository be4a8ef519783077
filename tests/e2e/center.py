"""The words in which the end-to-end scenarios are written: orders, payers, channels, what is seen afterwards."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any

import psycopg
from google.protobuf.timestamp_pb2 import Timestamp
from paycenter.accounting.v1 import accounting_pb2 as accounting
from paycenter.channel.v1 import channel_gateway_pb2 as channel
from paycenter.payment.v1 import payment_core_pb2 as payment
from paycenter.transaction.v1 import transaction_core_pb2 as tc
from paycenter.type.v1 import credential_pb2, money_pb2, party_pb2
from paycenter_client import AsyncPaycenterClient, Caller, Targets, new_request_id
from psycopg.rows import dict_row

from clients.cli.business_system import BusinessSystem, load_callback_key
from clients.cli.merchant_keys import MerchantKeys
from clients.cli.provisioning import AccountPlan, ProvisionedMerchant, provision
from clients.cli.sandbox_client import SandboxClient
from invariants import check_center
from runtime.embedded.endpoints import Endpoints
from runtime.embedded.stack import Stack, StackOptions

QR = credential_pb2.INVOKE_METHOD_QR
PC = credential_pb2.INVOKE_METHOD_PC
MINI_PROGRAM = credential_pb2.INVOKE_METHOD_MINI_PROGRAM
LONGEST_WAIT_SECONDS = 40.0

# Schedules short enough for a test; none decides an outcome, each only says when the layer below is asked again.
QUICK: Mapping[str, str] = {
    "PAYCENTER_CHANNEL_CALL_TIMEOUT_SECONDS": "1.5",
    "PAYCENTER_UNKNOWN_QUERY_SCHEDULE_SECONDS": "[0.3, 0.5, 1, 1, 2, 2, 2, 2]",
    "PAYCENTER_WORKING_QUERY_SCHEDULE_SECONDS": "[0.3, 0.5, 1, 2]",
    "PAYCENTER_UNKNOWN_SCHEDULE_SECONDS": "[0.3, 0.5, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2]",
    "PAYCENTER_PENDING_SCHEDULE_SECONDS": "[1, 2, 2, 2, 5]",
    "PAYCENTER_CLOSING_SCHEDULE_SECONDS": "[0.3, 0.5, 1, 1, 2]",
    "PAYCENTER_ATTEMPT_SCHEDULE": "[0.5, 1, 1, 2, 2, 5]",
    "PAYCENTER_CLOSING_SCHEDULE": "[0.3, 0.5, 1, 1, 2]",
    "PAYCENTER_SETTLE_SCHEDULE": "[0.3, 0.5, 1, 1, 2]",
    "PAYCENTER_REFUND_SCHEDULE": "[0.5, 1, 1, 2, 2, 5]",
    "PAYCENTER_CALLBACK_SCHEDULE": "[0.3, 0.5, 1, 2]",
    "PAYCENTER_EXPIRE_GRACE_SECONDS": "0.2",
}


@dataclass(slots=True)
class RunningCenter:
    """The stack and what stands around it for a whole test session."""

    stack: Stack
    endpoints: Endpoints
    business: BusinessSystem
    keys: MerchantKeys


@contextmanager
def opened_center(folder: Path, *, environment: Mapping[str, str] = QUICK) -> Iterator[RunningCenter]:
    """Starts a center in a folder and removes it afterwards."""
    (folder / "merchant-keys").mkdir(mode=0o700)
    stack = Stack(folder / "data", options=StackOptions(environment=environment))
    try:
        stack.start()
        key = load_callback_key(stack.endpoints.callback_public_key_file)
        with BusinessSystem(key) as business:
            yield RunningCenter(stack, stack.endpoints, business, MerchantKeys(folder / "merchant-keys"))
    finally:
        stack.remove()


class Center:
    """One test's view of the center: clients of its own, and a merchant of its own when it asks for one."""

    def __init__(self, running: RunningCenter) -> None:
        self.running = running
        self.endpoints = running.endpoints
        self.business = running.business
        self.client = self.client_of("shop")
        self.sandbox = SandboxClient(running.endpoints.sandbox_base_url)

    def client_of(self, service: str, *, tenant_id: str = "tenant-e2e") -> AsyncPaycenterClient:
        """Opens a client for another caller or tenant."""
        targets = Targets(
            transaction=self.endpoints.transaction_target,
            payment=self.endpoints.payment_target,
            channel=self.endpoints.channel_target,
            accounting=self.endpoints.accounting_target,
        )
        return AsyncPaycenterClient(targets, caller=Caller(service=service, tenant_id=tenant_id))

    async def __aenter__(self) -> Center:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.client.close()
        await self.sandbox.close()

    async def merchant(self) -> Shop:
        """Opens a merchant of its own with an account at each channel."""
        number = uuid.uuid4().hex[:12]
        plans = [
            AccountPlan(
                name=f"{channel_name}-e2e",
                channel=channel_name,
                account=f"{prefix}{int(number, 16) % 10**12:012d}",
                app_id=f"{app}{number}",
                fee_ratio=Decimal("0.006"),
            )
            for channel_name, prefix, app in (("alipay", "2088", "2021"), ("wechat_pay", "16", "wx"))
        ]
        provisioned = await provision(
            self.client,
            self.sandbox,
            self.running.keys,
            merchant_number=number,
            display_name="End to end",
            plans=plans,
        )
        return Shop(self, provisioned)

    def rows(self, database: str, query: str, *parameters: object) -> list[dict[str, Any]]:
        """Reads rows of one service's database."""
        url = self.endpoints.readonly_database_urls[database].replace("+psycopg", "")
        with psycopg.connect(url, row_factory=dict_row) as connection:
            return connection.execute(query.encode(), parameters).fetchall()

    async def violations(self) -> list[str]:
        """Checks every invariant of the center and of each service; gives what is broken."""
        report = await asyncio.to_thread(check_center, self.endpoints.readonly_database_urls)
        found = [f"{each.name}: {each.examples}" for each in report.results if each.violation_count]
        answers = await asyncio.gather(
            self.client.transaction.CheckInvariants(tc.CheckInvariantsRequest()),
            self.client.payment.CheckInvariants(payment.CheckInvariantsRequest()),
            self.client.channel.CheckInvariants(channel.CheckInvariantsRequest()),
            self.client.accounting.CheckInvariants(accounting.CheckInvariantsRequest()),
        )
        for answer in answers:
            found += [
                f"{each.name}: {list(each.examples)}" for each in answer.results if each.violation_count
            ]
        return found


class Shop:
    """A merchant's business system: it takes orders in, has them paid and gives money back."""

    def __init__(self, center: Center, merchant: ProvisionedMerchant) -> None:
        self.center = center
        self.client = center.client
        self.merchant_id = merchant.merchant_id
        self.alipay = merchant.account_at("alipay").payment_account_id
        self.wechat_pay = merchant.account_at("wechat_pay").payment_account_id

    def order_request(self, minor_units: int = 100, **changes: Any) -> tc.CreateOrderRequest:
        """A purchase of this merchant, not sent yet."""
        fields: dict[str, Any] = {
            "request_id": new_request_id(),
            "merchant_id": self.merchant_id,
            "merchant_order_id": f"order-{uuid.uuid4().hex}",
            "amount": yuan(minor_units),
            "subject": "tea",
            "purchase": tc.Purchase(),
            "notify_url": self.center.business.callback_url,
        }
        return tc.CreateOrderRequest(**(fields | changes))

    async def order(self, minor_units: int = 100, **changes: Any) -> tc.Order:
        """Takes an order in."""
        request = self.order_request(minor_units, **changes)
        return (await self.client.transaction.CreateOrder(request)).order

    def pay_request(
        self, order: tc.Order, account: str = "", method: credential_pb2.InvokeMethod.ValueType = QR
    ) -> tc.PayOrderRequest:
        """An attempt on an order, not sent yet."""
        return tc.PayOrderRequest(
            request_id=new_request_id(),
            merchant_id=self.merchant_id,
            order_id=order.order_id,
            payment_account_id=account or self.alipay,
            invoke_method=method,
            payer=party_pb2.Payer(user_id="user-1", channel_payer_id="payer-1", client_ip="127.0.0.1"),
            return_url="http://127.0.0.1/return",
        )

    async def begin(
        self, order: tc.Order, account: str = "", method: credential_pb2.InvokeMethod.ValueType = QR
    ) -> tc.Attempt:
        """Begins an attempt and, on a page, lets the payer open it."""
        answer = await self.client.transaction.PayOrder(self.pay_request(order, account, method))
        if answer.attempt.credential.WhichOneof("form") == "redirect":
            await self.center.sandbox.visit(answer.attempt.credential.redirect.url)
        return answer.attempt

    async def channel_order_id(self, attempt: tc.Attempt) -> str:
        """Number by which the channel knows an attempt."""
        answer = await self.client.payment.GetPayment(
            payment.GetPaymentRequest(payment_id=attempt.payment_id)
        )
        return answer.payment.channel_order_id

    async def pays(self, attempt: tc.Attempt, *, force: bool = False) -> None:
        """Lets the payer pay an attempt at the channel."""
        await self.center.sandbox.pay(await self.channel_order_id(attempt), force=force)

    async def paid(self, minor_units: int = 100, account: str = "", **changes: Any) -> tc.Order:
        """An order that was paid."""
        order = await self.order(minor_units, **changes)
        await self.pays(await self.begin(order, account))
        return await self.until(order, lambda seen: seen.state == tc.ORDER_STATE_PAID)

    async def refund(self, order: tc.Order, minor_units: int, **changes: Any) -> tc.Refund:
        """Begins a refund."""
        fields: dict[str, Any] = {
            "request_id": new_request_id(),
            "merchant_id": self.merchant_id,
            "order_id": order.order_id,
            "amount": yuan(minor_units),
            "reason": "returned",
        }
        answer = await self.client.transaction.CreateRefund(tc.CreateRefundRequest(**(fields | changes)))
        return answer.refund

    async def see(self, order: tc.Order) -> tc.Order:
        """Reads the order as it is stored."""
        return (await self.client.transaction.GetOrder(tc.GetOrderRequest(order_id=order.order_id))).order

    async def until(self, order: tc.Order, holds: Callable[[tc.Order], bool]) -> tc.Order:
        """Waits until something holds of an order; fails with what was seen last."""
        seen = order
        try:
            async with asyncio.timeout(LONGEST_WAIT_SECONDS):
                while not holds(seen := await self.see(order)):
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"waited {LONGEST_WAIT_SECONDS} s, last seen: {seen}") from None
        return seen

    async def balance(self) -> int:
        """What the merchant's balance holds, in minor units."""
        answer = await self.client.accounting.GetAccount(
            accounting.GetAccountRequest(account_id=f"2101:{self.merchant_id}:CNY")
        )
        return answer.account.balance_minor_units

    async def transit(self) -> int:
        """What waits in the payer's transit account, in minor units."""
        answer = await self.client.accounting.GetAccount(
            accounting.GetAccountRequest(account_id=f"2201:{self.merchant_id}:CNY")
        )
        return answer.account.balance_minor_units


def yuan(minor_units: int, currency_code: str = "CNY") -> money_pb2.Money:
    """An amount."""
    return money_pb2.Money(minor_units=minor_units, currency_code=currency_code)


def in_seconds(seconds: float) -> Timestamp:
    """An instant from now."""
    instant = Timestamp()
    instant.FromDatetime(datetime.now(UTC) + timedelta(seconds=seconds))
    return instant


@asynccontextmanager
async def eventually(seconds: float = LONGEST_WAIT_SECONDS) -> AsyncIterator[None]:
    """Bounds what a scenario waits for."""
    async with asyncio.timeout(seconds):
        yield
