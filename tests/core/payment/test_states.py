"""The table of states: what it allows, what it never allows, and that nothing in it is out of reach."""

from __future__ import annotations

import itertools

import pytest

from core.payment.domain.payment import PaymentKind, PaymentState, event_of_state
from core.payment.domain.states import TRANSITIONS, Trigger, sources_of, target_of
from tests.core.payment.make import payment


def test_each_state_has_at_most_one_way_for_a_trigger() -> None:
    rows = [(row.source, row.trigger) for row in TRANSITIONS]
    assert len(rows) == len(set(rows))


def test_succeeded_and_failed_are_never_left() -> None:
    for state, trigger, kind in itertools.product(
        (PaymentState.SUCCEEDED, PaymentState.FAILED), Trigger, PaymentKind
    ):
        assert target_of(payment(kind, state=state), trigger) is None


def test_closed_is_left_only_for_money_that_came_late() -> None:
    closed = payment(state=PaymentState.CLOSED)
    ways = {trigger: target_of(closed, trigger) for trigger in Trigger}
    assert {trigger: target for trigger, target in ways.items() if target} == {
        Trigger.BOOKED: PaymentState.SUCCEEDED,
        Trigger.REVIEW_NEEDED: PaymentState.IN_REVIEW,
    }


def test_only_recharges_can_be_closed() -> None:
    for kind in (PaymentKind.REFUND, PaymentKind.WITHDRAWAL, PaymentKind.TRANSFER):
        for state in PaymentState:
            assert target_of(payment(kind, state=state), Trigger.CLOSE_ASKED) is None
            assert target_of(payment(kind, state=state), Trigger.CLOSED_UNPAID) is None
    assert set(sources_of(Trigger.CLOSE_ASKED)) == {
        PaymentState.SUBMITTING,
        PaymentState.PENDING,
        PaymentState.UNKNOWN,
    }


def test_a_person_may_be_needed_from_every_state_whose_outcome_is_open() -> None:
    assert set(sources_of(Trigger.REVIEW_NEEDED)) == {
        PaymentState.SUBMITTING,
        PaymentState.PENDING,
        PaymentState.UNKNOWN,
        PaymentState.CLOSING,
        PaymentState.CLOSED,
    }


def test_every_state_can_be_reached() -> None:
    reached = {PaymentState.ACCEPTED}
    for _ in PaymentState:
        reached |= {row.target for row in TRANSITIONS if row.source in reached}
    assert reached == set(PaymentState)


@pytest.mark.parametrize("state", PaymentState)
def test_each_state_is_told_by_an_event(state: PaymentState) -> None:
    told = event_of_state(state).value
    final = {PaymentState.SUCCEEDED, PaymentState.FAILED, PaymentState.CLOSED}
    expected = f"PAYMENT_{state.value}" if state in final else "PAYMENT_CHANGED"
    assert told == ("PAYMENT_REVIEW_NEEDED" if state is PaymentState.IN_REVIEW else expected)
