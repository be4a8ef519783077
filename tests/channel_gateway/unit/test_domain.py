"""States, decisions, fees, schedules and the comparison of notices."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channel_gateway.domain.answer import ChannelAnswer, Failure, Standing, contradicted, no_answer, not_sent
from channel_gateway.domain.credential import (
    Credential,
    InAppCall,
    NoAction,
    QrCode,
    Redirect,
    credential_from_json,
    credential_to_json,
)
from channel_gateway.domain.decision import Question, absence_is_proof_from, decide, decide_absence
from channel_gateway.domain.fees import channel_fee, format_fee_ratio, parse_fee_ratio
from channel_gateway.domain.notice import refusal_of
from channel_gateway.domain.schedule import Schedule
from channel_gateway.domain.states import FINAL_STATES, TRANSITIONS, Fact, event_of, next_state
from channel_gateway.domain.vocabulary import (
    ChannelOrderKind,
    ChannelOrderState,
    EventType,
    FailureReason,
    OutcomeSafety,
)
from runtime.errors import PaycenterError
from runtime.money import Money
from tests.channel_gateway.unit.support import NOW, order

State = ChannelOrderState
SUCCESS = ChannelAnswer(standing=Standing.SUCCEEDED, amount=Money(100, "CNY"), channel_transaction_id="T1")
DECLINE = ChannelAnswer(
    standing=Standing.DECLINED, failure=Failure(FailureReason.RISK_REFUSED, "X", "", OutcomeSafety.DECLINED)
)


def state_after(state: State, question: Question, answer: ChannelAnswer) -> State:
    change = decide(order(state=state), question, answer)
    return state if change is None else change.state


def test_the_table_names_each_step_once_and_leaves_no_final_state() -> None:
    steps = [(row.source, row.fact) for row in TRANSITIONS]
    assert len(steps) == len(set(steps))
    assert not FINAL_STATES & {row.source for row in TRANSITIONS}
    assert {row.fact for row in TRANSITIONS if row.source is State.CLOSED} == {Fact.SUCCEEDED}
    assert {row.target for row in TRANSITIONS} == set(State) - {State.PREPARED}


def test_no_answer_never_fails_an_order() -> None:
    for state in State:
        target = next_state(state, Fact.NO_ANSWER)
        assert target in (None, State.UNKNOWN)


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("question", [Question.QUERY, Question.NOTICE])
def test_silence_and_not_found_change_nothing_known(state: State, question: Question) -> None:
    for answer in (no_answer("Timeout"), not_sent(FailureReason.NOT_REACHED, ""), _not_found()):
        after = state_after(state, question, answer)
        expected = State.UNKNOWN if (state, question) == (State.SENT, Question.QUERY) else state
        assert after is expected


@pytest.mark.parametrize(
    ("state", "question", "answer", "expected"),
    [
        (State.SENT, Question.SEND, not_sent(FailureReason.NOT_REACHED, ""), State.NOT_SENT),
        (State.SENT, Question.SEND, no_answer("Timeout"), State.UNKNOWN),
        (State.SENT, Question.SEND, DECLINE, State.DECLINED),
        (State.SENT, Question.RESEND, not_sent(FailureReason.NOT_REACHED, ""), State.UNKNOWN),
        (State.UNKNOWN, Question.SEND, not_sent(FailureReason.NOT_REACHED, ""), State.UNKNOWN),
        (State.UNKNOWN, Question.RESEND, not_sent(FailureReason.NOT_REACHED, ""), State.UNKNOWN),
        (State.UNKNOWN, Question.QUERY, SUCCESS, State.SUCCEEDED),
        (State.UNKNOWN, Question.QUERY, ChannelAnswer(standing=Standing.ACCEPTED), State.ACCEPTED),
        (State.ACCEPTED, Question.CLOSE, no_answer("Timeout"), State.UNKNOWN),
        (State.ACCEPTED, Question.CLOSE, ChannelAnswer(standing=Standing.CLOSED), State.CLOSED),
        (State.ACCEPTED, Question.NOTICE, SUCCESS, State.SUCCEEDED),
        (State.CLOSED, Question.NOTICE, SUCCESS, State.SUCCEEDED),
        (State.SUCCEEDED, Question.NOTICE, SUCCESS, State.SUCCEEDED),
        (State.SUCCEEDED, Question.QUERY, ChannelAnswer(standing=Standing.CLOSED), State.SUCCEEDED),
        (State.DECLINED, Question.QUERY, SUCCESS, State.DECLINED),
        (State.ACCEPTED, Question.QUERY, contradicted("refunded elsewhere"), State.UNKNOWN),
        (State.SUCCEEDED, Question.QUERY, contradicted("refunded elsewhere"), State.SUCCEEDED),
    ],
)
def test_what_an_answer_means(
    state: State, question: Question, answer: ChannelAnswer, expected: State
) -> None:
    assert state_after(state, question, answer) is expected


@pytest.mark.parametrize("amount", [Money(99, "CNY"), Money(101, "CNY"), Money(100, "USD")])
def test_success_with_another_amount_is_open(amount: Money) -> None:
    answer = ChannelAnswer(standing=Standing.SUCCEEDED, amount=amount)
    for state in (State.SENT, State.ACCEPTED):
        change = decide(order(state=state), Question.QUERY, answer)
        assert change is not None
        assert change.state is State.UNKNOWN
        assert change.answer.failure is not None
        assert change.answer.failure.reason is FailureReason.MISMATCH


def test_a_resent_request_that_the_channel_knows_already_is_open() -> None:
    known = ChannelAnswer(
        standing=Standing.DECLINED,
        failure=Failure(FailureReason.MISMATCH, "ALREADY_EXISTS", "", OutcomeSafety.DECLINED),
    )
    assert state_after(State.UNKNOWN, Question.RESEND, known) is State.UNKNOWN
    assert state_after(State.UNKNOWN, Question.RESEND, DECLINE) is State.DECLINED


@pytest.mark.parametrize(
    "reason", ["RATE_LIMITED", "SIGNATURE_INVALID", "PERMISSION_MISSING", "CHANNEL_FAULT"]
)
def test_a_resent_request_refused_for_its_asking_is_open(reason: str) -> None:
    failure = Failure(FailureReason(reason), "X", "", OutcomeSafety.DECLINED)
    refused = ChannelAnswer(standing=Standing.DECLINED, failure=failure)
    assert state_after(State.UNKNOWN, Question.RESEND, refused) is State.UNKNOWN
    change = decide(order(state=State.SENT), Question.RESEND, refused)
    assert change is not None
    assert change.state is State.UNKNOWN
    assert change.answer.failure == Failure(FailureReason(reason), "X", "", OutcomeSafety.MAYBE_SENT)
    assert state_after(State.SENT, Question.SEND, refused) is State.DECLINED


def test_a_late_answer_still_brings_the_payers_way_in() -> None:
    answer = ChannelAnswer(standing=Standing.ACCEPTED, credential=QrCode("weixin://x"))
    change = decide(order(state=State.ACCEPTED), Question.SEND, answer)
    assert change is not None
    assert change.state is State.ACCEPTED
    assert decide(order(state=State.ACCEPTED, credential=QrCode("weixin://x")), Question.SEND, answer) is None


@pytest.mark.parametrize(
    ("state", "opened", "proven", "expected"),
    [
        (State.ACCEPTED, True, False, State.CLOSED),
        (State.UNKNOWN, True, False, State.CLOSED),
        (State.SENT, True, False, State.UNKNOWN),
        (State.ACCEPTED, False, False, State.UNKNOWN),
        (State.UNKNOWN, False, False, State.UNKNOWN),
        (State.ACCEPTED, False, True, State.CLOSED),
        (State.UNKNOWN, False, True, State.NOT_SENT),
        (State.SUCCEEDED, True, True, State.SUCCEEDED),
    ],
)
def test_absence_needs_a_close_and_the_channels_interval(
    state: State, opened: bool, proven: bool, expected: State
) -> None:
    change = decide_absence(order(state=state), appears_when_opened=opened, proven=proven)
    assert (state if change is None else change.state) is expected


def test_proof_of_absence_counts_from_expiry_where_the_payer_opens_the_payment() -> None:
    expires = NOW + timedelta(hours=2)
    proof = timedelta(minutes=5)
    waiting = order(expire_time=expires)
    assert absence_is_proof_from(waiting, appears_when_opened=True, proof=proof) == expires + proof
    assert absence_is_proof_from(waiting, appears_when_opened=False, proof=proof) == NOW + proof


def test_events_tell_what_matters() -> None:
    assert event_of(State.SENT, created=True) is EventType.CHANNEL_ORDER_CREATED
    assert event_of(State.NOT_SENT, created=True) is EventType.CHANNEL_ORDER_FAILED
    assert event_of(State.UNKNOWN, created=False) is EventType.CHANNEL_ORDER_CHANGED
    assert event_of(State.SUCCEEDED, created=False) is EventType.CHANNEL_ORDER_SUCCEEDED


@pytest.mark.parametrize(
    ("minor_units", "ratio", "fee"),
    [
        (100, "0.006", 1),
        (83, "0.006", 0),
        (84, "0.006", 1),
        (250, "0.002", 1),
        (1, "1", 1),
        (10**15, "0.006", 6 * 10**12),
    ],
)
def test_fees_are_rounded_half_up(minor_units: int, ratio: str, fee: int) -> None:
    millionths = parse_fee_ratio(ratio, field="fee_ratio")
    assert channel_fee(Money(minor_units, "CNY"), fee_ratio_millionths=millionths) == Money(fee, "CNY")


@given(st.integers(1, 10**15), st.integers(0, 1_000_000))
def test_a_fee_is_within_half_a_unit_and_never_above_the_amount(minor_units: int, millionths: int) -> None:
    fee = channel_fee(Money(minor_units, "CNY"), fee_ratio_millionths=millionths).minor_units
    assert 0 <= fee <= minor_units
    exact = minor_units * millionths
    assert -500_000 < fee * 1_000_000 - exact <= 500_000


@given(st.integers(0, 1_000_000))
def test_ratios_survive_being_written(millionths: int) -> None:
    assert parse_fee_ratio(format_fee_ratio(millionths), field="f") == millionths


@pytest.mark.parametrize("text", ["1.000001", "2", "-0.1", "0.0000001", "1e-3", ".5", "0.1 ", "nan"])
def test_a_ratio_out_of_range_is_refused_by_name(text: str) -> None:
    with pytest.raises(PaycenterError) as caught:
        parse_fee_ratio(text, field="fee_ratio")
    assert [violation.field for violation in caught.value.violations] == ["fee_ratio"]


def test_every_open_order_is_looked_at_again() -> None:
    schedule = Schedule(unknown=(1, 2), working=(3,), waiting=(4, 5))
    for state in (State.SENT, State.ACCEPTED, State.UNKNOWN):
        for kind in ChannelOrderKind:
            for step in range(4):
                delay = schedule.delay(
                    order(state=state, kind=kind), step_count=step, now=NOW, watched_until=None
                )
                assert delay is not None
                assert delay > timedelta(0)
    for state in FINAL_STATES:
        assert schedule.delay(order(state=state), step_count=0, now=NOW, watched_until=None) is None
    assert schedule.is_past(order(state=State.UNKNOWN), step_count=2)
    assert not schedule.is_past(order(state=State.UNKNOWN), step_count=1)


def test_a_payment_closed_unopened_is_watched_until_it_cannot_appear() -> None:
    schedule = Schedule(unknown=(1,), working=(1,), waiting=(60,))
    closed = order(state=State.CLOSED)
    until = NOW + timedelta(seconds=30)
    assert schedule.delay(closed, step_count=0, now=NOW, watched_until=until) == timedelta(seconds=30)
    assert schedule.delay(closed, step_count=0, now=until, watched_until=until) is None
    assert schedule.delay(closed, step_count=0, now=NOW, watched_until=None) is None


@pytest.mark.parametrize(
    ("fields", "notice", "refusal"),
    [
        ({}, {}, ""),
        ({"kind": ChannelOrderKind.REFUND}, {}, "ORDER_MISMATCH"),
        ({}, {"payment_channel_order_id": "C9"}, "ORDER_MISMATCH"),
        (
            {},
            {"answer": ChannelAnswer(standing=Standing.SUCCEEDED, amount=Money(101, "CNY"))},
            "AMOUNT_MISMATCH",
        ),
        (
            {},
            {"answer": ChannelAnswer(standing=Standing.SUCCEEDED, amount=Money(100, "USD"))},
            "CURRENCY_MISMATCH",
        ),
        ({}, {"answer": ChannelAnswer(standing=Standing.SUCCEEDED)}, "AMOUNT_MISSING"),
        ({"state": State.DECLINED}, {}, "STATE_CONTRADICTION"),
        ({"state": State.NOT_SENT}, {}, "STATE_CONTRADICTION"),
        ({"state": State.CLOSED}, {}, ""),
        ({"state": State.SUCCEEDED, "channel_transaction_id": "T1"}, {}, ""),
        ({"state": State.SUCCEEDED, "channel_transaction_id": "T2"}, {}, "TRANSACTION_MISMATCH"),
        (
            {"state": State.SUCCEEDED},
            {"answer": ChannelAnswer(standing=Standing.CLOSED)},
            "STATE_CONTRADICTION",
        ),
        ({"amount": Money(40, "CNY")}, {"amount_is_total": True}, ""),
        ({"amount": Money(140, "CNY")}, {"amount_is_total": True}, "AMOUNT_MISMATCH"),
    ],
)
def test_a_notice_must_agree_with_its_order(
    fields: dict[str, object], notice: dict[str, object], refusal: str
) -> None:
    told = {
        "kind": ChannelOrderKind.PAY,
        "payment_channel_order_id": "",
        "answer": SUCCESS,
        "amount_is_total": False,
    } | notice
    assert refusal_of(order(**fields), **told) == refusal  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "credential",
    [QrCode("x"), Redirect("POST", "https://x", {"a": "b"}), InAppCall({"a": "b"}), NoAction(), None],
)
def test_a_credential_survives_being_stored(credential: Credential | None) -> None:
    assert credential_from_json(credential_to_json(credential)) == credential


def _not_found() -> ChannelAnswer:
    return ChannelAnswer(standing=Standing.NOT_FOUND)
