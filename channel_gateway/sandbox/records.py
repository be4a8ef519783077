"""What the channel remembers: merchants, trades, refunds, transfers, notices and faults.

Invariant: every record is a flat dataclass of JSON values that goes to the store and comes back equal.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any, Self


class Channel(StrEnum):
    """A channel that the sandbox plays."""

    ALIPAY = "alipay"
    WECHAT = "wechat"


class TradeState(StrEnum):
    """Where a trade stands; both channels' own words are derived from it."""

    PREPARED = "PREPARED"
    WAITING = "WAITING"
    PAYMENT_FAILED = "PAYMENT_FAILED"
    PAID = "PAID"
    CLOSED = "CLOSED"


class RefundState(StrEnum):
    """Where a refund stands."""

    PROCESSING = "PROCESSING"
    SUCCEEDED = "SUCCEEDED"
    ABNORMAL = "ABNORMAL"
    CLOSED = "CLOSED"


class TransferState(StrEnum):
    """Where a transfer to a person stands."""

    ACCEPTED = "ACCEPTED"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class NoticeState(StrEnum):
    """Where the delivery of a notice stands."""

    DUE = "DUE"
    DELIVERED = "DELIVERED"
    GIVEN_UP = "GIVEN_UP"
    WITHHELD = "WITHHELD"


@dataclass(slots=True)
class Stored:
    """Turns a dataclass of JSON values into a dictionary and back."""

    @property
    def key(self) -> str:
        """The record's key, unique within its kind."""
        raise NotImplementedError

    def to_json(self) -> dict[str, Any]:
        """Returns the record as a dictionary of JSON values."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> Self:
        """Builds the record from what to_json returned."""
        return cls(**body)


@dataclass(slots=True)
class AlipayApp(Stored):
    """An application registered at Alipay; its money belongs to the seller's account."""

    app_id: str
    seller_id: str
    app_public_key_pem: str
    app_certificate_serial: str

    @property
    def key(self) -> str:
        """The application's id."""
        return self.app_id


@dataclass(slots=True)
class WechatMerchant(Stored):
    """A merchant registered at WeChat Pay, with every API certificate that it may sign with."""

    mchid: str
    appids: list[str]
    public_keys: dict[str, str]
    api_v3_key: str
    platform_key_mode: str

    @property
    def key(self) -> str:
        """The merchant's number."""
        return self.mchid


@dataclass(slots=True)
class Account(Stored):
    """A merchant's money account at a channel."""

    channel: str
    account: str
    opening_balance_minor_units: int
    fee_rate_parts_per_million: int

    @property
    def key(self) -> str:
        """Channel and account number."""
        return f"{self.channel}/{self.account}"


@dataclass(slots=True)
class Trade(Stored):
    """What a payer is asked to pay, and what was charged in fact."""

    channel: str
    account: str
    app_id: str
    out_trade_no: str
    transaction_no: str
    invoke_method: str
    subject: str
    total_minor_units: int
    notify_url: str
    return_url: str
    attachment: str
    payer_id: str
    expire_milliseconds: int
    create_milliseconds: int
    state: str = TradeState.WAITING
    token: str = ""
    paid_minor_units: int = 0
    fee_minor_units: int = 0
    refunded_minor_units: int = 0
    refunding_minor_units: int = 0
    fee_returned_minor_units: int = 0
    pay_milliseconds: int = 0
    close_milliseconds: int = 0
    automatic_pay_milliseconds: int = 0

    @property
    def key(self) -> str:
        """Channel, account and the merchant's order number."""
        return f"{self.channel}/{self.account}/{self.out_trade_no}"


@dataclass(slots=True)
class Refund(Stored):
    """Money that goes back to the payer of one trade."""

    channel: str
    account: str
    out_trade_no: str
    out_refund_no: str
    refund_no: str
    amount_minor_units: int
    reason: str
    notify_url: str
    create_milliseconds: int
    state: str = RefundState.PROCESSING
    fee_returned_minor_units: int = 0
    finish_milliseconds: int = 0
    due_milliseconds: int = 0

    @property
    def key(self) -> str:
        """Alipay knows a refund by trade and request number, WeChat Pay by the request number alone."""
        if self.channel == Channel.ALIPAY:
            return f"{self.channel}/{self.account}/{self.out_trade_no}/{self.out_refund_no}"
        return f"{self.channel}/{self.account}/{self.out_refund_no}"


@dataclass(slots=True)
class Transfer(Stored):
    """Money that a merchant sends to a person's wallet."""

    channel: str
    account: str
    app_id: str
    out_transfer_no: str
    transfer_no: str
    amount_minor_units: int
    payee: str
    payee_name: str
    remark: str
    scene: str
    notify_url: str
    create_milliseconds: int
    state: str = TransferState.ACCEPTED
    failure_reason: str = ""
    package_token: str = ""
    finish_milliseconds: int = 0
    due_milliseconds: int = 0

    @property
    def key(self) -> str:
        """Channel, account and the merchant's transfer number."""
        return f"{self.channel}/{self.account}/{self.out_transfer_no}"


@dataclass(slots=True)
class Notice(Stored):
    """A message to a merchant about one thing that happened, with every attempt to deliver it."""

    notice_id: str
    channel: str
    account: str
    app_id: str
    event_type: str
    number: str
    numbers: list[str]
    url: str
    content: dict[str, Any]
    create_milliseconds: int
    state: str = NoticeState.DUE
    retries: int = 0
    delayed: bool = False
    next_attempt_milliseconds: int = 0
    attempts: list[dict[str, Any]] = field(default_factory=list)

    @property
    def key(self) -> str:
        """The notice's id, which stays the same over all attempts."""
        return self.notice_id


@dataclass(slots=True)
class Fault(Stored):
    """A rule that makes something go wrong, for one order or at a rate."""

    fault_id: str
    channel: str
    operation: str
    kind: str
    number: str
    rate: float
    seed: int
    remaining: int
    seconds: float
    other: str
    create_milliseconds: int
    seen: int = 0
    fired: int = 0

    @property
    def key(self) -> str:
        """The rule's id."""
        return self.fault_id
