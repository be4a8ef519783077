"""Takes up payments that were left in the middle, by their next_step_time. Invariant: every payment that is not final
comes up again, in one process at a time; nothing is failed by the clock."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Final

from core.payment import metrics
from core.payment.close import Closing
from core.payment.domain.payment import Payment, PaymentKind, PaymentState
from core.payment.domain.schedule import Schedule
from core.payment.outcome import Outcomes
from core.payment.query import Queries
from core.payment.recharge import Recharges
from core.payment.records import PaymentRecords
from core.payment.refund import Refunds
from core.payment.resolve import Resolutions
from core.payment.scope import scope_of
from core.payment.store import payments as store
from core.payment.store.saving import LostRaceError
from core.payment.transfer import Transfers
from core.payment.withdrawal import Withdrawals
from runtime.context import use_scope
from runtime.errors import PaycenterError
from runtime.logs import get_logger
from runtime.telemetry import span

_ASKED_ONLY: Final = frozenset({PaymentState.IN_REVIEW, PaymentState.CLOSED})


class Repair:
    """The worker that continues unfinished payments, one batch a step."""

    name = "payment-repair"

    def __init__(
        self,
        *,
        records: PaymentRecords,
        outcomes: Outcomes,
        queries: Queries,
        closing: Closing,
        resolutions: Resolutions,
        recharges: Recharges,
        withdrawals: Withdrawals,
        refunds: Refunds,
        transfers: Transfers,
        schedule: Schedule,
        batch_size: int,
        lease_seconds: float,
        idle_seconds: float,
    ) -> None:
        self.idle_seconds = idle_seconds
        self._records = records
        self._outcomes = outcomes
        self._queries = queries
        self._closing = closing
        self._resolutions = resolutions
        self._transfers = transfers
        self._carry_out: Mapping[PaymentKind, Callable[[Payment], Awaitable[Payment]]] = {
            PaymentKind.RECHARGE: lambda payment: recharges.carry_out(payment, first_try=False),
            PaymentKind.WITHDRAWAL: lambda payment: withdrawals.carry_out(payment, first_try=False),
            PaymentKind.REFUND: lambda payment: refunds.carry_out(payment, first_try=False),
        }
        self._schedule = schedule
        self._batch_size = batch_size
        self._lease_seconds = lease_seconds

    async def step(self) -> int:
        """Continues the payments whose time has come, at most a batch; returns how many there were."""
        async with self._records.database.begin() as connection:
            due = await store.claim_due_payments(
                connection, batch_size=self._batch_size, lease_seconds=self._lease_seconds
            )
        await asyncio.gather(*(self.take_up(payment) for payment in due))
        return len(due)

    async def take_up(self, payment: Payment) -> None:
        """Continues one payment in its own scope; an error leaves it for its next time."""
        scope = scope_of(payment)
        with (
            use_scope(scope),
            span("repair", attributes={"paycenter.payment_state": payment.state.value}, links=(scope.trace,)),
        ):
            outcome = "waits"
            try:
                after = await self._continue(payment)
                if after.version != payment.version:
                    outcome = "moved"
                else:
                    await self._put_off(after)
            except PaycenterError as error:
                outcome = "failed"
                get_logger().warning(
                    "a repair step failed", payment_id=payment.payment_id, reason=error.reason.value
                )
                await self._put_off_quietly(payment)
            except Exception:  # noqa: BLE001 - one payment must not keep the others from being repaired
                outcome = "failed"
                get_logger().exception("a repair step broke", payment_id=payment.payment_id)
                await self._put_off_quietly(payment)
            metrics.count_repair(payment, outcome=outcome)

    async def _continue(self, payment: Payment) -> Payment:
        if payment.resolution is not None and payment.state is PaymentState.IN_REVIEW:
            return await self._resolutions.carry_out(payment)
        if payment.kind is PaymentKind.TRANSFER:
            return await self._transfers.carry_out(payment)
        if payment.state is PaymentState.CLOSING:
            return await self._closing.carry_out(payment, try_number=payment.step_try_count + 1)
        if payment.channel_order_id or payment.state in _ASKED_ONLY:
            return await self._queries.ask(payment)
        return await self._carry_out[payment.kind](payment)

    async def _put_off(self, payment: Payment) -> None:
        """Moves to the next wait of the schedule; past its end an open outcome goes to a person."""
        try_count = payment.step_try_count + 1
        delay_seconds = self._schedule.delay(payment, try_count=try_count)
        if delay_seconds is None and payment.state is not PaymentState.CLOSED:
            await self._outcomes.ask_a_person(payment)
            return
        try:
            await self._records.reschedule(
                payment, replace(payment, step_try_count=try_count), delay_seconds=delay_seconds
            )
        except LostRaceError:
            return

    async def _put_off_quietly(self, payment: Payment) -> None:
        try:
            await self._put_off(payment)
        except PaycenterError as error:
            get_logger().warning(
                "a repair step waits for its lease", payment_id=payment.payment_id, reason=error.reason.value
            )
        except Exception:  # noqa: BLE001 - the lease brings it back
            get_logger().exception("a repair step waits for its lease", payment_id=payment.payment_id)
