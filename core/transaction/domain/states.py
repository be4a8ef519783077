"""The states of orders, attempts, refunds and notifications as tables. Invariant: a change that no row allows is a
bug and raises; terminal states have no row that leaves them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar


class OrderKind(StrEnum):
    """Which basic transaction an order is."""

    PURCHASE = "PURCHASE"
    RECHARGE = "RECHARGE"
    WITHDRAWAL = "WITHDRAWAL"
    TRANSFER = "TRANSFER"
    SPLIT_PURCHASE = "SPLIT_PURCHASE"
    PREAUTHORIZED_PURCHASE = "PREAUTHORIZED_PURCHASE"


class OrderState(StrEnum):
    """State of an order; the comments of the contract's enum say what each means."""

    CREATED = "CREATED"
    PAYING = "PAYING"
    PAID = "PAID"
    PARTLY_REFUNDED = "PARTLY_REFUNDED"
    REFUNDED = "REFUNDED"
    CLOSING = "CLOSING"
    CLOSED = "CLOSED"
    EXPIRED = "EXPIRED"
    FAILED = "FAILED"


class AttemptState(StrEnum):
    """State of one try to carry an order out."""

    CREATED = "CREATED"
    CHALLENGED = "CHALLENGED"
    PENDING = "PENDING"
    UNKNOWN = "UNKNOWN"
    PAID = "PAID"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CLOSING = "CLOSING"
    CLOSED = "CLOSED"
    SUPERSEDED = "SUPERSEDED"
    IN_REVIEW = "IN_REVIEW"


class RefundState(StrEnum):
    """State of money of an order that goes back."""

    ACCEPTED = "ACCEPTED"
    PENDING = "PENDING"
    UNKNOWN = "UNKNOWN"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    IN_REVIEW = "IN_REVIEW"


class LegState(StrEnum):
    """State of what one receiver of a split purchase gives back for a refund."""

    DUE = "DUE"
    TAKEN = "TAKEN"
    REFUSED = "REFUSED"
    RETURNING = "RETURNING"
    RETURNED = "RETURNED"


class NotificationState(StrEnum):
    """State of one message to a business system."""

    DUE = "DUE"
    RETRYING = "RETRYING"
    DELIVERED = "DELIVERED"
    GIVEN_UP = "GIVEN_UP"


class PaymentState(StrEnum):
    """State of a payment in PaymentCore, as its reports name it."""

    ACCEPTED = "ACCEPTED"
    CHALLENGED = "CHALLENGED"
    SUBMITTING = "SUBMITTING"
    PENDING = "PENDING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    UNKNOWN = "UNKNOWN"
    CLOSING = "CLOSING"
    CLOSED = "CLOSED"
    IN_REVIEW = "IN_REVIEW"


class PaymentKind(StrEnum):
    """Which command of PaymentCore a payment is."""

    RECHARGE = "RECHARGE"
    WITHDRAWAL = "WITHDRAWAL"
    REFUND = "REFUND"
    TRANSFER = "TRANSFER"
    AUTHORIZATION = "AUTHORIZATION"
    CAPTURE = "CAPTURE"


class EventType(StrEnum):
    """What happened to an order."""

    ORDER_CREATED = "ORDER_CREATED"
    ATTEMPT_CHANGED = "ATTEMPT_CHANGED"
    ORDER_PAID = "ORDER_PAID"
    ORDER_CLOSED = "ORDER_CLOSED"
    ORDER_EXPIRED = "ORDER_EXPIRED"
    ORDER_FAILED = "ORDER_FAILED"
    REFUND_CHANGED = "REFUND_CHANGED"
    REFUND_SUCCEEDED = "REFUND_SUCCEEDED"
    REFUND_FAILED = "REFUND_FAILED"
    ORDER_CHANGED = "ORDER_CHANGED"


NOTIFIED_EVENTS = frozenset(
    {
        EventType.ORDER_PAID,
        EventType.ORDER_CLOSED,
        EventType.ORDER_EXPIRED,
        EventType.ORDER_FAILED,
        EventType.REFUND_SUCCEEDED,
        EventType.REFUND_FAILED,
    }
)
"""Events that the business system is told by callback."""

PAYER_PAYS_KINDS = frozenset({OrderKind.PURCHASE, OrderKind.SPLIT_PURCHASE, OrderKind.RECHARGE})
"""Kinds in which a payer pays through a channel: several attempts may be open, and they can be closed there."""

SETTLED_BY_TRANSFER_KINDS = frozenset({OrderKind.PURCHASE, OrderKind.SPLIT_PURCHASE})
"""Kinds whose money lies in the payer's transit account until it is moved on to the receivers."""

State = TypeVar("State", bound=StrEnum)


@dataclass(frozen=True, slots=True)
class Transition(Generic[State]):
    """One allowed change: in `origin`, `event` leads to `target` when the case meets `guard` (empty: always)."""

    origin: State
    event: str
    target: State
    guard: str = ""


class StateTable(Generic[State]):
    """A state machine as data; `name` is the word for the record in drawings and errors."""

    def __init__(self, name: str, transitions: Sequence[Transition[State]]) -> None:
        self.name = name
        self.transitions = tuple(transitions)
        self._pairs = frozenset((row.origin, row.target) for row in self.transitions)
        self._origins = frozenset(row.origin for row in self.transitions)

    def allows(self, origin: State, target: State) -> bool:
        """Whether a record may go from `origin` to `target`; staying where it is always allowed."""
        return origin == target or (origin, target) in self._pairs

    def require(self, origin: State, target: State) -> State:
        """Returns `target`, or raises ValueError when no row leads there from `origin`."""
        if not self.allows(origin, target):
            raise ValueError(f"{self.name} may not go from {origin.value} to {target.value}")
        return target

    def is_terminal(self, state: State) -> bool:
        """Whether no row leaves `state`."""
        return state not in self._origins


_O = OrderState
_A = AttemptState
_R = RefundState
_L = LegState
_N = NotificationState


def _rows(origins: Sequence[State], event: str, target: State, guard: str = "") -> list[Transition[State]]:
    return [Transition(origin, event, target, guard) for origin in origins]


ORDER_STATES: StateTable[OrderState] = StateTable(
    "order",
    [
        *_rows([_O.CREATED], "pay", _O.PAYING),
        *_rows(
            [_O.PAYING, _O.CLOSING], "settle", _O.PAID, "one attempt won and its money is with the receivers"
        ),
        *_rows([_O.CREATED, _O.PAYING], "close", _O.CLOSED, "no attempt is open"),
        *_rows([_O.CREATED, _O.PAYING], "expire", _O.EXPIRED, "no attempt is open"),
        *_rows([_O.PAYING], "close or expire", _O.CLOSING, "an attempt is open"),
        *_rows([_O.CLOSING], "close", _O.CLOSED, "all attempts are closed unpaid"),
        *_rows([_O.CLOSING], "expire", _O.EXPIRED, "all attempts are closed unpaid"),
        *_rows([_O.PAYING], "fail", _O.FAILED, "a withdrawal or transfer was refused for good"),
        *_rows([_O.PAID, _O.PARTLY_REFUNDED], "refund", _O.PARTLY_REFUNDED, "less than paid went back"),
        *_rows([_O.PAID, _O.PARTLY_REFUNDED], "refund", _O.REFUNDED, "all that was paid went back"),
    ],
)

_BEFORE_PAID = [_A.CREATED, _A.CHALLENGED, _A.PENDING, _A.UNKNOWN, _A.CLOSING, _A.IN_REVIEW]
_MAY_BE_PAID = [*_BEFORE_PAID, _A.CLOSED]

ATTEMPT_STATES: StateTable[AttemptState] = StateTable(
    "attempt",
    [
        *_rows([_A.CREATED, _A.UNKNOWN], "challenge", _A.CHALLENGED),
        *_rows([_A.CREATED, _A.CHALLENGED, _A.UNKNOWN, _A.IN_REVIEW], "send", _A.PENDING),
        *_rows([_A.CREATED, _A.CHALLENGED, _A.PENDING, _A.IN_REVIEW], "lose sight", _A.UNKNOWN),
        *_rows([_A.CREATED, _A.CHALLENGED, _A.PENDING, _A.UNKNOWN, _A.IN_REVIEW], "close", _A.CLOSING),
        *_rows([_A.PAID, *_BEFORE_PAID[:-1]], "need a person", _A.IN_REVIEW),
        *_rows(_BEFORE_PAID, "fail", _A.FAILED, "proven that no money moved"),
        *_rows(_BEFORE_PAID, "closed", _A.CLOSED),
        *_rows(_MAY_BE_PAID, "win", _A.PAID, "the order still needs the money"),
        *_rows(_MAY_BE_PAID, "lose", _A.SUPERSEDED, "the order needs the money no more"),
        *_rows([_A.PAID, *_MAY_BE_PAID], "carry out", _A.SUCCEEDED, "the receivers have the money"),
        *_rows([_A.FAILED], "win", _A.PAID, "it was refused without a payment, yet one was made and paid"),
        *_rows(
            [_A.FAILED], "lose", _A.SUPERSEDED, "it was refused without a payment, yet one was made and paid"
        ),
        *_rows(
            [_A.FAILED],
            "carry out",
            _A.SUCCEEDED,
            "it was refused without a payment, yet one was made and paid",
        ),
    ],
)

REFUND_STATES: StateTable[RefundState] = StateTable(
    "refund",
    [
        *_rows([_R.ACCEPTED, _R.UNKNOWN, _R.IN_REVIEW], "send", _R.PENDING),
        *_rows([_R.ACCEPTED, _R.PENDING, _R.IN_REVIEW], "lose sight", _R.UNKNOWN),
        *_rows([_R.ACCEPTED, _R.PENDING, _R.UNKNOWN], "need a person", _R.IN_REVIEW),
        *_rows([_R.ACCEPTED, _R.PENDING, _R.UNKNOWN, _R.IN_REVIEW], "succeed", _R.SUCCEEDED),
        *_rows(
            [_R.ACCEPTED, _R.PENDING, _R.UNKNOWN, _R.IN_REVIEW],
            "fail",
            _R.FAILED,
            "asked for by a business system",
        ),
        *_rows(
            [_R.PENDING, _R.UNKNOWN, _R.IN_REVIEW],
            "begin anew",
            _R.ACCEPTED,
            "automatic, and proven to have failed",
        ),
    ],
)

LEG_STATES: StateTable[LegState] = StateTable(
    "leg",
    [
        *_rows([_L.DUE], "take", _L.TAKEN),
        *_rows([_L.DUE], "refuse", _L.REFUSED, "proven that no money moved"),
        *_rows([_L.TAKEN, _L.DUE], "give back", _L.RETURNING, "the refund cannot be carried out"),
        *_rows([_L.RETURNING], "return", _L.RETURNED),
    ],
)

NOTIFICATION_STATES: StateTable[NotificationState] = StateTable(
    "notification",
    [
        *_rows([_N.DUE, _N.RETRYING], "take", _N.DELIVERED),
        *_rows([_N.DUE], "refuse", _N.RETRYING, "the schedule has another try"),
        *_rows([_N.DUE, _N.RETRYING], "refuse", _N.GIVEN_UP, "the schedule is over"),
        *_rows([_N.RETRYING, _N.DELIVERED, _N.GIVEN_UP], "resend by hand", _N.DUE),
    ],
)

PAYABLE_ORDER_STATES = (OrderState.CREATED, OrderState.PAYING)
CLOSABLE_ORDER_STATES = (OrderState.CREATED, OrderState.PAYING, OrderState.CLOSING)
REFUNDABLE_ORDER_STATES = (OrderState.PAID, OrderState.PARTLY_REFUNDED)
UNDECIDED_ORDER_STATES = frozenset({OrderState.CREATED, OrderState.PAYING, OrderState.CLOSING})
"""Order states in which money that arrives is still needed, unless an attempt has won."""

FINAL_ATTEMPT_STATES = frozenset(
    {AttemptState.SUCCEEDED, AttemptState.FAILED, AttemptState.CLOSED, AttemptState.SUPERSEDED}
)
"""Attempt states that nothing has to be done about; CLOSED is left only when money arrives after all."""
FINAL_REFUND_STATES = frozenset({RefundState.SUCCEEDED, RefundState.FAILED})
WAITING_NOTIFICATION_STATES = frozenset({NotificationState.DUE, NotificationState.RETRYING})
