"""Runs the demonstration's orders, several at once. Invariant: one order that goes wrong leaves the others alone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from paycenter.transaction.v1 import transaction_core_pb2 as transaction
from paycenter_client import PaycenterError, business_case, new_traceparent

from clients.cli.demo.order_run import OrderRun, Surroundings
from clients.cli.demo.scenario import Act, Outcome, PlannedOrder, outcome_of
from clients.cli.failure import CommandFailed, sentence_of

_AT_ONCE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderResult:
    """What came of one planned order; `seen` is None when it could not be carried out to the end."""

    planned: PlannedOrder
    order_id: str
    seen: Outcome | None
    was_told: bool
    callback_count: int
    notes: tuple[str, ...]
    problem: str
    seconds: float

    @property
    def matches(self) -> bool:
        """Whether everything is as planned, the callback included."""
        return self.seen == self.planned.expected and self.was_told and not self.problem


async def run_orders(
    planned_orders: Sequence[PlannedOrder],
    surroundings: Surroundings,
    *,
    on_done: Callable[[OrderResult], None],
) -> list[OrderResult]:
    """Carries all orders out and gives the results in the order of the plan.

    Orders during which a channel falls silent begin first and alone, so that the silence befalls none else.
    """
    places = asyncio.Semaphore(_AT_ONCE)
    done = {planned.name: asyncio.Event() for planned in planned_orders}
    tasks: dict[str, asyncio.Task[OrderResult]] = {}

    async def run(order_run: OrderRun) -> OrderResult:
        for name in order_run.planned.after:
            await done[name].wait()
        try:
            async with places:
                result = await _result(order_run)
        finally:
            order_run.silence_begun.set()
            done[order_run.planned.name].set()
        on_done(result)
        return result

    def is_silent(planned: PlannedOrder) -> bool:
        return any(step.act is Act.BEGIN_SILENTLY for step in planned.steps)

    async with asyncio.TaskGroup() as group:
        for planned in sorted(planned_orders, key=lambda each: not is_silent(each)):
            order_run = OrderRun(planned, surroundings)
            tasks[planned.name] = group.create_task(run(order_run))
            if is_silent(planned):
                await order_run.silence_begun.wait()
    return [tasks[planned.name].result() for planned in planned_orders]


async def _result(order_run: OrderRun) -> OrderResult:
    started = time.monotonic()
    order: transaction.Order | None = None
    problem = ""
    with business_case(traceparent=new_traceparent()):
        try:
            order = await order_run.carry_out()
        except PaycenterError as error:
            problem = sentence_of(error)
        except CommandFailed as error:
            problem = str(error)
    business_system = order_run.surroundings.business_system
    return OrderResult(
        planned=order_run.planned,
        order_id=order_run.order_id,
        seen=None if order is None else outcome_of(order),
        was_told=order is not None and order_run.was_told(order),
        callback_count=len(business_system.callbacks_of(order_run.order_id)),
        notes=tuple(order_run.notes),
        problem=problem,
        seconds=time.monotonic() - started,
    )
