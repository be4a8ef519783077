"""A process that dies between two statements leaves something that another one finishes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from paycenter.payment.v1 import payment_core_pb2 as pc
from paycenter.transaction.v1 import transaction_core_pb2 as tc

from core.transaction import close_order, order_changes, outcome, pay_order, refund
from core.transaction.mapping import requests
from core.transaction.parts import Parts
from core.transaction.remote import report_of
from core.transaction.repair import repair_workers
from runtime.context import use_scope
from runtime.database import Database
from runtime.errors import PaycenterError, Reason
from tests.integration.transaction.desk import PC, Desk, eventually, yuan
from tests.integration.transaction.fake_payment_core import SUCCEEDED


class Crash(BaseException):
    """The process dies here."""


class DyingPaymentCore:
    """Lets calls through until one is to be the last, which dies before it is sent or before its answer is read."""

    def __init__(self, inner: Any, method: str, *, after_call: bool) -> None:
        self._inner = inner
        self._method = method
        self._after_call = after_call

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._inner, name)
        if name != self._method:
            return call

        async def die(*arguments: Any, **options: Any) -> Any:
            if self._after_call:
                await call(*arguments, **options)
            raise Crash

        return die


@asynccontextmanager
async def _dying_process(desk: Desk, method: str, *, after_call: bool) -> AsyncIterator[Parts]:
    """A second process on the same database; its connections are gone when it has died."""
    parts = desk.wiring.parts
    database = Database(desk.settings.database_url, pool_size=2, application_name="dying")
    dying: Any = DyingPaymentCore(parts.payment_core, method, after_call=after_call)
    try:
        yield replace(parts, database=database, payment_core=dying, calls_under_way=set())
    finally:
        await database.close()


async def _dies(desk: Desk, work: Callable[[], Awaitable[object]]) -> None:
    with use_scope(desk.scope), pytest.raises(Crash):
        await work()


async def _as_soon_as_the_death_is_known(desk: Desk, request: tc.PayOrderRequest) -> tc.PayOrderResponse:
    """Repeats a request as a client does: the database may take a moment to notice that its owner is gone."""
    for _ in range(50):
        try:
            answer: tc.PayOrderResponse = await desk.caller.call("PayOrder", request)
        except PaycenterError as error:
            if error.reason is not Reason.REQUEST_IN_PROGRESS:
                raise
            await asyncio.sleep(0.1)
        else:
            return answer
    raise AssertionError("the request stays in progress")


async def _repaired(desk: Desk) -> None:
    for _ in range(3):
        for table in ("orders", "attempt", "refund"):
            condition = "" if table != "orders" else " AND state = 'CLOSING'"
            desk.sql(f"UPDATE {table} SET next_step_time = now() WHERE next_step_time IS NOT NULL{condition}")
        await desk.step("repair-attempt", "repair-refund", "repair-order")


@pytest.mark.parametrize("after_call", [False, True], ids=["before the call", "after the call"])
class TestCrashPoints:
    """Every place at which a step of money can be left in the middle."""

    async def test_while_paying(self, quiet_desk: Desk, after_call: bool) -> None:
        order = await quiet_desk.order()
        request = quiet_desk.pay_request(order)
        async with _dying_process(quiet_desk, "begin", after_call=after_call) as dying:
            await _dies(quiet_desk, lambda: pay_order.pay_order(dying, requests.pay_order(request)))
        assert (await quiet_desk.see(order)).attempts[0].state == tc.ATTEMPT_STATE_CREATED
        await _repaired(quiet_desk)
        answer = await quiet_desk.caller.call("PayOrder", request)
        assert answer.attempt.state == tc.ATTEMPT_STATE_PENDING
        assert quiet_desk.caller.last_metadata["x-idempotent-replay"] == "true"
        assert len((await quiet_desk.see(order)).attempts) == len(quiet_desk.payment_core.payments) == 1
        await quiet_desk.invariants_hold()

    async def test_while_paying_and_the_caller_repeats_before_repair(
        self, quiet_desk: Desk, after_call: bool
    ) -> None:
        order = await quiet_desk.order()
        request = quiet_desk.pay_request(order)
        async with _dying_process(quiet_desk, "begin", after_call=after_call) as dying:
            await _dies(quiet_desk, lambda: pay_order.pay_order(dying, requests.pay_order(request)))
        answer = await _as_soon_as_the_death_is_known(quiet_desk, request)
        assert answer.attempt.state == tc.ATTEMPT_STATE_PENDING
        assert len((await quiet_desk.see(order)).attempts) == len(quiet_desk.payment_core.payments) == 1

    async def test_while_settling(self, quiet_desk: Desk, after_call: bool) -> None:
        order = await quiet_desk.order()
        attempt = await quiet_desk.pay(order)
        payment = quiet_desk.payment_core.becomes(quiet_desk.payment_core.of(attempt.attempt_id), SUCCEEDED)
        async with _dying_process(quiet_desk, "settle", after_call=after_call) as dying:
            await _dies(quiet_desk, lambda: outcome.apply(dying, report_of(payment)))
        seen = await quiet_desk.see(order)
        assert (seen.state, seen.winning_attempt_id) == (tc.ORDER_STATE_PAYING, attempt.attempt_id)
        await _repaired(quiet_desk)
        paid = await quiet_desk.see(order)
        assert (paid.state, paid.paid_amount) == (tc.ORDER_STATE_PAID, yuan(1000))
        transfers = [
            p for p in quiet_desk.payment_core.payments.values() if p.kind == pc.PAYMENT_KIND_TRANSFER
        ]
        assert len(transfers) == 1
        await quiet_desk.invariants_hold()

    async def test_while_refunding(self, quiet_desk: Desk, after_call: bool) -> None:
        order = await quiet_desk.order()
        attempt = await quiet_desk.pay(order)
        quiet_desk.payment_core.becomes(quiet_desk.payment_core.of(attempt.attempt_id), SUCCEEDED)
        await quiet_desk.caller.call("QueryOrder", tc.QueryOrderRequest(order_id=order.order_id))
        request = quiet_desk.refund_request(order, 400)
        async with _dying_process(quiet_desk, "refund", after_call=after_call) as dying:
            await _dies(quiet_desk, lambda: refund.create_refund(dying, requests.create_refund(request)))
        assert (await quiet_desk.see(order)).refunding_amount == yuan(400)
        await _repaired(quiet_desk)
        seen = await quiet_desk.see(order)
        assert (seen.refunded_amount, seen.refunding_amount) == (yuan(400), yuan(0))
        answer = await quiet_desk.caller.call("CreateRefund", request)
        assert answer.refund == seen.refunds[0]
        await quiet_desk.invariants_hold()

    async def test_while_closing(self, quiet_desk: Desk, after_call: bool) -> None:
        order = await quiet_desk.order()
        await quiet_desk.pay(order)
        await quiet_desk.pay(order, invoke_method=PC)
        request_id = "3f0a5d0e-6a8e-4a55-b1a5-3cf4c34e1f01"
        request = tc.CloseOrderRequest(
            request_id=request_id, merchant_id=order.merchant_id, order_id=order.order_id
        )
        async with _dying_process(quiet_desk, "close", after_call=after_call) as dying:
            await _dies(quiet_desk, lambda: close_order.close_order(dying, requests.close_order(request)))
        assert (await quiet_desk.see(order)).state == tc.ORDER_STATE_CLOSING
        await _repaired(quiet_desk)
        assert (await quiet_desk.see(order)).state == tc.ORDER_STATE_CLOSED
        assert (await quiet_desk.close(order, request_id)).state == tc.ORDER_STATE_CLOSED
        await quiet_desk.invariants_hold()


async def test_two_processes_repair_side_by_side_and_each_record_once(quiet_desk: Desk) -> None:
    orders = [await quiet_desk.order() for _ in range(12)]
    quiet_desk.payment_core.deaf.add("CreateRecharge")
    await asyncio.gather(*(quiet_desk.pay(order) for order in orders))
    quiet_desk.payment_core.deaf.clear()
    quiet_desk.payment_core.calls.clear()
    quiet_desk.make_due()
    others = [repair_workers(quiet_desk.wiring.parts, batch=5, idle_seconds=1)[0] for _ in range(2)]
    counts = await asyncio.gather(*(worker.step() for worker in (*others, *others)))
    assert sum(counts) == len(orders)
    assert quiet_desk.payment_core.count("CreateRecharge") == len(orders)
    states = quiet_desk.sql("SELECT DISTINCT state FROM attempt")
    assert states == [("PENDING",)]


async def test_a_wiped_bus_changes_nothing(desk: Desk) -> None:
    order = await desk.order()
    attempt = await desk.pay(order)
    desk.payment_core.becomes(desk.payment_core.of(attempt.attempt_id), SUCCEEDED)
    jetstream = desk.bus.state.jetstream
    for stream in await jetstream.streams_info():
        await jetstream.delete_stream(str(stream.config.name))
    desk.make_due()
    paid = await desk.until(order, tc.ORDER_STATE_PAID)
    await desk.invariants_hold()
    await desk.bus.ensure_stream("payment")  # as PaymentCore's relay does when it finds its stream gone
    again = await desk.paid_order()
    assert (paid.state, again.state) == (tc.ORDER_STATE_PAID, tc.ORDER_STATE_PAID)


async def test_two_decisions_about_one_order_at_once_are_both_kept(quiet_desk: Desk) -> None:
    order = await quiet_desk.order()
    attempts = [await quiet_desk.pay(order, payment_account_id=f"K{number}") for number in range(6)]
    payments = [quiet_desk.payment_core.of(attempt.attempt_id) for attempt in attempts]
    for payment in payments:
        quiet_desk.payment_core.becomes(payment, SUCCEEDED)

    async def hear(payment: pc.Payment) -> None:
        with use_scope(quiet_desk.scope):
            await outcome.apply(quiet_desk.wiring.parts, report_of(payment))

    await asyncio.gather(*(hear(payment) for payment in payments for _ in range(2)))
    seen = await eventually(lambda: quiet_desk.see(order), lambda now: now.state == tc.ORDER_STATE_PAID)
    assert (
        sorted(a.state for a in seen.attempts)
        == [tc.ATTEMPT_STATE_SUCCEEDED] + [tc.ATTEMPT_STATE_SUPERSEDED] * 5
    )
    assert len(seen.refunds) == 5
    await quiet_desk.step("repair-refund")
    assert {r.state for r in (await quiet_desk.see(order)).refunds} == {tc.REFUND_STATE_SUCCEEDED}
    await quiet_desk.invariants_hold()


async def test_a_decision_on_an_old_reading_is_made_anew(quiet_desk: Desk) -> None:
    order = await quiet_desk.order()
    attempt = await quiet_desk.pay(order)
    parts = quiet_desk.wiring.parts
    with use_scope(quiet_desk.scope):
        stale = await order_changes.decide(
            parts, lambda seen: None, shard=quiet_desk.shard, order_id=order.order_id
        )
        await quiet_desk.pay(order, invoke_method=PC)
        payment = quiet_desk.payment_core.becomes(quiet_desk.payment_core.of(attempt.attempt_id), SUCCEEDED)
        after = await outcome.apply(parts, report_of(payment), known=stale)
    assert (after.order.state, len(after.attempts)) == ("PAID", 2)
    await quiet_desk.invariants_hold()
