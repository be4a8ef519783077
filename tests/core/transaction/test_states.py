"""The state tables."""

from __future__ import annotations

from enum import StrEnum

import pytest

from core.transaction.domain import states
from core.transaction.domain.states import (
    ATTEMPT_STATES,
    NOTIFICATION_STATES,
    ORDER_STATES,
    REFUND_STATES,
    AttemptState,
    OrderState,
    RefundState,
    StateTable,
)

TABLES: list[StateTable[StrEnum]] = [ORDER_STATES, ATTEMPT_STATES, REFUND_STATES, NOTIFICATION_STATES]  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("table", "terminal"),
    [
        (ORDER_STATES, {"REFUNDED", "CLOSED", "EXPIRED", "FAILED"}),
        (ATTEMPT_STATES, {"SUCCEEDED", "SUPERSEDED"}),
        (REFUND_STATES, {"SUCCEEDED", "FAILED"}),
        (NOTIFICATION_STATES, set()),
    ],
)
def test_terminal_states_are_never_left(table: StateTable[StrEnum], terminal: set[str]) -> None:
    members = type(table.transitions[0].origin)
    assert {state.value for state in members if table.is_terminal(state)} == terminal


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_every_state_is_reached(table: StateTable[StrEnum]) -> None:
    members = set(type(table.transitions[0].origin))
    reached = {row.target for row in table.transitions}
    first = {"CREATED", "ACCEPTED", "DUE"}
    assert {state.value for state in members - reached} <= first


def test_a_change_that_no_row_allows_raises() -> None:
    with pytest.raises(ValueError, match="order may not go from CLOSED to PAID"):
        ORDER_STATES.require(OrderState.CLOSED, OrderState.PAID)
    with pytest.raises(ValueError, match="attempt may not go from SUPERSEDED to PAID"):
        ATTEMPT_STATES.require(AttemptState.SUPERSEDED, AttemptState.PAID)
    with pytest.raises(ValueError, match="refund may not go from FAILED"):
        REFUND_STATES.require(RefundState.FAILED, RefundState.SUCCEEDED)


def test_staying_is_always_allowed() -> None:
    assert all(ATTEMPT_STATES.allows(state, state) for state in AttemptState)


def test_an_order_is_only_paid_from_states_in_which_it_may_be() -> None:
    origins = {row.origin for row in ORDER_STATES.transitions if row.target is OrderState.PAID}
    assert origins == {OrderState.PAYING, OrderState.CLOSING}
    assert origins <= states.UNDECIDED_ORDER_STATES
