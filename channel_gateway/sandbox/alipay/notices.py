"""Alipay's notices: form fields with an RSA2 signature, repeated until the merchant answers success.

Source: Alipay open platform, "asynchronous notices" of alipay.trade.page.pay.
Invariant: a notice keeps its notify_id and content over all attempts; only notify_time and sign are new.
"""

from __future__ import annotations

import json
import secrets
from urllib.parse import urlencode

from channel_gateway.sandbox import rsa_keys
from channel_gateway.sandbox.alipay.signature import sign_notice
from channel_gateway.sandbox.alipay.trades import trade_status
from channel_gateway.sandbox.clock import beijing_compact, beijing_text, now_milliseconds
from channel_gateway.sandbox.faults import FaultKind
from channel_gateway.sandbox.keys import PlatformKeys
from channel_gateway.sandbox.merchants import Merchants
from channel_gateway.sandbox.money import parse_yuan, yuan_text
from channel_gateway.sandbox.notices import Message, Notices
from channel_gateway.sandbox.records import Channel, Notice, Refund, RefundState, Trade, Transfer

_HEADERS = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8", "User-Agent": "Mozilla/4.0"}
_AMOUNTS = ("total_amount", "receipt_amount", "invoice_amount", "buyer_pay_amount")
_STRANGER_APP_ID = "2021009999999999"
_STRANGER_SELLER_ID = "2088999999999999"


class AlipayNotices:
    """Writes Alipay's notices and reads the merchants' answers."""

    retry_delays_seconds: tuple[float, ...] = (240, 600, 600, 3600, 7200, 21600, 54000)

    def __init__(self, *, keys: PlatformKeys, merchants: Merchants, notices: Notices) -> None:
        self._keys = keys
        self._merchants = merchants
        self._notices = notices
        self._forger_key = rsa_keys.generate_private_key()

    def trade_paid(self, trade: Trade) -> None:
        """Announces TRADE_SUCCESS."""
        self._enqueue(trade, "TRADE_SUCCESS", payment_content(trade))

    def trade_closed(self, trade: Trade) -> None:
        """Announces TRADE_CLOSED of a trade that was never paid."""
        content = _common_content(trade)
        content["gmt_close"] = beijing_text(trade.close_milliseconds)
        self._enqueue(trade, "TRADE_CLOSED", content)

    def refund_finished(self, trade: Trade, refund: Refund) -> None:
        """Announces a refund that succeeded, as TRADE_SUCCESS when partial and TRADE_CLOSED when whole."""
        if refund.state != RefundState.SUCCEEDED:
            return
        content = payment_content(trade)
        content["refund_fee"] = yuan_text(trade.refunded_minor_units)
        content["out_biz_no"] = refund.out_refund_no
        content["gmt_refund"] = (
            f"{beijing_text(refund.finish_milliseconds)}.{refund.finish_milliseconds % 1000:03d}"
        )
        if trade_status(trade) == "TRADE_CLOSED":
            content["gmt_close"] = beijing_text(refund.finish_milliseconds)
        self._enqueue(trade, f"{trade_status(trade)}/REFUND", content, refund.out_refund_no)

    def transfer_finished(self, transfer: Transfer) -> None:
        """Announces nothing: Alipay tells of transfers through the application's own gateway only."""

    def render(
        self, notice: Notice, *, spoil: FaultKind | None, other: str, sign_milliseconds: int
    ) -> Message:
        """Writes the form with the time and signature of this attempt, spoilt in the named way."""
        fields = {
            "notify_time": beijing_text(sign_milliseconds),
            "notify_type": "trade_status_sync",
            "notify_id": notice.notice_id,
            "charset": "utf-8",
            "version": "1.0",
            "sign_type": "RSA2",
            "app_id": notice.app_id,
            "auth_app_id": notice.app_id,
            "seller_id": notice.account,
            **notice.content,
        }
        if spoil is FaultKind.WRONG_AMOUNT_NOTICE:
            for name in _AMOUNTS:
                if name in fields:
                    fields[name] = yuan_text(parse_yuan(fields[name]) + 1)
        elif spoil is FaultKind.OTHER_MERCHANT_NOTICE:
            fields["app_id"], fields["seller_id"] = self._stranger(notice, other)
            fields["auth_app_id"] = fields["app_id"]
        elif spoil is FaultKind.OTHER_ORDER_NOTICE:
            fields["out_trade_no"] = other or f"other_{secrets.token_hex(8)}"
        if spoil is FaultKind.UNSIGNED_NOTICE:
            del fields["sign_type"]
        else:
            forged = spoil is FaultKind.FORGED_NOTICE
            fields["sign"] = sign_notice(
                self._forger_key if forged else self._keys.alipay_private_key, fields
            )
        if spoil is FaultKind.FLIPPED_BYTE_NOTICE:
            number = fields["trade_no"]
            fields["trade_no"] = number[:-1] + chr(ord(number[-1]) ^ 1)
        return Message(headers=_HEADERS, body=urlencode(fields).encode())

    def accepts(self, status: int, body: bytes) -> bool:
        """Tells whether the body is the one word success."""
        return status == 200 and body.strip() == b"success"

    def pretended_payment(self, trade: Trade) -> Notice:
        """Writes, without sending it, the notice that would say that this unpaid trade is paid."""
        content = _common_content(trade)
        amount = yuan_text(trade.total_minor_units)
        content.update(dict.fromkeys(_AMOUNTS, amount))
        content["trade_status"] = "TRADE_SUCCESS"
        content["trade_no"] = trade.transaction_no or "2026010122001000000000000000"
        content["gmt_payment"] = beijing_text(now_milliseconds())
        return self._notice(trade, "TRADE_SUCCESS", content, "")

    def _stranger(self, notice: Notice, other: str) -> tuple[str, str]:
        for app in self._merchants.alipay_apps.values():
            if app.app_id == other or (not other and app.seller_id != notice.account):
                return app.app_id, app.seller_id
        return other or _STRANGER_APP_ID, _STRANGER_SELLER_ID

    def _enqueue(
        self, trade: Trade, event_type: str, content: dict[str, str], refund_number: str = ""
    ) -> None:
        if trade.notify_url:
            self._notices.enqueue(self._notice(trade, event_type, content, refund_number))

    @staticmethod
    def _notice(trade: Trade, event_type: str, content: dict[str, str], refund_number: str) -> Notice:
        now = now_milliseconds()
        numbers = [trade.out_trade_no, refund_number] if refund_number else [trade.out_trade_no]
        return Notice(
            notice_id=f"{beijing_compact(now)[:8]}00222{beijing_compact(now)[8:]}{secrets.randbelow(10**15):015d}",
            channel=Channel.ALIPAY,
            account=trade.account,
            app_id=trade.app_id,
            event_type=event_type,
            number=refund_number or trade.out_trade_no,
            numbers=list(dict.fromkeys(numbers)),
            url=trade.notify_url,
            content=content,
            create_milliseconds=now,
        )


def payment_content(trade: Trade) -> dict[str, str]:
    """Returns what a notice says of a paid trade."""
    content = _common_content(trade)
    amount = yuan_text(trade.paid_minor_units)
    content.update(dict.fromkeys(_AMOUNTS, amount))
    content["point_amount"] = "0.00"
    content["gmt_payment"] = beijing_text(trade.pay_milliseconds)
    bill = [{"amount": amount, "fundChannel": "ALIPAYACCOUNT"}]
    content["fund_bill_list"] = json.dumps(bill, separators=(",", ":"))
    return content


def _common_content(trade: Trade) -> dict[str, str]:
    content = {
        "trade_no": trade.transaction_no,
        "out_trade_no": trade.out_trade_no,
        "buyer_id": trade.payer_id,
        "buyer_logon_id": "csq***@sandbox.com",
        "trade_status": trade_status(trade),
        "total_amount": yuan_text(trade.paid_minor_units or trade.total_minor_units),
        "subject": trade.subject,
        "gmt_create": beijing_text(trade.create_milliseconds),
    }
    if trade.attachment:
        content["passback_params"] = trade.attachment
    return content
