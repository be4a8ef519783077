"""Holds the money that is about to leave a balance. Invariant: the channel is asked only while the money is held."""

from __future__ import annotations

from dataclasses import replace

from core.payment.channel_steps import ChannelSteps
from core.payment.domain.payment import Payment, StepKind, StepState, tried
from core.payment.domain.refusal import is_decided
from core.payment.outcome import Outcomes
from core.payment.posting import Posting
from runtime.clock import Clock
from runtime.errors import PaycenterError
from runtime.telemetry import span


class Funds:
    """Reserves what withdrawals and refunds pay out."""

    def __init__(self, *, posting: Posting, steps: ChannelSteps, outcomes: Outcomes, clock: Clock) -> None:
        self._posting = posting
        self._steps = steps
        self._outcomes = outcomes
        self._clock = clock

    async def reserve(self, payment: Payment) -> Payment:
        """Holds the payment's amount and returns the payment with its hold, which the next change stores.

        Raises PaycenterError: what the ledger refuses (INSUFFICIENT_FUNDS), or DEPENDENCY_UNAVAILABLE.
        """
        if payment.hold_id:
            return payment
        with span("reserve_funds"):
            hold_id = await self._posting.hold(payment)
        now = self._clock.now()
        held = tried(replace(payment, hold_id=hold_id), StepKind.RESERVE_FUNDS, StepState.DONE, now=now)
        return tried(held, StepKind.INVOKE_CHANNEL, StepState.RUNNING, now=now)

    async def not_reserved(self, payment: Payment, error: PaycenterError) -> Payment:
        """Fails the payment for what the ledger refused; while the ledger is silent nothing was sent and it waits."""
        if is_decided(error):
            return await self._steps.refused(payment, error)
        return await self._outcomes.leave_open(payment, _nothing_sent(error))


def _nothing_sent(error: PaycenterError) -> PaycenterError:
    """The same error, saying that no money may have moved: a hold moves none."""
    return PaycenterError(error.reason, error.message, metadata=error.metadata, may_have_begun=False)
