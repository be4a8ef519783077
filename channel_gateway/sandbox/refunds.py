"""What happens to a refund: it is accepted, and it succeeds, is closed, or is stuck at the payer's bank.

Invariant: what a trade has refunded and is refunding never exceeds what was charged.
"""

from __future__ import annotations

from functools import partial

from channel_gateway.sandbox.behaviour import Behaviour
from channel_gateway.sandbox.books import Books
from channel_gateway.sandbox.clock import now_milliseconds
from channel_gateway.sandbox.payments import Announcer
from channel_gateway.sandbox.records import Refund, RefundState, Trade, TradeState
from channel_gateway.sandbox.refusal import Cause, Refusal
from channel_gateway.sandbox.schedule import Schedule


class Refunds:
    """The life of refunds on both channels."""

    def __init__(
        self, *, books: Books, behaviour: Behaviour, schedule: Schedule, announcers: dict[str, Announcer]
    ) -> None:
        self._books = books
        self._behaviour = behaviour
        self._schedule = schedule
        self._announcers = announcers

    def resume(self) -> None:
        """Schedules the refunds that were in process when this process ended."""
        for refund in list(self._books.refunds.values()):
            if refund.state == RefundState.PROCESSING and refund.due_milliseconds:
                self._schedule.at(refund.due_milliseconds, partial(self._finish_due, refund))

    def accept(self, trade: Trade, refund: Refund, *, immediate: bool) -> tuple[Refund, bool]:
        """Accepts a refund and tells whether it is new; immediate refunds finish now, others on schedule.

        Idempotent by the refund's key; raises Refusal when the number is taken by another refund, the trade
        is not paid, too little is left of it, or the merchant's balance does not cover it.
        """
        known = self._books.refunds.get(refund.key)
        if known is not None:
            if (known.out_trade_no, known.amount_minor_units) != (
                refund.out_trade_no,
                refund.amount_minor_units,
            ):
                raise Refusal(Cause.REFUND_INCONSISTENT)
            return known, False
        if trade.state != TradeState.PAID:
            raise Refusal(Cause.TRADE_NOT_PAID)
        left = trade.paid_minor_units - trade.refunded_minor_units - trade.refunding_minor_units
        if refund.amount_minor_units > left:
            raise Refusal(Cause.REFUND_EXCEEDS_PAYMENT)
        refund.fee_returned_minor_units = self._fee_share(trade, refund.amount_minor_units)
        cost = refund.amount_minor_units - refund.fee_returned_minor_units
        if self._books.balance_minor_units(trade.channel, trade.account) < cost:
            raise Refusal(Cause.BALANCE_NOT_ENOUGH)
        automatic = self._behaviour.auto_refund_seconds
        if automatic is not None and not immediate:
            refund.due_milliseconds = now_milliseconds() + round(automatic * 1000)
        trade.refunding_minor_units += refund.amount_minor_units
        trade.fee_returned_minor_units += refund.fee_returned_minor_units
        with self._books.store.batch():
            self._books.add_refund(refund)
            self._books.save_trade(trade)
            self._books.move(refund, -cost)
            if automatic is not None and immediate:
                self.finish(refund, RefundState.SUCCEEDED)
        if refund.due_milliseconds:
            self._schedule.at(refund.due_milliseconds, lambda: self._finish_due(refund))
        return refund, True

    def finish(self, refund: Refund, state: RefundState) -> None:
        """Ends a refund and announces it; raises Refusal when it ended before.

        CLOSED gives the money back to the merchant, ABNORMAL keeps it with the channel until somebody acts.
        """
        if refund.state not in (RefundState.PROCESSING, RefundState.ABNORMAL) or refund.state == state:
            raise Refusal(Cause.REFUND_FINAL)
        trade = self._books.trades[f"{refund.channel}/{refund.account}/{refund.out_trade_no}"]
        refund.state = state
        refund.finish_milliseconds = now_milliseconds()
        if state != RefundState.ABNORMAL:
            trade.refunding_minor_units -= refund.amount_minor_units
        if state == RefundState.SUCCEEDED:
            trade.refunded_minor_units += refund.amount_minor_units
        if state == RefundState.CLOSED:
            trade.fee_returned_minor_units -= refund.fee_returned_minor_units
            self._books.move(refund, refund.amount_minor_units - refund.fee_returned_minor_units)
        with self._books.store.batch():
            self._books.store.put(refund)
            self._books.save_trade(trade)
            self._announcers[refund.channel].refund_finished(trade, refund)

    def _finish_due(self, refund: Refund) -> None:
        if refund.state == RefundState.PROCESSING:
            self.finish(refund, RefundState.SUCCEEDED)

    @staticmethod
    def _fee_share(trade: Trade, amount_minor_units: int) -> int:
        """Returns the part of the fee that comes back, so that a full refund brings back all of it."""
        gone = trade.refunded_minor_units + trade.refunding_minor_units + amount_minor_units
        return trade.fee_minor_units * gone // trade.paid_minor_units - trade.fee_returned_minor_units
