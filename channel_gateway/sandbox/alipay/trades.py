"""Alipay's operations on trades: open, query, close, cancel.

Source: Alipay open platform, alipay.trade.{page.pay,wap.pay,app.pay,precreate,create,query,close,cancel}.
Invariant: a trade exists for Alipay only when the payer opened the page, scanned the code, or create made it.
"""

from __future__ import annotations

import re
import secrets
from typing import Any

from channel_gateway.sandbox.alipay.answers import invalid_parameter, trade_error
from channel_gateway.sandbox.alipay.call import Call
from channel_gateway.sandbox.clock import beijing_text, now_milliseconds, parse_beijing
from channel_gateway.sandbox.money import yuan_text
from channel_gateway.sandbox.payments import OPEN_STATES, new_transaction_no
from channel_gateway.sandbox.records import Channel, Refund, Trade, TradeState
from channel_gateway.sandbox.refusal import Cause, Refusal

_TIMEOUT_EXPRESS = re.compile(r"([1-9]\d{0,4})([mhd])|1c")
_UNIT_MILLISECONDS = {"m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DEFAULT_LIFE_MILLISECONDS = 15 * 86_400_000
_PRODUCT_CODES = {
    "page": ("FAST_INSTANT_TRADE_PAY",),
    "wap": ("QUICK_WAP_WAY", "QUICK_WAP_PAY"),
    "app": ("QUICK_MSECURITY_PAY",),
}


def open_trade(call: Call, *, invoke_method: str) -> Trade:
    """Enters the trade that the call describes, or finds the equal one."""
    out_trade_no = call.number("out_trade_no")
    product_codes = _PRODUCT_CODES.get(invoke_method)
    if product_codes and call.text("product_code", required=False) not in ("", *product_codes):
        raise invalid_parameter("product_code")
    buyer_id = call.text("buyer_id", required=False) or call.text("buyer_open_id", required=False)
    if invoke_method == "jsapi" and not buyer_id and not call.text("buyer_logon_id", required=False):
        raise invalid_parameter("buyer_id")
    seller_id = call.text("seller_id", required=False)
    if seller_id not in ("", call.app.seller_id):
        raise invalid_parameter("seller_id")
    prepared = invoke_method == "qr"
    trade = Trade(
        channel=Channel.ALIPAY,
        account=call.app.seller_id,
        app_id=call.app.app_id,
        out_trade_no=out_trade_no,
        transaction_no="" if prepared else new_transaction_no(Channel.ALIPAY),
        invoke_method=invoke_method,
        subject=call.text("subject"),
        total_minor_units=call.amount("total_amount"),
        notify_url=call.parameters.get("notify_url", ""),
        return_url=call.parameters.get("return_url", ""),
        attachment=call.text("passback_params", required=False, longest=512),
        payer_id=buyer_id or "2088102146225135",
        expire_milliseconds=_expiry(call),
        create_milliseconds=now_milliseconds(),
        state=TradeState.PREPARED if prepared else TradeState.WAITING,
        token=secrets.token_hex(12),
    )
    try:
        return call.sandbox.payments.open(trade)
    except Refusal as refusal:
        raise trade_error(refusal.cause) from refusal


def precreate(call: Call) -> dict[str, Any]:
    """Prepares a trade that a payer may scan; the code is the address of the sandbox's cashier page."""
    trade = open_trade(call, invoke_method="qr")
    base = call.sandbox.settings.public_url
    return {
        "out_trade_no": trade.out_trade_no,
        "qr_code": f"{base}/sandbox/cashier/{trade.out_trade_no}?channel=alipay",
    }


def create(call: Call) -> dict[str, Any]:
    """Creates a trade for a mini-program or JSAPI cashier."""
    trade = open_trade(call, invoke_method="jsapi")
    return {"out_trade_no": trade.out_trade_no, "trade_no": trade.transaction_no}


def query(call: Call) -> dict[str, Any]:
    """Tells how a trade stands."""
    trade = call.existing_trade()
    node: dict[str, Any] = {
        "buyer_logon_id": "csq***@sandbox.com",
        "buyer_pay_amount": yuan_text(trade.paid_minor_units),
        "buyer_user_id": trade.payer_id,
        "invoice_amount": yuan_text(trade.paid_minor_units),
        "out_trade_no": trade.out_trade_no,
        "point_amount": "0.00",
        "receipt_amount": yuan_text(trade.paid_minor_units),
        "total_amount": yuan_text(trade.paid_minor_units or trade.total_minor_units),
        "trade_no": trade.transaction_no,
        "trade_status": trade_status(trade),
    }
    if trade.pay_milliseconds:
        node["send_pay_date"] = beijing_text(trade.pay_milliseconds)
        amount = yuan_text(trade.paid_minor_units)
        node["fund_bill_list"] = [{"amount": amount, "fund_channel": "ALIPAYACCOUNT"}]
    if trade.attachment:
        node["passback_params"] = trade.attachment
    return node


def close(call: Call) -> dict[str, Any]:
    """Closes an unpaid trade."""
    trade = call.existing_trade()
    try:
        call.sandbox.payments.close(trade)
    except Refusal as refusal:
        raise trade_error(Cause.TRADE_NOT_PAID) from refusal
    return {"out_trade_no": trade.out_trade_no, "trade_no": trade.transaction_no}


def cancel(call: Call) -> dict[str, Any]:
    """Undoes a trade whatever its state: closes an unpaid one, refunds a paid one; harmless when repeated."""
    trade = call.known_trade()
    if trade is None:
        return {"out_trade_no": call.text("out_trade_no", required=False), "retry_flag": "N"}
    node = {"out_trade_no": trade.out_trade_no, "trade_no": trade.transaction_no, "retry_flag": "N"}
    if trade.state in OPEN_STATES:
        call.sandbox.payments.close(trade)
        node["action"] = "close"
    elif trade.state == TradeState.PAID:
        left = trade.paid_minor_units - trade.refunded_minor_units - trade.refunding_minor_units
        if left:
            _refund_all(call, trade, left)
        node["action"] = "refund"
    return node


def trade_status(trade: Trade) -> str:
    """Returns Alipay's word for a trade's state; a wholly refunded trade is closed."""
    if trade.state == TradeState.PAID:
        return "TRADE_CLOSED" if trade.refunded_minor_units >= trade.paid_minor_units else "TRADE_SUCCESS"
    return "TRADE_CLOSED" if trade.state == TradeState.CLOSED else "WAIT_BUYER_PAY"


def _refund_all(call: Call, trade: Trade, amount_minor_units: int) -> None:
    refund = Refund(
        channel=Channel.ALIPAY,
        account=trade.account,
        out_trade_no=trade.out_trade_no,
        out_refund_no=f"cancel_{trade.out_trade_no}"[:64],
        refund_no=trade.transaction_no,
        amount_minor_units=amount_minor_units,
        reason="cancel",
        notify_url="",
        create_milliseconds=now_milliseconds(),
    )
    try:
        call.sandbox.refunds.accept(trade, refund, immediate=True)
    except Refusal as refusal:
        raise trade_error(refusal.cause) from refusal


def _expiry(call: Call) -> int:
    now = now_milliseconds()
    absolute = call.text("time_expire", required=False)
    if absolute:
        try:
            return parse_beijing(absolute if len(absolute) > 16 else f"{absolute}:00")
        except ValueError as error:
            raise invalid_parameter("time_expire") from error
    relative = call.text("timeout_express", required=False) or call.text(
        "qr_code_timeout_express", required=False
    )
    if not relative:
        return now + _DEFAULT_LIFE_MILLISECONDS
    match = _TIMEOUT_EXPRESS.fullmatch(relative)
    if match is None:
        raise invalid_parameter("timeout_express")
    if relative == "1c":
        return now + _UNIT_MILLISECONDS["d"]
    return now + int(match[1]) * _UNIT_MILLISECONDS[match[2]]
