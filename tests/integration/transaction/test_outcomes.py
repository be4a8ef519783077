"""Winner, loser, paid after close: by event, by query and by repair."""

from __future__ import annotations

import asyncio

import pytest
from paycenter.payment.v1 import payment_core_pb2 as pc
from paycenter.transaction.v1 import transaction_core_pb2 as tc
from paycenter.type.v1 import party_pb2

from runtime.errors import Reason
from tests.integration.transaction.desk import MERCHANT, PC, USER, Desk, eventually, owner, yuan
from tests.integration.transaction.fake_payment_core import (
    FAILED,
    IN_REVIEW,
    PENDING,
    SUCCEEDED,
    UNKNOWN,
)


async def test_a_purchase_is_paid_settled_and_told(desk: Desk) -> None:
    order = await desk.paid_order(1000)
    assert (order.paid_amount, order.winning_attempt_id) == (yuan(1000), order.attempts[0].attempt_id)
    assert order.HasField("pay_time")
    attempt = order.attempts[0]
    assert attempt.state == tc.ATTEMPT_STATE_SUCCEEDED
    transfer = desk.payment_core.of(attempt.attempt_id, pc.PAYMENT_KIND_TRANSFER)
    assert attempt.transfer_payment_id == transfer.payment_id
    request = next(call for method, call in desk.payment_core.calls if method == "CreateTransfer")
    assert request.payer_transit
    assert [(r.receiver, r.amount) for r in request.receivers] == [
        (owner(MERCHANT, desk.merchant_id), yuan(1000))
    ]
    assert [name for name, _ in desk.events_of(order)] == [
        "ORDER_CREATED",
        "ATTEMPT_CHANGED",
        "ATTEMPT_CHANGED",
        "ATTEMPT_CHANGED",
        "ORDER_PAID",
    ]
    looked_at = await desk.invariants_hold()
    assert all(looked_at[name] for name in ("paid_order_has_one_winner", "order_version_has_event"))


@pytest.mark.parametrize("times", [1, 5])
async def test_events_that_come_again_pay_an_order_once(desk: Desk, times: int) -> None:
    order = await desk.order()
    attempt = await desk.pay(order)
    payment = desk.payment_core.becomes(desk.payment_core.of(attempt.attempt_id), SUCCEEDED)
    await desk.tell(payment, times=times)
    paid = await desk.until(order, tc.ORDER_STATE_PAID)
    await desk.tell(payment, times=times)
    await asyncio.sleep(0.2)
    assert (await desk.see(order)).etag == paid.etag
    assert desk.payment_core.count("CreateTransfer") == 1


async def test_an_old_event_after_a_new_one_changes_nothing(desk: Desk) -> None:
    order = await desk.order()
    attempt = await desk.pay(order)
    payment = desk.payment_core.of(attempt.attempt_id)
    old = pc.Payment()
    old.CopyFrom(desk.payment_core.becomes(payment, UNKNOWN))
    await desk.payment_succeeds(attempt)
    paid = await desk.until(order, tc.ORDER_STATE_PAID)
    await desk.tell(old)
    await asyncio.sleep(0.2)
    assert (await desk.see(order)).etag == paid.etag


async def test_paid_on_both_channels_one_is_kept_and_the_other_refunded(desk: Desk) -> None:
    order = await desk.order(1000)
    first, second = await desk.pay(order), await desk.pay(order, payment_account_id="K2")
    payments = [
        desk.payment_core.becomes(desk.payment_core.of(attempt.attempt_id), SUCCEEDED)
        for attempt in (first, second)
    ]
    await asyncio.gather(*(desk.tell(payment, times=2) for payment in payments))
    await desk.until(order, tc.ORDER_STATE_PAID)
    seen = await eventually(
        lambda: desk.see(order), lambda now: [r.state for r in now.refunds] == [tc.REFUND_STATE_SUCCEEDED]
    )
    assert sorted(a.state for a in seen.attempts) == [tc.ATTEMPT_STATE_SUCCEEDED, tc.ATTEMPT_STATE_SUPERSEDED]
    [refund] = seen.refunds
    assert (refund.automatic, refund.amount) == (True, yuan(1000))
    assert refund.attempt_id != seen.winning_attempt_id
    request = next(call for method, call in desk.payment_core.calls if method == "CreateRefund")
    assert (request.payer_transit, request.refunded_payment_id) == (
        True,
        desk.payment_core.of(refund.attempt_id).payment_id,
    )
    assert (seen.refunded_amount, seen.refunding_amount) == (yuan(0), yuan(0))
    assert desk.payment_core.count("CreateTransfer") == 1
    await desk.invariants_hold()


async def test_the_loser_is_closed_at_its_channel(desk: Desk) -> None:
    order = await desk.order()
    winner, loser = await desk.pay(order), await desk.pay(order, invoke_method=PC)
    await desk.payment_succeeds(winner)
    await desk.until(order, tc.ORDER_STATE_PAID)
    seen = await eventually(
        lambda: desk.see(order), lambda now: now.attempts[1].state == tc.ATTEMPT_STATE_CLOSED
    )
    assert not seen.attempts[1].HasField("credential")
    assert desk.payment_core.of(loser.attempt_id).state == pc.PAYMENT_STATE_CLOSED
    assert desk.payment_core.of(winner.attempt_id).state == SUCCEEDED


async def test_a_loser_that_was_paid_while_being_closed_is_refunded(desk: Desk) -> None:
    desk.payment_core.on_close = SUCCEEDED
    order = await desk.order()
    winner, _ = await desk.pay(order), await desk.pay(order, invoke_method=PC)
    await desk.payment_succeeds(winner)
    seen = await eventually(
        lambda: desk.see(order), lambda now: [r.state for r in now.refunds] == [tc.REFUND_STATE_SUCCEEDED]
    )
    assert (seen.state, seen.attempts[1].state) == (tc.ORDER_STATE_PAID, tc.ATTEMPT_STATE_SUPERSEDED)
    await desk.invariants_hold()


async def test_money_after_close_is_refunded_by_itself(desk: Desk) -> None:
    order = await desk.order(700)
    attempt = await desk.pay(order)
    assert (await desk.close(order)).state == tc.ORDER_STATE_CLOSED
    await desk.payment_succeeds(attempt)
    seen = await eventually(
        lambda: desk.see(order), lambda now: [r.state for r in now.refunds] == [tc.REFUND_STATE_SUCCEEDED]
    )
    assert (seen.state, seen.attempts[0].state) == (tc.ORDER_STATE_CLOSED, tc.ATTEMPT_STATE_SUPERSEDED)
    assert (seen.refunds[0].amount, seen.refunds[0].automatic) == (yuan(700), True)
    assert desk.payment_core.count("CreateTransfer") == 0
    await desk.invariants_hold()


async def test_late_money_is_found_though_its_event_was_lost(quiet_desk: Desk) -> None:
    order = await quiet_desk.order()
    attempt = await quiet_desk.pay(order)
    await quiet_desk.close(order)
    quiet_desk.payment_core.becomes(quiet_desk.payment_core.of(attempt.attempt_id), SUCCEEDED)
    quiet_desk.make_due()
    await quiet_desk.step("repair-attempt", "repair-refund")
    seen = await quiet_desk.see(order)
    assert [r.state for r in seen.refunds] == [tc.REFUND_STATE_SUCCEEDED]
    await quiet_desk.invariants_hold()


async def test_a_closed_attempt_is_asked_about_for_a_while_only(quiet_desk: Desk) -> None:
    order = await quiet_desk.order()
    await quiet_desk.pay(order)
    await quiet_desk.close(order)
    for _ in range(len(quiet_desk.settings.closed_schedule)):
        quiet_desk.make_due()
        await quiet_desk.step("repair-attempt")
    assert quiet_desk.sql("SELECT next_step_time FROM attempt") == [(None,)]
    assert quiet_desk.payment_core.count("QueryPayment") == len(quiet_desk.settings.closed_schedule)


async def test_unknown_and_review_are_shown_and_never_failed_by_the_clock(quiet_desk: Desk) -> None:
    order = await quiet_desk.order()
    attempt = await quiet_desk.pay(order)
    payment = quiet_desk.payment_core.of(attempt.attempt_id)
    for below, shown in ((UNKNOWN, tc.ATTEMPT_STATE_UNKNOWN), (IN_REVIEW, tc.ATTEMPT_STATE_IN_REVIEW)):
        quiet_desk.payment_core.becomes(payment, below)
        for _ in range(4):
            quiet_desk.make_due()
            await quiet_desk.step("repair-attempt")
        seen = await quiet_desk.see(order)
        assert (seen.state, seen.attempts[0].state) == (tc.ORDER_STATE_PAYING, shown)
    quiet_desk.payment_core.becomes(payment, SUCCEEDED)
    quiet_desk.make_due()
    await quiet_desk.step("repair-attempt")
    assert (await quiet_desk.see(order)).state == tc.ORDER_STATE_PAID


async def test_query_asks_below_and_stores_what_it_hears(quiet_desk: Desk) -> None:
    order = await quiet_desk.order()
    attempt = await quiet_desk.pay(order)
    request = tc.QueryOrderRequest(order_id=order.order_id)
    assert (await quiet_desk.caller.call("QueryOrder", request)).order.state == tc.ORDER_STATE_PAYING
    quiet_desk.payment_core.becomes(quiet_desk.payment_core.of(attempt.attempt_id), SUCCEEDED)
    assert (await quiet_desk.caller.call("QueryOrder", request)).order.state == tc.ORDER_STATE_PAID
    quiet_desk.payment_core.deaf.add("QueryPayment")
    assert (await quiet_desk.caller.call("QueryOrder", request)).order.state == tc.ORDER_STATE_PAID
    assert (await quiet_desk.see(order)).state == tc.ORDER_STATE_PAID


async def test_a_transfer_that_is_refused_is_begun_anew_and_one_without_answer_is_not(
    quiet_desk: Desk,
) -> None:
    order = await quiet_desk.order()
    attempt = await quiet_desk.pay(order)
    payment = quiet_desk.payment_core.becomes(quiet_desk.payment_core.of(attempt.attempt_id), SUCCEEDED)
    quiet_desk.payment_core.refuse("CreateTransfer", Reason.ACCOUNT_STATE_INVALID)
    request = tc.QueryOrderRequest(order_id=order.order_id)
    seen = (await quiet_desk.caller.call("QueryOrder", request)).order
    assert (seen.state, seen.attempts[0].state) == (tc.ORDER_STATE_PAYING, tc.ATTEMPT_STATE_PAID)
    assert seen.attempts[0].failure_reason == "ACCOUNT_STATE_INVALID"
    refused = await quiet_desk.refused("PayOrder", quiet_desk.pay_request(order, payment_account_id="K7"))
    assert (refused.reason, refused.metadata["attemptId"]) == (Reason.ATTEMPT_IN_PROGRESS, attempt.attempt_id)
    quiet_desk.payment_core.silent.add("CreateTransfer")
    quiet_desk.make_due()
    await quiet_desk.step("repair-attempt")
    quiet_desk.payment_core.silent.clear()
    quiet_desk.make_due()
    await quiet_desk.step("repair-attempt")
    assert (await quiet_desk.see(order)).state == tc.ORDER_STATE_PAID
    ids = [call.request_id for method, call in quiet_desk.payment_core.calls if method == "CreateTransfer"]
    assert len(ids) == 3
    assert ids[0] != ids[1] == ids[2]
    assert payment.state == SUCCEEDED
    assert (
        len([p for p in quiet_desk.payment_core.payments.values() if p.kind == pc.PAYMENT_KIND_TRANSFER]) == 1
    )
    await quiet_desk.invariants_hold()


async def test_a_transfer_that_is_not_decided_at_once_is_asked_after(quiet_desk: Desk) -> None:
    order = await quiet_desk.order()
    attempt = await quiet_desk.pay(order)
    quiet_desk.payment_core.becomes(quiet_desk.payment_core.of(attempt.attempt_id), SUCCEEDED)
    quiet_desk.payment_core.first_state["CreateTransfer"] = PENDING
    request = tc.QueryOrderRequest(order_id=order.order_id)
    assert (await quiet_desk.caller.call("QueryOrder", request)).order.state == tc.ORDER_STATE_PAYING
    transfer = quiet_desk.payment_core.of(attempt.attempt_id, pc.PAYMENT_KIND_TRANSFER)
    quiet_desk.payment_core.becomes(transfer, SUCCEEDED)
    assert (await quiet_desk.caller.call("QueryOrder", request)).order.state == tc.ORDER_STATE_PAID
    assert quiet_desk.payment_core.count("CreateTransfer") == 1


async def test_a_recharge_fills_a_balance_without_a_transfer(desk: Desk) -> None:
    order = await desk.paid_order(500, recharge=tc.Recharge(balance_owner=owner(USER, "u1")))
    request = desk.payment_core.calls[0][1]
    assert request.balance_owner == owner(USER, "u1")
    assert (order.paid_amount, desk.payment_core.count("CreateTransfer")) == (yuan(500), 0)


async def test_a_transfer_between_balances_is_carried_out_at_once(desk: Desk) -> None:
    transfer = tc.Transfer(source_owner=owner(USER, "u1"), destination_owner=owner(MERCHANT, "M5"))
    order = await desk.order(300, transfer=transfer)
    answer = await desk.caller.call(
        "PayOrder", desk.pay_request(order, payment_account_id="", invoke_method=0)
    )
    assert (answer.order.state, answer.attempt.state) == (tc.ORDER_STATE_PAID, tc.ATTEMPT_STATE_SUCCEEDED)
    request = desk.payment_core.calls[0][1]
    assert (request.source_owner, request.receivers[0].receiver) == (owner(USER, "u1"), owner(MERCHANT, "M5"))
    await desk.invariants_hold()


@pytest.mark.parametrize(
    ("below", "state"), [(SUCCEEDED, tc.ORDER_STATE_PAID), (FAILED, tc.ORDER_STATE_FAILED)]
)
async def test_a_withdrawal_ends_with_its_payment(desk: Desk, below: int, state: int) -> None:
    withdrawal = tc.Withdrawal(
        balance_owner=owner(USER, "u1"), payee=party_pb2.Payee(channel_payee_id="openid-1")
    )
    order = await desk.order(500, withdrawal=withdrawal)
    attempt = await desk.pay(order)
    payment = desk.payment_core.of(attempt.attempt_id, pc.PAYMENT_KIND_WITHDRAWAL)
    await desk.tell(desk.payment_core.becomes(payment, below))
    seen = await desk.until(order, state)
    assert (seen.paid_amount.minor_units > 0) is (below == SUCCEEDED)
    await desk.invariants_hold()


async def test_a_split_purchase_is_settled_to_its_receivers(desk: Desk) -> None:
    receivers = [
        party_pb2.SplitReceiver(receiver=owner(MERCHANT, "M2"), amount=yuan(300)),
        party_pb2.SplitReceiver(receiver=owner(MERCHANT, desk.merchant_id), remainder=True),
    ]
    await desk.paid_order(1000, split_purchase=tc.SplitPurchase(receivers=receivers))
    request = next(call for method, call in desk.payment_core.calls if method == "CreateTransfer")
    assert [(r.receiver.owner_id, r.amount.minor_units) for r in request.receivers] == [
        ("M2", 300),
        (desk.merchant_id, 700),
    ]


async def test_a_purchase_paid_at_once_is_settled_before_the_answer(desk: Desk) -> None:
    desk.payment_core.first_state["CreateRecharge"] = SUCCEEDED
    order = await desk.order()
    request = desk.pay_request(order)
    answer = await desk.caller.call("PayOrder", request)
    assert (answer.order.state, answer.attempt.state) == (tc.ORDER_STATE_PAID, tc.ATTEMPT_STATE_SUCCEEDED)
    assert await desk.caller.call("PayOrder", request) == answer


async def test_the_trace_and_the_business_id_of_the_payer_go_on(desk: Desk) -> None:
    order = await desk.paid_order()
    traces = {
        t[3:35]
        for (t,) in desk.sql("SELECT traceparent FROM outbox_event UNION SELECT traceparent FROM attempt")
    }
    assert traces == {desk.caller.trace.trace_id}
    tables = ("orders", "attempt", "notification", "outbox_event", "number_index")
    for table in tables:
        assert desk.sql(f"SELECT DISTINCT business_id FROM {table}") == [(order.business_id,)]
