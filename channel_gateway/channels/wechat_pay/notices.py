"""WeChat Pay's notices: a signed envelope around a sealed resource. Invariant: nothing in it is believed
before signature, age, seal and merchant number are this account's own.

Source: WeChat Pay API v3, "payment notices", "refund notices", "transfer notices".
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from channel_gateway.channels.protocol import NoticeContent, NoticeMessage, NoticeRefused, NoticeReply
from channel_gateway.channels.wechat_pay.operations import (
    refund_status_answer,
    transaction_answer,
    transfer_answer,
)
from channel_gateway.channels.wechat_pay.settings import WechatPayCredentials
from channel_gateway.channels.wechat_pay.signature import is_fresh, is_genuine, unseal
from channel_gateway.domain.answer import ChannelAnswer, Standing
from channel_gateway.domain.vocabulary import ChannelOrderKind

NOTICE_HEADERS = ("wechatpay-serial", "wechatpay-timestamp", "wechatpay-nonce", "wechatpay-signature")

_SUCCESS = NoticeReply(200, "application/json", b'{"code":"SUCCESS"}')
_FAILURE = NoticeReply(500, "application/json", b'{"code":"FAIL","message":"not accepted"}')


def read_notice(credentials: WechatPayCredentials, message: NoticeMessage) -> NoticeContent:
    """Verifies, opens and decodes a notice; raises NoticeRefused."""
    headers = message.headers
    if not headers.get("wechatpay-signature"):
        raise NoticeRefused("UNSIGNED")
    if not is_genuine(credentials.platform_keys, headers, message.body):
        raise NoticeRefused("SIGNATURE_INVALID")
    if not is_fresh(headers.get("wechatpay-timestamp", ""), message.received_time.timestamp()):
        raise NoticeRefused("TIMESTAMP_STALE")
    event_type, content = _open(credentials, message.body)
    if (content.get("mchid") or content.get("mch_id")) != credentials.mchid:
        raise NoticeRefused("ACCOUNT_MISMATCH")
    if content.get("appid", credentials.appid) != credentials.appid:
        raise NoticeRefused("ACCOUNT_MISMATCH")
    read = _READERS.get(event_type.partition(".")[0])
    if read is None:
        raise NoticeRefused("UNSUPPORTED")
    return read(content)


def notice_reply(*, accepted: bool) -> NoticeReply:
    """Returns the answer that ends the repetitions, or one that asks for another."""
    return _SUCCESS if accepted else _FAILURE


def _open(credentials: WechatPayCredentials, body: bytes) -> tuple[str, Mapping[str, Any]]:
    try:
        envelope = json.loads(body)
        event_type, resource = str(envelope["event_type"]), envelope["resource"]
        nonce, ciphertext = resource["nonce"], resource["ciphertext"]
        associated_data = resource.get("associated_data", "")
        if resource["algorithm"] != "AEAD_AES_256_GCM" or not isinstance(ciphertext, str):
            raise ValueError(resource["algorithm"])
        if not isinstance(nonce, str) or not isinstance(associated_data, str):
            raise TypeError("nonce")
    except (ValueError, KeyError, TypeError, AttributeError):
        raise NoticeRefused("MALFORMED") from None
    try:
        plaintext = unseal(
            credentials.api_v3_key, nonce=nonce, associated_data=associated_data, ciphertext=ciphertext
        )
    except ValueError:
        raise NoticeRefused("SEAL_INVALID") from None
    try:
        content = json.loads(plaintext)
    except ValueError:
        raise NoticeRefused("MALFORMED") from None
    if not isinstance(content, dict):
        raise NoticeRefused("MALFORMED")
    return event_type, content


def _payment(content: Mapping[str, Any]) -> NoticeContent:
    return NoticeContent(
        kind=ChannelOrderKind.PAY,
        channel_order_id=_number(content, "out_trade_no"),
        answer=_known(transaction_answer(content)),
    )


def _refund(content: Mapping[str, Any]) -> NoticeContent:
    return NoticeContent(
        kind=ChannelOrderKind.REFUND,
        channel_order_id=_number(content, "out_refund_no"),
        payment_channel_order_id=_number(content, "out_trade_no"),
        answer=_known(refund_status_answer(str(content.get("refund_status") or ""), content)),
    )


def _payout(content: Mapping[str, Any]) -> NoticeContent:
    number = _number(content, "out_bill_no")
    return NoticeContent(
        kind=ChannelOrderKind.PAYOUT, channel_order_id=number, answer=_known(transfer_answer(content, number))
    )


_READERS: Mapping[str, Callable[[Mapping[str, Any]], NoticeContent]] = {
    "TRANSACTION": _payment,
    "REFUND": _refund,
    "MCHTRANSFER": _payout,
}


def _number(content: Mapping[str, Any], name: str) -> str:
    value = content.get(name)
    if not isinstance(value, str) or not value:
        raise NoticeRefused("MALFORMED")
    return value


def _known(answer: ChannelAnswer) -> ChannelAnswer:
    if answer.standing is Standing.UNKNOWN:
        raise NoticeRefused("UNSUPPORTED")
    return answer
