"""Gives money back that nobody may keep: what a person resolved with REFUND. Invariant: the money is held for the
refund before anybody is told that the payment succeeded, and a transfer of the same purchase is refused.

The hold alone is not enough: a transit account is shared by all payers of a merchant, so a transfer for this purchase
would find money there and take what others paid. `Transfers` refuses it by the payment's transaction number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncConnection

from core.payment.domain.payment import (
    EventType,
    Payment,
    PaymentKind,
    PaymentState,
    StepKind,
    StepState,
    initial_steps,
    tried,
)
from core.payment.posting import Posting
from core.payment.records import Codec, WithChange
from core.payment.store import payments as store
from runtime.clock import Clock
from runtime.outbox import OutboxEvent

_REASON = "returned after review"


class RefundComposer(Protocol):
    """Composes the command by which the channel gateway is asked for a refund."""

    def compose_refund(self, refund: Payment, *, channel_order_id: str, reason: str) -> bytes:
        """Returns the serialized command."""
        ...


class GiveBack:
    """Makes the refund that belongs to a payment which is booked only to be returned."""

    def __init__(self, *, posting: Posting, composer: RefundComposer, codec: Codec, clock: Clock) -> None:
        self._posting = posting
        self._composer = composer
        self._codec = codec
        self._clock = clock

    async def hold(self, payment: Payment) -> str:
        """Holds what `payment` brought in; empty when the payment is not to be given back."""
        if not payment.give_back_payment_id:
            return ""
        return await self._posting.hold(self._refund_of(payment, hold_id=""))

    def record(self, payment: Payment, *, hold_id: str) -> WithChange:
        """Returns what records the refund together with the success of `payment`; the repair worker carries it out."""

        async def record_refund(connection: AsyncConnection) -> Sequence[OutboxEvent]:
            refund = self._refund_of(payment, hold_id=hold_id)
            recorded = await store.insert_payment(connection, refund, delay_seconds=0)
            return (self._codec.event(recorded, EventType.PAYMENT_ACCEPTED),)

        return record_refund

    def _refund_of(self, payment: Payment, *, hold_id: str) -> Payment:
        now = self._clock.now()
        refund = Payment(
            shard=payment.shard,
            payment_id=payment.give_back_payment_id,
            tenant_id=payment.tenant_id,
            kind=PaymentKind.REFUND,
            state=PaymentState.SUBMITTING,
            merchant_id=payment.merchant_id,
            amount=payment.amount,
            business_id=payment.business_id,
            traceparent=payment.traceparent,
            platform=payment.platform,
            order_id=payment.order_id,
            transaction_number=payment.transaction_number,
            source_account_id=payment.destination_account_id,
            payment_account_id=payment.payment_account_id,
            refunded_payment_id=payment.payment_id,
            hold_id=hold_id,
            steps=initial_steps(PaymentKind.REFUND, now=now),
            answered=True,
        )
        refund = tried(refund, StepKind.RESERVE_FUNDS, StepState.DONE, now=now)
        command = self._composer.compose_refund(
            refund, channel_order_id=payment.channel_order_id, reason=_REASON
        )
        return replace(refund, channel_command=command)
