"""Alipay's way of writing amounts and instants. Invariant: amounts stay whole numbers of fen, instants stay
aware."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from runtime.money import Money, format_decimal, parse_decimal

CURRENCY = "CNY"

_BEIJING = timezone(timedelta(hours=8))
_FORMAT = "%Y-%m-%d %H:%M:%S"


def write_amount(amount: Money) -> str:
    """Writes an amount in yuan with two decimals."""
    return format_decimal(amount)


def read_amount(text: Any) -> Money | None:
    """Reads an amount in yuan; None when it is absent or malformed."""
    if not isinstance(text, str) or not text:
        return None
    try:
        return parse_decimal(text, CURRENCY)
    except ValueError:
        return None


def write_instant(instant: datetime) -> str:
    """Writes an instant in Beijing's time, to the second."""
    return instant.astimezone(_BEIJING).strftime(_FORMAT)


def read_instant(text: Any) -> datetime | None:
    """Reads an instant in Beijing's time; None when it is absent or malformed."""
    if not isinstance(text, str):
        return None
    try:
        return datetime.strptime(text[:19], _FORMAT).replace(tzinfo=_BEIJING)
    except ValueError:
        return None
