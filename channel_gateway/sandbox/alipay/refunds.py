"""Alipay's operations on refunds: refund and refund query.

Source: Alipay open platform, alipay.trade.refund and alipay.trade.fastpay.refund.query.
Invariant: one out_request_no of a trade moves money once; repeating it answers fund_change N.
"""

from __future__ import annotations

from typing import Any

from channel_gateway.sandbox.alipay.answers import invalid_parameter, trade_error
from channel_gateway.sandbox.alipay.call import Call
from channel_gateway.sandbox.clock import beijing_text, now_milliseconds
from channel_gateway.sandbox.money import yuan_text
from channel_gateway.sandbox.records import Channel, Refund, RefundState
from channel_gateway.sandbox.refusal import Refusal


def refund(call: Call) -> dict[str, Any]:
    """Refunds a part or all of a paid trade."""
    trade = call.existing_trade()
    asked = Refund(
        channel=Channel.ALIPAY,
        account=trade.account,
        out_trade_no=trade.out_trade_no,
        out_refund_no=call.text("out_request_no", required=False, longest=64) or trade.out_trade_no,
        refund_no=trade.transaction_no,
        amount_minor_units=call.amount("refund_amount"),
        reason=call.text("refund_reason", required=False),
        notify_url="",
        create_milliseconds=now_milliseconds(),
    )
    try:
        accepted, is_new = call.sandbox.refunds.accept(trade, asked, immediate=True)
    except Refusal as refusal:
        raise trade_error(refusal.cause) from refusal
    changed = is_new and accepted.state == RefundState.SUCCEEDED
    return {
        "buyer_logon_id": "csq***@sandbox.com",
        "buyer_user_id": trade.payer_id,
        "fund_change": "Y" if changed else "N",
        "gmt_refund_pay": beijing_text(accepted.finish_milliseconds or accepted.create_milliseconds),
        "out_trade_no": trade.out_trade_no,
        "refund_fee": yuan_text(trade.refunded_minor_units),
        "send_back_fee": yuan_text(accepted.amount_minor_units if changed else 0),
        "trade_no": trade.transaction_no,
    }


def refund_query(call: Call) -> dict[str, Any]:
    """Tells how a refund stands; one that is unknown or did not succeed is answered without refund_status."""
    trade = call.existing_trade()
    out_request_no = call.text("out_request_no")
    if len(out_request_no) > 64:
        raise invalid_parameter("out_request_no")
    known = call.sandbox.books.refunds.get(f"{trade.key}/{out_request_no}")
    if known is None or known.state != RefundState.SUCCEEDED:
        return {}
    return {
        "out_request_no": known.out_refund_no,
        "out_trade_no": trade.out_trade_no,
        "gmt_refund_pay": beijing_text(known.finish_milliseconds),
        "refund_amount": yuan_text(known.amount_minor_units),
        "refund_reason": known.reason,
        "refund_status": "REFUND_SUCCESS",
        "send_back_fee": yuan_text(known.amount_minor_units),
        "total_amount": yuan_text(trade.paid_minor_units),
        "trade_no": trade.transaction_no,
    }
