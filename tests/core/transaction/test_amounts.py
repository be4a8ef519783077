"""Dividing an order's money."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.transaction.domain.amounts import RequestedShare, divide, proportional_parts
from core.transaction.domain.records import Owner
from runtime.errors import PaycenterError, Reason


def _owner(number: int) -> Owner:
    return Owner(kind="MERCHANT", owner_id=f"M{number}")


def _fixed(number: int, minor_units: int, currency_code: str = "CNY") -> RequestedShare:
    return RequestedShare(
        receiver=_owner(number), fixed_minor_units=minor_units, fixed_currency_code=currency_code
    )


def _ratio(number: int, ratio: str) -> RequestedShare:
    return RequestedShare(receiver=_owner(number), ratio=ratio)


def _rest(number: int) -> RequestedShare:
    return RequestedShare(receiver=_owner(number), remainder=True)


def _parts(total: int, *requested: RequestedShare) -> list[int]:
    return [share.minor_units for share in divide(total, currency_code="CNY", requested=requested)]


def test_a_fixed_part_a_ratio_and_the_remainder_sum_to_the_amount() -> None:
    assert _parts(1000, _fixed(1, 100), _ratio(2, "0.333333"), _rest(3)) == [100, 333, 567]


def test_ratios_that_make_a_whole_are_rounded_by_largest_remainder() -> None:
    assert _parts(100, _ratio(1, "0.333333"), _ratio(2, "0.333333"), _ratio(3, "0.333334")) == [33, 33, 34]


@pytest.mark.parametrize(
    ("requested", "field", "reason"),
    [
        ([_fixed(1, 999)], "split_purchase.receivers", Reason.FIELD_INVALID),
        ([_ratio(1, "0.5")], "split_purchase.receivers", Reason.FIELD_INVALID),
        ([_fixed(1, 1000), _rest(2)], "split_purchase.receivers[1]", Reason.FIELD_INVALID),
        ([_fixed(1, 1001), _rest(2)], "split_purchase.receivers[1]", Reason.FIELD_INVALID),
        ([_rest(1), _rest(2)], "split_purchase.receivers[1].remainder", Reason.FIELD_INVALID),
        ([_fixed(1, 500), _fixed(1, 500)], "split_purchase.receivers[1].receiver", Reason.FIELD_INVALID),
        ([_ratio(1, "1.1"), _rest(2)], "split_purchase.receivers[0].ratio", Reason.FIELD_INVALID),
        ([_ratio(1, "0"), _rest(2)], "split_purchase.receivers[0].ratio", Reason.FIELD_INVALID),
        ([_ratio(1, "0.1234567"), _rest(2)], "split_purchase.receivers[0].ratio", Reason.FIELD_INVALID),
        ([_ratio(1, "NaN"), _rest(2)], "split_purchase.receivers[0].ratio", Reason.FIELD_INVALID),
        ([_ratio(1, "one"), _rest(2)], "split_purchase.receivers[0].ratio", Reason.FIELD_INVALID),
        (
            [_fixed(1, 1000, "USD")],
            "split_purchase.receivers[0].amount.currency_code",
            Reason.CURRENCY_MISMATCH,
        ),
    ],
)
def test_a_split_that_does_not_add_up_is_refused_with_its_field(
    requested: list[RequestedShare], field: str, reason: Reason
) -> None:
    with pytest.raises(PaycenterError) as refused:
        divide(1000, currency_code="CNY", requested=requested)
    assert (refused.value.reason, refused.value.field) == (reason, field)


@given(st.integers(0, 10**12), st.lists(st.integers(0, 10**9), min_size=1, max_size=50).filter(any))
def test_proportional_parts_sum_to_the_total_and_stay_next_to_their_share(
    total: int, weights: list[int]
) -> None:
    parts = proportional_parts(total, weights)
    assert sum(parts) == total
    whole = sum(weights)
    assert all(
        abs(part * whole - total * weight) < whole for part, weight in zip(parts, weights, strict=True)
    )


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=20), st.data())
def test_no_part_is_above_its_weight_while_the_total_is_not(weights: list[int], data: st.DataObject) -> None:
    total = data.draw(st.integers(0, sum(weights)))
    parts = proportional_parts(total, weights)
    assert all(part <= weight for part, weight in zip(parts, weights, strict=True))
