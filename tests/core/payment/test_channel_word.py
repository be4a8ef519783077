"""What follows from the channel's word."""

from __future__ import annotations

import pytest

from core.payment.domain.channel import MISMATCH, ChannelState, Verdict, failure_of, verdict_on
from core.payment.domain.payment import FailureAdvice, OutcomeSafety
from runtime.money import Money
from tests.core.payment.make import payment, word


@pytest.mark.parametrize(
    ("state", "verdict"),
    [
        (ChannelState.PREPARED, Verdict.OPEN),
        (ChannelState.SENT, Verdict.OPEN),
        (ChannelState.UNKNOWN, Verdict.OPEN),
        (None, Verdict.OPEN),
        (ChannelState.ACCEPTED, Verdict.WAIT),
        (ChannelState.SUCCEEDED, Verdict.SETTLE),
        (ChannelState.DECLINED, Verdict.FAIL),
        (ChannelState.NOT_SENT, Verdict.FAIL),
        (ChannelState.CLOSED, Verdict.CLOSE),
    ],
)
def test_each_state_of_a_channel_order_has_its_verdict(state: ChannelState | None, verdict: Verdict) -> None:
    assert verdict_on(payment(), word(state)) is verdict


def test_every_state_of_the_channel_has_a_verdict() -> None:
    for state in ChannelState:
        assert verdict_on(payment(), word(state)) in Verdict


@pytest.mark.parametrize(
    "changes",
    [
        {"amount": Money(9_999, "CNY")},
        {"amount": Money(10_000, "JPY")},
        {"channel_fee_minor_units": -1},
        {"channel_fee_minor_units": 10_001},
        {"failure_reason": MISMATCH},
    ],
)
def test_success_that_does_not_agree_goes_to_a_person(changes: dict[str, object]) -> None:
    assert verdict_on(payment(), word(ChannelState.SUCCEEDED, **changes)) is Verdict.REVIEW


def test_a_contradiction_goes_to_a_person_and_a_refusal_stays_one() -> None:
    assert verdict_on(payment(), word(ChannelState.UNKNOWN, failure_reason=MISMATCH)) is Verdict.REVIEW
    assert verdict_on(payment(), word(ChannelState.DECLINED, failure_reason=MISMATCH)) is Verdict.FAIL


def test_the_failure_says_whether_money_may_have_moved_and_what_to_do() -> None:
    declined = failure_of(
        word(ChannelState.DECLINED, failure_reason="PAYER_FUNDS_INSUFFICIENT"), Verdict.FAIL
    )
    assert (declined.outcome_safety, declined.advice) == (
        OutcomeSafety.DECLINED,
        FailureAdvice.RETRY_OTHER_CHANNEL,
    )
    invalid = failure_of(word(ChannelState.DECLINED, failure_reason="REQUEST_INVALID"), Verdict.FAIL)
    assert invalid.advice is FailureAdvice.FIX_REQUEST
    not_sent = failure_of(word(ChannelState.NOT_SENT), Verdict.FAIL)
    assert (not_sent.reason, not_sent.outcome_safety) == ("NOT_REACHED", OutcomeSafety.NOT_SENT)
    open_outcome = failure_of(word(ChannelState.UNKNOWN), Verdict.OPEN)
    assert (open_outcome.outcome_safety, open_outcome.advice) == (
        OutcomeSafety.MAYBE_SENT,
        FailureAdvice.WAIT,
    )
    review = failure_of(word(ChannelState.SUCCEEDED), Verdict.REVIEW)
    assert (review.reason, review.advice) == (MISMATCH, FailureAdvice.CONTACT_OPERATIONS)
