"""Why the channel says no, before either channel puts it in its own words.

Invariant: a refusal changes nothing.
"""

from __future__ import annotations

from enum import StrEnum


class Cause(StrEnum):
    """The reason of a refusal."""

    TRADE_NOT_EXIST = "TRADE_NOT_EXIST"
    TRADE_PAID = "TRADE_PAID"
    TRADE_CLOSED = "TRADE_CLOSED"
    TRADE_INCONSISTENT = "TRADE_INCONSISTENT"
    TRADE_NOT_PAID = "TRADE_NOT_PAID"
    TRADE_EXPIRED = "TRADE_EXPIRED"
    REFUND_NOT_EXIST = "REFUND_NOT_EXIST"
    REFUND_EXCEEDS_PAYMENT = "REFUND_EXCEEDS_PAYMENT"
    REFUND_INCONSISTENT = "REFUND_INCONSISTENT"
    REFUND_FINAL = "REFUND_FINAL"
    BALANCE_NOT_ENOUGH = "BALANCE_NOT_ENOUGH"
    TRANSFER_NOT_EXIST = "TRANSFER_NOT_EXIST"
    TRANSFER_INCONSISTENT = "TRANSFER_INCONSISTENT"
    TRANSFER_FINAL = "TRANSFER_FINAL"


class Refusal(Exception):
    """Raised by the books' operations when what is asked cannot be done."""

    def __init__(self, cause: Cause) -> None:
        super().__init__(cause.value)
        self.cause = cause
