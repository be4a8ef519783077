"""The channel's own cashier page, where a person pays, cancels or lets the payment fail.

Invariant: every value that came from a merchant is escaped.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from channel_gateway.sandbox.alipay.returning import return_address
from channel_gateway.sandbox.lookup import AmbiguousNumber, UnknownNumber, find_trade
from channel_gateway.sandbox.money import yuan_text
from channel_gateway.sandbox.payments import OPEN_STATES
from channel_gateway.sandbox.records import Channel, Trade, TradeState
from channel_gateway.sandbox.refusal import Refusal

if TYPE_CHECKING:
    from channel_gateway.sandbox.sandbox import Sandbox

_CHANNEL_NAMES = {Channel.ALIPAY: "Alipay 支付宝", Channel.WECHAT: "WeChat Pay 微信支付"}
_STATE_WORDS = {
    TradeState.PREPARED: "waiting for the payer",
    TradeState.WAITING: "waiting for the payer",
    TradeState.PAYMENT_FAILED: "the bank refused",
    TradeState.PAID: "paid",
    TradeState.CLOSED: "closed",
}
_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:26rem;margin:3rem auto;padding:0 1rem;color:#1a1a1a}
h1{font-size:1rem;color:#555;margin:0}.amount{font-size:2.4rem;margin:.5rem 0}
dl{display:grid;grid-template-columns:auto 1fr;gap:.3rem 1rem}
dt{color:#666}dd{margin:0;overflow-wrap:anywhere}
form{display:flex;gap:.6rem;margin-top:1.5rem}
button{font:inherit;padding:.6rem 1.4rem;border:1px solid #888;border-radius:.4rem;background:#fff}
button.pay{background:#1677ff;border-color:#1677ff;color:#fff}
small{color:#777}
"""


def cashier_page(trade: Trade) -> str:
    """Writes the page of one trade, with buttons while it can be paid."""
    base = f"/sandbox/cashier/{escape(trade.out_trade_no, quote=True)}"
    where = f"?channel={trade.channel}&amp;account={escape(trade.account, quote=True)}"
    buttons = ""
    if trade.state in OPEN_STATES:
        buttons = (
            '<form method="post">'
            f'<button class="pay" formaction="{base}/pay{where}">Pay 付款</button>'
            f'<button formaction="{base}/cancel{where}">Cancel 取消</button>'
            f'<button formaction="{base}/fail{where}">Fail 失败</button></form>'
        )
    return _page(
        _CHANNEL_NAMES[Channel(trade.channel)],
        f'<p class="amount">¥{yuan_text(trade.paid_minor_units or trade.total_minor_units)}</p>'
        f"<dl><dt>For</dt><dd>{escape(trade.subject)}</dd>"
        f"<dt>Merchant</dt><dd>{escape(trade.account)}</dd>"
        f"<dt>Order</dt><dd>{escape(trade.out_trade_no)}</dd>"
        f'<dt>State</dt><dd id="state">{_STATE_WORDS[TradeState(trade.state)]}</dd></dl>{buttons}',
    )


def failure_page(code: str, message: str) -> str:
    """Writes the page that tells why there is nothing to pay."""
    return _page(
        "Cannot pay 无法付款", f'<p>{escape(message)}</p><p><code id="sub-code">{escape(code)}</code></p>'
    )


def _page(title: str, content: str) -> str:
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>'
        f"<body><h1>{title}</h1>{content}<p><small>Sandbox: no money moves here.</small></p></body></html>"
    )


class CashierPages:
    """Serves the cashier page of any trade and takes the person's decision."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    async def show(self, request: Request) -> Response:
        """Shows a trade; opening the page of a prepared one is scanning its code."""
        trade = self._find(request)
        if isinstance(trade, Response):
            return trade
        try:
            self._sandbox.payments.scan(trade)
            self._sandbox.payments.expire_when_due(trade)
        except Refusal as refusal:
            return HTMLResponse(failure_page(refusal.cause, "The code is no longer valid"), status_code=410)
        return HTMLResponse(cashier_page(trade))

    async def decide(self, request: Request) -> Response:
        """Pays, cancels or fails, then goes back to the merchant's return address or to the page."""
        trade = self._find(request)
        if isinstance(trade, Response):
            return trade
        payments = self._sandbox.payments
        actions = {"pay": payments.pay, "cancel": payments.cancel_by_payer, "fail": payments.fail}
        action = actions.get(request.path_params["action"])
        if action is None:
            return HTMLResponse(failure_page("NOT_FOUND", "There is no such button"), status_code=404)
        try:
            action(trade)
        except Refusal as refusal:
            return HTMLResponse(failure_page(refusal.cause, "The trade does not allow it"), status_code=409)
        if trade.state == TradeState.PAID and trade.return_url and trade.channel == Channel.ALIPAY:
            return RedirectResponse(return_address(self._sandbox.keys, trade), status_code=303)
        page = f"/sandbox/cashier/{trade.out_trade_no}?channel={trade.channel}&account={trade.account}"
        return RedirectResponse(page, status_code=303)

    def _find(self, request: Request) -> Trade | Response:
        try:
            return find_trade(self._sandbox.books, request.path_params["number"], request.query_params)
        except UnknownNumber:
            return HTMLResponse(failure_page("NOT_FOUND", "There is no such trade"), status_code=404)
        except AmbiguousNumber:
            return HTMLResponse(
                failure_page("AMBIGUOUS", "Several merchants have this number"), status_code=409
            )
