"""What a channel keeps for itself. Invariant: whole numbers only, rounded half up, never above the amount."""

from __future__ import annotations

import re

from runtime.errors import PaycenterError, Reason
from runtime.money import Money

MILLIONTHS = 1_000_000

_RATIO = re.compile(r"(0|1)(?:\.([0-9]{1,6})0*)?")


def parse_fee_ratio(text: str, *, field: str) -> int:
    """Reads a ratio of 0 to 1 with at most six decimals as millionths; empty text is 0.

    Raises PaycenterError(FIELD_INVALID) naming `field`.
    """
    match = _RATIO.fullmatch(text or "0")
    millionths = (
        MILLIONTHS + 1 if match is None else int(match[1]) * MILLIONTHS + int((match[2] or "").ljust(6, "0"))
    )
    if millionths > MILLIONTHS:
        raise PaycenterError(
            Reason.FIELD_INVALID, "The fee ratio must be 0 to 1 with at most six decimals.", field=field
        )
    return millionths


def format_fee_ratio(millionths: int) -> str:
    """Writes millionths as the shortest decimal, for example `0.006`."""
    whole, rest = divmod(millionths, MILLIONTHS)
    return f"{whole}.{rest:06d}".rstrip("0").rstrip(".")


def channel_fee(amount: Money, *, fee_ratio_millionths: int) -> Money:
    """Returns the channel's fee on `amount`, rounded half up to the minor unit."""
    fee = (amount.minor_units * fee_ratio_millionths + MILLIONTHS // 2) // MILLIONTHS
    return Money(fee, amount.currency_code)
