"""When the repair worker looks again. Invariant: the last figure of a schedule repeats, so that nothing that
is open is given up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Waits in seconds; each schedule is a list by number of tries.

    `closed_seconds` is how long a closed attempt is asked about for money that came late: past its end it is not.
    `call_lease_seconds` leaves a call in flight alone and is above the longest deadline of a call;
    `transfer_rounds` and `refund_rounds` are how many proven failures of a payment are followed by a new one before
    a person is asked for.
    """

    call_lease_seconds: float = 25.0
    attempt_seconds: Sequence[float] = (20, 40, 60, 120, 300, 600)
    closing_seconds: Sequence[float] = (1, 5, 15, 60, 300, 600)
    closed_seconds: Sequence[float] = (60, 600, 3600, 86400)
    settle_seconds: Sequence[float] = (1, 2, 5, 15, 60, 300)
    refund_seconds: Sequence[float] = (10, 30, 60, 300, 900, 3600)
    review_seconds: float = 3600.0
    expire_grace_seconds: float = 5.0
    attempt_retry_seconds: float = 15.0
    transfer_rounds: int = 5
    refund_rounds: int = 5


def wait_seconds(schedule: Sequence[float], try_count: int) -> float:
    """Returns the wait after `try_count` tries; past the end the last wait repeats."""
    return schedule[min(try_count, len(schedule) - 1)]


def later(now: datetime, seconds: float) -> datetime:
    """Returns the instant `seconds` after `now`."""
    return now + timedelta(seconds=seconds)
