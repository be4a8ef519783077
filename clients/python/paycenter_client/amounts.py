"""Amounts as people write them, and as the contract carries them: whole minor units, never a float."""

from __future__ import annotations

import re
from decimal import Decimal

from paycenter.type.v1 import money_pb2

_CURRENCIES_BY_UNUSUAL_EXPONENT = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}
_UNUSUAL_EXPONENTS = {
    currency_code: exponent
    for exponent, currency_codes in _CURRENCIES_BY_UNUSUAL_EXPONENT.items()
    for currency_code in currency_codes.split()
}
_USUAL_EXPONENT = 2
_DECIMAL = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,18})?")
_LARGEST_MINOR_UNITS = 9 * 10**18
_CURRENCY_CODE = re.compile(r"[A-Z]{3}")


def currency_exponent(currency_code: str) -> int:
    """Tells how many decimals a currency has: CNY 2, JPY 0, BHD 3. Whether the center takes it is its own answer.

    Raises:
        ValueError: The code is not three capital letters.
    """
    if not _CURRENCY_CODE.fullmatch(currency_code):
        raise ValueError(f"{currency_code!r} is not a currency code of three capital letters")
    return _UNUSUAL_EXPONENTS.get(currency_code, _USUAL_EXPONENT)


def money(amount: str | Decimal, currency_code: str) -> money_pb2.Money:
    """Makes the contract's Money of a decimal amount, for example `money("12.30", "CNY")`.

    Args:
        amount: Decimal number; a float is refused, since it is not exact.
        currency_code: ISO 4217 code.

    Raises:
        ValueError: It is not a number, has more decimals than the currency, or leaves the range of 64 bits.
    """
    exponent = currency_exponent(currency_code)
    text = format(amount, "f") if isinstance(amount, Decimal) else amount
    if not _DECIMAL.fullmatch(text):
        raise ValueError(f"{text!r} is not a decimal amount")
    scaled = Decimal(text).scaleb(exponent)
    minor_units = int(scaled)
    if scaled != minor_units:
        raise ValueError(f"{text} has more than the {exponent} decimals of {currency_code}")
    if abs(minor_units) > _LARGEST_MINOR_UNITS:
        raise ValueError(f"{text} {currency_code} is out of range")
    return money_pb2.Money(minor_units=minor_units, currency_code=currency_code)


def format_money(amount: money_pb2.Money) -> str:
    """Writes an amount for people, for example `12.30 CNY`."""
    return f"{decimal_amount(amount)} {amount.currency_code}"


def decimal_amount(amount: money_pb2.Money) -> Decimal:
    """Gives the amount in the currency's main unit, with all its decimals."""
    return Decimal(amount.minor_units).scaleb(-currency_exponent(amount.currency_code))
