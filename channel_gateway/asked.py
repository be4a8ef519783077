"""What a channel is asked for on behalf of a stored order. Invariant: the same order always asks for the
same, so that asking again with its number moves no money twice."""

from __future__ import annotations

from channel_gateway.channels.protocol import PayoutAsked, RefundAsked
from channel_gateway.directory import OpenedAccount
from channel_gateway.domain.order import ChannelOrder
from channel_gateway.domain.vocabulary import PayeeIdKind


def refund_asked(account: OpenedAccount, refund: ChannelOrder, paid: ChannelOrder) -> RefundAsked:
    """Returns what the channel is asked for, the same every time."""
    return RefundAsked(
        channel_order_id=refund.channel_order_id,
        amount=refund.amount,
        payment_channel_order_id=paid.channel_order_id,
        payment_transaction_id=paid.channel_transaction_id,
        payment_amount=paid.amount,
        reason=str(refund.asked.get("reason", "")),
        notice_url=account.notice_url,
    )


def payout_asked(account: OpenedAccount, order: ChannelOrder) -> PayoutAsked:
    """Returns what the channel is asked for, the same every time."""
    real_name = ""
    if order.sealed_asked is not None:
        real_name = account.data_box.open(order.sealed_asked, owner=order.channel_order_id)
    return PayoutAsked(
        channel_order_id=order.channel_order_id,
        amount=order.amount,
        payee_id=str(order.asked["payee_id"]),
        payee_id_kind=PayeeIdKind(order.asked["payee_id_kind"]),
        real_name=real_name,
        remark=str(order.asked.get("remark", "")),
        notice_url=account.notice_url,
    )
