"""Asks a channel where an order stands and writes what it says. Invariant: a query changes nothing at the
channel, and one without an answer changes nothing here."""

from __future__ import annotations

from channel_gateway.asked import payout_asked, refund_asked
from channel_gateway.asking import ask_channel
from channel_gateway.directory import OpenedAccount
from channel_gateway.domain.answer import ChannelAnswer
from channel_gateway.domain.decision import Question
from channel_gateway.domain.order import ChannelOrder
from channel_gateway.domain.states import SETTLED_STATES
from channel_gateway.domain.vocabulary import ChannelOrderKind, Operation
from channel_gateway.finding import find_order
from channel_gateway.parts import GatewayParts
from channel_gateway.progress import record_answer
from channel_gateway.store import orders as store
from runtime.context import with_business_id


async def query_order(parts: GatewayParts, channel_order_id: str, payment_id: str) -> ChannelOrder:
    """Returns the order after asking the channel about it; a settled one is returned as it is.

    Raises PaycenterError: CHANNEL_ORDER_NOT_FOUND, TENANT_FORBIDDEN, FIELD_INVALID.
    """
    order = await find_order(parts, channel_order_id, payment_id=payment_id)
    if order.state in SETTLED_STATES:
        return order
    with with_business_id(order.business_id):
        account = await parts.accounts.get(order.payment_account_id)
        answer = await ask_where_it_stands(parts, account, order)
        return await record_answer(parts, account, order, Question.QUERY, answer)


async def ask_where_it_stands(
    parts: GatewayParts, account: OpenedAccount, order: ChannelOrder
) -> ChannelAnswer:
    """Asks the channel about an order by its kind's own query."""
    channel = account.channel
    if order.kind is ChannelOrderKind.REFUND:
        paid = await paid_order_of(parts, order)
        asked = refund_asked(account, order, paid)
        return await ask_channel(account, Operation.REFUND_QUERY, lambda: channel.query_refund(asked))
    if order.kind is ChannelOrderKind.PAYOUT:
        payout = payout_asked(account, order)
        return await ask_channel(account, Operation.PAYOUT_QUERY, lambda: channel.query_payout(payout))
    return await ask_channel(account, Operation.QUERY, lambda: channel.query_payment(order.channel_order_id))


async def paid_order_of(parts: GatewayParts, refund: ChannelOrder) -> ChannelOrder:
    """Returns the payment that a refund gives back from."""
    async with parts.database.read() as connection:
        paid = await store.get_order(connection, refund.refunded_channel_order_id)
    if paid is None:
        raise RuntimeError("a refund always has its payment")
    return paid
