"""What a payment is: one command that moves money, its steps and its failure. Invariant: a payment is immutable;
every change makes a new value, whose version the store counts up."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from runtime.money import Money


class PaymentKind(StrEnum):
    """Which command a payment is."""

    RECHARGE = "RECHARGE"
    WITHDRAWAL = "WITHDRAWAL"
    REFUND = "REFUND"
    TRANSFER = "TRANSFER"
    AUTHORIZATION = "AUTHORIZATION"
    CAPTURE = "CAPTURE"


class PaymentState(StrEnum):
    """Where a payment stands; `states.TRANSITIONS` says how it gets from one to another."""

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


FINAL_STATES = frozenset({PaymentState.SUCCEEDED, PaymentState.FAILED, PaymentState.CLOSED})
"""States in which nothing is left to do by itself; CLOSED is left only when the channel says later that it was paid."""


class StepKind(StrEnum):
    """The steps of a payment, in the order in which they are carried out."""

    VALIDATE = "VALIDATE"
    ROUTE = "ROUTE"
    ASSESS_RISK = "ASSESS_RISK"
    GENERATE_ORDER = "GENERATE_ORDER"
    RESERVE_FUNDS = "RESERVE_FUNDS"
    INVOKE_CHANNEL = "INVOKE_CHANNEL"
    POST_JOURNAL = "POST_JOURNAL"
    UPDATE_ORDER = "UPDATE_ORDER"
    NOTIFY = "NOTIFY"


class StepState(StrEnum):
    """How far one step is."""

    DUE = "DUE"
    RUNNING = "RUNNING"
    DONE = "DONE"
    REFUSED = "REFUSED"
    SKIPPED = "SKIPPED"


class FailureAdvice(StrEnum):
    """What the caller can do about a failure."""

    NONE = "NONE"
    RETRY_OTHER_CHANNEL = "RETRY_OTHER_CHANNEL"
    WAIT = "WAIT"
    FIX_REQUEST = "FIX_REQUEST"
    CONTACT_OPERATIONS = "CONTACT_OPERATIONS"


class OutcomeSafety(StrEnum):
    """Whether money may have moved; it alone drives repetition and compensation."""

    NOT_SENT = "NOT_SENT"
    MAYBE_SENT = "MAYBE_SENT"
    DECLINED = "DECLINED"
    SUCCEEDED = "SUCCEEDED"


class Resolution(StrEnum):
    """What the evidence of a person shows of a payment in review."""

    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    REFUND = "REFUND"


class InvokeMethod(StrEnum):
    """How the payer meets the channel."""

    MINI_PROGRAM = "MINI_PROGRAM"
    PC = "PC"
    WAP = "WAP"
    APP = "APP"
    QR = "QR"
    BARCODE = "BARCODE"
    AGREEMENT = "AGREEMENT"
    BALANCE = "BALANCE"


class EventType(StrEnum):
    """What happened to a payment, as the services above hear it."""

    PAYMENT_ACCEPTED = "PAYMENT_ACCEPTED"
    PAYMENT_CHANGED = "PAYMENT_CHANGED"
    PAYMENT_SUCCEEDED = "PAYMENT_SUCCEEDED"
    PAYMENT_FAILED = "PAYMENT_FAILED"
    PAYMENT_CLOSED = "PAYMENT_CLOSED"
    PAYMENT_REVIEW_NEEDED = "PAYMENT_REVIEW_NEEDED"


_EVENT_OF_STATE = {
    PaymentState.SUCCEEDED: EventType.PAYMENT_SUCCEEDED,
    PaymentState.FAILED: EventType.PAYMENT_FAILED,
    PaymentState.CLOSED: EventType.PAYMENT_CLOSED,
    PaymentState.IN_REVIEW: EventType.PAYMENT_REVIEW_NEEDED,
}


def event_of_state(state: PaymentState) -> EventType:
    """Returns the event that tells that a payment came into `state`."""
    return _EVENT_OF_STATE.get(state, EventType.PAYMENT_CHANGED)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a payment did not succeed, or not yet.

    `reason` is the name of a `ChannelFailureReason` or of an `ErrorReason`, without prefix; `channel_code` is the
    channel's own code, empty where no channel spoke.
    """

    reason: str
    outcome_safety: OutcomeSafety
    advice: FailureAdvice
    channel_code: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a payment; `update_time` is the service's clock at its last change."""

    kind: StepKind
    state: StepState
    try_count: int
    update_time: datetime


@dataclass(frozen=True, slots=True)
class PostingLine:
    """What one receiver of a transfer gets, in minor units of the payment's currency."""

    account_id: str
    minor_units: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment:
    """One command that moves money, as it is stored.

    `channel_command` is the serialized request by which the channel gateway is asked: it is kept until the outcome, so
    that a repetition is byte for byte the same. `request_id` and `answered` tell which call waits for the response;
    `posting_round` counts refused postings; `step_try_count` is the position in the repair schedule. `answer` is no
    column: the response that this process stored for the call that waits, empty when another one did.
    """

    shard: int
    payment_id: str
    tenant_id: str
    kind: PaymentKind
    state: PaymentState
    merchant_id: str
    amount: Money
    business_id: str
    traceparent: str
    platform: bytes
    order_id: str = ""
    transaction_number: str = ""
    channel_fee_minor_units: int | None = None
    source_account_id: str = ""
    destination_account_id: str = ""
    payment_account_id: str = ""
    invoke_method: InvokeMethod | None = None
    channel_order_id: str = ""
    channel_order_version: int = 0
    channel_transaction_id: str = ""
    refunded_payment_id: str = ""
    refunded_minor_units: int = 0
    refunding_minor_units: int = 0
    journal_id: str = ""
    hold_id: str = ""
    failure: Failure | None = None
    credential: bytes | None = None
    channel_command: bytes | None = None
    posting_lines: tuple[PostingLine, ...] = ()
    posting_round: int = 0
    resolution: Resolution | None = None
    give_back_payment_id: str = ""
    steps: tuple[Step, ...] = ()
    step_try_count: int = 0
    next_step_time: datetime | None = None
    request_id: str = ""
    answered: bool = False
    expire_time: datetime | None = None
    succeed_time: datetime | None = None
    create_time: datetime | None = None
    update_time: datetime | None = None
    version: int = 0
    answer: bytes = b""

    @property
    def is_final(self) -> bool:
        """Whether nothing is left to do by itself."""
        return self.state in FINAL_STATES

    @property
    def uses_channel(self) -> bool:
        """Whether a channel moves the money: everything except a transfer."""
        return self.kind is not PaymentKind.TRANSFER

    @property
    def holds_funds(self) -> bool:
        """Whether the money is held in the ledger until the outcome: withdrawals and refunds."""
        return self.kind in (PaymentKind.WITHDRAWAL, PaymentKind.REFUND)

    @property
    def refundable_minor_units(self) -> int:
        """What is neither refunded nor being refunded, in minor units."""
        return self.amount.minor_units - self.refunded_minor_units - self.refunding_minor_units


_STEPS_OF_KIND: dict[PaymentKind, tuple[StepKind, ...]] = {
    PaymentKind.RECHARGE: tuple(kind for kind in StepKind if kind is not StepKind.RESERVE_FUNDS),
    PaymentKind.WITHDRAWAL: tuple(StepKind),
    PaymentKind.REFUND: tuple(kind for kind in StepKind if kind is not StepKind.ASSESS_RISK),
    PaymentKind.TRANSFER: (
        StepKind.VALIDATE,
        StepKind.GENERATE_ORDER,
        StepKind.POST_JOURNAL,
        StepKind.UPDATE_ORDER,
        StepKind.NOTIFY,
    ),
}

_DONE_WHEN_RECORDED = frozenset(
    {StepKind.VALIDATE, StepKind.ROUTE, StepKind.ASSESS_RISK, StepKind.GENERATE_ORDER}
)


def initial_steps(kind: PaymentKind, *, now: datetime) -> tuple[Step, ...]:
    """Returns the steps of a payment that has just been recorded: what came before is done, the rest is due."""
    return tuple(
        Step(
            kind=step,
            state=StepState.DONE if step in _DONE_WHEN_RECORDED else StepState.DUE,
            try_count=1 if step in _DONE_WHEN_RECORDED else 0,
            update_time=now,
        )
        for step in _STEPS_OF_KIND[kind]
    )


def tried(payment: Payment, step: StepKind, state: StepState, *, now: datetime) -> Payment:
    """Returns `payment` with one more try of `step`, which is now in `state`; unchanged when it has no such step."""
    return replace(
        payment,
        steps=tuple(
            Step(kind=step, state=state, try_count=each.try_count + 1, update_time=now)
            if each.kind is step
            else each
            for each in payment.steps
        ),
    )


def finish_steps(steps: Iterable[Step], *, succeeded: bool, now: datetime) -> tuple[Step, ...]:
    """Returns the steps of a payment that came to its end.

    After success everything is done. Otherwise what was not begun is skipped, what was running is refused, and the
    outcome itself is recorded and told all the same.
    """
    return tuple(_finish_step(step, succeeded=succeeded, now=now) for step in steps)


_ALWAYS_AT_THE_END = frozenset({StepKind.UPDATE_ORDER, StepKind.NOTIFY})


def _finish_step(step: Step, *, succeeded: bool, now: datetime) -> Step:
    if step.state in (StepState.DONE, StepState.REFUSED):
        return step
    if succeeded or step.kind in _ALWAYS_AT_THE_END:
        return Step(step.kind, StepState.DONE, max(step.try_count, 1), now)
    state = StepState.REFUSED if step.state is StepState.RUNNING else StepState.SKIPPED
    return Step(step.kind, state, step.try_count, now)
