"""Amounts: the client and the center count decimals alike, and nothing is rounded in silence."""

from __future__ import annotations

from decimal import Decimal

import pytest
from paycenter_client import decimal_amount, format_money, money
from paycenter_client.amounts import currency_exponent

from runtime.money import CURRENCY_EXPONENTS


def test_client_and_center_know_the_same_exponents() -> None:
    assert {code: currency_exponent(code) for code in CURRENCY_EXPONENTS} == dict(CURRENCY_EXPONENTS)


@pytest.mark.parametrize(
    ("amount", "currency_code", "minor_units", "text"),
    [
        ("12.30", "CNY", 1230, "12.30 CNY"),
        ("12.3", "CNY", 1230, "12.30 CNY"),
        ("5", "JPY", 5, "5 JPY"),
        ("0.001", "BHD", 1, "0.001 BHD"),
        (Decimal("49999.99"), "CNY", 4_999_999, "49999.99 CNY"),
        (Decimal("1E2"), "CNY", 10_000, "100.00 CNY"),
    ],
)
def test_an_amount_is_read_and_written(
    amount: str | Decimal, currency_code: str, minor_units: int, text: str
) -> None:
    read = money(amount, currency_code)
    assert (read.minor_units, read.currency_code) == (minor_units, currency_code)
    assert format_money(read) == text
    assert money(decimal_amount(read), currency_code) == read


@pytest.mark.parametrize(
    ("amount", "currency_code"),
    [
        ("1.234", "CNY"),
        ("1.5", "JPY"),
        ("NaN", "CNY"),
        ("1e3", "CNY"),
        ("1_000", "CNY"),
        ("１２", "CNY"),
        ("", "CNY"),
        ("999999999999999999", "CNY"),
        ("1.00", "yuan"),
    ],
)
def test_what_is_no_exact_amount_is_refused(amount: str, currency_code: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the client promises no more than ValueError
        money(amount, currency_code)
