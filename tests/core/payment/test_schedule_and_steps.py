"""When an unfinished payment is taken up again, and what its steps say."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from core.payment.domain.payment import (
    PaymentKind,
    PaymentState,
    StepKind,
    StepState,
    finish_steps,
    initial_steps,
    tried,
)
from core.payment.domain.schedule import Schedule
from tests.core.payment.make import payment

NOW = datetime(2026, 11, 21, tzinfo=UTC)
SCHEDULE = Schedule(
    pending_seconds=(5, 10),
    unknown_seconds=(1, 2),
    closing_seconds=(3, 4),
    closed_watch_seconds=(60,),
    review_seconds=300,
)


@pytest.mark.parametrize(
    ("state", "delays"),
    [
        (PaymentState.SUBMITTING, [1, 2, None]),
        (PaymentState.UNKNOWN, [1, 2, None]),
        (PaymentState.PENDING, [5, 10, 10]),
        (PaymentState.CLOSING, [3, 4, None]),
        (PaymentState.CLOSED, [60, None, None]),
        (PaymentState.IN_REVIEW, [300, 300, 300]),
        (PaymentState.SUCCEEDED, [None, None, None]),
        (PaymentState.FAILED, [None, None, None]),
    ],
)
def test_each_state_has_its_waits(state: PaymentState, delays: list[float | None]) -> None:
    waiting = payment(state=state)
    assert [SCHEDULE.delay(waiting, try_count=count) for count in range(3)] == delays
    assert SCHEDULE.first_delay(waiting) == delays[0]


def test_every_state_that_is_not_final_has_a_first_wait() -> None:
    for state in PaymentState:
        made = payment(state=state)
        assert made.is_final or SCHEDULE.first_delay(made) is not None


def test_only_recharges_are_watched_after_their_close() -> None:
    assert SCHEDULE.first_delay(payment(PaymentKind.REFUND, state=PaymentState.CLOSED)) is None


def test_a_recorded_payment_has_done_what_came_before() -> None:
    states = {step.kind: step.state for step in initial_steps(PaymentKind.WITHDRAWAL, now=NOW)}
    assert states[StepKind.GENERATE_ORDER] is StepState.DONE
    assert states[StepKind.RESERVE_FUNDS] is StepState.DUE
    assert list(states) == list(StepKind)


def test_a_transfer_has_no_step_at_a_channel() -> None:
    kinds = [step.kind for step in initial_steps(PaymentKind.TRANSFER, now=NOW)]
    assert StepKind.INVOKE_CHANNEL not in kinds
    assert StepKind.ROUTE not in kinds


def test_after_success_all_is_done_and_after_failure_nothing_is_left_running() -> None:
    begun = payment(steps=initial_steps(PaymentKind.RECHARGE, now=NOW))
    running = tried(begun, StepKind.INVOKE_CHANNEL, StepState.RUNNING, now=NOW)
    assert {step.state for step in finish_steps(running.steps, succeeded=True, now=NOW)} == {StepState.DONE}
    failed = {step.kind: step.state for step in finish_steps(running.steps, succeeded=False, now=NOW)}
    assert failed[StepKind.INVOKE_CHANNEL] is StepState.REFUSED
    assert failed[StepKind.POST_JOURNAL] is StepState.SKIPPED
    assert failed[StepKind.NOTIFY] is StepState.DONE


def test_a_try_is_counted_on_its_step_alone() -> None:
    begun = payment(steps=initial_steps(PaymentKind.RECHARGE, now=NOW))
    twice = tried(
        tried(begun, StepKind.INVOKE_CHANNEL, StepState.RUNNING, now=NOW),
        StepKind.INVOKE_CHANNEL,
        StepState.DONE,
        now=NOW,
    )
    counts = {step.kind: step.try_count for step in twice.steps}
    assert (counts[StepKind.INVOKE_CHANNEL], counts[StepKind.POST_JOURNAL]) == (2, 0)
    assert tried(begun, StepKind.RESERVE_FUNDS, StepState.DONE, now=NOW).steps == begun.steps
