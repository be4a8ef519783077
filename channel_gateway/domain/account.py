"""Merchants and their accounts at channels. Invariant: a payment account belongs to one merchant of one
tenant for good; its secrets are never part of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from channel_gateway.domain.vocabulary import MerchantState, PaymentAccountState


@dataclass(frozen=True, slots=True, kw_only=True)
class Merchant:
    """A business that receives money through the center."""

    shard: int
    merchant_id: str
    tenant_id: str
    tenant_merchant_number: str
    display_name: str
    state: MerchantState
    version: int
    create_time: datetime
    update_time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentAccount:
    """A merchant's account at one channel; its number is the payment identifier."""

    shard: int
    payment_account_id: str
    tenant_id: str
    merchant_id: str
    channel: str
    display_name: str
    settings: Mapping[str, str]
    fee_ratio_millionths: int
    state: PaymentAccountState
    version: int
    create_time: datetime
    update_time: datetime


def etag_of(version: int) -> str:
    """Returns the text that names one version of a record."""
    return f'"{version}"'
