"""One movement of money as one channel sees it. Invariant: a value object; the store alone makes and changes
rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from channel_gateway.domain.answer import Failure
from channel_gateway.domain.credential import Credential
from channel_gateway.domain.vocabulary import ChannelOrderKind, ChannelOrderState, InvokeMethod
from runtime.money import Money


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelOrder:
    """A channel order as it is stored; `asked` holds what the channel was asked for, without sensitive values."""

    shard: int
    channel_order_id: str
    tenant_id: str
    payment_id: str
    kind: ChannelOrderKind
    merchant_id: str
    payment_account_id: str
    channel: str
    invoke_method: InvokeMethod | None
    amount: Money
    channel_fee: Money
    state: ChannelOrderState
    channel_transaction_id: str
    refunded_channel_order_id: str
    reserved_refund_minor_units: int
    failure: Failure | None
    credential: Credential | None
    asked: Mapping[str, Any]
    sealed_asked: bytes | None
    expire_time: datetime | None
    succeed_time: datetime | None
    close_requested: bool
    step_count: int
    business_id: str
    traceparent: str
    platform: bytes
    version: int
    create_time: datetime
    update_time: datetime

    @property
    def may_appear_until(self) -> datetime:
        """Latest instant at which the channel can still learn of a payment that appears when the payer opens it."""
        return self.expire_time or self.create_time
