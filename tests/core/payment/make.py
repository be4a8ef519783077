"""Short words for making payments and channel words in unit tests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from core.payment.domain.channel import ChannelState, ChannelWord
from core.payment.domain.payment import Payment, PaymentKind, PaymentState
from runtime.money import Money


def payment(kind: PaymentKind = PaymentKind.RECHARGE, **changes: Any) -> Payment:
    made = Payment(
        shard=1,
        payment_id="P-1",
        tenant_id="tenant-1",
        kind=kind,
        state=PaymentState.PENDING,
        merchant_id="M-1",
        amount=Money(10_000, "CNY"),
        business_id="B-1",
        traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        platform=b"",
    )
    return replace(made, **changes)


def word(state: ChannelState | None, **changes: Any) -> ChannelWord:
    made = ChannelWord(
        channel_order_id="C-1",
        payment_id="P-1",
        state=state,
        amount=Money(10_000, "CNY"),
        channel_fee_minor_units=60,
        version=2,
    )
    return replace(made, **changes)
