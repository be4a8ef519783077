"""WeChat Pay's way of writing amounts and instants. Invariant: amounts are whole fen, instants stay aware."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from runtime.money import Money

CURRENCY = "CNY"

_BEIJING = timezone(timedelta(hours=8))


def write_instant(instant: datetime) -> str:
    """Writes an instant by RFC 3339 in Beijing's time, to the second."""
    return instant.astimezone(_BEIJING).isoformat(timespec="seconds")


def read_instant(text: Any) -> datetime | None:
    """Reads an instant by RFC 3339; None when it is absent, malformed or without offset."""
    if not isinstance(text, str):
        return None
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        return None
    return instant if instant.tzinfo is not None else None


def read_amount(holder: Any, name: str) -> Money | None:
    """Reads an amount in fen from an object that may tell its currency; None when it is absent or no whole number."""
    if not isinstance(holder, dict):
        return None
    value = holder.get(name)
    if type(value) is not int:
        return None
    currency = holder.get("currency", CURRENCY)
    return Money(value, currency) if isinstance(currency, str) else None
