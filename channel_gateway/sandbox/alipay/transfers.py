"""Alipay's operations on transfers to persons.

Source: Alipay open platform, alipay.fund.trans.uni.transfer and alipay.fund.trans.common.query.
Invariant: one out_biz_no pays out once.
"""

from __future__ import annotations

import secrets
from typing import Any

from channel_gateway.sandbox.alipay.answers import BUSINESS, AlipayError, transfer_error
from channel_gateway.sandbox.alipay.call import Call
from channel_gateway.sandbox.clock import beijing_compact, beijing_text, now_milliseconds
from channel_gateway.sandbox.money import yuan_text
from channel_gateway.sandbox.records import Channel, Transfer, TransferState
from channel_gateway.sandbox.refusal import Cause, Refusal

_IDENTITY_TYPES = ("ALIPAY_USER_ID", "ALIPAY_LOGON_ID", "ALIPAY_OPEN_ID")
_STATUS = {
    TransferState.ACCEPTED: "DEALING",
    TransferState.SUCCEEDED: "SUCCESS",
    TransferState.FAILED: "FAIL",
    TransferState.CANCELLED: "CLOSED",
}
SMALLEST_TRANSFER_MINOR_UNITS = 10


def transfer(call: Call) -> dict[str, Any]:
    """Pays an amount from the merchant's account to a person's."""
    if call.text("product_code") != "TRANS_ACCOUNT_NO_PWD" or call.text("biz_scene") != "DIRECT_TRANSFER":
        raise _invalid("product_code, biz_scene")
    payee = call.business.get("payee_info")
    if (
        not isinstance(payee, dict)
        or payee.get("identity_type") not in _IDENTITY_TYPES
        or not payee.get("identity")
    ):
        raise _invalid("payee_info")
    amount_minor_units = call.amount("trans_amount")
    if amount_minor_units < SMALLEST_TRANSFER_MINOR_UNITS:
        raise AlipayError(BUSINESS, "EXCEED_LIMIT_SM_MIN_AMOUNT", "单笔最低转账金额0.1元")
    now = now_milliseconds()
    asked = Transfer(
        channel=Channel.ALIPAY,
        account=call.app.seller_id,
        app_id=call.app.app_id,
        out_transfer_no=call.number("out_biz_no"),
        transfer_no=f"{beijing_compact(now)[:8]}110070{secrets.randbelow(10**18):018d}",
        amount_minor_units=amount_minor_units,
        payee=str(payee["identity"]),
        payee_name=str(payee.get("name") or ""),
        remark=call.text("remark", required=False),
        scene="DIRECT_TRANSFER",
        notify_url="",
        create_milliseconds=now,
    )
    try:
        accepted, _ = call.sandbox.transfers.accept(asked, immediate=True)
    except Refusal as refusal:
        raise transfer_error(refusal.cause) from refusal
    node = {
        "order_id": accepted.transfer_no,
        "out_biz_no": accepted.out_transfer_no,
        "pay_fund_order_id": accepted.transfer_no,
        "status": _STATUS[TransferState(accepted.state)],
    }
    if accepted.finish_milliseconds:
        node["trans_date"] = beijing_text(accepted.finish_milliseconds)
    return node


def transfer_query(call: Call) -> dict[str, Any]:
    """Tells how a transfer stands."""
    out_biz_no = call.text("out_biz_no", required=False)
    order_id = call.text("order_id", required=False) or call.text("pay_fund_order_id", required=False)
    if not out_biz_no and not order_id:
        raise _invalid("out_biz_no")
    candidates = call.sandbox.books.transfers_numbered(order_id or out_biz_no)
    known = next(
        (each for each in candidates if (each.channel, each.account) == (Channel.ALIPAY, call.app.seller_id)),
        None,
    )
    if known is None:
        raise transfer_error(Cause.TRANSFER_NOT_EXIST)
    node = {
        "order_id": known.transfer_no,
        "out_biz_no": known.out_transfer_no,
        "pay_fund_order_id": known.transfer_no,
        "status": _STATUS[TransferState(known.state)],
        "trans_amount": yuan_text(known.amount_minor_units),
    }
    if known.finish_milliseconds:
        node["pay_date"] = beijing_text(known.finish_milliseconds)
    if known.state == TransferState.FAILED:
        node["error_code"] = known.failure_reason
        node["fail_reason"] = known.failure_reason
    return node


def _invalid(name: str) -> AlipayError:
    return AlipayError(BUSINESS, "INVALID_PARAMETER", f"参数有误: {name}")
