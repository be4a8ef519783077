"""Amounts on the channel's side: integers of the smallest unit of CNY, which Alipay writes in yuan.

Invariant: no float takes part in an amount.
"""

from __future__ import annotations

import re

_YUAN = re.compile(r"(?:0|[1-9]\d{0,8})(?:\.\d{1,2})?")


def parse_yuan(text: str) -> int:
    """Reads 12.3 as 1230; raises ValueError for a sign, an exponent or a third decimal."""
    if not _YUAN.fullmatch(text):
        raise ValueError(f"not an amount: {text!r}")
    whole, _, decimals = text.partition(".")
    return int(whole) * 100 + int(decimals.ljust(2, "0"))


def yuan_text(minor_units: int) -> str:
    """Writes 1230 as 12.30."""
    return f"{minor_units // 100}.{minor_units % 100:02d}"


def fee_of(amount_minor_units: int, rate_parts_per_million: int) -> int:
    """Returns the channel's fee on an amount, rounded half up to a whole minor unit."""
    return (amount_minor_units * rate_parts_per_million + 500_000) // 1_000_000
