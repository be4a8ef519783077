"""What callers ask for, in the words of the domain. Invariant: field formats are checked before a command is made;
what depends on stored records is checked by the use cases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from core.transaction.domain.amounts import RequestedShare
from core.transaction.domain.records import Instruction, Purpose
from core.transaction.domain.states import NotificationState, OrderKind, OrderState
from runtime.money import Money


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandKey:
    """Identity of a command: the caller's request id and the fingerprint of its body."""

    request_id: str
    fingerprint: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateOrder:
    """Takes an order in; `expire_time` None means the default."""

    key: CommandKey
    merchant_id: str
    merchant_order_id: str
    merchant_serial_number: str
    amount: Money
    subject: str
    kind: OrderKind
    purpose: Purpose
    requested_shares: tuple[RequestedShare, ...]
    notify_url: str
    expire_time: datetime | None
    annotations: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class PayOrder:
    """Begins an attempt."""

    key: CommandKey
    merchant_id: str
    order_id: str
    instruction: Instruction


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseOrder:
    """Closes an unpaid order."""

    key: CommandKey
    merchant_id: str
    order_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateRefund:
    """Gives money of a paid order back."""

    key: CommandKey
    merchant_id: str
    order_id: str
    amount: Money
    merchant_refund_id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ResendNotification:
    """Makes a notification due again."""

    key: CommandKey
    notification_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Which part of a list is wanted: at most `size` entries after the key that `token` holds."""

    size: int
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ListOrders:
    """Lists a tenant's orders; empty and None filter nothing."""

    merchant_id: str
    state: OrderState | None
    page: Page


@dataclass(frozen=True, slots=True, kw_only=True)
class ListNotifications:
    """Lists a tenant's notifications; empty and None filter nothing."""

    order_id: str
    state: NotificationState | None
    page: Page
