"""How a payment gets from one state to another, as data. Invariant: whatever is not in the table does not happen;
SUCCEEDED and FAILED are never left, CLOSED only when the channel says later that it was paid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from core.payment.domain.payment import Payment, PaymentKind, PaymentState


class Trigger(StrEnum):
    """What moves a payment on."""

    CHALLENGE = "CHALLENGE"
    START = "START"
    CHANNEL_TOOK = "CHANNEL_TOOK"
    OUTCOME_OPEN = "OUTCOME_OPEN"
    BOOKED = "BOOKED"
    REFUSED = "REFUSED"
    CLOSE_ASKED = "CLOSE_ASKED"
    CLOSED_UNPAID = "CLOSED_UNPAID"
    REVIEW_NEEDED = "REVIEW_NEEDED"


@dataclass(frozen=True, slots=True)
class Guard:
    """A condition on the payment that a transition needs, with its name for the drawn table."""

    name: str
    holds: Callable[[Payment], bool]


IS_RECHARGE = Guard("is a recharge", lambda payment: payment.kind is PaymentKind.RECHARGE)
USES_CHANNEL = Guard("a channel moves the money", lambda payment: payment.uses_channel)


@dataclass(frozen=True, slots=True)
class Transition:
    """One row of the table: from `source` by `trigger` to `target`, where `guard` holds."""

    source: PaymentState
    trigger: Trigger
    target: PaymentState
    guard: Guard | None = None


_S = PaymentState
_T = Trigger

TRANSITIONS: tuple[Transition, ...] = (
    Transition(_S.ACCEPTED, _T.START, _S.SUBMITTING),
    Transition(_S.ACCEPTED, _T.CHALLENGE, _S.CHALLENGED),
    Transition(_S.ACCEPTED, _T.REFUSED, _S.FAILED),
    Transition(_S.CHALLENGED, _T.START, _S.SUBMITTING),
    Transition(_S.CHALLENGED, _T.REFUSED, _S.FAILED),
    Transition(_S.SUBMITTING, _T.CHANNEL_TOOK, _S.PENDING, USES_CHANNEL),
    Transition(_S.SUBMITTING, _T.OUTCOME_OPEN, _S.UNKNOWN),
    Transition(_S.SUBMITTING, _T.BOOKED, _S.SUCCEEDED),
    Transition(_S.SUBMITTING, _T.REFUSED, _S.FAILED),
    Transition(_S.SUBMITTING, _T.CLOSE_ASKED, _S.CLOSING, IS_RECHARGE),
    Transition(_S.SUBMITTING, _T.CLOSED_UNPAID, _S.CLOSED, IS_RECHARGE),
    Transition(_S.SUBMITTING, _T.REVIEW_NEEDED, _S.IN_REVIEW),
    Transition(_S.PENDING, _T.OUTCOME_OPEN, _S.UNKNOWN),
    Transition(_S.PENDING, _T.BOOKED, _S.SUCCEEDED),
    Transition(_S.PENDING, _T.REFUSED, _S.FAILED),
    Transition(_S.PENDING, _T.CLOSE_ASKED, _S.CLOSING, IS_RECHARGE),
    Transition(_S.PENDING, _T.CLOSED_UNPAID, _S.CLOSED, IS_RECHARGE),
    Transition(_S.PENDING, _T.REVIEW_NEEDED, _S.IN_REVIEW),
    Transition(_S.UNKNOWN, _T.CHANNEL_TOOK, _S.PENDING, USES_CHANNEL),
    Transition(_S.UNKNOWN, _T.BOOKED, _S.SUCCEEDED),
    Transition(_S.UNKNOWN, _T.REFUSED, _S.FAILED),
    Transition(_S.UNKNOWN, _T.CLOSE_ASKED, _S.CLOSING, IS_RECHARGE),
    Transition(_S.UNKNOWN, _T.CLOSED_UNPAID, _S.CLOSED, IS_RECHARGE),
    Transition(_S.UNKNOWN, _T.REVIEW_NEEDED, _S.IN_REVIEW),
    Transition(_S.CLOSING, _T.BOOKED, _S.SUCCEEDED, IS_RECHARGE),
    Transition(_S.CLOSING, _T.REFUSED, _S.FAILED, IS_RECHARGE),
    Transition(_S.CLOSING, _T.CLOSED_UNPAID, _S.CLOSED, IS_RECHARGE),
    Transition(_S.CLOSING, _T.REVIEW_NEEDED, _S.IN_REVIEW, IS_RECHARGE),
    Transition(_S.CLOSED, _T.BOOKED, _S.SUCCEEDED, IS_RECHARGE),
    Transition(_S.CLOSED, _T.REVIEW_NEEDED, _S.IN_REVIEW, IS_RECHARGE),
    Transition(_S.IN_REVIEW, _T.BOOKED, _S.SUCCEEDED),
    Transition(_S.IN_REVIEW, _T.REFUSED, _S.FAILED),
    Transition(_S.IN_REVIEW, _T.CLOSED_UNPAID, _S.CLOSED, IS_RECHARGE),
)

_ROWS = {(row.source, row.trigger): row for row in TRANSITIONS}


def target_of(payment: Payment, trigger: Trigger) -> PaymentState | None:
    """Returns the state to which `trigger` moves `payment`, or None when it does not move it."""
    row = _ROWS.get((payment.state, trigger))
    if row is None or (row.guard is not None and not row.guard.holds(payment)):
        return None
    return row.target


def sources_of(trigger: Trigger) -> tuple[PaymentState, ...]:
    """Returns the states that `trigger` leaves, in the order of the table."""
    return tuple(row.source for row in TRANSITIONS if row.trigger is trigger)
