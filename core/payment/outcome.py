"""What becomes of a payment once channel and ledger have spoken. Invariant: money that moved is booked before the
payment succeeds, held money is freed before it fails, and an open outcome stays open."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from sqlalchemy.ext.asyncio import AsyncConnection

from core.payment import metrics
from core.payment.domain.channel import ChannelState, ChannelWord, Verdict, failure_of, verdict_on
from core.payment.domain.payment import (
    EventType,
    Failure,
    Payment,
    PaymentKind,
    PaymentState,
    StepKind,
    StepState,
    finish_steps,
    tried,
)
from core.payment.domain.refusal import (
    failure_of_open_call,
    failure_of_refusal,
    is_decided,
    review_after_refusal,
    review_after_schedule,
)
from core.payment.domain.schedule import Schedule
from core.payment.domain.states import Trigger, target_of
from core.payment.give_back import GiveBack
from core.payment.posting import Posting
from core.payment.records import PaymentRecords, WithChange
from core.payment.store import payments as store
from core.payment.store.saving import LostRaceError
from runtime.clock import Clock
from runtime.errors import PaycenterError, Reason
from runtime.logs import get_logger
from runtime.outbox import OutboxEvent
from runtime.telemetry import span

_RACES_AT_MOST = 6


class Outcomes:
    """Applies what channel and ledger say to payments; every method is safe to repeat and side by side."""

    def __init__(
        self,
        *,
        records: PaymentRecords,
        posting: Posting,
        give_back: GiveBack,
        schedule: Schedule,
        clock: Clock,
    ) -> None:
        self._records = records
        self._posting = posting
        self._give_back = give_back
        self._schedule = schedule
        self._clock = clock

    async def apply(self, payment: Payment, word: ChannelWord) -> Payment:
        """Does what follows from the channel's word; words that are older than what is known change nothing.

        Raises PaycenterError when the ledger does not answer; then the payment is as it was and the same call again
        goes on.
        """
        return await self._on_latest(payment, lambda latest: self._apply(_keep_hold(latest, payment), word))

    async def succeed(self, payment: Payment) -> Payment:
        """Books the payment and records that it succeeded; what is booked already is found, not booked again.

        A refusal of the ledger fails a transfer and sends every other payment to a person. Raises PaycenterError when
        the ledger does not answer.
        """
        return await self._on_latest(
            payment, lambda latest: self._settle(latest, _keep_hold(latest, payment))
        )

    async def fail(self, payment: Payment, failure: Failure) -> Payment:
        """Records that no money moved, after freeing what is held.

        Raises PaycenterError when the ledger does not answer.
        """
        return await self._on_latest(
            payment, lambda latest: self._fail(latest, _keep_hold(latest, payment), failure)
        )

    async def leave_open(self, payment: Payment, error: PaycenterError) -> Payment:
        """Records that a service below did not answer: UNKNOWN when the command may have begun there."""
        return await self._on_latest(
            payment, lambda latest: self._leave_open(latest, _keep_hold(latest, payment), error)
        )

    async def await_booking(self, payment: Payment, word: ChannelWord) -> Payment:
        """Notes what the channel said while the ledger does not answer; the repair worker books it."""
        return await self._on_latest(
            payment, lambda latest: self._wait(latest, _noted(_keep_hold(latest, payment), word), word)
        )

    async def ask_a_person(self, payment: Payment) -> Payment:
        """Sends a payment whose outcome stayed open past its schedule to a person; queries go on slowly."""
        return await self._on_latest(
            payment, lambda latest: self._review(latest, latest, review_after_schedule(latest.failure))
        )

    async def _on_latest(self, payment: Payment, step: Callable[[Payment], Awaitable[Payment]]) -> Payment:
        """Runs `step` on the payment, again on what it became when somebody else changed it meanwhile."""
        latest = payment
        for _ in range(_RACES_AT_MOST):
            try:
                return await step(latest)
            except LostRaceError:
                latest = await self._records.reload(payment)
        raise PaycenterError(Reason.LOCK_CONFLICT, "The payment is being changed by others at this moment.")

    async def _apply(self, payment: Payment, word: ChannelWord) -> Payment:
        if word.version < payment.channel_order_version:
            return payment
        if payment.state is PaymentState.FAILED and word.state is ChannelState.SUCCEEDED:
            _tell_contradiction(payment, word)
            return payment
        noted = _noted(payment, word)
        verdict = verdict_on(payment, word)
        if verdict is Verdict.CLOSE and payment.kind is not PaymentKind.RECHARGE:
            verdict = Verdict.FAIL
        match verdict:
            case Verdict.SETTLE:
                return await self._settle(payment, noted)
            case Verdict.FAIL:
                noted = await self._with_hold(noted)
                return await self._fail(payment, noted, failure_of(word, verdict))
            case Verdict.CLOSE:
                return await self._close(payment, noted, failure_of(word, verdict))
            case Verdict.WAIT:
                return await self._wait(payment, noted, word)
            case Verdict.OPEN:
                return await self._open(payment, noted, failure_of(word, verdict))
            case Verdict.REVIEW:
                return await self._review(payment, noted, failure_of(word, verdict))

    async def _settle(self, payment: Payment, noted: Payment) -> Payment:
        target = target_of(payment, Trigger.BOOKED)
        if target is None:
            return payment
        try:
            with span("post_journal"):
                if noted.holds_funds:
                    noted = replace(noted, hold_id=await self._posting.hold(noted))
                journal_id = await self._posting.post(noted)
                hold_id = await self._give_back.hold(noted)
        except PaycenterError as error:
            if not is_decided(error):
                raise
            return await self._not_booked(payment, noted, error)
        now = self._clock.now()
        settled = replace(
            tried(noted, StepKind.POST_JOURNAL, StepState.DONE, now=now),
            state=target,
            journal_id=journal_id,
            failure=None,
            credential=None,
            channel_command=None,
            succeed_time=noted.succeed_time or now,
        )
        settled = replace(settled, steps=finish_steps(settled.steps, succeeded=True, now=now))
        also: WithChange | None = None
        if settled.kind is PaymentKind.REFUND:
            also = self._complete_refund(settled)
        elif settled.give_back_payment_id:
            settled = replace(settled, refunding_minor_units=settled.amount.minor_units)
            also = self._give_back.record(settled, hold_id=hold_id)
        return await self._change(payment, settled, also=also)

    async def _not_booked(self, payment: Payment, noted: Payment, error: PaycenterError) -> Payment:
        """The ledger refuses: a transfer has failed; what moved at a channel goes to a person and is tried again."""
        if payment.kind is PaymentKind.TRANSFER:
            return await self._fail(payment, noted, failure_of_refusal(error))
        get_logger().error(
            "the ledger refuses a journal", payment_id=payment.payment_id, reason=error.reason.value
        )
        failure = review_after_refusal(error)
        again = replace(noted, posting_round=noted.posting_round + 1)
        if payment.state is PaymentState.IN_REVIEW:
            return await self._records.reschedule(
                payment, again, delay_seconds=self._schedule.first_delay(payment)
            )
        return await self._review(payment, again, failure)

    async def _fail(self, payment: Payment, noted: Payment, failure: Failure) -> Payment:
        target = target_of(payment, Trigger.REFUSED)
        if target is None:
            return payment
        if noted.hold_id:
            try:
                await self._posting.release(noted)
            except PaycenterError as error:
                if not is_decided(error):
                    raise
                return await self._review(payment, noted, review_after_refusal(error))
        failed = self._ended(noted, target, failure)
        also = self._release_refund(failed) if failed.kind is PaymentKind.REFUND else None
        return await self._change(payment, failed, also=also)

    async def _with_hold(self, noted: Payment) -> Payment:
        """Finds the hold that was placed before the channel was asked, where the record does not name it yet."""
        if not noted.holds_funds or noted.hold_id:
            return noted
        try:
            return replace(noted, hold_id=await self._posting.hold(noted))
        except PaycenterError as error:
            if not is_decided(error):
                raise
            return noted

    async def _close(self, payment: Payment, noted: Payment, failure: Failure) -> Payment:
        target = target_of(payment, Trigger.CLOSED_UNPAID)
        if target is None:
            return payment
        return await self._change(payment, self._ended(noted, target, failure))

    async def _wait(self, payment: Payment, noted: Payment, word: ChannelWord) -> Payment:
        target = target_of(payment, Trigger.CHANNEL_TOOK)
        if target is None:
            return await self._note(payment, noted)
        now = self._clock.now()
        waiting = replace(
            tried(noted, StepKind.INVOKE_CHANNEL, StepState.DONE, now=now),
            state=target,
            failure=None,
            credential=word.credential,
        )
        return await self._change(payment, waiting)

    async def _open(self, payment: Payment, noted: Payment, failure: Failure) -> Payment:
        target = target_of(payment, Trigger.OUTCOME_OPEN)
        if target is None:
            return await self._note(payment, noted)
        now = self._clock.now()
        unknown = replace(
            tried(noted, StepKind.INVOKE_CHANNEL, StepState.RUNNING, now=now), state=target, failure=failure
        )
        return await self._change(payment, unknown)

    async def _leave_open(self, payment: Payment, noted: Payment, error: PaycenterError) -> Payment:
        target = target_of(payment, Trigger.OUTCOME_OPEN) if error.may_have_begun else None
        if target is not None:
            failure = failure_of_open_call(error)
            return await self._change(payment, replace(noted, state=target, failure=failure))
        if payment.is_final or payment.answered:
            return payment
        return await self._records.reschedule(
            payment, payment, delay_seconds=self._schedule.first_delay(payment)
        )

    async def _review(self, payment: Payment, noted: Payment, failure: Failure) -> Payment:
        target = target_of(payment, Trigger.REVIEW_NEEDED)
        if target is None:
            return await self._note(payment, noted)
        get_logger().warning("a payment needs a person", payment_id=payment.payment_id, reason=failure.reason)
        return await self._change(payment, replace(noted, state=target, failure=failure))

    async def _note(self, payment: Payment, noted: Payment) -> Payment:
        """Keeps the number of the channel order once it is known, although the state stays."""
        if payment.is_final or noted.channel_order_id == payment.channel_order_id:
            return payment
        return await self._change(payment, noted)

    async def _change(self, payment: Payment, after: Payment, *, also: WithChange | None = None) -> Payment:
        after = replace(after, step_try_count=0)
        with span("update_order", attributes={"paycenter.payment_state": after.state.value}):
            return await self._records.change(
                payment, after, delay_seconds=self._schedule.first_delay(after), also=also
            )

    def _ended(self, noted: Payment, target: PaymentState, failure: Failure) -> Payment:
        now = self._clock.now()
        return replace(
            noted,
            state=target,
            failure=failure,
            credential=None,
            channel_command=None,
            steps=finish_steps(noted.steps, succeeded=False, now=now),
        )

    def _complete_refund(self, refund: Payment) -> WithChange:
        async def complete(connection: AsyncConnection) -> Sequence[OutboxEvent]:
            recharge = await store.complete_refund(
                connection,
                shard=refund.shard,
                payment_id=refund.refunded_payment_id,
                minor_units=refund.amount.minor_units,
            )
            return (self._records.codec.event(recharge, EventType.PAYMENT_CHANGED),)

        return complete

    def _release_refund(self, refund: Payment) -> WithChange:
        async def release(connection: AsyncConnection) -> Sequence[OutboxEvent]:
            await store.release_refund(
                connection,
                shard=refund.shard,
                payment_id=refund.refunded_payment_id,
                minor_units=refund.amount.minor_units,
            )
            return ()

        return release


def _noted(payment: Payment, word: ChannelWord) -> Payment:
    """The payment with what the channel told besides its state; the composed command is no longer needed then."""
    return replace(
        payment,
        channel_order_id=word.channel_order_id,
        channel_order_version=word.version,
        channel_transaction_id=word.channel_transaction_id or payment.channel_transaction_id,
        channel_fee_minor_units=word.channel_fee_minor_units,
        channel_command=None,
        succeed_time=word.succeed_time,
    )


def _tell_contradiction(payment: Payment, word: ChannelWord) -> None:
    """Makes money visible that the channel moved, in whatever amount, for a payment that had failed."""
    metrics.count_contradiction()
    get_logger().error(
        "a failed payment succeeded at the channel",
        payment_id=payment.payment_id,
        payment_kind=payment.kind.value,
        channel_order_id=word.channel_order_id,
        channel_transaction_id=word.channel_transaction_id,
        minor_units=word.amount.minor_units,
        currency_code=word.amount.currency_code,
    )


def _keep_hold(latest: Payment, payment: Payment) -> Payment:
    """The latest record with the hold that the running step has placed, which may not be stored yet."""
    return latest if latest.hold_id else replace(latest, hold_id=payment.hold_id)
