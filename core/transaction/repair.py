"""Takes up what was left in the middle. Invariant: whatever process died and whatever message was lost, every record
that is not final comes up here again and is moved on by asking PaymentCore what happened, never by guessing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from core.transaction import close_order, expiry, metrics, order_changes, outcome, pay_order, refund
from core.transaction.domain.attempts import is_unwanted
from core.transaction.domain.legs import are_ready
from core.transaction.domain.plan import Plan, wait_seconds
from core.transaction.domain.records import OrderFile
from core.transaction.domain.states import AttemptState, RefundState
from core.transaction.parts import Parts
from core.transaction.store import order_files
from core.transaction.store.due_work import DUE_ATTEMPTS, DUE_ORDERS, DUE_REFUNDS, DueWork, DueWorkTable
from runtime.context import use_scope
from runtime.errors import PaycenterError
from runtime.logs import get_logger
from runtime.telemetry import scope_from_stored, span

TakeUp = Callable[[Parts, DueWork], Awaitable[None]]
WaitSeconds = Callable[[Plan, DueWork], float | None]


class RepairWorker:
    """Claims due records of one table and takes up each in the scope that was stored with it."""

    def __init__(
        self,
        parts: Parts,
        *,
        record: str,
        table: DueWorkTable,
        take_up: TakeUp,
        wait_seconds: WaitSeconds,
        nudge: asyncio.Event,
        batch: int,
        idle_seconds: float,
    ) -> None:
        self.name = f"repair-{record}"
        self.idle_seconds = idle_seconds
        self.nudge = nudge
        self._parts = parts
        self._record = record
        self._table = table
        self._take_up = take_up
        self._wait_seconds = wait_seconds
        self._batch = batch

    async def step(self) -> int:
        """Takes up one batch, side by side; returns how many records it had."""
        async with self._parts.database.autocommit() as connection:
            due = await self._table.claim(
                connection, most=self._batch, lease_seconds=self._parts.plan.call_lease_seconds
            )
        await asyncio.gather(*(self._run(work) for work in due))
        return len(due)

    async def _run(self, work: DueWork) -> None:
        metrics.repairs.labels(self._record).inc()
        with (
            use_scope(scope_from_stored(work.traceparent, work.platform)) as scope,
            span(
                f"repair {self._record}", attributes={"paycenter.number": work.number}, links=(scope.trace,)
            ),
        ):
            try:
                await self._take_up(self._parts, work)
            except PaycenterError as error:
                get_logger().warning(
                    "repair did not move on",
                    record=self._record,
                    number=work.number,
                    try_count=work.try_count,
                    reason=error.reason.value,
                )
            except Exception:  # noqa: BLE001 - one record must not keep the others from being repaired
                get_logger().exception("repair failed", record=self._record, number=work.number)
            await self._postpone(work)

    async def _postpone(self, work: DueWork) -> None:
        try:
            async with self._parts.database.autocommit() as connection:
                await self._table.postpone(
                    connection, work, wait_seconds=self._wait_seconds(self._parts.plan, work)
                )
        except PaycenterError as error:
            get_logger().warning("repair keeps its lease", number=work.number, reason=error.reason.value)


async def take_up_attempt(parts: Parts, work: DueWork) -> None:
    """Moves an attempt on: sends it, asks what became of it, closes it, or moves its money to the receivers.

    A closed one is asked about too for a while: money may have come late and its event be lost.
    """
    file = await _read(parts, work)
    attempt = file.attempt(work.number)
    if attempt is None or not (attempt.is_open or attempt.state is AttemptState.CLOSED):
        return
    if file.order.winning_attempt_id == attempt.attempt_id:
        answer_of = pay_order.answer_of_attempt(attempt)
        await outcome.settle(parts, file, attempt.attempt_id, answer_of=answer_of, is_due=True)
    elif attempt.is_open and (attempt.state is AttemptState.CLOSING or is_unwanted(file.order)):
        await close_order.close_attempt(parts, file, attempt)
    elif attempt.is_open and not attempt.payment_id:
        await pay_order.send(parts, file, attempt.attempt_id)
    else:
        report = await parts.payment_core.query(attempt.payment_id)
        await outcome.apply(parts, report, known=file)


async def take_up_refund(parts: Parts, work: DueWork) -> None:
    """Moves a refund on: sends it, or asks what became of it."""
    file = await _read(parts, work)
    found = file.refund(work.number)
    if found is None or not found.is_open:
        return
    if found.payment_id and are_ready(found):
        await refund.apply(parts, await parts.payment_core.query(found.payment_id))
    else:
        await refund.carry_out(parts, file, found.refund_id)


async def _read(parts: Parts, work: DueWork) -> OrderFile:
    async with parts.database.read() as connection:
        file = await order_files.read_file(connection, work.shard, work.order_id)
    if file is None:
        raise order_changes.order_not_found(work.order_id)
    return file


def _attempt_wait_seconds(plan: Plan, work: DueWork) -> float | None:
    if work.state == AttemptState.IN_REVIEW:
        return plan.review_seconds
    if work.state == AttemptState.CLOSED:
        is_over = work.try_count >= len(plan.closed_seconds)
        return None if is_over else wait_seconds(plan.closed_seconds, work.try_count)
    schedule = {
        AttemptState.CLOSING.value: plan.closing_seconds,
        AttemptState.PAID.value: plan.settle_seconds,
    }.get(work.state, plan.attempt_seconds)
    return wait_seconds(schedule, work.try_count)


def _refund_wait_seconds(plan: Plan, work: DueWork) -> float:
    if work.state == RefundState.IN_REVIEW:
        return plan.review_seconds
    return wait_seconds(plan.refund_seconds, work.try_count)


def repair_workers(parts: Parts, *, batch: int, idle_seconds: float) -> list[RepairWorker]:
    """Returns the workers of attempts, refunds and orders (expiry and closing)."""
    return [
        RepairWorker(
            parts,
            record="attempt",
            table=DUE_ATTEMPTS,
            take_up=take_up_attempt,
            wait_seconds=_attempt_wait_seconds,
            nudge=parts.nudges.attempt,
            batch=batch,
            idle_seconds=idle_seconds,
        ),
        RepairWorker(
            parts,
            record="refund",
            table=DUE_REFUNDS,
            take_up=take_up_refund,
            wait_seconds=_refund_wait_seconds,
            nudge=parts.nudges.refund,
            batch=batch,
            idle_seconds=idle_seconds,
        ),
        RepairWorker(
            parts,
            record="order",
            table=DUE_ORDERS,
            take_up=expiry.take_up,
            wait_seconds=lambda plan, work: wait_seconds(plan.closing_seconds, work.try_count),
            nudge=asyncio.Event(),
            batch=batch,
            idle_seconds=idle_seconds,
        ),
    ]
