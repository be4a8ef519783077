"""What an answer of a channel means for a channel order. Invariant: a time-out, an error page or "not found"
by itself never fails an order, nor does a refused repetition that speaks of the asking only, and success counts only
when the amount agrees."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from channel_gateway.domain.answer import ChannelAnswer, Failure, Standing, contradicted, left_open
from channel_gateway.domain.order import ChannelOrder
from channel_gateway.domain.states import Fact, next_state
from channel_gateway.domain.vocabulary import ChannelOrderState, FailureReason, OutcomeSafety


class Question(StrEnum):
    """What the channel was answering."""

    SEND = "SEND"
    """The first request, or the same one again while it provably did not arrive."""
    RESEND = "RESEND"
    """The same request again, after one of which nothing is known."""
    QUERY = "QUERY"
    """Where does it stand?"""
    CLOSE = "CLOSE"
    """Close it unpaid."""
    NOTICE = "NOTICE"
    """Nothing: the channel spoke by itself."""


@dataclass(frozen=True, slots=True)
class Change:
    """The next state of an order and the answer that brings it there."""

    state: ChannelOrderState
    answer: ChannelAnswer


_SEND_FACTS = {
    Standing.ACCEPTED: Fact.ACCEPTED,
    Standing.SUCCEEDED: Fact.SUCCEEDED,
    Standing.DECLINED: Fact.DECLINED,
    Standing.CLOSED: Fact.CLOSED,
    Standing.NOT_FOUND: Fact.DECLINED,
    Standing.NOT_SENT: Fact.NOT_SENT,
    Standing.UNKNOWN: Fact.NO_ANSWER,
    Standing.CONTRADICTED: Fact.CONTRADICTED,
}
_RESEND_FACTS = {**_SEND_FACTS, Standing.NOT_SENT: Fact.NO_ANSWER, Standing.NOT_FOUND: Fact.NO_ANSWER}
_QUERY_FACTS = {
    Standing.ACCEPTED: Fact.ACCEPTED,
    Standing.SUCCEEDED: Fact.SUCCEEDED,
    Standing.DECLINED: Fact.DECLINED,
    Standing.CLOSED: Fact.CLOSED,
    Standing.CONTRADICTED: Fact.CONTRADICTED,
}
_CLOSE_FACTS = {
    Standing.CLOSED: Fact.CLOSED,
    Standing.NOT_SENT: Fact.NO_ANSWER,
    Standing.UNKNOWN: Fact.NO_ANSWER,
}
_FACTS_BY_QUESTION = {
    Question.SEND: _SEND_FACTS,
    Question.RESEND: _RESEND_FACTS,
    Question.QUERY: _QUERY_FACTS,
    Question.CLOSE: _CLOSE_FACTS,
    Question.NOTICE: _QUERY_FACTS,
}

_REASONS_THAT_LEAVE_FIRST_REQUEST_OPEN = frozenset(
    {
        # The channel has a request of this number already.
        FailureReason.MISMATCH,
        # The channel looked at the asking only.
        FailureReason.RATE_LIMITED,
        FailureReason.SIGNATURE_INVALID,
        FailureReason.PERMISSION_MISSING,
        FailureReason.CHANNEL_FAULT,
    }
)


def decide(order: ChannelOrder, question: Question, answer: ChannelAnswer) -> Change | None:
    """Returns what `answer` changes in `order`, or None when it changes nothing.

    A first request that was lost in a crash is still SENT; any question without an answer makes it UNKNOWN.
    """
    fact = _FACTS_BY_QUESTION[question].get(answer.standing)
    if fact is Fact.SUCCEEDED and answer.amount is not None and answer.amount != order.amount:
        fact = Fact.CONTRADICTED
        answer = contradicted(
            "The channel reports another amount than was asked for.",
            channel_transaction_id=answer.channel_transaction_id,
        )
    if fact is None and question is Question.QUERY and order.state is ChannelOrderState.SENT:
        fact = Fact.NO_ANSWER
    if fact is Fact.DECLINED and question is Question.RESEND and _says_nothing_of_movement(answer):
        fact = Fact.NO_ANSWER
    if fact is Fact.NO_ANSWER:
        answer = left_open(answer)
    if fact is None or (fact is Fact.NOT_SENT and order.state is not ChannelOrderState.SENT):
        return None
    state = next_state(order.state, fact)
    if state is None and _brings_credential(order, fact, answer):
        state = order.state
    return None if state is None else Change(state, answer)


def decide_absence(order: ChannelOrder, *, appears_when_opened: bool, proven: bool) -> Change | None:
    """Returns what it changes that the channel acknowledged a close by saying that it knows no such payment.

    `proven` tells whether the channel's interval has passed after which "not found" is its word for good. A payment
    that appears only when its payer opens it is closed here at once; a success that comes later still wins.
    """
    known_states = (ChannelOrderState.ACCEPTED, ChannelOrderState.UNKNOWN)
    if (appears_when_opened and order.state in known_states) or (
        proven and order.state is ChannelOrderState.ACCEPTED
    ):
        fact, reason = Fact.CLOSED, FailureReason.PAYER_ABANDONED
    elif proven:
        fact, reason = Fact.NOT_SENT, FailureReason.ORDER_NOT_FOUND
    else:
        fact, reason = Fact.NO_ANSWER, FailureReason.NO_ANSWER
    state = next_state(order.state, fact)
    safety = OutcomeSafety.MAYBE_SENT if fact is Fact.NO_ANSWER else OutcomeSafety.NOT_SENT
    failure = Failure(reason, "", "The channel knows no such order.", safety)
    answer = ChannelAnswer(standing=Standing.NOT_FOUND, failure=failure)
    return None if state is None else Change(state, answer)


def absence_is_proof_from(order: ChannelOrder, *, appears_when_opened: bool, proof: timedelta) -> datetime:
    """Returns the instant from which "not found" proves that the channel never took the order."""
    start = order.may_appear_until if appears_when_opened else order.create_time
    return start + proof


def _says_nothing_of_movement(answer: ChannelAnswer) -> bool:
    """Whether a refused repetition leaves open what became of the first request of its number."""
    return answer.failure is not None and answer.failure.reason in _REASONS_THAT_LEAVE_FIRST_REQUEST_OPEN


def _brings_credential(order: ChannelOrder, fact: Fact, answer: ChannelAnswer) -> bool:
    """Whether a late answer gives the payer's way in to an order that a query found accepted meanwhile."""
    accepted = fact is Fact.ACCEPTED and order.state is ChannelOrderState.ACCEPTED
    return accepted and order.credential is None and answer.credential is not None
