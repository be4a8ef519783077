"""Orders that end unpaid, at the channels too."""

from __future__ import annotations

import asyncio

from paycenter.payment.v1 import payment_core_pb2 as pc
from paycenter.transaction.v1 import transaction_core_pb2 as tc
from paycenter.type.v1 import party_pb2

from runtime.errors import Reason
from runtime.ids import new_request_id
from tests.integration.transaction.desk import PC, USER, Desk, eventually, owner
from tests.integration.transaction.fake_payment_core import CLOSED, FAILED, SUCCEEDED, UNKNOWN


async def test_an_order_without_attempts_is_closed_at_once(quiet_desk: Desk) -> None:
    order = await quiet_desk.order()
    request_id = new_request_id()
    closed = await quiet_desk.close(order, request_id)
    assert closed.state == tc.ORDER_STATE_CLOSED
    assert await quiet_desk.close(order, request_id) == closed
    assert quiet_desk.caller.last_metadata["x-idempotent-replay"] == "true"
    assert quiet_desk.events_of(order) == [("ORDER_CREATED", 1), ("ORDER_CLOSED", 2)]
    assert quiet_desk.payment_core.calls == []


async def test_open_attempts_are_closed_at_their_channels(quiet_desk: Desk) -> None:
    order = await quiet_desk.order()
    attempts = [await quiet_desk.pay(order), await quiet_desk.pay(order, invoke_method=PC)]
    closed = await quiet_desk.close(order)
    assert (closed.state, [a.state for a in closed.attempts]) == (
        tc.ORDER_STATE_CLOSED,
        [tc.ATTEMPT_STATE_CLOSED] * 2,
    )
    assert [quiet_desk.payment_core.of(a.attempt_id).state for a in attempts] == [CLOSED, CLOSED]
    await quiet_desk.invariants_hold()


async def test_a_payer_who_was_faster_has_paid_the_order(quiet_desk: Desk) -> None:
    quiet_desk.payment_core.on_close = SUCCEEDED
    order = await quiet_desk.order()
    await quiet_desk.pay(order)
    closed = await quiet_desk.close(order)
    assert (closed.state, closed.attempts[0].state) == (tc.ORDER_STATE_PAID, tc.ATTEMPT_STATE_SUCCEEDED)
    await quiet_desk.invariants_hold()


async def test_a_channel_that_does_not_know_keeps_the_order_closing_until_it_does(quiet_desk: Desk) -> None:
    quiet_desk.payment_core.on_close = UNKNOWN
    order = await quiet_desk.order()
    attempt = await quiet_desk.pay(order)
    for _ in range(3):
        quiet_desk.make_due()
        quiet_desk.make_due("orders")
        if (await quiet_desk.see(order)).state == tc.ORDER_STATE_PAYING:
            assert (await quiet_desk.close(order)).state == tc.ORDER_STATE_CLOSING
        await quiet_desk.step("repair-attempt", "repair-order")
        assert (await quiet_desk.see(order)).state == tc.ORDER_STATE_CLOSING
    quiet_desk.payment_core.becomes(quiet_desk.payment_core.of(attempt.attempt_id), CLOSED)
    quiet_desk.make_due()
    await quiet_desk.step("repair-attempt")
    assert (await quiet_desk.see(order)).state == tc.ORDER_STATE_CLOSED
    closes = [call.request_id for method, call in quiet_desk.payment_core.calls if method == "ClosePayment"]
    assert len(closes) == len(set(closes)) >= 3


async def test_a_silent_payment_core_keeps_the_order_closing(quiet_desk: Desk) -> None:
    order = await quiet_desk.order()
    await quiet_desk.pay(order)
    quiet_desk.payment_core.deaf.add("ClosePayment")
    assert (await quiet_desk.close(order)).state == tc.ORDER_STATE_CLOSING
    quiet_desk.payment_core.deaf.clear()
    quiet_desk.make_due()
    await quiet_desk.step("repair-attempt")
    assert (await quiet_desk.see(order)).state == tc.ORDER_STATE_CLOSED


async def test_an_attempt_that_may_have_been_sent_is_found_before_it_is_closed(quiet_desk: Desk) -> None:
    order = await quiet_desk.order()
    quiet_desk.payment_core.silent.add("CreateRecharge")
    attempt = await quiet_desk.pay(order)
    assert attempt.state == tc.ATTEMPT_STATE_CREATED
    quiet_desk.payment_core.silent.clear()
    closed = await quiet_desk.close(order)
    assert (closed.state, closed.attempts[0].state) == (tc.ORDER_STATE_CLOSED, tc.ATTEMPT_STATE_CLOSED)
    assert quiet_desk.payment_core.of(attempt.attempt_id).state == CLOSED


async def test_a_payment_that_had_failed_below_lets_the_order_close(quiet_desk: Desk) -> None:
    order = await quiet_desk.order()
    attempt = await quiet_desk.pay(order)
    quiet_desk.payment_core.becomes(quiet_desk.payment_core.of(attempt.attempt_id), FAILED)
    quiet_desk.payment_core.refuse("ClosePayment", Reason.PAYMENT_STATE_INVALID)
    closed = await quiet_desk.close(order)
    assert (closed.state, closed.attempts[0].state) == (tc.ORDER_STATE_CLOSED, tc.ATTEMPT_STATE_FAILED)


async def test_a_decided_order_is_not_closed(quiet_desk: Desk) -> None:
    order = await quiet_desk.order()
    await quiet_desk.close(order)
    request = tc.CloseOrderRequest(
        request_id=new_request_id(), merchant_id=order.merchant_id, order_id=order.order_id
    )
    refused = await quiet_desk.refused("CloseOrder", request)
    assert (refused.reason, refused.metadata["current"]) == (Reason.ORDER_STATE_INVALID, "CLOSED")
    request.merchant_id = "M9"
    request.request_id = new_request_id()
    assert (await quiet_desk.refused("CloseOrder", request)).reason is Reason.MERCHANT_MISMATCH


async def test_money_on_its_way_out_is_neither_closed_nor_expired(quiet_desk: Desk) -> None:
    withdrawal = tc.Withdrawal(
        balance_owner=owner(USER, "u"), payee=party_pb2.Payee(channel_payee_id="openid-1")
    )
    order = await quiet_desk.order(withdrawal=withdrawal)
    attempt = await quiet_desk.pay(order)
    request = tc.CloseOrderRequest(
        request_id=new_request_id(), merchant_id=order.merchant_id, order_id=order.order_id
    )
    assert (await quiet_desk.refused("CloseOrder", request)).reason is Reason.ORDER_STATE_INVALID
    _let_time_pass(quiet_desk)
    await quiet_desk.step("repair-order")
    assert (await quiet_desk.see(order)).state == tc.ORDER_STATE_PAYING
    payment = quiet_desk.payment_core.of(attempt.attempt_id, pc.PAYMENT_KIND_WITHDRAWAL)
    quiet_desk.payment_core.becomes(payment, SUCCEEDED)
    quiet_desk.make_due()
    await quiet_desk.step("repair-attempt")
    assert (await quiet_desk.see(order)).state == tc.ORDER_STATE_PAID


def _let_time_pass(desk: Desk) -> None:
    desk.sql("UPDATE orders SET expire_time = now() - interval '1 second', next_step_time = now()")


async def test_an_order_expires_at_its_channels_too(quiet_desk: Desk) -> None:
    unpaid, tried = await quiet_desk.order(), await quiet_desk.order()
    attempt = await quiet_desk.pay(tried)
    await quiet_desk.step("repair-order")
    assert (await quiet_desk.see(unpaid)).state == tc.ORDER_STATE_CREATED
    _let_time_pass(quiet_desk)
    await quiet_desk.step("repair-order")
    for order in (unpaid, tried):
        assert (await quiet_desk.see(order)).state == tc.ORDER_STATE_EXPIRED
    assert quiet_desk.payment_core.of(attempt.attempt_id).state == CLOSED
    assert quiet_desk.events_of(unpaid)[-1] == ("ORDER_EXPIRED", 2)
    await quiet_desk.invariants_hold()


async def test_an_order_expires_by_itself(desk: Desk) -> None:
    order = await desk.order()
    await desk.pay(order)
    _let_time_pass(desk)
    await desk.until(order, tc.ORDER_STATE_EXPIRED)
    told = await eventually(lambda: _received(desk), lambda received: len(received) == 1)
    assert b'"event_type":"ORDER_EXPIRED"' in told[0]


async def _received(desk: Desk) -> list[bytes]:
    return [delivery.body for delivery in desk.shop_system.received]


async def test_a_payment_in_the_last_moment_beats_the_expiry(quiet_desk: Desk) -> None:
    quiet_desk.payment_core.on_close = SUCCEEDED
    order = await quiet_desk.order()
    await quiet_desk.pay(order)
    _let_time_pass(quiet_desk)
    await quiet_desk.step("repair-order")
    assert (await quiet_desk.see(order)).state == tc.ORDER_STATE_PAID


async def test_a_winner_keeps_its_order_from_expiring_while_it_is_being_settled(quiet_desk: Desk) -> None:
    order = await quiet_desk.order()
    attempt = await quiet_desk.pay(order)
    quiet_desk.payment_core.becomes(quiet_desk.payment_core.of(attempt.attempt_id), SUCCEEDED)
    quiet_desk.payment_core.refuse("CreateTransfer", Reason.ACCOUNT_STATE_INVALID)
    await quiet_desk.caller.call("QueryOrder", tc.QueryOrderRequest(order_id=order.order_id))
    _let_time_pass(quiet_desk)
    await quiet_desk.step("repair-order")
    assert (await quiet_desk.see(order)).state == tc.ORDER_STATE_PAYING
    assert (await quiet_desk.close(order)).state == tc.ORDER_STATE_PAYING
    quiet_desk.make_due()
    await quiet_desk.step("repair-attempt")
    assert (await quiet_desk.see(order)).state == tc.ORDER_STATE_PAID


async def test_closing_and_paying_at_once_comes_to_one_end(desk: Desk) -> None:
    for _ in range(3):
        order = await desk.order()
        attempt = await desk.pay(order)
        await asyncio.gather(desk.close(order), desk.payment_succeeds(attempt))
        seen = await eventually(
            lambda order=order: desk.see(order),  # type: ignore[misc]
            lambda now: (
                now.state == tc.ORDER_STATE_PAID
                or [r.state for r in now.refunds] == [tc.REFUND_STATE_SUCCEEDED]
            ),
        )
        assert (seen.state == tc.ORDER_STATE_PAID) is not bool(seen.refunds)
    await desk.invariants_hold()
