"""Alipay's notices: a signed form about a trade. Invariant: nothing in it is believed before the signature
holds and application and seller are this account's own.

Source: Alipay open platform, "asynchronous notices".
"""

from __future__ import annotations

from collections.abc import Mapping

from channel_gateway.channels.alipay.operations import trade_answer
from channel_gateway.channels.alipay.settings import AlipayCredentials
from channel_gateway.channels.alipay.signature import notice_is_genuine, read_form
from channel_gateway.channels.alipay.values import read_amount, read_instant
from channel_gateway.channels.protocol import NoticeContent, NoticeMessage, NoticeRefused, NoticeReply
from channel_gateway.domain.answer import ChannelAnswer, Standing
from channel_gateway.domain.vocabulary import ChannelOrderKind

NOTICE_HEADERS: tuple[str, ...] = ()

_SUCCESS = NoticeReply(200, "text/plain; charset=utf-8", b"success")
_FAILURE = NoticeReply(200, "text/plain; charset=utf-8", b"fail")
_TRADE_NOTICE = "trade_status_sync"


def read_notice(credentials: AlipayCredentials, message: NoticeMessage) -> NoticeContent:
    """Verifies and decodes a notice; raises NoticeRefused."""
    try:
        fields = read_form(message.body)
    except ValueError:
        raise NoticeRefused("MALFORMED") from None
    if not fields.get("sign"):
        raise NoticeRefused("UNSIGNED")
    if fields.get("sign_type", "RSA2") != "RSA2" or not notice_is_genuine(
        credentials.alipay_public_key, fields
    ):
        raise NoticeRefused("SIGNATURE_INVALID")
    if fields.get("app_id") != credentials.app_id or fields.get("seller_id") != credentials.seller_id:
        raise NoticeRefused("ACCOUNT_MISMATCH")
    if fields.get("notify_type", _TRADE_NOTICE) != _TRADE_NOTICE:
        raise NoticeRefused("UNSUPPORTED")
    if not fields.get("out_trade_no"):
        raise NoticeRefused("MALFORMED")
    return _refund(fields) if fields.get("out_biz_no") and fields.get("refund_fee") else _payment(fields)


def notice_reply(*, accepted: bool) -> NoticeReply:
    """Returns the word that ends the repetitions, or another."""
    return _SUCCESS if accepted else _FAILURE


def _payment(fields: Mapping[str, str]) -> NoticeContent:
    paid_text = fields.get("gmt_payment", "")
    if fields.get("gmt_refund"):
        answer = ChannelAnswer(
            standing=Standing.SUCCEEDED,
            channel_transaction_id=fields.get("trade_no", ""),
            amount=read_amount(fields.get("total_amount")),
            succeed_time=read_instant(paid_text),
        )
    else:
        answer = trade_answer(
            fields.get("trade_status", ""),
            trade_no=fields.get("trade_no", ""),
            amount_text=fields.get("total_amount", ""),
            paid_text=paid_text,
        )
    if answer.standing in (Standing.UNKNOWN, Standing.CONTRADICTED) or (
        answer.standing is Standing.SUCCEEDED and answer.amount is None
    ):
        raise NoticeRefused("UNSUPPORTED")
    return NoticeContent(kind=ChannelOrderKind.PAY, channel_order_id=fields["out_trade_no"], answer=answer)


def _refund(fields: Mapping[str, str]) -> NoticeContent:
    total = read_amount(fields["refund_fee"])
    if total is None:
        raise NoticeRefused("MALFORMED")
    return NoticeContent(
        kind=ChannelOrderKind.REFUND,
        channel_order_id=fields["out_biz_no"],
        payment_channel_order_id=fields["out_trade_no"],
        amount_is_total=True,
        answer=ChannelAnswer(
            standing=Standing.SUCCEEDED,
            channel_transaction_id=fields.get("trade_no", ""),
            amount=total,
            succeed_time=read_instant(fields.get("gmt_refund")),
        ),
    )
