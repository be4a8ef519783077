"""What happens to a trade: it is opened, scanned, paid, left, closed or it expires.

Invariant: a trade is charged at most once, and only force charges one that is closed.
"""

from __future__ import annotations

import secrets
from typing import Protocol

from channel_gateway.sandbox.behaviour import Behaviour
from channel_gateway.sandbox.books import Books
from channel_gateway.sandbox.clock import beijing_compact, now_milliseconds
from channel_gateway.sandbox.money import fee_of
from channel_gateway.sandbox.records import Channel, Refund, Trade, TradeState, Transfer
from channel_gateway.sandbox.refusal import Cause, Refusal
from channel_gateway.sandbox.schedule import Schedule

OPEN_STATES = (TradeState.PREPARED, TradeState.WAITING, TradeState.PAYMENT_FAILED)


class Announcer(Protocol):
    """Writes a channel's notice of what happened, if that channel sends one."""

    def trade_paid(self, trade: Trade) -> None:
        """Announces that the payer was charged."""
        ...

    def trade_closed(self, trade: Trade) -> None:
        """Announces that the trade ended without a charge."""
        ...

    def refund_finished(self, trade: Trade, refund: Refund) -> None:
        """Announces that a refund reached its final state."""
        ...

    def transfer_finished(self, transfer: Transfer) -> None:
        """Announces that a transfer reached its final state."""
        ...


class Payments:
    """The life of trades on both channels."""

    def __init__(
        self, *, books: Books, behaviour: Behaviour, schedule: Schedule, announcers: dict[str, Announcer]
    ) -> None:
        self._books = books
        self._behaviour = behaviour
        self._schedule = schedule
        self._announcers = announcers

    def resume(self) -> None:
        """Schedules what was due when the process ended."""
        for trade in list(self._books.trades.values()):
            if trade.state in OPEN_STATES:
                self._arrange(trade)

    def open(self, trade: Trade) -> Trade:
        """Enters a trade, or returns the equal one that is there, so that asking again is harmless.

        Raises Refusal when the number is taken by a paid, a closed or a different trade.
        """
        known = self._books.trades.get(trade.key)
        if known is None:
            if trade.expire_milliseconds and trade.expire_milliseconds <= now_milliseconds():
                raise Refusal(Cause.TRADE_EXPIRED)
            if self._behaviour.auto_pay:
                delay = round(self._behaviour.auto_pay_delay_seconds * 1000)
                trade.automatic_pay_milliseconds = now_milliseconds() + delay
            self._books.add_trade(trade)
            self._arrange(trade)
            return trade
        self.expire_when_due(known)
        if known.state == TradeState.PAID:
            raise Refusal(Cause.TRADE_PAID)
        if known.state == TradeState.CLOSED:
            raise Refusal(Cause.TRADE_CLOSED)
        if (known.total_minor_units, known.app_id) != (trade.total_minor_units, trade.app_id):
            raise Refusal(Cause.TRADE_INCONSISTENT)
        return known

    def scan(self, trade: Trade) -> None:
        """Lets a trade that was only prepared begin to exist, as it does when the payer scans its code."""
        if trade.state != TradeState.PREPARED:
            return
        if trade.expire_milliseconds and trade.expire_milliseconds <= now_milliseconds():
            raise Refusal(Cause.TRADE_EXPIRED)
        trade.state = TradeState.WAITING
        trade.transaction_no = new_transaction_no(trade.channel)
        self._books.save_trade(trade)

    def pay(self, trade: Trade, *, amount_minor_units: int | None = None, force: bool = False) -> None:
        """Charges the payer, the whole amount or another one, and announces it.

        Raises Refusal when the trade is paid, or closed and not forced.
        """
        if trade.state == TradeState.PREPARED:
            self.scan(trade)
        self.expire_when_due(trade)
        if trade.state == TradeState.PAID:
            raise Refusal(Cause.TRADE_PAID)
        if trade.state == TradeState.CLOSED and not force:
            raise Refusal(Cause.TRADE_CLOSED)
        account = self._books.accounts[f"{trade.channel}/{trade.account}"]
        trade.state = TradeState.PAID
        trade.paid_minor_units = trade.total_minor_units if amount_minor_units is None else amount_minor_units
        trade.fee_minor_units = fee_of(trade.paid_minor_units, account.fee_rate_parts_per_million)
        trade.pay_milliseconds = now_milliseconds()
        trade.close_milliseconds = 0
        trade.transaction_no = trade.transaction_no or new_transaction_no(trade.channel)
        with self._books.store.batch():
            self._books.save_trade(trade)
            self._announcers[trade.channel].trade_paid(trade)
        self._books.move(trade, trade.paid_minor_units - trade.fee_minor_units)

    def pay_when_open(self, trade: Trade) -> None:
        """Charges the payer unless the trade is paid or closed already."""
        if trade.state in OPEN_STATES:
            self.pay(trade)

    def cancel_by_payer(self, trade: Trade) -> None:
        """Lets the payer walk away: Alipay closes the trade, WeChat Pay leaves it unpaid for good."""
        self._require_open(trade)
        trade.automatic_pay_milliseconds = 0
        if trade.channel == Channel.ALIPAY:
            self._close(trade)
        else:
            self._books.save_trade(trade)

    def fail(self, trade: Trade) -> None:
        """Lets the bank refuse: WeChat Pay says so (PAYERROR), at Alipay the trade goes on waiting."""
        self._require_open(trade)
        trade.automatic_pay_milliseconds = 0
        if trade.channel == Channel.WECHAT:
            trade.state = TradeState.PAYMENT_FAILED
        self._books.save_trade(trade)

    def close(self, trade: Trade) -> None:
        """Closes an unpaid trade for the merchant; raises Refusal when it is paid or already closed."""
        self._require_open(trade)
        self._close(trade)

    def expire_when_due(self, trade: Trade) -> None:
        """Closes a waiting trade whose time is over; a code that nobody scanned only ceases to work."""
        if trade.state not in (TradeState.WAITING, TradeState.PAYMENT_FAILED):
            return
        if trade.expire_milliseconds and trade.expire_milliseconds <= now_milliseconds():
            self._close(trade)

    def _require_open(self, trade: Trade) -> None:
        self.expire_when_due(trade)
        if trade.state == TradeState.PAID:
            raise Refusal(Cause.TRADE_PAID)
        if trade.state == TradeState.CLOSED:
            raise Refusal(Cause.TRADE_CLOSED)

    def _close(self, trade: Trade) -> None:
        existed = trade.state != TradeState.PREPARED
        trade.state = TradeState.CLOSED
        trade.close_milliseconds = now_milliseconds()
        with self._books.store.batch():
            self._books.save_trade(trade)
            if existed:
                self._announcers[trade.channel].trade_closed(trade)

    def _arrange(self, trade: Trade) -> None:
        if trade.automatic_pay_milliseconds:
            self._schedule.at(trade.automatic_pay_milliseconds, lambda: self._pay_automatically(trade))
        if trade.expire_milliseconds:
            self._schedule.at(trade.expire_milliseconds, lambda: self.expire_when_due(trade))

    def _pay_automatically(self, trade: Trade) -> None:
        if trade.automatic_pay_milliseconds:
            self.pay_when_open(trade)


def new_transaction_no(channel: str) -> str:
    """Makes a channel's transaction number in the form that channel uses, 28 digits."""
    day = beijing_compact(now_milliseconds())[:8]
    if channel == Channel.ALIPAY:
        return f"{day}22001{secrets.randbelow(10**15):015d}"
    return f"4200{secrets.randbelow(10**6):06d}{day}{secrets.randbelow(10**10):010d}"
