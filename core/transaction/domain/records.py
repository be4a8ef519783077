"""The records of one order as the rules see them. Invariant: immutable; every change makes a new record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from core.transaction.domain.states import (
    FINAL_ATTEMPT_STATES,
    FINAL_REFUND_STATES,
    AttemptState,
    EventType,
    LegState,
    NotificationState,
    OrderKind,
    OrderState,
    PaymentKind,
    PaymentState,
    RefundState,
)
from runtime.errors import FieldViolation
from runtime.money import Money


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Owner of a balance: `kind` is MERCHANT or USER, `owner_id` its number or the business system's opaque id."""

    kind: str
    owner_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Payee:
    """Who receives a payout; `id_kind` is the contract's PayeeIdKind by name without prefix."""

    channel_payee_id: str
    id_kind: str
    real_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """The exact part of an order's money that one receiver gets."""

    receiver: Owner
    minor_units: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Purpose:
    """What the order is to do beyond its kind; fields that the kind does not use are empty."""

    balance_owner: Owner | None = None
    source_owner: Owner | None = None
    destination_owner: Owner | None = None
    payee: Payee | None = None
    shares: tuple[Share, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """How the payer wants to pay, kept so that a step left in the middle can be repeated with the same body.

    `authorization_code` is sensitive and is forgotten as soon as PaymentCore has answered.
    """

    payment_account_id: str = ""
    invoke_method: str = ""
    payer_user_id: str = ""
    payer_channel_id: str = ""
    payer_client_ip: str = ""
    return_url: str = ""
    authorization_code: str = ""
    agreement_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A refusal of PaymentCore, kept so that the same request gets the same answer."""

    reason: str
    message: str
    violations: tuple[FieldViolation, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What every row remembers of the call that made it, so that later work goes on in its trace."""

    shard: int
    business_id: str
    traceparent: str
    platform: bytes
    create_time: datetime
    update_time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt(Stored):
    """One try to carry an order out. Times are aware; `next_step_time` is set exactly while it is not final.

    `transfer_round` counts the transfers begun to settle it: a new one begins only when the last is proven refused.
    """

    attempt_id: str
    order_id: str
    state: AttemptState
    instruction: Instruction
    request_id: str
    payment_account_id: str = ""
    payment_id: str = ""
    payment_version: int = 0
    transfer_payment_id: str = ""
    transfer_round: int = 1
    channel_order_id: str = ""
    channel_transaction_id: str = ""
    credential: bytes = b""
    failure_reason: str = ""
    channel_code: str = ""
    refusal: Refusal | None = None
    step_try_count: int = 0
    next_step_time: datetime | None = None

    @property
    def is_open(self) -> bool:
        """Whether money may still come or be on its way."""
        return self.state not in FINAL_ATTEMPT_STATES


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """What one receiver of a split purchase gives back for a refund before the payer gets it.

    `payment_id` is the transfer of its present or last move; `round_number` counts tries to give it back.
    """

    receiver: Owner
    minor_units: int
    state: LegState = LegState.DUE
    payment_id: str = ""
    round_number: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Refund(Stored):
    """Money that goes back. `round_number` counts the payments begun for it: only an automatic one begins anew.

    `legs` say what the receivers of a split purchase give back first; empty for every other order.
    """

    refund_id: str
    order_id: str
    tenant_id: str
    merchant_id: str
    merchant_refund_id: str
    attempt_id: str
    amount: Money
    reason: str
    state: RefundState
    automatic: bool
    request_id: str = ""
    payment_id: str = ""
    payment_version: int = 0
    round_number: int = 1
    legs: tuple[Leg, ...] = ()
    failure_reason: str = ""
    channel_code: str = ""
    succeed_time: datetime | None = None
    step_try_count: int = 0
    next_step_time: datetime | None = None

    @property
    def is_open(self) -> bool:
        """Whether its outcome is still to come."""
        return self.state not in FINAL_REFUND_STATES


@dataclass(frozen=True, slots=True, kw_only=True)
class Order(Stored):
    """One case of a business system in which money is to move; amounts are minor units of `amount`'s currency."""

    order_id: str
    tenant_id: str
    merchant_id: str
    merchant_order_id: str
    merchant_serial_number: str
    kind: OrderKind
    state: OrderState
    amount: Money
    subject: str
    purpose: Purpose
    notify_url: str
    annotations: Mapping[str, str]
    expire_time: datetime
    paid_minor_units: int = 0
    refunded_minor_units: int = 0
    refunding_minor_units: int = 0
    winning_attempt_id: str = ""
    closing_to: OrderState | None = None
    attempt_count: int = 0
    refund_count: int = 0
    pay_time: datetime | None = None
    step_try_count: int = 0
    next_step_time: datetime | None = None
    version: int = 1

    @property
    def refundable_minor_units(self) -> int:
        """What can still be refunded: paid, less what went back and what is on its way back."""
        return self.paid_minor_units - self.refunded_minor_units - self.refunding_minor_units


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderFile:
    """An order with its attempts and refunds, oldest first: what one decision looks at and one event shows.

    `read_time` is the database's clock when it was read or last written.
    """

    read_time: datetime
    order: Order
    attempts: tuple[Attempt, ...] = ()
    refunds: tuple[Refund, ...] = ()

    def attempt(self, attempt_id: str) -> Attempt | None:
        """Returns the attempt of that number, or None."""
        return next((attempt for attempt in self.attempts if attempt.attempt_id == attempt_id), None)

    def refund(self, refund_id: str) -> Refund | None:
        """Returns the refund of that number, or None."""
        return next((refund for refund in self.refunds if refund.refund_id == refund_id), None)

    @property
    def open_attempts(self) -> tuple[Attempt, ...]:
        """Attempts whose outcome is still to come."""
        return tuple(attempt for attempt in self.attempts if attempt.is_open)


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification(Stored):
    """One message to a business system by signed callback; `body` is what is sent, equal on every delivery."""

    notification_id: str
    order_id: str
    tenant_id: str
    event_type: EventType
    url: str
    host: str
    body: bytes
    state: NotificationState
    try_count: int = 0
    schedule_position: int = 0
    last_status: int = 0
    next_attempt_time: datetime | None = None
    deliver_time: datetime | None = None
    version: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentReport:
    """What PaymentCore says of one payment, by answer, event or query; `version` counts the payment's changes."""

    payment_id: str
    kind: PaymentKind
    state: PaymentState
    order_id: str
    transaction_number: str
    version: int
    payment_account_id: str = ""
    channel_order_id: str = ""
    channel_transaction_id: str = ""
    credential: bytes = b""
    failure_reason: str = ""
    channel_code: str = ""
    succeed_time: datetime | None = None
