"""Which payment account can take a payment. Invariant: among equals the choice is the same every time: the least fee,
then the smallest number."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from core.payment.domain.payment import InvokeMethod

PAY = "pay"
PAYOUT = "payout"
"""Operations in the gateway's words."""


@dataclass(frozen=True, slots=True)
class PaymentAccount:
    """A merchant's account at a channel, as the gateway tells of it."""

    payment_account_id: str
    merchant_id: str
    channel: str
    fee_ratio: Decimal
    enabled: bool


@dataclass(frozen=True, slots=True)
class Capability:
    """One operation of a channel; no invoke method where the operation has none, no currencies for any."""

    operation: str
    invoke_method: InvokeMethod | None
    currency_codes: frozenset[str] = field(default_factory=frozenset)


@dataclass(frozen=True, slots=True)
class ChannelProfile:
    """A channel and what it can do."""

    name: str
    enabled: bool
    capabilities: tuple[Capability, ...]

    def has(self, operation: str, invoke_method: InvokeMethod | None) -> bool:
        """Whether the channel has the operation, by the invoke method where one is given."""
        return any(
            each.operation == operation and each.invoke_method is invoke_method for each in self.capabilities
        )

    def takes(self, operation: str, invoke_method: InvokeMethod | None, currency_code: str) -> bool:
        """Whether the channel has the operation in a currency."""
        return any(
            each.operation == operation
            and each.invoke_method is invoke_method
            and (not each.currency_codes or currency_code in each.currency_codes)
            for each in self.capabilities
        )


def cheapest(
    accounts: Iterable[PaymentAccount],
    channels: Mapping[str, ChannelProfile],
    *,
    operation: str,
    invoke_method: InvokeMethod | None,
    currency_code: str,
) -> PaymentAccount | None:
    """Returns the enabled account with the least fee whose channel is switched on and takes the payment, or None."""
    able = [
        account
        for account in accounts
        if account.enabled
        and (channel := channels.get(account.channel)) is not None
        and channel.enabled
        and channel.takes(operation, invoke_method, currency_code)
    ]
    return min(able, key=lambda account: (account.fee_ratio, account.payment_account_id), default=None)
