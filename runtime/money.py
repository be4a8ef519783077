"""Amounts of money in whole minor units with their ISO 4217 currency. Invariant: no float and no rounding
anywhere; two currencies never meet in one operation."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

_TWO_DECIMALS: Final = (
    "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF "
    "CHE CHF CHW CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD "
    "GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL "
    "MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR "
    "PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP "
    "TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XAD XCD XCG YER ZAR ZMW ZWG"
)
_NO_DECIMALS: Final = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
_THREE_DECIMALS: Final = "BHD IQD JOD KWD LYD OMR TND"
_FOUR_DECIMALS: Final = "CLF UYW"

CURRENCY_EXPONENTS: Final[Mapping[str, int]] = MappingProxyType(
    {
        currency_code: exponent
        for exponent, currency_codes in (
            (0, _NO_DECIMALS),
            (2, _TWO_DECIMALS),
            (3, _THREE_DECIMALS),
            (4, _FOUR_DECIMALS),
        )
        for currency_code in currency_codes.split()
    }
)
"""Digits after the decimal point of every active ISO 4217 currency that has a minor unit. Metals, test
codes and units of account without one (XAU, XTS, XDR ...) are left out: no channel settles them."""

_DECIMAL = re.compile(r"(-?)([0-9]{1,18})(?:\.([0-9]{1,18}))?")


class CurrencyUnknownError(ValueError):
    """The currency code is not an active ISO 4217 currency with a minor unit."""


class CurrencyMismatchError(ValueError):
    """Two amounts of different currencies met in one operation."""


class DecimalInvalidError(ValueError):
    """A decimal text is malformed or has more decimals than its currency."""


def currency_exponent(currency_code: str) -> int:
    """Returns how many decimals the currency has (CNY 2, JPY 0, BHD 3).

    Raises CurrencyUnknownError for a code that is not in the table; codes are upper case.
    """
    try:
        return CURRENCY_EXPONENTS[currency_code]
    except KeyError:
        raise CurrencyUnknownError(f"The currency code {currency_code!r} is unknown.") from None


@dataclass(frozen=True, slots=True)
class Money:
    """An amount of one currency in its minor unit (fen for CNY, yen for JPY); may be zero or negative.

    The currency code is not looked up here: `currency_exponent` does where a decimal form is needed.
    """

    minor_units: int
    currency_code: str

    def __post_init__(self) -> None:
        if type(self.minor_units) is not int:
            raise TypeError("Minor units are a whole number.")

    def __add__(self, other: Money) -> Money:
        """Adds an amount of the same currency; raises CurrencyMismatchError on another one."""
        self._require_same_currency(other)
        return Money(self.minor_units + other.minor_units, self.currency_code)

    def __sub__(self, other: Money) -> Money:
        """Subtracts an amount of the same currency; raises CurrencyMismatchError on another one."""
        self._require_same_currency(other)
        return Money(self.minor_units - other.minor_units, self.currency_code)

    def _require_same_currency(self, other: Money) -> None:
        if self.currency_code != other.currency_code:
            raise CurrencyMismatchError(
                f"An amount in {self.currency_code} and one in {other.currency_code} do not add up."
            )


def parse_decimal(text: str, currency_code: str) -> Money:
    """Reads a decimal amount as channels write it: `parse_decimal("12.30", "CNY")` is 1230 fen.

    Fewer decimals than the currency has are filled up; more are refused unless the excess is zeros only
    (never rounded). Only ASCII digits, one point and a leading minus are allowed: no exponent, no grouping,
    no blanks. Raises DecimalInvalidError, or CurrencyUnknownError for an unknown currency.
    """
    exponent = currency_exponent(currency_code)
    match = _DECIMAL.fullmatch(text)
    if match is None:
        raise DecimalInvalidError("The amount is not a plain decimal number.")
    sign, whole, fraction = match.group(1), match.group(2), match.group(3) or ""
    if fraction[exponent:].strip("0"):
        raise DecimalInvalidError(f"An amount in {currency_code} has at most {exponent} decimals.")
    minor_units = int(whole + fraction[:exponent].ljust(exponent, "0"))
    return Money(-minor_units if sign else minor_units, currency_code)


def format_decimal(money: Money) -> str:
    """Writes the amount with exactly the decimals of its currency: 1230 fen is `12.30`; the inverse of
    parsing.

    Raises CurrencyUnknownError for an unknown currency.
    """
    exponent = currency_exponent(money.currency_code)
    digits = str(abs(money.minor_units)).rjust(exponent + 1, "0")
    sign = "-" if money.minor_units < 0 else ""
    return f"{sign}{digits[:-exponent]}.{digits[-exponent:]}" if exponent else f"{sign}{digits}"
