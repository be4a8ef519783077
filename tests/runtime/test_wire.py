"""Amounts, instants and spans of time come back as they went."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as some

from runtime import wire
from runtime.errors import PaycenterError, Reason
from runtime.money import Money


@given(
    some.integers(min_value=-(2**63), max_value=2**63 - 1), some.sampled_from(["CNY", "JPY", "BHD", "USD"])
)
def test_amounts_come_back_to_the_last_unit(minor_units: int, currency_code: str) -> None:
    money = Money(minor_units=minor_units, currency_code=currency_code)
    assert wire.money_from_proto(wire.money_to_proto(money)) == money


@given(some.datetimes(timezones=some.just(UTC)))
def test_instants_come_back_to_the_microsecond(instant: datetime) -> None:
    assert wire.datetime_from_timestamp(wire.timestamp_from_datetime(instant)) == instant


def test_an_instant_of_another_zone_is_the_same_instant() -> None:
    beijing = datetime(2026, 11, 21, 8, 0, tzinfo=timezone(timedelta(hours=8)))
    read = wire.datetime_from_timestamp(wire.timestamp_from_datetime(beijing))

    assert read == beijing
    assert read.tzinfo is UTC
    assert wire.timestamp_from_datetime(beijing) == Timestamp(seconds=1795219200)


@pytest.mark.parametrize(
    ("seconds", "nanos"),
    [(253402300800, 0), (-62135596801, 0), (2**62, 0), (-(2**63), 0), (0, -1), (0, 10**9)],
)
def test_an_instant_that_cannot_be_is_refused_by_name(seconds: int, nanos: int) -> None:
    with pytest.raises(PaycenterError) as caught:
        wire.datetime_from_timestamp(Timestamp(seconds=seconds, nanos=nanos), field="expire_time")
    assert caught.value.reason is Reason.FIELD_INVALID
    assert [violation.field for violation in caught.value.violations] == ["expire_time"]


def test_an_instant_without_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        wire.timestamp_from_datetime(datetime(2026, 11, 21))  # noqa: DTZ001


@given(some.timedeltas(min_value=timedelta(days=-3000), max_value=timedelta(days=3000)))
def test_spans_come_back_to_the_microsecond(span: timedelta) -> None:
    assert wire.timedelta_from_duration(wire.duration_from_timedelta(span)) == span
    assert wire.seconds_from_duration(wire.duration_from_seconds(1.25)) == 1.25
