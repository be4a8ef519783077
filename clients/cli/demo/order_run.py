"""Carries one planned order out: creates it, begins attempts, plays the payer, refunds, and waits for what comes of it.

Invariant: what is reported as seen was told by the center; the plan's expectation takes no part in it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from paycenter.transaction.v1 import transaction_core_pb2 as transaction
from paycenter.type.v1 import party_pb2
from paycenter_client import AsyncPaycenterClient, new_request_id

from clients.cli import payer
from clients.cli.business_system import BusinessSystem
from clients.cli.demo.scenario import Act, PlannedOrder, Step, account_owner, outcome_of
from clients.cli.failure import CommandFailed
from clients.cli.names import INVOKE_METHODS, short_name
from clients.cli.order_feed import OrderFeed
from clients.cli.polling import holds_within
from clients.cli.provisioning import ProvisionedMerchant
from clients.cli.sandbox_client import CHANNEL_AT_SANDBOX, SandboxClient

_STEP_TIMEOUT_SECONDS = 30.0
_CALLBACK_TIMEOUT_SECONDS = 15.0
_SILENCE_SECONDS = 1.0
_FALSE_NOTICES = ("forged_notice", "flipped_byte_notice", "unsigned_notice", "wrong_amount_notice")
_PAYEES = {
    "alipay": party_pb2.Payee(channel_payee_id="2088202968280122", real_name="安娜"),
    "wechat_pay": party_pb2.Payee(channel_payee_id="oUpF8uMuAJO_M2pxb1Q9zNjWeS6o", real_name="安娜"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What every order of one demonstration shares."""

    client: AsyncPaycenterClient
    sandbox: SandboxClient
    merchant: ProvisionedMerchant
    business_system: BusinessSystem
    feed: OrderFeed
    run_name: str


@dataclass(slots=True)
class OrderRun:
    """One order under way.

    Attributes:
        notes: What was seen beside the order's state, for example how many false notices were refused.
        silence_begun: Set when the channel fell silent, so that others may use the channel again.
    """

    planned: PlannedOrder
    surroundings: Surroundings
    order_id: str = ""
    attempts: list[transaction.Attempt] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    silence_begun: asyncio.Event = field(default_factory=asyncio.Event)

    async def carry_out(self) -> transaction.Order:
        """Does every step and gives the order as it stands at the end. Raises PaycenterError or CommandFailed."""
        await self._create()
        for step in self.planned.steps:
            await self._actions()[step.act](step)
        order = await self.surroundings.feed.wait_for(
            self.order_id,
            lambda each: outcome_of(each) == self.planned.expected,
            timeout_seconds=_STEP_TIMEOUT_SECONDS,
        )
        await self._wait_for_callback(order)
        return order

    def _actions(self) -> Mapping[Act, Callable[[Step], Awaitable[None]]]:
        return {
            Act.BEGIN: self._begin,
            Act.BEGIN_SILENTLY: self._begin_silently,
            Act.PAYER_PAYS: self._payer_pays,
            Act.PAYER_PAYS_BOTH: self._payer_pays_both,
            Act.PAYER_PAYS_LATE: self._payer_pays_late,
            Act.DUPLICATE_NOTICE: self._duplicate_notice,
            Act.FORGED_NOTICE: self._forged_notices,
            Act.CLOSE: self._close,
            Act.AWAIT: self._await,
            Act.REFUND: self._refund,
        }

    async def _create(self) -> None:
        planned, merchant_id = self.planned, self.surroundings.merchant.merchant_id
        request = transaction.CreateOrderRequest(
            request_id=new_request_id(),
            merchant_id=merchant_id,
            merchant_order_id=f"{self.surroundings.run_name}-{planned.name}",
            amount=planned.amount,
            subject=planned.story,
            notify_url=self.surroundings.business_system.callback_url,
        )
        match planned.kind:
            case "recharge":
                owner = account_owner(planned.parties[0], merchant_id)
                request.recharge.CopyFrom(transaction.Recharge(balance_owner=owner))
            case "withdrawal":
                owner = account_owner(planned.parties[0], merchant_id)
                payee = _PAYEES[planned.steps[0].channel]
                request.withdrawal.CopyFrom(transaction.Withdrawal(balance_owner=owner, payee=payee))
            case "transfer":
                source, destination = (account_owner(party, merchant_id) for party in planned.parties)
                transfer = transaction.Transfer(source_owner=source, destination_owner=destination)
                request.transfer.CopyFrom(transfer)
            case _:
                request.purchase.CopyFrom(transaction.Purchase())
        answer = await self.surroundings.client.transaction.CreateOrder(request)
        self.order_id = answer.order.order_id

    async def _begin(self, step: Step) -> None:
        merchant = self.surroundings.merchant
        request = transaction.PayOrderRequest(
            request_id=new_request_id(), merchant_id=merchant.merchant_id, order_id=self.order_id
        )
        if step.channel:
            request.payment_account_id = merchant.account_at(step.channel).payment_account_id
            request.payer.CopyFrom(payer.PAYER_BY_CHANNEL[step.channel])
        if step.method in INVOKE_METHODS:
            request.invoke_method = INVOKE_METHODS[step.method]
        answer = await self.surroundings.client.transaction.PayOrder(request)
        self.attempts.append(answer.attempt)

    async def _begin_silently(self, step: Step) -> None:
        """Lets the channel charge the payer, then say nothing: neither an answer nor a notice."""
        sandbox, channel = self.surroundings.sandbox, CHANNEL_AT_SANDBOX[step.channel]
        no_answer = await sandbox.add_fault(
            channel=channel, operation="pay", kind="timeout_after_charge", count=1, seconds=_SILENCE_SECONDS
        )
        no_notice = await sandbox.add_fault(channel=channel, operation="notice", kind="no_notice", count=1)
        beginning = asyncio.create_task(self._begin(step))

        async def both_have_fired() -> bool:
            has_fired = sandbox.fault_has_fired
            return beginning.done() or (await has_fired(no_answer) and await has_fired(no_notice))

        try:
            await holds_within(_STEP_TIMEOUT_SECONDS, both_have_fired)
        finally:
            self.silence_begun.set()
        await beginning
        state = short_name(transaction.AttemptState, self.attempts[-1].state)
        self.notes.append(f"{state} until the channel was asked")

    async def _payer_pays(self, _step: Step) -> None:
        await payer.pay(self.surroundings.sandbox, await self._trade(self.attempts[-1]))

    async def _payer_pays_late(self, _step: Step) -> None:
        await self.surroundings.sandbox.pay(
            (await self._trade(self.attempts[-1])).channel_order_id, force=True
        )

    async def _payer_pays_both(self, _step: Step) -> None:
        trades = [await self._trade(attempt) for attempt in self.attempts]
        for trade in trades:
            await payer.open_at_channel(self.surroundings.sandbox, trade)
        pay = self.surroundings.sandbox.pay
        await asyncio.gather(*(pay(trade.channel_order_id, force=True) for trade in trades))

    async def _duplicate_notice(self, _step: Step) -> None:
        trade = await self._trade(self.attempts[-1])
        await self.surroundings.sandbox.add_fault(
            operation="notice", kind="duplicate_notice", out_trade_no=trade.channel_order_id
        )

    async def _forged_notices(self, _step: Step) -> None:
        trade = await self._trade(self.attempts[-1])
        await payer.open_at_channel(self.surroundings.sandbox, trade)
        for kind in _FALSE_NOTICES:
            if await self.surroundings.sandbox.lie(trade.channel_order_id, kind=kind):
                raise CommandFailed(f"the center took a false notice ({kind}) for {trade.channel_order_id}")
        request = transaction.GetOrderRequest(order_id=self.order_id)
        order = (await self.surroundings.client.transaction.GetOrder(request)).order
        if order.state != transaction.ORDER_STATE_PAYING:
            state = short_name(transaction.OrderState, order.state)
            raise CommandFailed(f"a false notice made the order {state}")
        self.notes.append(f"{len(_FALSE_NOTICES)} false notices refused")

    async def _close(self, _step: Step) -> None:
        await self.surroundings.client.transaction.CloseOrder(
            transaction.CloseOrderRequest(
                request_id=new_request_id(),
                merchant_id=self.surroundings.merchant.merchant_id,
                order_id=self.order_id,
            )
        )

    async def _await(self, step: Step) -> None:
        order = await self.surroundings.feed.wait_for(
            self.order_id,
            lambda each: short_name(transaction.OrderState, each.state) == step.state,
            timeout_seconds=_STEP_TIMEOUT_SECONDS,
        )
        state = short_name(transaction.OrderState, order.state)
        if state != step.state:
            raise CommandFailed(f"the order is {state} and did not become {step.state} in time")

    async def _refund(self, step: Step) -> None:
        answer = await self.surroundings.client.transaction.CreateRefund(
            transaction.CreateRefundRequest(
                request_id=new_request_id(),
                merchant_id=self.surroundings.merchant.merchant_id,
                order_id=self.order_id,
                amount=step.amount,
                reason="asked for by the payer",
            )
        )
        refund_id = answer.refund.refund_id
        await self.surroundings.feed.wait_for(
            self.order_id,
            lambda order: any(
                each.refund_id == refund_id and each.state == transaction.REFUND_STATE_SUCCEEDED
                for each in order.refunds
            ),
            timeout_seconds=_STEP_TIMEOUT_SECONDS,
        )

    async def _trade(self, attempt: transaction.Attempt) -> payer.ChannelTrade:
        return await payer.find_trade(self.surroundings.client, attempt)

    async def _wait_for_callback(self, order: transaction.Order) -> None:
        """Waits until the business system was told of the order's last state."""

        async def has_been_told() -> bool:
            return self.was_told(order)

        await holds_within(_CALLBACK_TIMEOUT_SECONDS, has_been_told)

    def was_told(self, order: transaction.Order) -> bool:
        """Whether the business system got a genuine callback with the order's state."""
        callbacks = self.surroundings.business_system.callbacks_of(self.order_id)
        return any(each.order.state == order.state for each in callbacks)
