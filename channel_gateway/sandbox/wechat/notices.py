"""WeChat Pay's notices: a sealed resource in a signed body, repeated until the answer is 200 or 204.

Source: WeChat Pay API v3, "payment notices", "refund notices", "transfer notices".
Invariant: a notice keeps its id and content over all attempts; nonce, timestamp and signature are new.
"""

from __future__ import annotations

import base64
import copy
import json
import secrets
from typing import Any

from channel_gateway.sandbox import rsa_keys
from channel_gateway.sandbox.clock import now_milliseconds, rfc3339_text
from channel_gateway.sandbox.faults import FaultKind
from channel_gateway.sandbox.keys import PlatformKeys
from channel_gateway.sandbox.merchants import Merchants
from channel_gateway.sandbox.notices import Message, Notices
from channel_gateway.sandbox.records import Channel, Notice, Refund, RefundState, Trade, Transfer
from channel_gateway.sandbox.wechat.platform import choose_key, signed_headers
from channel_gateway.sandbox.wechat.refunds import REFUND_WORDS
from channel_gateway.sandbox.wechat.signature import seal
from channel_gateway.sandbox.wechat.transactions import TRADE_TYPES, transaction
from channel_gateway.sandbox.wechat.transfers import transfer_body

_BASE_HEADERS = {
    "Content-Type": "application/json",
    "Accept": "application/json",
    "User-Agent": "Mozilla/4.0",
}
_PROBE_PREFIX = "WECHATPAY/SIGNTEST/"
_STRANGER_MCHID = "1999999999"
_STRANGER_APPID = "wx9999999999999999"
_KINDS = {
    "TRANSACTION": ("transaction", "支付成功"),
    "REFUND": ("refund", "退款结果"),
    "MCHTRANSFER": ("mch_payment", "商家转账单据终态通知"),
}


class WechatNotices:
    """Writes WeChat Pay's notices and reads the merchants' answers."""

    retry_delays_seconds: tuple[float, ...] = (
        *(15, 15, 30, 180, 600, 1200, 1800, 1800, 1800, 3600),
        *(10800, 10800, 10800, 21600, 21600),
    )

    def __init__(self, *, keys: PlatformKeys, merchants: Merchants, notices: Notices) -> None:
        self._keys = keys
        self._merchants = merchants
        self._notices = notices
        self._forger_key = rsa_keys.generate_private_key()

    def trade_paid(self, trade: Trade) -> None:
        """Announces TRANSACTION.SUCCESS."""
        self._notices.enqueue(_trade_notice(trade, transaction(trade, state="SUCCESS")))

    def trade_closed(self, trade: Trade) -> None:
        """Announces nothing: WeChat Pay is silent about orders that were never paid."""

    def refund_finished(self, trade: Trade, refund: Refund) -> None:
        """Announces REFUND.SUCCESS, REFUND.ABNORMAL or REFUND.CLOSED when the refund named an address."""
        if not refund.notify_url:
            return
        word = REFUND_WORDS[RefundState(refund.state)]
        content: dict[str, Any] = {
            "mchid": refund.account,
            "out_trade_no": trade.out_trade_no,
            "transaction_id": trade.transaction_no,
            "out_refund_no": refund.out_refund_no,
            "refund_id": refund.refund_no,
            "refund_status": word,
            "amount": {
                "total": trade.paid_minor_units,
                "refund": refund.amount_minor_units,
                "payer_total": trade.paid_minor_units,
                "payer_refund": refund.amount_minor_units,
            },
            "user_received_account": "支付用户零钱",
        }
        if refund.state == RefundState.SUCCEEDED:
            content["success_time"] = rfc3339_text(refund.finish_milliseconds)
        numbers = [refund.out_refund_no, trade.out_trade_no]
        self._notices.enqueue(
            _notice(refund.account, trade.app_id, f"REFUND.{word}", numbers, refund.notify_url, content)
        )

    def transfer_finished(self, transfer: Transfer) -> None:
        """Announces MCHTRANSFER.BILL.FINISHED when the transfer named an address."""
        if transfer.notify_url:
            content = transfer_body(transfer)
            numbers = [transfer.out_transfer_no]
            event = "MCHTRANSFER.BILL.FINISHED"
            self._notices.enqueue(
                _notice(transfer.account, transfer.app_id, event, numbers, transfer.notify_url, content)
            )

    def render(
        self, notice: Notice, *, spoil: FaultKind | None, other: str, sign_milliseconds: int
    ) -> Message:
        """Seals and signs the notice with the time of this attempt, spoilt in the named way."""
        merchant = self._merchants.wechat_merchants[notice.account]
        original_type, summary = _KINDS[notice.event_type.partition(".")[0]]
        content = self._spoilt(notice, spoil, other)
        plaintext = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
        nonce = secrets.token_hex(6)
        envelope = {
            "id": notice.notice_id,
            "create_time": rfc3339_text(notice.create_milliseconds),
            "resource_type": "encrypt-resource",
            "event_type": notice.event_type,
            "summary": summary,
            "resource": {
                "original_type": original_type,
                "algorithm": "AEAD_AES_256_GCM",
                "ciphertext": seal(merchant.api_v3_key.encode(), nonce, original_type, plaintext),
                "associated_data": original_type,
                "nonce": nonce,
            },
        }
        body = json.dumps(envelope, ensure_ascii=False, separators=(",", ":")).encode()
        serial, private_key = choose_key(self._keys, merchant)
        if spoil is FaultKind.FORGED_NOTICE:
            private_key = self._forger_key
        headers = dict(_BASE_HEADERS)
        if spoil is not FaultKind.UNSIGNED_NOTICE:
            headers |= signed_headers(serial, private_key, body, sign_milliseconds=sign_milliseconds)
        if spoil is FaultKind.SIGNTEST_PROBE:
            headers["Wechatpay-Signature"] = (
                _PROBE_PREFIX + base64.b64encode(secrets.token_bytes(256)).decode()
            )
        if spoil is FaultKind.FLIPPED_BYTE_NOTICE:
            position = body.index(b'"ciphertext":"') + len(b'"ciphertext":"') + 20
            flipped = ord("B") if body[position] == ord("A") else ord("A")
            body = body[:position] + bytes([flipped]) + body[position + 1 :]
        return Message(headers=headers, body=body)

    def accepts(self, status: int, body: bytes) -> bool:  # noqa: ARG002
        """Tells whether the HTTP status is 200 or 204; the body does not matter."""
        return status in (200, 204)

    def pretended_payment(self, trade: Trade) -> Notice:
        """Writes, without sending it, the notice that would say that this unpaid order is paid."""
        content = transaction(trade, state="SUCCESS")
        total = trade.total_minor_units
        content["amount"] = {"total": total, "currency": "CNY", "payer_total": total, "payer_currency": "CNY"}
        content["transaction_id"] = trade.transaction_no or "4200000000202601010000000000"
        content["trade_type"] = TRADE_TYPES[trade.invoke_method]
        content["bank_type"] = "OTHERS"
        content["success_time"] = rfc3339_text(now_milliseconds())
        content["payer"] = {"openid": trade.payer_id}
        return _trade_notice(trade, content)

    def _spoilt(self, notice: Notice, spoil: FaultKind | None, other: str) -> dict[str, Any]:
        content = notice.content
        if spoil is FaultKind.WRONG_AMOUNT_NOTICE:
            content = copy.deepcopy(content)
            if "transfer_amount" in content:
                content["transfer_amount"] += 1
            for name in ("total", "payer_total", "refund", "payer_refund"):
                if name in content.get("amount", {}):
                    content["amount"][name] += 1
        elif spoil is FaultKind.OTHER_MERCHANT_NOTICE:
            mchid, appid = self._stranger(notice, other)
            content = {**content, "mchid": mchid, **({"appid": appid} if "appid" in content else {})}
            if "mch_id" in content:
                content["mch_id"] = mchid
        elif spoil is FaultKind.OTHER_ORDER_NOTICE:
            name = next(name for name in ("out_refund_no", "out_bill_no", "out_trade_no") if name in content)
            content = {**content, name: other or f"other{secrets.token_hex(8)}"}
        return content

    def _stranger(self, notice: Notice, other: str) -> tuple[str, str]:
        for merchant in self._merchants.wechat_merchants.values():
            if merchant.mchid == other or (not other and merchant.mchid != notice.account):
                return merchant.mchid, merchant.appids[0]
        return other or _STRANGER_MCHID, _STRANGER_APPID


def _trade_notice(trade: Trade, content: dict[str, Any]) -> Notice:
    numbers = [trade.out_trade_no]
    return _notice(trade.account, trade.app_id, "TRANSACTION.SUCCESS", numbers, trade.notify_url, content)


def _notice(
    account: str, app_id: str, event_type: str, numbers: list[str], url: str, content: dict[str, Any]
) -> Notice:
    return Notice(
        notice_id=f"EV-2{secrets.randbelow(10**31):031d}",
        channel=Channel.WECHAT,
        account=account,
        app_id=app_id,
        event_type=event_type,
        number=numbers[0],
        numbers=numbers,
        url=url,
        content=content,
        create_milliseconds=now_milliseconds(),
    )
