"""WeChat Pay's operations on orders: open by each way of paying, query, close.

Source: WeChat Pay API v3, /v3/pay/transactions/*.
Invariant: an order exists from the moment it was asked for and has a transaction id only once it is paid.
"""

from __future__ import annotations

import re
import secrets
from typing import Any

from channel_gateway.sandbox.clock import now_milliseconds, parse_rfc3339, rfc3339_text
from channel_gateway.sandbox.records import Channel, Trade, TradeState
from channel_gateway.sandbox.refusal import Cause, Refusal
from channel_gateway.sandbox.wechat.answers import parameter_error, trade_error
from channel_gateway.sandbox.wechat.call import Call

TRADE_TYPES = {"jsapi": "JSAPI", "native": "NATIVE", "h5": "MWEB", "app": "APP"}
_OUT_TRADE_NO = re.compile(r"[0-9A-Za-z_\-|*]{6,32}")
_DEFAULT_LIFE_MILLISECONDS = 7 * 86_400_000
_STATE_WORDS = {
    "SUCCESS": "支付成功",
    "REFUND": "转入退款",
    "NOTPAY": "订单未支付",
    "CLOSED": "订单已关闭",
    "PAYERROR": "支付失败(其他原因,如银行返回失败)",
}


def open_order(call: Call) -> tuple[int, dict[str, Any]]:
    """Opens an order for the way of paying that the path names."""
    invoke_method = call.path["invoke_method"]
    call.require_own_number(call.text("mchid"), location="body")
    appid = call.text("appid", longest=32)
    call.require_own_application(appid)
    call.require_chinese_currency("amount", required=False)
    payer = call.body.get("payer")
    openid = payer.get("openid") if isinstance(payer, dict) else None
    if invoke_method == "jsapi" and not (isinstance(openid, str) and openid):
        raise parameter_error("/body/payer/openid", "missing")
    if invoke_method == "h5":
        scene = call.body.get("scene_info")
        if not isinstance(scene, dict) or not scene.get("payer_client_ip") or not scene.get("h5_info"):
            raise parameter_error("/body/scene_info", "missing payer_client_ip or h5_info")
    trade = Trade(
        channel=Channel.WECHAT,
        account=call.merchant.mchid,
        app_id=appid,
        out_trade_no=call.text("out_trade_no", pattern=_OUT_TRADE_NO),
        transaction_no="",
        invoke_method=invoke_method,
        subject=call.text("description", longest=127),
        total_minor_units=call.amount("amount", "total"),
        notify_url=call.notify_url(required=True),
        return_url="",
        attachment=call.text("attach", longest=128, required=False),
        payer_id=openid or f"oSandbox{secrets.token_hex(10)}",
        expire_milliseconds=_expiry(call),
        create_milliseconds=now_milliseconds(),
        token=secrets.token_hex(16),
    )
    try:
        trade = call.sandbox.payments.open(trade)
    except Refusal as refusal:
        raise trade_error(refusal.cause) from refusal
    page = f"{call.sandbox.settings.public_url}/sandbox/cashier/{trade.out_trade_no}?channel=wechat"
    if invoke_method == "native":
        return 200, {"code_url": page}
    if invoke_method == "h5":
        return 200, {"h5_url": page}
    return 200, {"prepay_id": f"wx{trade.token}"}


def query_by_number(call: Call) -> tuple[int, dict[str, Any]]:
    """Tells how the order with the merchant's number stands."""
    call.require_own_number(call.query.get("mchid"), location="query")
    return 200, transaction(_find(call))


def query_by_id(call: Call) -> tuple[int, dict[str, Any]]:
    """Tells how the order with WeChat Pay's number stands."""
    call.require_own_number(call.query.get("mchid"), location="query")
    books = call.sandbox.books
    trade = books.trade_by_transaction_no(Channel.WECHAT, call.merchant.mchid, call.path["transaction_id"])
    if trade is None:
        raise trade_error(Cause.TRADE_NOT_EXIST)
    return 200, transaction(trade)


def close_order(call: Call) -> tuple[int, None]:
    """Closes an unpaid order."""
    call.require_own_number(call.text("mchid"), location="body")
    trade = _find(call)
    try:
        call.sandbox.payments.close(trade)
    except Refusal as refusal:
        raise trade_error(refusal.cause) from refusal
    return 204, None


def trade_state(trade: Trade) -> str:
    """Returns WeChat Pay's word for an order's state; any refund turns SUCCESS into REFUND."""
    if trade.state == TradeState.PAID:
        return "REFUND" if trade.refunded_minor_units or trade.refunding_minor_units else "SUCCESS"
    return {TradeState.CLOSED: "CLOSED", TradeState.PAYMENT_FAILED: "PAYERROR"}.get(
        TradeState(trade.state), "NOTPAY"
    )


def transaction(trade: Trade, *, state: str | None = None) -> dict[str, Any]:
    """Returns an order as queries and notices show it."""
    state = state or trade_state(trade)
    total = trade.paid_minor_units or trade.total_minor_units
    amount: dict[str, Any] = {"total": total, "currency": "CNY"}
    body: dict[str, Any] = {
        "appid": trade.app_id,
        "mchid": trade.account,
        "out_trade_no": trade.out_trade_no,
        "trade_state": state,
        "trade_state_desc": _STATE_WORDS[state],
        "amount": amount,
    }
    if trade.attachment:
        body["attach"] = trade.attachment
    if trade.pay_milliseconds:
        amount["payer_total"] = total
        amount["payer_currency"] = "CNY"
        body["transaction_id"] = trade.transaction_no
        body["trade_type"] = TRADE_TYPES[trade.invoke_method]
        body["bank_type"] = "OTHERS"
        body["success_time"] = rfc3339_text(trade.pay_milliseconds)
        body["payer"] = {"openid": trade.payer_id}
    return body


def _find(call: Call) -> Trade:
    trade = call.sandbox.books.trade(Channel.WECHAT, call.merchant.mchid, call.path["out_trade_no"])
    if trade is None:
        raise trade_error(Cause.TRADE_NOT_EXIST)
    call.sandbox.payments.expire_when_due(trade)
    return trade


def _expiry(call: Call) -> int:
    text = call.text("time_expire", required=False, longest=64)
    if not text:
        return now_milliseconds() + _DEFAULT_LIFE_MILLISECONDS
    try:
        return parse_rfc3339(text)
    except ValueError as error:
        raise parameter_error("/body/time_expire", "not an instant of RFC 3339") from error
