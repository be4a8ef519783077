"""The steps that every payment through a channel shares: what follows when the gateway answered, refused or was silent.
Invariant: an answer is applied once, a silence fails nothing, and a call is answered with the state that is stored."""

from __future__ import annotations

from typing import Protocol

from core.payment.domain.channel import ChannelWord
from core.payment.domain.payment import Payment
from core.payment.domain.refusal import failure_of_refusal, is_decided
from core.payment.outcome import Outcomes
from runtime.errors import PaycenterError
from runtime.logs import get_logger


class OrderQueries(Protocol):
    """Asks the gateway what became of a channel order."""

    async def query_order(self, payment: Payment) -> ChannelWord | None:
        """Returns what the channel says; None when the gateway has no order for the payment."""
        ...


class ChannelSteps:
    """What comes after a channel was asked."""

    def __init__(self, *, gateway: OrderQueries, outcomes: Outcomes) -> None:
        self._gateway = gateway
        self._outcomes = outcomes

    async def update_order(self, payment: Payment, word: ChannelWord) -> Payment:
        """Applies the channel's word; while the ledger is silent the payment waits for its booking."""
        try:
            return await self._outcomes.apply(payment, word)
        except PaycenterError as error:
            get_logger().warning(
                "the booking waits", payment_id=payment.payment_id, reason=error.reason.value
            )
            return await self._outcomes.await_booking(payment, word)

    async def not_invoked(self, payment: Payment, error: PaycenterError, *, first_try: bool) -> Payment:
        """Records that the gateway refused or was silent.

        A refusal of the first try proves that nothing was sent. After an earlier try it does not: then the gateway is
        asked whether it has the order.
        """
        if not is_decided(error):
            return await self._outcomes.leave_open(payment, error)
        if not first_try:
            word = await self._gateway.query_order(payment)
            if word is not None:
                return await self.update_order(payment, word)
        return await self.refused(payment, error)

    async def refused(self, payment: Payment, error: PaycenterError) -> Payment:
        """Fails the payment for a refusal from below; it stays open while what it holds cannot be freed."""
        try:
            return await self._outcomes.fail(payment, failure_of_refusal(error))
        except PaycenterError as silence:
            return await self._outcomes.leave_open(payment, silence)
