"""What happens to a transfer to a person: it is accepted, and it arrives, fails or is cancelled.

Invariant: the amount leaves the balance when the transfer is accepted and returns unless it arrives.
"""

from __future__ import annotations

from functools import partial

from channel_gateway.sandbox.behaviour import Behaviour
from channel_gateway.sandbox.books import Books
from channel_gateway.sandbox.clock import now_milliseconds
from channel_gateway.sandbox.payments import Announcer
from channel_gateway.sandbox.records import Transfer, TransferState
from channel_gateway.sandbox.refusal import Cause, Refusal
from channel_gateway.sandbox.schedule import Schedule


class Transfers:
    """The life of transfers on both channels."""

    def __init__(
        self, *, books: Books, behaviour: Behaviour, schedule: Schedule, announcers: dict[str, Announcer]
    ) -> None:
        self._books = books
        self._behaviour = behaviour
        self._schedule = schedule
        self._announcers = announcers

    def resume(self) -> None:
        """Schedules the transfers that were under way when this process ended."""
        for transfer in list(self._books.transfers.values()):
            if transfer.state == TransferState.ACCEPTED and transfer.due_milliseconds:
                self._schedule.at(
                    transfer.due_milliseconds,
                    partial(self._finish_due, transfer),
                )

    def accept(self, transfer: Transfer, *, immediate: bool) -> tuple[Transfer, bool]:
        """Accepts a transfer and tells whether it is new; immediate ones arrive now, others on schedule.

        Idempotent by the merchant's number; raises Refusal when the number is taken by another transfer or
        the balance does not cover it.
        """
        known = self._books.transfers.get(transfer.key)
        if known is not None:
            if (known.amount_minor_units, known.payee) != (transfer.amount_minor_units, transfer.payee):
                raise Refusal(Cause.TRANSFER_INCONSISTENT)
            return known, False
        if self._books.balance_minor_units(transfer.channel, transfer.account) < transfer.amount_minor_units:
            raise Refusal(Cause.BALANCE_NOT_ENOUGH)
        automatic = self._behaviour.auto_transfer
        if automatic and not immediate:
            delay = round(self._behaviour.auto_transfer_seconds * 1000)
            transfer.due_milliseconds = now_milliseconds() + delay
        with self._books.store.batch():
            self._books.add_transfer(transfer)
            self._books.move(transfer, -transfer.amount_minor_units)
            if automatic and immediate:
                self.finish(transfer, TransferState.SUCCEEDED)
        if transfer.due_milliseconds:
            self._schedule.at(transfer.due_milliseconds, lambda: self._finish_due(transfer))
        return transfer, True

    def finish(self, transfer: Transfer, state: TransferState, *, failure_reason: str = "") -> None:
        """Ends a transfer and announces it; raises Refusal when it ended before."""
        if transfer.state != TransferState.ACCEPTED:
            raise Refusal(Cause.TRANSFER_FINAL)
        transfer.state = state
        transfer.failure_reason = failure_reason
        transfer.finish_milliseconds = now_milliseconds()
        if state != TransferState.SUCCEEDED:
            self._books.move(transfer, transfer.amount_minor_units)
        with self._books.store.batch():
            self._books.store.put(transfer)
            self._announcers[transfer.channel].transfer_finished(transfer)

    def _finish_due(self, transfer: Transfer) -> None:
        if transfer.state == TransferState.ACCEPTED:
            self.finish(transfer, TransferState.SUCCEEDED)
