"""What a payment's word means for its attempt and order."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from core.transaction.domain import attempts
from core.transaction.domain.change import Change, Draft
from core.transaction.domain.records import Attempt, OrderFile, PaymentReport, Refusal
from core.transaction.domain.states import (
    AttemptState,
    EventType,
    OrderKind,
    OrderState,
    PaymentKind,
    PaymentState,
)
from tests.core.transaction.builders import NOW, PLAN, attempt, file, order, report


def _hear(seen: OrderFile, said: PaymentReport) -> Change | None:
    own = seen.attempt(said.transaction_number)
    assert own is not None
    if said.kind is PaymentKind.TRANSFER and seen.order.kind is OrderKind.PURCHASE:
        return attempts.settle(seen, own, said, plan=PLAN)
    return attempts.record_report(seen, own, said, plan=PLAN, new_refund_id="R-auto")


def _after(seen: OrderFile, *reports: PaymentReport) -> OrderFile:
    for said in reports:
        change = _hear(seen, said)
        seen = change.after(NOW) if change is not None else seen
    return seen


def _states(seen: OrderFile) -> tuple[OrderState, list[AttemptState]]:
    return seen.order.state, [own.state for own in seen.attempts]


def test_the_first_payment_wins_and_waits_for_its_transfer() -> None:
    change = _hear(file(order(), attempt("A1"), attempt("A2")), report(PaymentState.SUCCEEDED))
    assert change is not None
    after = change.after(NOW)
    assert _states(after) == (OrderState.PAYING, [AttemptState.PAID, AttemptState.PENDING])
    assert (after.order.winning_attempt_id, after.order.paid_minor_units) == ("A1", 0)
    assert [told.event_type for told in change.happenings] == [EventType.ATTEMPT_CHANGED]


def test_the_transfer_makes_the_order_paid_and_sends_the_losers_to_be_closed() -> None:
    won = _after(file(order(), attempt("A1"), attempt("A2")), report(PaymentState.SUCCEEDED))
    change = _hear(won, report(PaymentState.SUCCEEDED, kind=PaymentKind.TRANSFER, payment_id="P-t"))
    assert change is not None
    after = change.after(NOW)
    assert _states(after) == (OrderState.PAID, [AttemptState.SUCCEEDED, AttemptState.CLOSING])
    assert (after.order.paid_minor_units, after.attempts[0].transfer_payment_id) == (1000, "P-t")
    assert after.order.next_step_time is None
    assert after.attempts[1].next_step_time is not None
    assert [told.event_type for told in change.happenings] == [EventType.ORDER_PAID]


def test_the_second_payment_is_superseded_and_refunded() -> None:
    seen = _after(
        file(order(), attempt("A1"), attempt("A2")),
        report(PaymentState.SUCCEEDED),
        report(PaymentState.SUCCEEDED, "A2"),
    )
    assert [own.state for own in seen.attempts] == [AttemptState.PAID, AttemptState.SUPERSEDED]
    assert [(r.refund_id, r.automatic, r.attempt_id, r.amount.minor_units) for r in seen.refunds] == [
        ("R-auto", True, "A2", 1000)
    ]
    assert (seen.order.refunding_minor_units, seen.refunds[0].reason) == (0, attempts.PAID_TWICE)


@pytest.mark.parametrize("state", [OrderState.CLOSED, OrderState.EXPIRED, OrderState.FAILED])
def test_money_for_an_order_that_ended_is_refunded(state: OrderState) -> None:
    ended = file(order(state=state, next_step_time=None), attempt(state=AttemptState.CLOSED))
    after = _after(ended, report(PaymentState.SUCCEEDED))
    assert _states(after) == (state, [AttemptState.SUPERSEDED])
    assert after.refunds[0].reason == attempts.PAID_AFTER_CLOSE


def test_money_that_arrives_while_the_order_is_being_closed_wins() -> None:
    closing = file(
        order(state=OrderState.CLOSING, closing_to=OrderState.CLOSED), attempt(state=AttemptState.CLOSING)
    )
    after = _after(
        closing,
        report(PaymentState.SUCCEEDED),
        report(PaymentState.SUCCEEDED, kind=PaymentKind.TRANSFER, payment_id="P-t"),
    )
    assert _states(after) == (OrderState.PAID, [AttemptState.SUCCEEDED])
    assert after.order.closing_to is None


def test_the_order_closes_with_its_last_open_attempt_and_not_before() -> None:
    closing = file(
        order(state=OrderState.CLOSING, closing_to=OrderState.EXPIRED),
        attempt("A1", AttemptState.CLOSING),
        attempt("A2", AttemptState.CLOSING),
    )
    half = _after(closing, report(PaymentState.CLOSED))
    assert half.order.state is OrderState.CLOSING
    change = _hear(half, report(PaymentState.FAILED, "A2"))
    assert change is not None
    assert change.after(NOW).order.state is OrderState.EXPIRED
    assert EventType.ORDER_EXPIRED in {told.event_type for told in change.happenings}


def test_an_unknown_payment_never_closes_its_order() -> None:
    closing = file(
        order(state=OrderState.CLOSING, closing_to=OrderState.CLOSED), attempt(state=AttemptState.CLOSING)
    )
    assert _states(_after(closing, report(PaymentState.UNKNOWN))) == (
        OrderState.CLOSING,
        [AttemptState.CLOSING],
    )
    assert _states(_after(closing, report(PaymentState.IN_REVIEW))) == (
        OrderState.CLOSING,
        [AttemptState.IN_REVIEW],
    )


def test_a_failed_recharge_leaves_the_order_payable_and_a_failed_withdrawal_fails_it() -> None:
    assert _states(_after(file(order(), attempt()), report(PaymentState.FAILED))) == (
        OrderState.PAYING,
        [AttemptState.FAILED],
    )
    withdrawal = file(order(kind=OrderKind.WITHDRAWAL), attempt())
    failed = report(PaymentState.FAILED, kind=PaymentKind.WITHDRAWAL)
    assert _states(_after(withdrawal, failed)) == (OrderState.FAILED, [AttemptState.FAILED])


@pytest.mark.parametrize("kind", [OrderKind.RECHARGE, OrderKind.WITHDRAWAL, OrderKind.TRANSFER])
def test_other_kinds_are_carried_out_without_a_transfer_to_receivers(kind: OrderKind) -> None:
    said = report(
        PaymentState.SUCCEEDED,
        kind=PaymentKind.TRANSFER if kind is OrderKind.TRANSFER else PaymentKind.RECHARGE,
    )
    after = _after(file(order(kind=kind), attempt()), said)
    assert _states(after) == (OrderState.PAID, [AttemptState.SUCCEEDED])


def test_the_payers_code_is_forgotten_with_the_first_answer() -> None:
    sent = file(order(), attempt(state=AttemptState.CREATED, payment_id="", payment_version=0))
    after = _after(sent, report(PaymentState.PENDING, credential=b"qr"))
    assert (after.attempts[0].instruction.authorization_code, after.attempts[0].credential) == ("", b"qr")


def test_old_and_repeated_reports_change_nothing() -> None:
    paid = _after(file(order(), attempt()), report(PaymentState.SUCCEEDED, version=5))
    assert _hear(paid, report(PaymentState.SUCCEEDED, version=5)) is None
    assert _hear(paid, report(PaymentState.UNKNOWN, version=4)) is None
    assert _hear(paid, report(PaymentState.FAILED, version=6)) is None
    pending = file(order(), attempt())
    assert _hear(pending, report(PaymentState.UNKNOWN, version=1)) is None
    assert _hear(pending, report(PaymentState.UNKNOWN, payment_id="P-of-another", version=9)) is None


@pytest.mark.parametrize("sequence", list(itertools.permutations(range(4))))
def test_reports_in_any_order_come_to_the_same_end(sequence: tuple[int, ...]) -> None:
    said = [
        report(PaymentState.PENDING, "A1", version=2),
        report(PaymentState.SUCCEEDED, "A1", version=3),
        report(PaymentState.UNKNOWN, "A2", version=2),
        report(PaymentState.SUCCEEDED, "A2", version=3),
    ]
    seen = file(order(), attempt("A1", payment_version=1), attempt("A2", payment_version=1))
    seen = _after(seen, *(said[position] for position in sequence))
    assert sorted(own.state for own in seen.attempts) == [AttemptState.PAID, AttemptState.SUPERSEDED]
    winner = next(own for own in seen.attempts if own.state is AttemptState.PAID)
    assert seen.order.winning_attempt_id == winner.attempt_id
    assert len(seen.refunds) == 1


def test_a_refused_attempt_that_was_paid_after_all_is_not_lost() -> None:
    refused = file(order(), attempt(state=AttemptState.FAILED, payment_id="", next_step_time=None))
    assert _after(refused, report(PaymentState.SUCCEEDED)).order.winning_attempt_id == "A1"
    proven = file(order(), attempt(state=AttemptState.FAILED, next_step_time=None))
    assert attempts.contradicts(proven.attempts[0], report(PaymentState.SUCCEEDED))
    assert _hear(proven, report(PaymentState.SUCCEEDED)) is None


def test_a_refusal_fails_the_attempt_only_while_nothing_was_begun() -> None:
    refusal = Refusal(reason="RISK_BLOCKED", message="no")
    fresh = attempt(state=AttemptState.CREATED, payment_id="")
    change = attempts.refuse_attempt(file(order(), fresh), fresh, refusal)
    assert change is not None
    after = change.after(NOW)
    assert _states(after) == (OrderState.PAYING, [AttemptState.FAILED])
    assert after.attempts[0].refusal == refusal
    sent = attempt()
    assert attempts.refuse_attempt(file(order(), sent), sent, refusal) is None


def test_a_transfer_that_keeps_failing_needs_a_person_and_is_still_tried() -> None:
    seen = _after(file(order(), attempt()), report(PaymentState.SUCCEEDED))
    for _ in range(PLAN.transfer_rounds):
        own: Attempt = seen.attempts[0]
        change = attempts.settle_refused(
            seen, own, "ACCOUNT_STATE_INVALID", plan=PLAN, transfer_round=own.transfer_round
        )
        assert change is not None
        seen = change.after(NOW)
    assert seen.attempts[0].state is AttemptState.IN_REVIEW
    assert seen.attempts[0].transfer_round == PLAN.transfer_rounds + 1
    assert seen.attempts[0].next_step_time is not None
    settled = _after(seen, report(PaymentState.SUCCEEDED, kind=PaymentKind.TRANSFER, payment_id="P-t"))
    assert _states(settled) == (OrderState.PAID, [AttemptState.SUCCEEDED])


def test_an_undecided_transfer_is_remembered_and_not_begun_anew() -> None:
    seen = _answered(_won(), PaymentState.UNKNOWN, "P-t", 1)
    assert seen.attempts[0].transfer_payment_id == "P-t"
    assert seen.attempts[0].transfer_round == 1
    for said in (PaymentState.UNKNOWN, PaymentState.IN_REVIEW, PaymentState.PENDING):
        assert _hear(seen, _transfer(said, "P-t", version=9)) is None
    own = seen.attempts[0]
    assert attempts.settle_refused(seen, own, "PAYMENT_NOT_FOUND", plan=PLAN, transfer_round=1) is None


def _won() -> OrderFile:
    return _after(file(order(), attempt()), report(PaymentState.SUCCEEDED))


def _transfer(state: PaymentState, payment_id: str, **fields: Any) -> PaymentReport:
    return report(state, kind=PaymentKind.TRANSFER, payment_id=payment_id, **fields)


def _answered(seen: OrderFile, state: PaymentState, payment_id: str, transfer_round: int) -> OrderFile:
    change = attempts.settle(
        seen, seen.attempts[0], _transfer(state, payment_id), plan=PLAN, transfer_round=transfer_round
    )
    return change.after(NOW) if change is not None else seen


FAILED_ENDS = [PaymentState.FAILED, PaymentState.CLOSED]


@pytest.mark.parametrize("state", FAILED_ENDS)
def test_a_failed_transfer_counts_once_when_its_answer_comes_before_its_event(state: PaymentState) -> None:
    seen = _answered(_won(), state, "P-t0", 1)
    assert (seen.attempts[0].transfer_round, seen.attempts[0].transfer_payment_id) == (2, "")
    assert _after(seen, _transfer(state, "P-t0"), _transfer(state, "P-t0", version=9)) is seen
    assert _answered(seen, state, "P-t0", 1) is seen


@pytest.mark.parametrize("state", FAILED_ENDS)
def test_a_failed_transfer_counts_once_when_its_event_comes_before_its_answer(state: PaymentState) -> None:
    won = _won()
    assert _after(won, _transfer(state, "P-t0"), _transfer(state, "P-t0")) is won
    seen = _answered(won, state, "P-t0", 1)
    assert seen.attempts[0].transfer_round == 2
    known = _answered(won, PaymentState.PENDING, "P-t0", 1)
    heard = _after(known, _transfer(state, "P-t0"), _transfer(state, "P-t0"))
    assert (heard.attempts[0].transfer_round, heard.attempts[0].transfer_payment_id) == (2, "")
    assert _answered(heard, state, "P-t0", 1) is heard


@pytest.mark.parametrize(
    "state", [*FAILED_ENDS, PaymentState.PENDING, PaymentState.UNKNOWN, PaymentState.IN_REVIEW]
)
def test_word_of_an_earlier_transfer_does_not_touch_the_present_one(state: PaymentState) -> None:
    second = _answered(_won(), PaymentState.FAILED, "P-t0", 1)
    assert _answered(second, state, "P-t0", 1) is second
    assert _hear(second, _transfer(state, "P-t0")) is None
    under_way = _answered(second, PaymentState.UNKNOWN, "P-t1", 2)
    assert under_way.attempts[0].transfer_payment_id == "P-t1"
    assert _hear(under_way, _transfer(state, "P-t0")) is None
    assert _answered(under_way, state, "P-t0", 1) is under_way
    assert attempts.settle_refused(under_way, under_way.attempts[0], "X", plan=PLAN, transfer_round=2) is None


def test_a_refusal_counts_only_for_the_round_it_was_said_in() -> None:
    won = _won()
    change = attempts.settle_refused(won, won.attempts[0], "X", plan=PLAN, transfer_round=1)
    assert change is not None
    second = change.after(NOW)
    assert attempts.settle_refused(second, second.attempts[0], "X", plan=PLAN, transfer_round=1) is None


@pytest.mark.parametrize("second_known", [False, True])
@pytest.mark.parametrize("by_answer", [False, True])
def test_an_earlier_transfer_that_moved_the_money_after_all_settles_the_order(
    second_known: bool, by_answer: bool
) -> None:
    seen = _answered(_won(), PaymentState.FAILED, "P-t0", 1)
    if second_known:
        seen = _answered(seen, PaymentState.UNKNOWN, "P-t1", 2)
    said = _transfer(PaymentState.SUCCEEDED, "P-t0")
    after = _answered(seen, said.state, "P-t0", 1) if by_answer else _after(seen, said)
    assert _states(after) == (OrderState.PAID, [AttemptState.SUCCEEDED])
    assert after.attempts[0].transfer_payment_id == "P-t0"
    assert _hear(after, said) is None
    assert not attempts.contradicts(after.attempts[0], said)
    assert attempts.contradicts(after.attempts[0], _transfer(PaymentState.SUCCEEDED, "P-t1"))


def test_a_further_transfer_begins_only_when_its_wait_is_over() -> None:
    won = _won()
    assert attempts.may_begin_transfer(won.attempts[0], is_due=False)
    second = _answered(won, PaymentState.FAILED, "P-t0", 1).attempts[0]
    assert second.next_step_time == NOW + timedelta(seconds=PLAN.settle_seconds[1])
    assert not attempts.may_begin_transfer(second, is_due=False)
    assert attempts.may_begin_transfer(second, is_due=True)


def test_closing_an_order_without_open_attempts_ends_it_at_once() -> None:
    failed = attempt(state=AttemptState.FAILED, next_step_time=None)
    change = attempts.begin_closing(file(order(), failed), OrderState.CLOSED, plan=PLAN)
    assert change.after(NOW).order.state is OrderState.CLOSED
    change = attempts.begin_closing(file(order(), attempt()), OrderState.EXPIRED, plan=PLAN)
    after = change.after(NOW)
    assert _states(after) == (OrderState.CLOSING, [AttemptState.CLOSING])
    assert after.order.closing_to is OrderState.EXPIRED


def test_a_change_raises_the_version_by_one_and_says_what_happened() -> None:
    seen = file(order(version=8), attempt())
    change = _hear(seen, report(PaymentState.UNKNOWN))
    assert change is not None
    assert change.after(NOW).order.version == 9
    assert change.happenings
    with pytest.raises(ValueError, match="say what happened"):
        Draft(seen).finish()


def test_a_pending_report_does_not_take_a_loser_out_of_closing() -> None:
    paid = file(
        replace(order(), state=OrderState.PAID, winning_attempt_id="A1", next_step_time=None),
        attempt("A1", AttemptState.SUCCEEDED),
        attempt("A2", AttemptState.IN_REVIEW),
    )
    assert _after(paid, report(PaymentState.PENDING, "A2")).attempts[1].state is AttemptState.CLOSING
