"""What an error of a service below means for a payment. Invariant: only a refusal that the service decided on ends a
step; whatever may have begun, or was not decided, leaves the step open."""

from __future__ import annotations

from core.payment.domain.payment import Failure, FailureAdvice, OutcomeSafety
from runtime.errors import Code, PaycenterError, Reason

_DECIDED = frozenset(
    {
        Code.INVALID_ARGUMENT,
        Code.NOT_FOUND,
        Code.ALREADY_EXISTS,
        Code.PERMISSION_DENIED,
        Code.FAILED_PRECONDITION,
        Code.OUT_OF_RANGE,
        Code.UNIMPLEMENTED,
    }
)


def is_decided(error: PaycenterError) -> bool:
    """Whether the service below decided against the step, so that repeating it as it is gives the same answer."""
    return error.code in _DECIDED


def failure_of_refusal(error: PaycenterError) -> Failure:
    """Returns the failure of a payment that a service below refused before any money moved."""
    if error.reason is Reason.INSUFFICIENT_FUNDS or error.code is Code.INVALID_ARGUMENT:
        advice = FailureAdvice.FIX_REQUEST
    elif error.reason is Reason.PAYMENT_ACCOUNT_DISABLED:
        advice = FailureAdvice.RETRY_OTHER_CHANNEL
    else:
        advice = FailureAdvice.CONTACT_OPERATIONS
    return Failure(reason=error.reason.value, outcome_safety=OutcomeSafety.NOT_SENT, advice=advice)


def failure_of_open_call(error: PaycenterError) -> Failure:
    """Returns the failure of a payment whose outcome is open because a service below did not answer."""
    return Failure(
        reason=error.reason.value, outcome_safety=OutcomeSafety.MAYBE_SENT, advice=FailureAdvice.WAIT
    )


def review_after_refusal(error: PaycenterError) -> Failure:
    """Returns the failure of a payment whose money moved at the channel while the ledger refuses to book it."""
    return Failure(
        reason=error.reason.value,
        outcome_safety=OutcomeSafety.SUCCEEDED,
        advice=FailureAdvice.CONTACT_OPERATIONS,
    )


def review_after_schedule(present: Failure | None) -> Failure:
    """Returns the failure of a payment whose outcome stayed open past its schedule."""
    if present is None:
        return Failure(
            reason="NO_ANSWER",
            outcome_safety=OutcomeSafety.MAYBE_SENT,
            advice=FailureAdvice.CONTACT_OPERATIONS,
        )
    return Failure(
        reason=present.reason,
        channel_code=present.channel_code,
        outcome_safety=present.outcome_safety,
        advice=FailureAdvice.CONTACT_OPERATIONS,
    )
