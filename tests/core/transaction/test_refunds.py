"""What a refund may take and what its payment's word means."""

from __future__ import annotations

from typing import Any

import pytest

from core.transaction.domain import legs, refunds
from core.transaction.domain.legs import Move, MoveOutcome
from core.transaction.domain.records import Leg, OrderFile, Owner, Refund
from core.transaction.domain.states import (
    EventType,
    LegState,
    OrderKind,
    OrderState,
    PaymentKind,
    PaymentState,
    RefundState,
)
from runtime.errors import PaycenterError, Reason
from runtime.money import Money
from tests.core.transaction.builders import NOW, PLAN, file, order, refund, report, shares


def _paid(**fields: Any) -> Any:
    values: dict[str, Any] = {
        "state": OrderState.PAID,
        "paid_minor_units": 1000,
        "winning_attempt_id": "A1",
        "next_step_time": None,
    }
    return order(**(values | fields))


HALF_GONE: dict[str, Any] = {"refunded_minor_units": 300, "refunding_minor_units": 300}


@pytest.mark.parametrize(
    ("fields", "amount", "reason", "field"),
    [
        ({"state": OrderState.PAYING}, Money(1, "CNY"), Reason.ORDER_STATE_INVALID, None),
        ({"state": OrderState.REFUNDED}, Money(1, "CNY"), Reason.ORDER_STATE_INVALID, None),
        ({}, Money(1, "USD"), Reason.CURRENCY_MISMATCH, "amount.currency_code"),
        ({}, Money(1001, "CNY"), Reason.REFUND_EXCEEDS_PAID, "amount"),
        (HALF_GONE, Money(401, "CNY"), Reason.REFUND_EXCEEDS_PAID, "amount"),
        ({"kind": OrderKind.WITHDRAWAL}, Money(1, "CNY"), Reason.FIELD_INVALID, "order_id"),
    ],
)
def test_what_cannot_be_refunded_is_refused_with_reason_and_field(
    fields: dict[str, Any], amount: Money, reason: Reason, field: str | None
) -> None:
    with pytest.raises(PaycenterError) as refused:
        refunds.require_refundable(_paid(**fields), amount)
    assert (refused.value.reason, refused.value.field) == (reason, field)


def test_what_is_left_can_be_refunded_to_the_last_unit() -> None:
    half = _paid(state=OrderState.PARTLY_REFUNDED, refunded_minor_units=300, refunding_minor_units=300)
    refunds.require_refundable(half, Money(400, "CNY"))
    with pytest.raises(PaycenterError) as refused:
        refunds.require_refundable(half, Money(401, "CNY"))
    assert refused.value.metadata == {"refundableMinorUnits": "400"}


def _hear(seen: OrderFile, state: PaymentState, **fields: Any) -> OrderFile:
    own = seen.refunds[0]
    change = refunds.record_report(
        seen, own, report(state, own.refund_id, kind=PaymentKind.REFUND, **fields), plan=PLAN
    )
    return change.after(NOW) if change is not None else seen


@pytest.mark.parametrize(
    ("minor_units", "state"), [(400, OrderState.PARTLY_REFUNDED), (1000, OrderState.REFUNDED)]
)
def test_a_refund_moves_from_refunding_to_refunded(minor_units: int, state: OrderState) -> None:
    begun = file(_paid(refunding_minor_units=minor_units), refunds=(refund(minor_units=minor_units),))
    after = _hear(begun, PaymentState.SUCCEEDED)
    assert (after.order.refunding_minor_units, after.order.refunded_minor_units) == (0, minor_units)
    assert (after.order.state, after.refunds[0].state) == (state, RefundState.SUCCEEDED)
    assert _hear(after, PaymentState.SUCCEEDED) is after


def test_a_failed_refund_can_be_refunded_again() -> None:
    begun = file(_paid(refunding_minor_units=400), refunds=(refund(minor_units=400),))
    after = _hear(begun, PaymentState.FAILED, failure_reason="CHANNEL_REFUSED")
    assert (after.order.refundable_minor_units, after.order.state) == (1000, OrderState.PAID)
    assert (after.refunds[0].state, after.refunds[0].failure_reason) == (
        RefundState.FAILED,
        "CHANNEL_REFUSED",
    )


def test_an_automatic_refund_that_fails_is_begun_anew_until_a_person_is_needed() -> None:
    seen = file(_paid(state=OrderState.CLOSED, paid_minor_units=0), refunds=(refund(automatic=True),))
    for expected_round in range(2, PLAN.refund_rounds + 2):
        own: Refund = seen.refunds[0]
        change = refunds.record_report(
            seen,
            own,
            report(PaymentState.FAILED, payment_id=own.payment_id or "P-x", kind=PaymentKind.REFUND),
            plan=PLAN,
            round_number=own.round_number,
        )
        assert change is not None
        seen = change.after(NOW)
        assert (seen.refunds[0].round_number, seen.refunds[0].payment_id) == (expected_round, "")
    assert seen.refunds[0].state is RefundState.IN_REVIEW
    assert seen.refunds[0].next_step_time is not None
    assert seen.order.refunding_minor_units == 0


def _automatic(**fields: Any) -> OrderFile:
    return file(
        _paid(state=OrderState.CLOSED, paid_minor_units=0), refunds=(refund(automatic=True, **fields),)
    )


def _said(
    seen: OrderFile, state: PaymentState, payment_id: str, round_number: int | None = None, version: int = 3
) -> OrderFile:
    change = refunds.record_report(
        seen,
        seen.refunds[0],
        report(state, "R1", kind=PaymentKind.REFUND, payment_id=payment_id, version=version),
        plan=PLAN,
        round_number=round_number,
    )
    return change.after(NOW) if change is not None else seen


@pytest.mark.parametrize("first", [None, 1])
@pytest.mark.parametrize("known", ["", "P-0"])
def test_a_failed_payment_of_a_refund_counts_once_in_any_order(first: int | None, known: str) -> None:
    begun = _automatic(payment_id=known, payment_version=0, state=RefundState.PENDING)
    seen = _said(begun, PaymentState.FAILED, "P-0", first)
    assert (seen.refunds[0].round_number, seen.refunds[0].payment_id) == (2, "")
    for again in (None, 1):
        for version in (3, 9):
            assert _said(seen, PaymentState.FAILED, "P-0", again, version) is seen
            assert _said(seen, PaymentState.UNKNOWN, "P-0", again, version) is seen
    sent = _said(seen, PaymentState.PENDING, "P-1", 2)
    assert sent.refunds[0].payment_id == "P-1"
    for again in (None, 1):
        assert _said(sent, PaymentState.FAILED, "P-0", again, 9) is sent
    assert refunds.refuse_refund(seen, seen.refunds[0], "X", plan=PLAN, round_number=1) is None


@pytest.mark.parametrize("sent", [False, True])
def test_money_that_an_earlier_round_gave_back_after_all_ends_the_refund(sent: bool) -> None:
    seen = _said(_automatic(payment_id="P-0"), PaymentState.FAILED, "P-0", 1)
    if sent:
        seen = _said(seen, PaymentState.UNKNOWN, "P-1", 2, version=9)
    after = _said(seen, PaymentState.SUCCEEDED, "P-0", version=4)
    assert (after.refunds[0].state, after.refunds[0].payment_id) == (RefundState.SUCCEEDED, "P-0")
    own, kind = after.refunds[0], PaymentKind.REFUND
    assert not refunds.contradicts(own, report(PaymentState.SUCCEEDED, "R1", kind=kind, payment_id="P-0"))
    assert refunds.contradicts(own, report(PaymentState.SUCCEEDED, "R1", kind=kind, payment_id="P-1"))


def test_money_that_went_back_for_a_failed_refund_is_a_contradiction() -> None:
    begun = file(_paid(refunding_minor_units=400), refunds=(refund(minor_units=400),))
    failed = _hear(begun, PaymentState.FAILED)
    late = report(PaymentState.SUCCEEDED, "R1", kind=PaymentKind.REFUND, version=9)
    assert refunds.contradicts(failed.refunds[0], late)
    assert not refunds.contradicts(begun.refunds[0], late)
    assert _hear(failed, PaymentState.SUCCEEDED, version=9) is failed


def test_unknown_and_review_are_shown_and_nothing_is_given_up() -> None:
    begun = file(_paid(refunding_minor_units=100), refunds=(refund(),))
    unknown = _hear(begun, PaymentState.UNKNOWN)
    assert (unknown.refunds[0].state, unknown.order.refunding_minor_units) == (RefundState.UNKNOWN, 100)
    assert _hear(unknown, PaymentState.IN_REVIEW, version=4).refunds[0].state is RefundState.IN_REVIEW


class TestSplit:
    """Refunds of a purchase whose money went to several receivers; M1 is the merchant itself."""

    def _begin(self, minor_units: int, *done: Refund) -> tuple[Leg, ...]:
        return legs.legs_for(
            file(_paid(purpose=shares(500, 300, 200)), refunds=done), Money(minor_units, "CNY")
        )

    def test_receivers_give_back_in_proportion_and_the_merchant_needs_no_leg(self) -> None:
        assert [(leg.receiver.owner_id, leg.minor_units) for leg in self._begin(100)] == [
            ("M2", 30),
            ("M3", 20),
        ]

    def test_many_small_refunds_take_from_nobody_more_than_it_received(self) -> None:
        done: tuple[Refund, ...] = ()
        for number in range(1000):
            parts = self._begin(1, *done)
            done = (*done, refund(f"R{number}", 1, legs=parts, state=RefundState.SUCCEEDED))
        given = {"M2": 0, "M3": 0}
        for one in done:
            for leg in one.legs:
                given[leg.receiver.owner_id] += leg.minor_units
        assert given == {"M2": 300, "M3": 200}

    def test_a_failed_refund_counts_for_nothing(self) -> None:
        failed = refund("R0", 1000, legs=self._begin(1000), state=RefundState.FAILED)
        assert [leg.minor_units for leg in self._begin(1000, failed)] == [300, 200]

    def _moves(self, *outcomes: MoveOutcome, back: bool = False) -> list[Move]:
        return [
            Move(
                receiver=Owner(kind="MERCHANT", owner_id=f"M{index}"),
                back=back,
                outcome=outcome,
                payment_id=f"P{index}",
                reason="INSUFFICIENT_FUNDS" if outcome is MoveOutcome.REFUSED else "",
            )
            for index, outcome in enumerate(outcomes, start=2)
        ]

    def _seen(self) -> OrderFile:
        own = refund(
            minor_units=100,
            payment_id="",
            payment_version=0,
            legs=self._begin(100),
            state=RefundState.ACCEPTED,
        )
        return file(_paid(purpose=shares(500, 300, 200), refunding_minor_units=100), refunds=(own,))

    def _move(self, seen: OrderFile, moves: list[Move]) -> OrderFile:
        change = refunds.record_moves(seen, seen.refunds[0], moves, plan=PLAN)
        assert change is not None
        return change.after(NOW)

    def test_the_payer_is_refunded_when_every_part_has_come_in(self) -> None:
        half = self._move(self._seen(), self._moves(MoveOutcome.MOVED, MoveOutcome.UNKNOWN))
        assert not legs.are_ready(half.refunds[0])
        assert [(leg.receiver.owner_id, back) for leg, back in legs.to_move(half.refunds[0])] == [
            ("M3", False)
        ]
        assert legs.are_ready(
            self._move(half, self._moves(MoveOutcome.UNKNOWN, MoveOutcome.MOVED)).refunds[0]
        )

    def test_one_receiver_that_cannot_give_sends_the_others_parts_back(self) -> None:
        undoing = self._move(self._seen(), self._moves(MoveOutcome.MOVED, MoveOutcome.REFUSED))
        assert [leg.state for leg in undoing.refunds[0].legs] == [LegState.RETURNING, LegState.REFUSED]
        assert undoing.refunds[0].is_open
        stuck = self._move(undoing, self._moves(MoveOutcome.REFUSED, back=True))
        assert (stuck.refunds[0].legs[0].state, stuck.refunds[0].legs[0].round_number) == (
            LegState.RETURNING,
            2,
        )
        change = refunds.record_moves(
            stuck, stuck.refunds[0], self._moves(MoveOutcome.MOVED, back=True), plan=PLAN
        )
        assert change is not None
        undone = change.after(NOW)
        assert (undone.refunds[0].state, undone.refunds[0].failure_reason) == (
            RefundState.FAILED,
            "INSUFFICIENT_FUNDS",
        )
        assert (undone.order.refunding_minor_units, change.happenings[0].event_type) == (
            0,
            EventType.REFUND_FAILED,
        )

    def test_a_refund_that_the_channel_refuses_gives_the_parts_back_first(self) -> None:
        ready = self._move(self._seen(), self._moves(MoveOutcome.MOVED, MoveOutcome.MOVED))
        change = refunds.refuse_refund(ready, ready.refunds[0], "NO_ROUTE", plan=PLAN, round_number=1)
        assert change is not None
        undoing = change.after(NOW)
        assert undoing.refunds[0].is_open
        assert [back for _, back in legs.to_move(undoing.refunds[0])] == [True, True]
        refused_again = refunds.refuse_refund(
            undoing, undoing.refunds[0], "NO_ROUTE", plan=PLAN, round_number=1
        )
        assert refused_again is None
        late = report(PaymentState.SUCCEEDED, "R1", kind=PaymentKind.REFUND)
        assert refunds.contradicts(undoing.refunds[0], late)
        after = self._move(undoing, self._moves(MoveOutcome.MOVED, MoveOutcome.MOVED, back=True))
        assert (after.refunds[0].state, after.refunds[0].failure_reason) == (RefundState.FAILED, "NO_ROUTE")
