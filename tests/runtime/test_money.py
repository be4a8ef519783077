"""Money is whole minor units: nothing is rounded, no currency is mixed up with another."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime import money as money_module
from runtime.money import (
    CURRENCY_EXPONENTS,
    CurrencyMismatchError,
    CurrencyUnknownError,
    DecimalInvalidError,
    Money,
    currency_exponent,
    format_decimal,
    parse_decimal,
)

currencies = st.sampled_from(sorted(CURRENCY_EXPONENTS))
amounts = st.builds(Money, st.integers(-(10**17), 10**17), currencies)


@given(amounts)
def test_what_is_written_reads_back_as_the_same_amount(amount: Money) -> None:
    assert parse_decimal(format_decimal(amount), amount.currency_code) == amount


@given(currencies, st.integers(-(10**15), 10**15), st.integers(-(10**15), 10**15))
def test_adding_and_taking_away_again_changes_nothing(currency: str, first: int, second: int) -> None:
    assert Money(first, currency) + Money(second, currency) - Money(second, currency) == Money(
        first, currency
    )


@pytest.mark.parametrize(
    ("text", "currency", "minor_units"),
    [
        ("12.30", "CNY", 1230),
        ("12.3", "CNY", 1230),
        ("12", "CNY", 1200),
        ("0.01", "CNY", 1),
        ("-0.01", "CNY", -1),
        ("12.300", "CNY", 1230),
        ("500", "JPY", 500),
        ("500.00", "JPY", 500),
        ("1.234", "BHD", 1234),
        ("1.2345", "CLF", 12345),
        ("007.50", "USD", 750),
    ],
)
def test_a_channels_decimal_becomes_minor_units(text: str, currency: str, minor_units: int) -> None:
    assert parse_decimal(text, currency) == Money(minor_units, currency)


@pytest.mark.parametrize(
    ("text", "currency"),
    [
        ("12.345", "CNY"),
        ("1.5", "JPY"),
        ("1e2", "CNY"),
        ("1,200.00", "CNY"),
        (" 1.00", "CNY"),
        ("1.00\n", "CNY"),
        ("+1.00", "CNY"),
        ("1.", "CNY"),
        (".50", "CNY"),
        ("", "CNY"),
        ("NaN", "CNY"),
        ("١٢.٣٠", "CNY"),
        ("--1", "CNY"),
        ("9" * 19, "CNY"),
    ],
)
def test_anything_but_a_plain_decimal_is_refused(text: str, currency: str) -> None:
    with pytest.raises(DecimalInvalidError):
        parse_decimal(text, currency)


def test_amounts_of_two_currencies_do_not_add_up() -> None:
    with pytest.raises(CurrencyMismatchError):
        Money(1, "CNY") + Money(1, "JPY")
    with pytest.raises(CurrencyMismatchError):
        Money(1, "CNY") - Money(1, "JPY")


@pytest.mark.parametrize("minor_units", [1.0, True, "1", None])
def test_only_a_whole_number_is_an_amount(minor_units: object) -> None:
    with pytest.raises(TypeError):
        Money(minor_units, "CNY")  # type: ignore[arg-type]


@pytest.mark.parametrize("currency", ["XAU", "XXX", "cny", "", "DEM", "RMB"])
def test_what_no_channel_settles_is_no_currency(currency: str) -> None:
    with pytest.raises(CurrencyUnknownError):
        currency_exponent(currency)


def test_the_table_has_the_exponents_of_iso_4217() -> None:
    assert {code for code, exponent in CURRENCY_EXPONENTS.items() if exponent == 0} == {
        "BIF",
        "CLP",
        "DJF",
        "GNF",
        "ISK",
        "JPY",
        "KMF",
        "KRW",
        "PYG",
        "RWF",
        "UGX",
        "UYI",
        "VND",
        "VUV",
        "XAF",
        "XOF",
        "XPF",
    }
    assert {code for code, exponent in CURRENCY_EXPONENTS.items() if exponent == 3} == {
        "BHD",
        "IQD",
        "JOD",
        "KWD",
        "LYD",
        "OMR",
        "TND",
    }
    assert {code for code, exponent in CURRENCY_EXPONENTS.items() if exponent == 4} == {"CLF", "UYW"}
    assert CURRENCY_EXPONENTS["CNY"] == CURRENCY_EXPONENTS["HUF"] == CURRENCY_EXPONENTS["TWD"] == 2
    assert len(CURRENCY_EXPONENTS) >= 155
    assert all(len(code) == 3 and code.isascii() and code.isupper() for code in CURRENCY_EXPONENTS)


def test_no_float_is_near_the_code() -> None:
    source = Path(money_module.__file__).read_text()
    tree = ast.parse(source)
    assert not [
        node for node in ast.walk(tree) if isinstance(node, ast.Constant) and type(node.value) is float
    ]
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Div)]
    assert not [
        node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id in ("float", "round")
    ]
