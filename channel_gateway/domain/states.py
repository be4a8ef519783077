"""The states of a channel order as data. Invariant: every change of state stands in `TRANSITIONS`; what is
not there does not happen, and a terminal state has no way out (CLOSED has one: the channel says later that
it was paid)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from channel_gateway.domain.vocabulary import ChannelOrderState as State
from channel_gateway.domain.vocabulary import EventType


class Fact(StrEnum):
    """What became known about a channel order."""

    SENDING = "SENDING"
    """The request is about to leave."""
    ACCEPTED = "ACCEPTED"
    """The channel has it and waits."""
    SUCCEEDED = "SUCCEEDED"
    """The channel says that the money moved, and every field agrees with what was asked."""
    DECLINED = "DECLINED"
    """The channel refused; no money moved."""
    CLOSED = "CLOSED"
    """The channel says that it is closed, unpaid."""
    NOT_SENT = "NOT_SENT"
    """Proven not to have reached the channel."""
    NO_ANSWER = "NO_ANSWER"
    """It may have reached the channel and nothing trustworthy came back."""
    CONTRADICTED = "CONTRADICTED"
    """The channel reports something else than was asked for."""


@dataclass(frozen=True, slots=True)
class Transition:
    """One row of the table: from a state, by a fact, to a state; `guard` says in words what must hold besides."""

    source: State
    fact: Fact
    target: State
    guard: str = ""


_AMOUNT_AGREES = "amount, currency and number agree"

TRANSITIONS: tuple[Transition, ...] = (
    Transition(State.PREPARED, Fact.SENDING, State.SENT),
    Transition(
        State.PREPARED, Fact.ACCEPTED, State.ACCEPTED, "the executor only signs, the payer carries it over"
    ),
    Transition(State.PREPARED, Fact.NOT_SENT, State.NOT_SENT, "the channel is switched off"),
    Transition(State.SENT, Fact.ACCEPTED, State.ACCEPTED),
    Transition(State.SENT, Fact.SUCCEEDED, State.SUCCEEDED, _AMOUNT_AGREES),
    Transition(State.SENT, Fact.DECLINED, State.DECLINED),
    Transition(State.SENT, Fact.NOT_SENT, State.NOT_SENT),
    Transition(State.SENT, Fact.CLOSED, State.CLOSED),
    Transition(State.SENT, Fact.NO_ANSWER, State.UNKNOWN),
    Transition(State.SENT, Fact.CONTRADICTED, State.UNKNOWN),
    Transition(State.ACCEPTED, Fact.SUCCEEDED, State.SUCCEEDED, _AMOUNT_AGREES),
    Transition(State.ACCEPTED, Fact.DECLINED, State.DECLINED),
    Transition(State.ACCEPTED, Fact.CLOSED, State.CLOSED),
    Transition(
        State.ACCEPTED, Fact.NO_ANSWER, State.UNKNOWN, "a close got no answer, or the channel is at a loss"
    ),
    Transition(State.ACCEPTED, Fact.CONTRADICTED, State.UNKNOWN),
    Transition(State.UNKNOWN, Fact.ACCEPTED, State.ACCEPTED),
    Transition(State.UNKNOWN, Fact.SUCCEEDED, State.SUCCEEDED, _AMOUNT_AGREES),
    Transition(State.UNKNOWN, Fact.DECLINED, State.DECLINED),
    Transition(State.UNKNOWN, Fact.CLOSED, State.CLOSED),
    Transition(
        State.UNKNOWN, Fact.NOT_SENT, State.NOT_SENT, "not found after the proof interval, close acknowledged"
    ),
    Transition(State.CLOSED, Fact.SUCCEEDED, State.SUCCEEDED, "paid after close; " + _AMOUNT_AGREES),
)

_BY_SOURCE_AND_FACT: Mapping[tuple[State, Fact], State] = MappingProxyType(
    {(row.source, row.fact): row.target for row in TRANSITIONS}
)

FINAL_STATES = frozenset({State.SUCCEEDED, State.DECLINED, State.NOT_SENT})
"""States that are never left."""

SETTLED_STATES = FINAL_STATES | {State.CLOSED}
"""States that need no further question to the channel."""

FAILED_STATES = frozenset({State.DECLINED, State.NOT_SENT, State.CLOSED})
"""States that say that no money moved."""


def next_state(source: State, fact: Fact) -> State | None:
    """Returns the state after `fact`, or None when it changes nothing."""
    return _BY_SOURCE_AND_FACT.get((source, fact))


def event_of(state: State, *, created: bool) -> EventType:
    """Returns what is told on the bus when a channel order is made in, or comes into, `state`."""
    if state is State.SUCCEEDED:
        return EventType.CHANNEL_ORDER_SUCCEEDED
    if state in FAILED_STATES:
        return EventType.CHANNEL_ORDER_FAILED
    return EventType.CHANNEL_ORDER_CREATED if created else EventType.CHANNEL_ORDER_CHANGED
