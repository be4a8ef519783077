"""Replays a bill: every row becomes an order, a payment or a refund here. Invariant: a second replay adds nothing.

Request ids are derived from the bill's own numbers; a replay that was interrupted is taken up where it stopped.
"""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from paycenter.transaction.v1 import transaction_core_pb2 as transaction
from paycenter.type.v1 import money_pb2, party_pb2
from paycenter_client import AsyncPaycenterClient, PaycenterError, business_case, new_traceparent

from clients.cli import payer
from clients.cli.bill.bill_file import Bill
from clients.cli.bill.plan import PlannedBillOrder, plan_bill
from clients.cli.bill.totals import read_center, totals_table
from clients.cli.demo.reconciliation import reconcile
from clients.cli.demo.rendering import reconciliation_table
from clients.cli.demo_merchant import merchant_keys
from clients.cli.failure import CommandFailed, sentence_of
from clients.cli.invariant_check import check_invariants, invariant_table
from clients.cli.names import short_name
from clients.cli.order_feed import OrderFeed
from clients.cli.output import console, work
from clients.cli.provisioning import AccountPlan, ProvisionedMerchant, provision
from clients.cli.sandbox_client import SandboxClient
from runtime.embedded import Endpoints

_AT_ONCE = 8
_TIMEOUT_SECONDS = 60.0
_CLIENT_IP = "203.0.113.7"
_NAMESPACE = uuid.UUID("b9f3a7de-6c55-4a0e-8d6e-0a2c0d4b7e11")


async def replay_bill(endpoints: Endpoints, client: AsyncPaycenterClient, bill: Bill, *, name: str) -> bool:
    """Replays a bill and prints the center's totals beside the footer; true when nothing differs."""
    planned = plan_bill(bill)
    async with SandboxClient(endpoints.sandbox_base_url) as sandbox:
        merchant = await _provision(endpoints, client, sandbox, bill)
        async with OrderFeed(client) as feed:
            problems = await _Replay(client, sandbox, merchant, feed).run(planned)
        reconciled = await reconcile(client, sandbox, merchant)
    account_ids = [account.payment_account_id for account in merchant.accounts]
    books = await read_center(client, merchant.merchant_id, account_ids)
    report = await check_invariants(endpoints, client)
    for problem in problems:
        console.print(problem, style="red", markup=False, soft_wrap=True)
    console.print(reconciliation_table(reconciled))
    console.print()
    console.print(totals_table(books.totals, bill.totals))
    console.print(
        f"\n{name}: {len(bill.rows)} rows became {books.order_count} orders, {books.payment_count} payments and "
        f"{books.refund_count} refunds; {books.earlier_order_count} of the orders are of an earlier day, whose "
        "payment is not in the bill, and count by their refunds alone"
    )
    if not report.all_hold:
        console.print(invariant_table(report))
    agrees = books.totals == bill.totals and all(each.agrees for each in reconciled)
    console.print(f"totals: {'no differences' if agrees else 'THEY DIFFER'}")
    console.print(report.summary(), soft_wrap=True)
    return agrees and not problems and report.all_hold


async def _provision(
    endpoints: Endpoints, client: AsyncPaycenterClient, sandbox: SandboxClient, bill: Bill
) -> ProvisionedMerchant:
    """A merchant for this bill alone, with one account for each fee rate that stands in it."""
    first = bill.rows[0]
    ratios = sorted({row.fee_ratio for row in bill.rows})
    plans = [
        AccountPlan(
            name=f"bill_{_account_number(first.merchant_number, ratio)}",
            channel="wechat_pay",
            account=_account_number(first.merchant_number, ratio),
            app_id=first.app_id,
            fee_ratio=ratio,
        )
        for ratio in ratios
    ]
    fingerprint = hashlib.sha256(repr(bill).encode()).hexdigest()[:12]
    return await provision(
        client,
        sandbox,
        merchant_keys(endpoints.callback_public_key_file),
        merchant_number=f"BILL-{first.merchant_number}-{fingerprint}",
        display_name=f"WeChat Pay merchant {first.merchant_number}",
        plans=plans,
    )


def _account_number(merchant_number: str, ratio: Decimal) -> str:
    """The bill's merchant number with the fee rate in parts per million, since an account has one rate."""
    return f"{merchant_number}{int(ratio.scaleb(6)):06d}"


@dataclass(frozen=True, slots=True)
class _Replay:
    client: AsyncPaycenterClient
    sandbox: SandboxClient
    merchant: ProvisionedMerchant
    feed: OrderFeed

    async def run(self, planned: Sequence[PlannedBillOrder]) -> list[str]:
        """Carries all orders out and tells what went wrong with each that did."""
        places = asyncio.Semaphore(_AT_ONCE)
        problems: list[str] = []
        with work("replaying", len(planned)) as progress:

            async def run_one(order: PlannedBillOrder) -> None:
                async with places:
                    with business_case(traceparent=new_traceparent()):
                        try:
                            await self._carry_out(order)
                        except PaycenterError as error:
                            problems.append(f"{order.merchant_order_id}: {sentence_of(error)}")
                        except CommandFailed as error:
                            problems.append(f"{order.merchant_order_id}: {error}")
                progress.advance(order.merchant_order_id)

            await asyncio.gather(*(run_one(order) for order in planned))
        return problems

    async def _carry_out(self, planned: PlannedBillOrder) -> None:
        order = await self._create(planned)
        if order.state in (transaction.ORDER_STATE_CREATED, transaction.ORDER_STATE_PAYING):
            await self._pay(planned, order)
        for refund in planned.refunds:
            answer = await self.client.transaction.CreateRefund(
                transaction.CreateRefundRequest(
                    request_id=self._request_id("refund", refund.merchant_refund_id),
                    merchant_id=self.merchant.merchant_id,
                    order_id=order.order_id,
                    amount=_fen(refund.amount_minor_units),
                    merchant_refund_id=refund.merchant_refund_id,
                )
            )
            await self._await_refund(order.order_id, answer.refund.refund_id)

    async def _create(self, planned: PlannedBillOrder) -> transaction.Order:
        answer = await self.client.transaction.CreateOrder(
            transaction.CreateOrderRequest(
                request_id=self._request_id("order", planned.merchant_order_id),
                merchant_id=self.merchant.merchant_id,
                merchant_order_id=planned.merchant_order_id,
                amount=_fen(planned.amount_minor_units),
                subject=planned.subject,
                purchase=transaction.Purchase(),
                annotations=planned.annotations,
            )
        )
        request = transaction.GetOrderRequest(order_id=answer.order.order_id)
        return (await self.client.transaction.GetOrder(request)).order

    async def _pay(self, planned: PlannedBillOrder, order: transaction.Order) -> None:
        account = next(each for each in self.merchant.accounts if each.plan.fee_ratio == planned.fee_ratio)
        answer = await self.client.transaction.PayOrder(
            transaction.PayOrderRequest(
                request_id=self._request_id("pay", planned.merchant_order_id),
                merchant_id=self.merchant.merchant_id,
                order_id=order.order_id,
                payment_account_id=account.payment_account_id,
                invoke_method=planned.invoke_method,
                payer=party_pb2.Payer(channel_payer_id=planned.payer_id, client_ip=_CLIENT_IP),
            )
        )
        await payer.pay(self.sandbox, await payer.find_trade(self.client, answer.attempt))
        paid = await self.feed.wait_for(
            order.order_id,
            lambda each: each.state == transaction.ORDER_STATE_PAID,
            timeout_seconds=_TIMEOUT_SECONDS,
        )
        if paid.state != transaction.ORDER_STATE_PAID:
            state = short_name(transaction.OrderState, paid.state)
            raise CommandFailed(f"the order is {state} and was not paid in time")

    async def _await_refund(self, order_id: str, refund_id: str) -> None:
        def has_succeeded(order: transaction.Order) -> bool:
            return any(
                each.refund_id == refund_id and each.state == transaction.REFUND_STATE_SUCCEEDED
                for each in order.refunds
            )

        order = await self.feed.wait_for(order_id, has_succeeded, timeout_seconds=_TIMEOUT_SECONDS)
        if not has_succeeded(order):
            raise CommandFailed(f"the refund {refund_id} did not succeed in time")

    def _request_id(self, *parts: str) -> str:
        return str(uuid.uuid5(_NAMESPACE, "/".join((self.merchant.merchant_id, *parts))))


def _fen(minor_units: int) -> money_pb2.Money:
    return money_pb2.Money(minor_units=minor_units, currency_code="CNY")
