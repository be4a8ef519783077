"""Transfers and refunds that fail below: each failure counts once, for its own round only."""

from __future__ import annotations

from paycenter.payment.v1 import payment_core_pb2 as pc
from paycenter.transaction.v1 import transaction_core_pb2 as tc

from core.transaction import metrics
from runtime.bus import Consumer
from tests.integration.transaction.desk import Desk, eventually
from tests.integration.transaction.fake_payment_core import FAILED, PENDING, SUCCEEDED, UNKNOWN


async def _hear(desk: Desk, payment: pc.Payment, *, times: int = 1) -> None:
    await desk.tell(payment, times=times)
    [consumer] = [worker for worker in desk.wiring.workers if isinstance(worker, Consumer)]
    heard = 0
    while heard < times:
        heard += await consumer.step()


def _transfers(desk: Desk) -> list[pc.Payment]:
    return [p for p in desk.payment_core.payments.values() if p.kind == pc.PAYMENT_KIND_TRANSFER]


async def test_late_word_of_a_failed_transfer_begins_no_other(quiet_desk: Desk) -> None:
    desk, core = quiet_desk, quiet_desk.payment_core
    order = await desk.order()
    attempt = await desk.pay(order)
    core.becomes(core.of(attempt.attempt_id), SUCCEEDED)
    core.first_state["CreateTransfer"] = FAILED
    ask = tc.QueryOrderRequest(order_id=order.order_id)
    for _ in range(3):
        assert (await desk.caller.call("QueryOrder", ask)).order.state == tc.ORDER_STATE_PAYING
    [first] = _transfers(desk)
    await _hear(desk, first, times=3)
    assert desk.sql("SELECT transfer_round, transfer_payment_id FROM attempt") == [(2, "")]
    assert core.count("CreateTransfer") == 1

    core.first_state["CreateTransfer"] = UNKNOWN
    desk.make_due()
    await desk.step("repair-attempt")
    second = _transfers(desk)[1]
    await _hear(desk, first, times=3)
    assert desk.sql("SELECT transfer_round, transfer_payment_id FROM attempt") == [(2, second.payment_id)]
    core.becomes(second, SUCCEEDED)
    assert (await desk.caller.call("QueryOrder", ask)).order.state == tc.ORDER_STATE_PAID
    assert core.count("CreateTransfer") == 2
    await desk.invariants_hold()


async def test_money_that_went_back_for_a_failed_refund_is_counted_for_a_person(desk: Desk) -> None:
    order = await desk.paid_order()
    desk.payment_core.first_state["CreateRefund"] = PENDING
    refund = await desk.refund(order, 400)
    payment = desk.payment_core.of(refund.refund_id, pc.PAYMENT_KIND_REFUND)
    before = metrics.contradictions._value.get()

    async def figures() -> tuple[int, bool]:
        state = (await desk.see(order)).refunds[0].state
        return state, metrics.contradictions._value.get() > before

    await desk.tell(desk.payment_core.becomes(payment, FAILED))
    await eventually(figures, lambda seen: seen == (tc.REFUND_STATE_FAILED, False))
    await desk.tell(desk.payment_core.becomes(payment, SUCCEEDED))
    await eventually(figures, lambda seen: seen == (tc.REFUND_STATE_FAILED, True))
    await desk.invariants_hold()
