"""The channel's own books: every account, trade, refund and transfer, and what each account has left.

Invariant: an account's balance equals its opening balance and the sum of its records, at every start anew.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from channel_gateway.sandbox.records import (
    Account,
    Refund,
    RefundState,
    Trade,
    TradeState,
    Transfer,
    TransferState,
)
from channel_gateway.sandbox.store import Store

DEFAULT_OPENING_BALANCE_MINOR_UNITS = 100_000_000
DEFAULT_FEE_RATE_PARTS_PER_MILLION = 6_000
_TAKEN_TRANSFER_STATES = (TransferState.ACCEPTED, TransferState.SUCCEEDED)


class Books:
    """Records in memory, indexed by every number that a caller may know, and written through to the store."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.accounts: dict[str, Account] = {}
        self.trades: dict[str, Trade] = {}
        self.refunds: dict[str, Refund] = {}
        self.transfers: dict[str, Transfer] = {}
        self._trades_by_transaction_no: dict[str, Trade] = {}
        self._trades_by_number: defaultdict[str, list[Trade]] = defaultdict(list)
        self._refunds_by_number: defaultdict[str, list[Refund]] = defaultdict(list)
        self._transfers_by_number: defaultdict[str, list[Transfer]] = defaultdict(list)
        self._balances: defaultdict[str, int] = defaultdict(int)
        self._load()

    def _load(self) -> None:
        for account in self.store.load(Account):
            self.accounts[account.key] = account
            self._balances[account.key] += account.opening_balance_minor_units
        for trade in self.store.load(Trade):
            self._index_trade(trade)
            self.move(trade, trade.paid_minor_units - trade.fee_minor_units)
        for refund in self.store.load(Refund):
            self._index_refund(refund)
            if refund.state != RefundState.CLOSED:
                self.move(refund, refund.fee_returned_minor_units - refund.amount_minor_units)
        for transfer in self.store.load(Transfer):
            self._index_transfer(transfer)
            if transfer.state in _TAKEN_TRANSFER_STATES:
                self.move(transfer, -transfer.amount_minor_units)

    def clear(self) -> None:
        """Forgets every trade, refund and transfer; accounts go back to their opening balances."""
        self.store.delete_kinds(Trade.__name__, Refund.__name__, Transfer.__name__)
        for index in (self.trades, self.refunds, self.transfers, self._trades_by_transaction_no):
            index.clear()
        for lists in (self._trades_by_number, self._refunds_by_number, self._transfers_by_number):
            lists.clear()
        self._balances.clear()
        for account in self.accounts.values():
            self._balances[account.key] = account.opening_balance_minor_units

    def clear_accounts(self) -> None:
        """Forgets every account; to be called when the books are clear."""
        self.store.delete_kinds(Account.__name__)
        self.accounts.clear()
        self._balances.clear()

    def open_account(
        self,
        *,
        channel: str,
        account: str,
        opening_balance_minor_units: int | None,
        fee_rate_parts_per_million: int | None,
    ) -> Account:
        """Opens an account or changes the figures that are given of an open one; idempotent."""
        known = self.accounts.get(f"{channel}/{account}")
        if known is None:
            known = Account(
                channel=channel,
                account=account,
                opening_balance_minor_units=DEFAULT_OPENING_BALANCE_MINOR_UNITS,
                fee_rate_parts_per_million=DEFAULT_FEE_RATE_PARTS_PER_MILLION,
            )
            self.accounts[known.key] = known
            self._balances[known.key] += known.opening_balance_minor_units
        if opening_balance_minor_units is not None:
            self._balances[known.key] += opening_balance_minor_units - known.opening_balance_minor_units
            known.opening_balance_minor_units = opening_balance_minor_units
        if fee_rate_parts_per_million is not None:
            known.fee_rate_parts_per_million = fee_rate_parts_per_million
        self.store.put(known)
        return known

    def balance_minor_units(self, channel: str, account: str) -> int:
        """Returns what an account has left, in minor units of CNY."""
        return self._balances[f"{channel}/{account}"]

    def move(self, record: Trade | Refund | Transfer, amount_minor_units: int) -> None:
        """Adds an amount, which may be negative, to the balance of the record's account."""
        self._balances[f"{record.channel}/{record.account}"] += amount_minor_units

    def add_trade(self, trade: Trade) -> None:
        """Enters a new trade."""
        self._index_trade(trade)
        self.store.put(trade)

    def save_trade(self, trade: Trade) -> None:
        """Writes a changed trade, whose transaction number may be new."""
        if trade.transaction_no:
            self._trades_by_transaction_no[trade.transaction_no] = trade
        self.store.put(trade)

    def add_refund(self, refund: Refund) -> None:
        """Enters a new refund."""
        self._index_refund(refund)
        self.store.put(refund)

    def add_transfer(self, transfer: Transfer) -> None:
        """Enters a new transfer."""
        self._index_transfer(transfer)
        self.store.put(transfer)

    def trade(self, channel: str, account: str, out_trade_no: str) -> Trade | None:
        """Finds a trade by the merchant's order number."""
        return self.trades.get(f"{channel}/{account}/{out_trade_no}")

    def trade_by_transaction_no(self, channel: str, account: str, transaction_no: str) -> Trade | None:
        """Finds an account's trade by the channel's number."""
        trade = self._trades_by_transaction_no.get(transaction_no)
        return trade if trade and (trade.channel, trade.account) == (channel, account) else None

    def trades_numbered(self, number: str) -> list[Trade]:
        """Finds the trades of every merchant that carry this merchant order number or channel number."""
        by_channel_number = self._trades_by_transaction_no.get(number)
        return [by_channel_number] if by_channel_number else list(self._trades_by_number.get(number, ()))

    def refunds_numbered(self, number: str) -> list[Refund]:
        """Finds the refunds of every merchant that carry this merchant refund number."""
        return list(self._refunds_by_number.get(number, ()))

    def transfers_numbered(self, number: str) -> list[Transfer]:
        """Finds the transfers of every merchant that carry this number, the merchant's or the channel's."""
        return list(self._transfers_by_number.get(number, ()))

    def _index_trade(self, trade: Trade) -> None:
        self.trades[trade.key] = trade
        self._trades_by_number[trade.out_trade_no].append(trade)
        if trade.transaction_no:
            self._trades_by_transaction_no[trade.transaction_no] = trade

    def _index_refund(self, refund: Refund) -> None:
        self.refunds[refund.key] = refund
        self._refunds_by_number[refund.out_refund_no].append(refund)

    def _index_transfer(self, transfer: Transfer) -> None:
        self.transfers[transfer.key] = transfer
        self._transfers_by_number[transfer.out_transfer_no].append(transfer)
        self._transfers_by_number[transfer.transfer_no].append(transfer)

    def account_figures(self) -> list[dict[str, Any]]:
        """Adds up every account from its records, and lays the running balance beside the sum."""
        figures = {key: _empty_figures(account) for key, account in self.accounts.items()}
        for trade in self.trades.values():
            row = figures[f"{trade.channel}/{trade.account}"]
            row["trade_count"] += 1
            if trade.state == TradeState.PAID or trade.paid_minor_units:
                row["charged_count"] += 1
                row["charged_minor_units"] += trade.paid_minor_units
                row["fee_minor_units"] += trade.fee_minor_units
        for refund in self.refunds.values():
            row = figures[f"{refund.channel}/{refund.account}"]
            name = "refunded" if refund.state == RefundState.SUCCEEDED else "refund_open"
            if refund.state != RefundState.CLOSED:
                row[f"{name}_count"] += 1
                row[f"{name}_minor_units"] += refund.amount_minor_units
                row["fee_returned_minor_units"] += refund.fee_returned_minor_units
        for transfer in self.transfers.values():
            row = figures[f"{transfer.channel}/{transfer.account}"]
            name = "paid_out" if transfer.state == TransferState.SUCCEEDED else "payout_open"
            if transfer.state in _TAKEN_TRANSFER_STATES:
                row[f"{name}_count"] += 1
                row[f"{name}_minor_units"] += transfer.amount_minor_units
        for key, row in figures.items():
            row["balance_minor_units"] = (
                row["opening_balance_minor_units"]
                + row["charged_minor_units"]
                - row["fee_minor_units"]
                - row["refunded_minor_units"]
                - row["refund_open_minor_units"]
                + row["fee_returned_minor_units"]
                - row["paid_out_minor_units"]
                - row["payout_open_minor_units"]
            )
            row["running_balance_minor_units"] = self._balances[key]
        return list(figures.values())


def _empty_figures(account: Account) -> dict[str, Any]:
    counted = ("charged", "refunded", "refund_open", "paid_out", "payout_open")
    figures: dict[str, Any] = {
        "channel": account.channel,
        "account": account.account,
        "currency_code": "CNY",
        "opening_balance_minor_units": account.opening_balance_minor_units,
        "trade_count": 0,
        "fee_minor_units": 0,
        "fee_returned_minor_units": 0,
    }
    for name in counted:
        figures[f"{name}_count"] = 0
        figures[f"{name}_minor_units"] = 0
    return figures
