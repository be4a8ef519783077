"""Which accounts of the ledger a payment touches. Invariant: an account's number follows from subject, owner and
currency alone."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

CHANNEL_CLEARING = "1101"
MERCHANT_BALANCE = "2101"
USER_BALANCE = "2102"
PAYER_TRANSIT = "2201"
CHANNEL_FEE_EXPENSE = "5101"
"""Subjects of the chart of accounts that payments are booked under."""


class OwnerKind(StrEnum):
    """Who owns a balance."""

    MERCHANT = "MERCHANT"
    USER = "USER"


@dataclass(frozen=True, slots=True)
class Owner:
    """The owner of a balance: a merchant by number, or a user by the business system's opaque id."""

    kind: OwnerKind
    owner_id: str


def account_id(subject_code: str, owner_id: str, currency_code: str) -> str:
    """Returns the number of an account."""
    return f"{subject_code}:{owner_id}:{currency_code}"


def split_account_id(number: str) -> tuple[str, str, str]:
    """Returns subject, owner and currency of an account's number; the inverse of `account_id`."""
    subject_code, owner_and_currency = number.split(":", 1)
    owner_id, currency_code = owner_and_currency.rsplit(":", 1)
    return subject_code, owner_id, currency_code


def balance_account_id(owner: Owner, currency_code: str) -> str:
    """Returns the account of an owner's balance."""
    subject_code = MERCHANT_BALANCE if owner.kind is OwnerKind.MERCHANT else USER_BALANCE
    return account_id(subject_code, owner.owner_id, currency_code)


def transit_account_id(merchant_id: str, currency_code: str) -> str:
    """Returns the account in which a merchant's purchases wait until an order takes the money."""
    return account_id(PAYER_TRANSIT, merchant_id, currency_code)
