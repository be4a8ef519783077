"""WeChat Pay's operations on refunds: refund and refund query.

Source: WeChat Pay API v3, /v3/refund/domestic/refunds.
Invariant: one out_refund_no of a merchant moves money once.
"""

from __future__ import annotations

import re
import secrets
from typing import Any

from channel_gateway.sandbox.clock import beijing_compact, now_milliseconds, rfc3339_text
from channel_gateway.sandbox.records import Channel, Refund, RefundState, Trade
from channel_gateway.sandbox.refusal import Cause, Refusal
from channel_gateway.sandbox.wechat.answers import WechatError, parameter_error, refund_error
from channel_gateway.sandbox.wechat.call import Call

REFUND_WORDS = {
    RefundState.PROCESSING: "PROCESSING",
    RefundState.SUCCEEDED: "SUCCESS",
    RefundState.ABNORMAL: "ABNORMAL",
    RefundState.CLOSED: "CLOSED",
}
_OUT_REFUND_NO = re.compile(r"[0-9A-Za-z_\-|*@]{1,64}")


def create_refund(call: Call) -> tuple[int, dict[str, Any]]:
    """Accepts a refund of a part or all of a paid order; it finishes later."""
    trade = _find_trade(call)
    call.require_chinese_currency("amount", required=True)
    total = call.amount("amount", "total")
    asked = Refund(
        channel=Channel.WECHAT,
        account=call.merchant.mchid,
        out_trade_no=trade.out_trade_no,
        out_refund_no=call.text("out_refund_no", pattern=_OUT_REFUND_NO),
        refund_no=f"503{secrets.randbelow(10**8):08d}{beijing_compact(now_milliseconds())[:8]}{secrets.randbelow(10**10):010d}",
        amount_minor_units=call.amount("amount", "refund"),
        reason=call.text("reason", longest=80, required=False),
        notify_url=call.notify_url(required=False),
        create_milliseconds=now_milliseconds(),
    )
    if trade.paid_minor_units and total != trade.paid_minor_units:
        raise WechatError(400, "INVALID_REQUEST", "订单金额或退款金额与之前请求不一致,请核实后再试")
    try:
        refund, _ = call.sandbox.refunds.accept(trade, asked, immediate=False)
    except Refusal as refusal:
        raise refund_error(refusal.cause) from refusal
    return 200, refund_body(trade, refund)


def query_refund(call: Call) -> tuple[int, dict[str, Any]]:
    """Tells how a refund stands."""
    books = call.sandbox.books
    refund = books.refunds.get(f"{Channel.WECHAT}/{call.merchant.mchid}/{call.path['out_refund_no']}")
    if refund is None:
        raise refund_error(Cause.REFUND_NOT_EXIST)
    return 200, refund_body(books.trades[f"{refund.channel}/{refund.account}/{refund.out_trade_no}"], refund)


def refund_body(trade: Trade, refund: Refund) -> dict[str, Any]:
    """Returns a refund as answers show it."""
    body: dict[str, Any] = {
        "refund_id": refund.refund_no,
        "out_refund_no": refund.out_refund_no,
        "transaction_id": trade.transaction_no,
        "out_trade_no": trade.out_trade_no,
        "channel": "ORIGINAL",
        "user_received_account": "支付用户零钱",
        "create_time": rfc3339_text(refund.create_milliseconds),
        "status": REFUND_WORDS[RefundState(refund.state)],
        "funds_account": "UNSETTLED",
        "amount": {
            "total": trade.paid_minor_units,
            "refund": refund.amount_minor_units,
            "payer_total": trade.paid_minor_units,
            "payer_refund": refund.amount_minor_units,
            "settlement_total": trade.paid_minor_units,
            "settlement_refund": refund.amount_minor_units,
            "discount_refund": 0,
            "currency": "CNY",
        },
    }
    if refund.state == RefundState.SUCCEEDED:
        body["success_time"] = rfc3339_text(refund.finish_milliseconds)
    return body


def _find_trade(call: Call) -> Trade:
    transaction_id = call.text("transaction_id", required=False)
    out_trade_no = call.text("out_trade_no", required=False)
    books, mchid = call.sandbox.books, call.merchant.mchid
    if transaction_id:
        trade = books.trade_by_transaction_no(Channel.WECHAT, mchid, transaction_id)
    elif out_trade_no:
        trade = books.trade(Channel.WECHAT, mchid, out_trade_no)
    else:
        raise parameter_error("/body/out_trade_no", "missing")
    if trade is None:
        raise refund_error(Cause.TRADE_NOT_EXIST)
    return trade
