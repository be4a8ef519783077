"""Conversion between the contract's common types and Python's. Invariant: exact to the microsecond in
both directions, an instant that cannot be is refused, and no float touches an amount."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from paycenter.type.v1 import money_pb2

from runtime.errors import PaycenterError, Reason
from runtime.money import Money


def money_to_proto(money: Money) -> money_pb2.Money:
    """Returns the contract's form of an amount."""
    return money_pb2.Money(minor_units=money.minor_units, currency_code=money.currency_code)


def money_from_proto(message: money_pb2.Money) -> Money:
    """Returns the amount that a message holds; whether it may be zero or below is the caller's rule."""
    return Money(minor_units=message.minor_units, currency_code=message.currency_code)


def timestamp_from_datetime(instant: datetime) -> Timestamp:
    """Returns the contract's form of an aware instant; raises ValueError when it has no time zone."""
    if instant.tzinfo is None:
        raise ValueError("an instant needs a time zone")
    timestamp = Timestamp()
    timestamp.FromDatetime(instant)
    return timestamp


def datetime_from_timestamp(timestamp: Timestamp, *, field: str | None = None) -> datetime:
    """Returns an aware UTC instant, cut to the microsecond.

    Raises PaycenterError(FIELD_INVALID), which names `field`, for one outside of the years 1 to 9999.
    """
    try:
        return timestamp.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise PaycenterError(
            Reason.FIELD_INVALID, "An instant lies outside of the years 1 to 9999.", field=field
        ) from None


def duration_from_timedelta(span: timedelta) -> Duration:
    """Returns the contract's form of a span of time."""
    duration = Duration()
    duration.FromTimedelta(span)
    return duration


def timedelta_from_duration(duration: Duration) -> timedelta:
    """Returns a span of time, cut to the microsecond."""
    return duration.ToTimedelta()


def duration_from_seconds(seconds: float) -> Duration:
    """Returns the contract's form of a number of seconds, rounded to the microsecond."""
    return duration_from_timedelta(timedelta(seconds=seconds))


def seconds_from_duration(duration: Duration) -> float:
    """Returns a span of time in seconds."""
    return duration.ToTimedelta().total_seconds()
