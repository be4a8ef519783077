"""One verified call of an application: who calls, what is asked, and checked access to its fields.

Invariant: an operation sees only calls whose signature was verified.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from channel_gateway.sandbox.alipay.answers import invalid_parameter, trade_error
from channel_gateway.sandbox.money import parse_yuan
from channel_gateway.sandbox.records import AlipayApp, Channel, Trade, TradeState
from channel_gateway.sandbox.refusal import Cause

if TYPE_CHECKING:
    from channel_gateway.sandbox.sandbox import Sandbox

_NUMBER = re.compile(r"[0-9A-Za-z_]{1,64}")


@dataclass(frozen=True, slots=True)
class Call:
    """A verified request."""

    sandbox: Sandbox
    app: AlipayApp
    parameters: dict[str, str]
    business: dict[str, Any]

    def text(self, name: str, *, required: bool = True, longest: int = 256) -> str:
        """Returns a business parameter as text; raises AlipayError when it is missing or too long."""
        value = self.business.get(name)
        text = "" if value is None else str(value)
        if len(text) > longest or (required and not text):
            raise invalid_parameter(name)
        return text

    def number(self, name: str) -> str:
        """Returns a number of the merchant's: letters, digits and underscores, at most 64."""
        text = self.text(name)
        if not _NUMBER.fullmatch(text):
            raise invalid_parameter(name)
        return text

    def amount(self, name: str) -> int:
        """Returns an amount in minor units, at least one."""
        try:
            minor_units = parse_yuan(self.text(name))
        except ValueError as error:
            raise invalid_parameter(name) from error
        if minor_units == 0:
            raise invalid_parameter(name)
        return minor_units

    def known_trade(self) -> Trade | None:
        """Finds the trade that the call names by trade_no or out_trade_no, prepared ones included."""
        books = self.sandbox.books
        transaction_no = self.text("trade_no", required=False)
        out_trade_no = self.text("out_trade_no", required=False)
        if transaction_no:
            trade = books.trade_by_transaction_no(Channel.ALIPAY, self.app.seller_id, transaction_no)
        elif out_trade_no:
            trade = books.trade(Channel.ALIPAY, self.app.seller_id, out_trade_no)
        else:
            raise invalid_parameter("out_trade_no")
        if trade is not None:
            self.sandbox.payments.expire_when_due(trade)
        return trade

    def existing_trade(self) -> Trade:
        """Finds the trade that the call names; one that nobody scanned does not exist for Alipay."""
        trade = self.known_trade()
        if trade is None or trade.state == TradeState.PREPARED or not trade.transaction_no:
            raise trade_error(Cause.TRADE_NOT_EXIST)
        return trade
