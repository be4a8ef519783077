"""What a channel's plugin offers to the gateway. Invariant: everything that crosses it is neutral; no
channel's own field, code or form leaves its folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from channel_gateway.channels.transport import TransportFactory
from channel_gateway.domain.answer import ChannelAnswer
from channel_gateway.domain.vocabulary import ChannelOrderKind, InvokeMethod, Operation, PayeeIdKind
from runtime.money import Money


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentAsked:
    """A payment that a channel is asked to take."""

    channel_order_id: str
    amount: Money
    subject: str
    expire_time: datetime
    notice_url: str
    channel_payer_id: str = ""
    client_ip: str = ""
    return_url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundAsked:
    """A refund that a channel is asked to make; `payment_*` speak of the payment that it gives back from."""

    channel_order_id: str
    amount: Money
    payment_channel_order_id: str
    payment_transaction_id: str
    payment_amount: Money
    reason: str
    notice_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutAsked:
    """A payout that a channel is asked to make; `real_name` is sensitive and never logged."""

    channel_order_id: str
    amount: Money
    payee_id: str
    payee_id_kind: PayeeIdKind
    real_name: str
    remark: str
    notice_url: str


@dataclass(frozen=True, slots=True)
class Capability:
    """What a channel can do for one operation and invoke method.

    `not_found_proof` is how long after sending (or, for a payment that appears when it is opened, after its expiry)
    the channel's "not found" proves that it took nothing.
    """

    operation: Operation
    invoke_method: InvokeMethod | None = None
    currency_codes: tuple[str, ...] = ("CNY",)
    refund_window: timedelta | None = None
    not_found_proof: timedelta | None = None


@dataclass(frozen=True, slots=True)
class NoticeMessage:
    """A notice as it came: header names in lower case, the raw body, the instant of arrival."""

    headers: Mapping[str, str]
    body: bytes
    received_time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeContent:
    """What a verified notice of this very account says.

    `amount_is_total` marks a refund notice that gives the sum of all refunds of the payment so far.
    """

    kind: ChannelOrderKind
    channel_order_id: str
    answer: ChannelAnswer
    payment_channel_order_id: str = ""
    amount_is_total: bool = False


@dataclass(frozen=True, slots=True)
class NoticeReply:
    """What the channel wants to hear after a notice."""

    status_code: int
    media_type: str
    body: bytes


class NoticeRefused(Exception):
    """A notice that is not believed; `refusal` says why, upper case with underscores."""

    def __init__(self, refusal: str) -> None:
        super().__init__(refusal)
        self.refusal = refusal


class PayExecutor(Protocol):
    """One way of bringing a payer to the channel."""

    @property
    def calls_channel(self) -> bool:
        """Whether `pay` goes over the network; when not, it only signs what the payer carries over."""
        ...

    @property
    def appears_when_opened(self) -> bool:
        """Whether the channel knows the payment only once its payer opens it."""
        ...

    @property
    def default_lifetime(self) -> timedelta:
        """How long the payer may pay when the caller sets no expiry."""
        ...

    def check(self, asked: PaymentAsked) -> None:
        """Raises PaycenterError(FIELD_INVALID) with the path of the field that the channel needs and misses."""
        ...

    async def pay(self, asked: PaymentAsked) -> ChannelAnswer:
        """Asks the channel to take the payment; never raises for what the channel or the network does."""
        ...


class ChannelAccount(Protocol):
    """A payment account opened for use: parsed keys, its own connection pool, its own deadlines.

    No method raises for what the channel or the network does: the answer tells it.
    """

    def executor(self, invoke_method: InvokeMethod) -> PayExecutor | None:
        """Returns the executor of an invoke method, or None when the channel has none."""
        ...

    async def query_payment(self, channel_order_id: str) -> ChannelAnswer:
        """Asks where a payment stands; the answer carries the amount."""
        ...

    async def close_payment(self, channel_order_id: str) -> ChannelAnswer:
        """Asks the channel to close an unpaid payment; SUCCEEDED or DECLINED mean that it refused."""
        ...

    async def refund(self, asked: RefundAsked) -> ChannelAnswer:
        """Asks for a refund; asking again with the same number and fields moves no money twice."""
        ...

    async def query_refund(self, asked: RefundAsked) -> ChannelAnswer:
        """Asks where a refund stands."""
        ...

    async def payout(self, asked: PayoutAsked) -> ChannelAnswer:
        """Asks for a payout; asking again with the same number and fields moves no money twice."""
        ...

    async def query_payout(self, asked: PayoutAsked) -> ChannelAnswer:
        """Asks where a payout stands."""
        ...

    def read_notice(self, message: NoticeMessage) -> NoticeContent:
        """Verifies a notice with this account's keys only and decodes it; raises NoticeRefused."""
        ...

    def notice_reply(self, *, accepted: bool) -> NoticeReply:
        """Returns the channel's own word of success or of failure."""
        ...

    async def close(self) -> None:
        """Closes the connections. Idempotent."""
        ...


class ChannelPlugin(Protocol):
    """One channel: what it needs, what it can do, and how an account of it is opened."""

    @property
    def name(self) -> str:
        """Name of the channel in the contract, equal to its folder's."""
        ...

    @property
    def display_name(self) -> str:
        """Name shown to people."""
        ...

    @property
    def capabilities(self) -> Sequence[Capability]:
        """What the channel can do."""
        ...

    @property
    def required_settings(self) -> Sequence[str]:
        """Names of the settings that an account must have."""
        ...

    @property
    def required_secrets(self) -> Sequence[str]:
        """Names of the secrets that an account must have."""
        ...

    @property
    def notice_headers(self) -> Sequence[str]:
        """Names, in lower case, of the headers that a notice is verified with."""
        ...

    def check(self, settings: Mapping[str, str], secrets: Mapping[str, str]) -> None:
        """Checks names and values, keys by parsing and proving them; takes tens of milliseconds of CPU.

        Raises PaycenterError(CHANNEL_SETTINGS_INVALID) with the violations `settings[name]` and `secrets[name]`.
        """
        ...

    def open_account(
        self, settings: Mapping[str, str], secrets: Mapping[str, str], transports: TransportFactory
    ) -> ChannelAccount:
        """Opens an account whose settings passed `check` when they were stored."""
        ...
