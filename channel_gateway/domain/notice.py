"""Whether a verified notice may change the order that it speaks of. Invariant: kind, payment, amount and
currency agree, or nothing is changed."""

from __future__ import annotations

from channel_gateway.domain.answer import ChannelAnswer, Standing
from channel_gateway.domain.order import ChannelOrder
from channel_gateway.domain.states import SETTLED_STATES
from channel_gateway.domain.vocabulary import ChannelOrderKind, ChannelOrderState
from runtime.money import Money

_STANDINGS_OF_SETTLED = {
    ChannelOrderState.SUCCEEDED: (Standing.SUCCEEDED, Standing.ACCEPTED),
    ChannelOrderState.DECLINED: (Standing.DECLINED, Standing.ACCEPTED, Standing.CLOSED),
    ChannelOrderState.NOT_SENT: (Standing.DECLINED, Standing.CLOSED),
    ChannelOrderState.CLOSED: (Standing.SUCCEEDED, Standing.CLOSED, Standing.DECLINED, Standing.ACCEPTED),
}


def refusal_of(
    order: ChannelOrder,
    *,
    kind: ChannelOrderKind,
    payment_channel_order_id: str,
    answer: ChannelAnswer,
    amount_is_total: bool,
) -> str:
    """Returns why a notice is not applied to `order`, empty when it may be."""
    if order.kind is not kind:
        return "ORDER_MISMATCH"
    if payment_channel_order_id and order.refunded_channel_order_id != payment_channel_order_id:
        return "ORDER_MISMATCH"
    if answer.amount is not None:
        if answer.amount.currency_code != order.amount.currency_code:
            return "CURRENCY_MISMATCH"
        if not _agrees(answer.amount, order.amount, amount_is_total=amount_is_total):
            return "AMOUNT_MISMATCH"
    elif answer.standing is Standing.SUCCEEDED:
        return "AMOUNT_MISSING"
    if order.state in SETTLED_STATES and answer.standing not in _STANDINGS_OF_SETTLED[order.state]:
        return "STATE_CONTRADICTION"
    if order.state is ChannelOrderState.SUCCEEDED and _names_another_transaction(order, answer):
        return "TRANSACTION_MISMATCH"
    return ""


def _agrees(told: Money, asked: Money, *, amount_is_total: bool) -> bool:
    return told.minor_units >= asked.minor_units if amount_is_total else told == asked


def _names_another_transaction(order: ChannelOrder, answer: ChannelAnswer) -> bool:
    told, known = answer.channel_transaction_id, order.channel_transaction_id
    return answer.standing is Standing.SUCCEEDED and bool(told) and bool(known) and told != known
