"""Alipay's synchronous return: the signed address that the payer's browser goes back to.

Source: Alipay open platform, "return parameters" of alipay.trade.page.pay.
Invariant: the return proves nothing about the payment that the notice or the query would not.
"""

from __future__ import annotations

from urllib.parse import urlencode

from channel_gateway.sandbox.alipay.signature import sign_notice
from channel_gateway.sandbox.clock import beijing_text, now_milliseconds
from channel_gateway.sandbox.keys import PlatformKeys
from channel_gateway.sandbox.money import yuan_text
from channel_gateway.sandbox.records import Trade


def return_address(keys: PlatformKeys, trade: Trade) -> str:
    """Returns the merchant's return address with the signed parameters of a paid trade."""
    method = {"page": "alipay.trade.page.pay.return", "wap": "alipay.trade.wap.pay.return"}
    fields = {
        "charset": "utf-8",
        "out_trade_no": trade.out_trade_no,
        "method": method.get(trade.invoke_method, "alipay.trade.page.pay.return"),
        "total_amount": yuan_text(trade.paid_minor_units or trade.total_minor_units),
        "trade_no": trade.transaction_no,
        "auth_app_id": trade.app_id,
        "version": "1.0",
        "app_id": trade.app_id,
        "sign_type": "RSA2",
        "seller_id": trade.account,
        "timestamp": beijing_text(now_milliseconds()),
    }
    fields["sign"] = sign_notice(keys.alipay_private_key, fields)
    separator = "&" if "?" in trade.return_url else "?"
    return f"{trade.return_url}{separator}{urlencode(fields)}"
