"""Finds the one record that a person or test means by a number.

Invariant: an ambiguous number is refused, never guessed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from channel_gateway.sandbox.books import Books
from channel_gateway.sandbox.records import Refund, Trade, Transfer

Found = TypeVar("Found", Trade, Refund, Transfer)


class UnknownNumber(Exception):
    """Raised when nothing carries the number."""


class AmbiguousNumber(Exception):
    """Raised when several records carry the number and neither channel nor account tells which is meant."""


def find_trade(books: Books, number: str, where: Mapping[str, str]) -> Trade:
    """Finds a trade by the merchant's or the channel's number, narrowed by channel and account."""
    return _only(books.trades_numbered(number), number, where)


def find_refund(books: Books, number: str, where: Mapping[str, str]) -> Refund:
    """Finds a refund by the merchant's number, narrowed by channel, account and out_trade_no."""
    return _only(books.refunds_numbered(number), number, where)


def find_transfer(books: Books, number: str, where: Mapping[str, str]) -> Transfer:
    """Finds a transfer by the merchant's or the channel's number, narrowed by channel and account."""
    return _only(books.transfers_numbered(number), number, where)


def _only(candidates: Sequence[Found], number: str, where: Mapping[str, str]) -> Found:
    names = ("channel", "account", "out_trade_no")
    fitting = [
        each
        for each in candidates
        if all(getattr(each, name, "") == where[name] for name in names if name in where)
    ]
    if not fitting:
        raise UnknownNumber(number)
    if len(fitting) > 1:
        raise AmbiguousNumber(number)
    return fitting[0]
