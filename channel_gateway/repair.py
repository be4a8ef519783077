"""Takes up what was left in the middle or is still open. Invariant: an unknown outcome is asked about, never
failed by the clock; only a request that is idempotent at the channel is ever sent again."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime

from channel_gateway import metrics
from channel_gateway.asked import payout_asked, refund_asked
from channel_gateway.asking import ask_channel
from channel_gateway.closing import carry_out_close
from channel_gateway.directory import OpenedAccount
from channel_gateway.domain.answer import ChannelAnswer, Standing
from channel_gateway.domain.decision import Question
from channel_gateway.domain.order import ChannelOrder
from channel_gateway.domain.states import SETTLED_STATES
from channel_gateway.domain.vocabulary import ChannelOrderKind, ChannelOrderState, Operation
from channel_gateway.parts import GatewayParts
from channel_gateway.progress import record_answer
from channel_gateway.querying import ask_where_it_stands, paid_order_of
from channel_gateway.store import orders as store
from channel_gateway.trouble import tell_trouble
from runtime.context import TraceContext, use_scope
from runtime.logs import get_logger
from runtime.telemetry import scope_from_stored, span


class OrderRepair:
    """The worker that looks at channel orders whose time has come; any number of processes may run it side by side."""

    name = "channel order repair"

    def __init__(self, parts: GatewayParts) -> None:
        self._parts = parts
        self.idle_seconds = parts.settings.repair_idle_seconds

    async def step(self) -> int:
        """Takes up to a batch of orders, looks at each beside the others, returns how many they were."""
        parts = self._parts
        async with parts.database.begin() as connection:
            due = await store.take_due_orders(
                connection, limit=parts.settings.repair_batch_size, lease=parts.settings.step_lease
            )
        await asyncio.gather(*(self._take_up(order) for order in due))
        return len(due)

    async def _take_up(self, order: ChannelOrder) -> None:
        metrics.repair_taken(order.channel, order.kind.value, order.state.value)
        scope = scope_from_stored(order.traceparent, order.platform)
        scope = replace(scope, platform=replace(scope.platform, business_id=order.business_id))
        links = [trace] if (trace := TraceContext.parse(order.traceparent)) else []
        with use_scope(scope), span("repair channel order", kind="consumer", links=links):
            try:
                await self._look_at(order)
            except Exception as error:  # noqa: BLE001  one in trouble must not stop the others; its lease brings it back
                tell_trouble("channel order not repaired", error, channel_order_id=order.channel_order_id)

    async def _look_at(self, order: ChannelOrder) -> None:
        parts = self._parts
        account = await parts.accounts.get(order.payment_account_id)
        after = await look_at(parts, account, order)
        if after.version != order.version:
            return
        if parts.schedule.is_past(after, step_count=order.step_count):
            metrics.unknown_past_schedule(after.channel)
            get_logger().error(
                "channel order unknown past its schedule",
                channel_order_id=after.channel_order_id,
                channel=after.channel,
                kind=after.kind.value,
                looks=order.step_count,
            )
        delay = parts.next_delay(account, after, step_count=order.step_count)
        async with parts.database.autocommit() as connection:
            await store.reschedule_order(connection, after, delay=delay)


async def look_at(parts: GatewayParts, account: OpenedAccount, order: ChannelOrder) -> ChannelOrder:
    """Does the one thing that an order needs next and returns it as it is then."""
    if order.close_requested and order.state not in SETTLED_STATES:
        return await carry_out_close(parts, account, order)
    told = await ask_where_it_stands(parts, account, order)
    if order.kind is not ChannelOrderKind.PAY:
        if told.standing is Standing.NOT_FOUND:
            answer = await _send_again(parts, account, order)
            return await record_answer(parts, account, order, Question.RESEND, answer)
        return await record_answer(parts, account, order, Question.QUERY, told)
    if order.state is ChannelOrderState.CLOSED and told.standing is Standing.ACCEPTED:
        return await _close_what_opened(parts, account, order)
    after = await record_answer(parts, account, order, Question.QUERY, told)
    open_past_its_time = (
        after.state not in SETTLED_STATES
        and told.standing in (Standing.NOT_FOUND, Standing.ACCEPTED)
        and parts.clock.now() >= _closing_time(parts, account, after, told)
    )
    return await carry_out_close(parts, account, after) if open_past_its_time else after


async def _send_again(parts: GatewayParts, account: OpenedAccount, order: ChannelOrder) -> ChannelAnswer:
    channel = account.channel
    if order.kind is ChannelOrderKind.REFUND:
        refund = refund_asked(account, order, await paid_order_of(parts, order))
        return await ask_channel(account, Operation.REFUND, lambda: channel.refund(refund))
    payout = payout_asked(account, order)
    return await ask_channel(account, Operation.PAYOUT, lambda: channel.payout(payout))


async def _close_what_opened(
    parts: GatewayParts, account: OpenedAccount, order: ChannelOrder
) -> ChannelOrder:
    """Closes at the channel what its payer opened after it was closed here; a payment meanwhile wins."""
    channel = account.channel
    answer = await ask_channel(
        account, Operation.CLOSE, lambda: channel.close_payment(order.channel_order_id)
    )
    if answer.standing in (Standing.SUCCEEDED, Standing.DECLINED):
        answer = await ask_where_it_stands(parts, account, order)
    return await record_answer(parts, account, order, Question.QUERY, answer)


def _closing_time(
    parts: GatewayParts, account: OpenedAccount, order: ChannelOrder, told: ChannelAnswer
) -> datetime:
    """Returns when an order is closed by the gateway itself: not found for good, or still open past its expiry."""
    watched_until = parts.watched_until(account, order)
    if told.standing is Standing.NOT_FOUND:
        return watched_until
    return max(watched_until, order.may_appear_until)
