"""How an amount is divided: exactly, or not at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.payment.domain.payment import PostingLine
from core.payment.domain.shares import FixedShare, RatioShare, RemainderShare, Share, divide
from runtime.errors import PaycenterError, Reason
from runtime.money import Money


def cny(minor_units: int) -> Money:
    return Money(minor_units, "CNY")


def test_ratios_are_rounded_down_and_the_remainder_takes_what_is_left() -> None:
    lines = divide(
        cny(100), [("a", RatioShare("0.333")), ("b", RatioShare("0.333")), ("c", RemainderShare())]
    )
    assert lines == (PostingLine("a", 33), PostingLine("b", 33), PostingLine("c", 34))


def test_parts_of_one_account_are_put_together_and_parts_of_nothing_left_out() -> None:
    lines = divide(
        cny(100),
        [("a", FixedShare(cny(60))), ("b", RatioShare("0.000001")), ("a", RemainderShare())],
    )
    assert lines == (PostingLine("a", 100),)


def test_the_largest_amount_is_divided_exactly() -> None:
    lines = divide(cny(10**15), [("a", RatioShare("0.999999")), ("b", RemainderShare())])
    assert [line.minor_units for line in lines] == [999_999_000_000_000, 1_000_000_000]


@pytest.mark.parametrize(
    ("receivers", "field"),
    [
        ([("a", FixedShare(cny(101)))], "receivers"),
        ([("a", FixedShare(cny(99)))], "receivers"),
        ([("a", RatioShare("0.5")), ("b", RatioShare("0.49"))], "receivers"),
        ([("a", RemainderShare()), ("b", RemainderShare())], "receivers"),
        ([("a", FixedShare(cny(101))), ("b", RemainderShare())], "receivers"),
        ([("a", FixedShare(cny(0))), ("b", RemainderShare())], "receivers[0].amount.minor_units"),
        ([("a", RatioShare("0"))], "receivers[0].ratio"),
        ([("a", RatioShare("-0.1"))], "receivers[0].ratio"),
        ([("a", RatioShare("1.000001"))], "receivers[0].ratio"),
        ([("a", RatioShare("0.0000001"))], "receivers[0].ratio"),
        ([("a", RatioShare("NaN"))], "receivers[0].ratio"),
        ([("a", RatioShare("half"))], "receivers[0].ratio"),
    ],
)
def test_shares_that_do_not_come_out_are_refused(receivers: list[tuple[str, Share]], field: str) -> None:
    with pytest.raises(PaycenterError) as refused:
        divide(cny(100), receivers)
    assert refused.value.reason is Reason.FIELD_INVALID
    assert [violation.field for violation in refused.value.violations] == [field]


def test_a_share_in_another_currency_is_refused() -> None:
    with pytest.raises(PaycenterError) as refused:
        divide(cny(100), [("a", FixedShare(Money(100, "USD")))])
    assert refused.value.reason is Reason.CURRENCY_MISMATCH


@given(
    amount=st.integers(1, 10**15),
    ratios=st.lists(st.integers(1, 100_000), min_size=1, max_size=9),
    fixed=st.integers(0, 10**6),
)
def test_the_parts_always_sum_to_the_amount(amount: int, ratios: list[int], fixed: int) -> None:
    receivers: list[tuple[str, Share]] = [
        (f"r{position}", RatioShare(f"0.{ratio:06d}")) for position, ratio in enumerate(ratios)
    ]
    if fixed:
        receivers.append(("fixed", FixedShare(cny(fixed))))
    receivers.append(("rest", RemainderShare()))
    try:
        lines = divide(cny(amount), receivers)
    except PaycenterError:
        assert fixed + sum(ratio * amount // 10**6 for ratio in ratios) > amount
        return
    assert sum(line.minor_units for line in lines) == amount
    assert all(line.minor_units > 0 for line in lines)
