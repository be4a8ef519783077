"""Closing: only the channel's word closes, and a payer who was faster has paid."""

from __future__ import annotations

import uuid

from paycenter.channel.v1 import channel_gateway_pb2 as channel_pb
from paycenter.payment.v1 import payment_core_pb2 as pb

from runtime.errors import Reason
from tests.integration.payment.desk import Desk

ACCEPTED = channel_pb.CHANNEL_ORDER_STATE_ACCEPTED
SUCCEEDED = channel_pb.CHANNEL_ORDER_STATE_SUCCEEDED
CLOSED = channel_pb.CHANNEL_ORDER_STATE_CLOSED
UNKNOWN = channel_pb.CHANNEL_ORDER_STATE_UNKNOWN


async def test_an_unpaid_recharge_is_closed_at_the_channel_too(desk: Desk) -> None:
    pending = await desk.recharge()
    closed = await desk.close(pending.payment_id)
    assert closed.state == pb.PAYMENT_STATE_CLOSED
    assert desk.gateway.order_of(pending.payment_id).state == CLOSED
    assert [name for _, name in await desk.events_of(pending.payment_id)][-2:] == [
        "PAYMENT_CHANGED",
        "PAYMENT_CLOSED",
    ]
    assert await desk.violations() == []


async def test_a_payer_who_was_faster_has_paid(desk: Desk) -> None:
    pending = await desk.recharge()
    desk.gateway.move(pending.payment_id, SUCCEEDED)
    assert (await desk.close(pending.payment_id)).state == pb.PAYMENT_STATE_SUCCEEDED
    desk.ledger.journal_of(pending.payment_id)


async def test_an_open_close_stays_closing_and_is_tried_again(desk: Desk) -> None:
    pending = await desk.recharge()
    desk.gateway.next_close = [UNKNOWN, UNKNOWN]
    assert (await desk.close(pending.payment_id)).state == pb.PAYMENT_STATE_CLOSING
    await desk.repair()
    assert (await desk.get(pending.payment_id)).state == pb.PAYMENT_STATE_CLOSING
    await desk.repair()
    assert (await desk.get(pending.payment_id)).state == pb.PAYMENT_STATE_CLOSED


async def test_a_silent_gateway_leaves_it_closing_and_the_schedule_ends_with_a_person(desk: Desk) -> None:
    pending = await desk.recharge()
    desk.gateway.faults.be_silent("CloseChannelOrder", times=60)
    assert (await desk.close(pending.payment_id)).state == pb.PAYMENT_STATE_CLOSING
    for _ in range(6):
        await desk.repair()
    assert (await desk.get(pending.payment_id)).state == pb.PAYMENT_STATE_IN_REVIEW
    desk.gateway.move(pending.payment_id, CLOSED)
    await desk.repair(wait_seconds=0.003)
    assert (await desk.get(pending.payment_id)).state == pb.PAYMENT_STATE_CLOSED


async def test_what_is_paid_after_the_close_is_booked(desk: Desk) -> None:
    pending = await desk.recharge()
    await desk.close(pending.payment_id)
    desk.gateway.move(pending.payment_id, SUCCEEDED)
    await desk.hear(pending.payment_id)
    late = await desk.get(pending.payment_id)
    assert late.state == pb.PAYMENT_STATE_SUCCEEDED
    assert desk.ledger.balances[desk.transit] == 10_000
    assert await desk.violations() == []


async def test_a_closed_recharge_is_looked_at_for_a_while_so_that_a_lost_event_changes_nothing(
    desk: Desk,
) -> None:
    pending = await desk.recharge()
    await desk.close(pending.payment_id)
    desk.gateway.move(pending.payment_id, SUCCEEDED)
    await desk.repair()
    assert (await desk.get(pending.payment_id)).state == pb.PAYMENT_STATE_SUCCEEDED


async def test_a_closed_recharge_rests_when_its_watch_is_over(desk: Desk) -> None:
    pending = await desk.recharge()
    await desk.close(pending.payment_id)
    assert [await desk.repair() for _ in range(3)] == [1, 1, 0]
    assert (await desk.get(pending.payment_id)).state == pb.PAYMENT_STATE_CLOSED
    assert await desk.violations() == []


async def test_closing_again_is_harmless(desk: Desk) -> None:
    pending = await desk.recharge()
    request = pb.ClosePaymentRequest(request_id=str(uuid.uuid4()), payment_id=pending.payment_id)
    first = await desk.call(desk.stub.ClosePayment, request)
    assert await desk.call(desk.stub.ClosePayment, request) == first
    assert (await desk.close(pending.payment_id)).state == pb.PAYMENT_STATE_CLOSED
    paid = await desk.paid_recharge(5)
    assert (await desk.close(paid.payment_id)).state == pb.PAYMENT_STATE_SUCCEEDED


async def test_a_recharge_that_never_reached_the_gateway_is_sent_and_closed_there(desk: Desk) -> None:
    desk.gateway.faults.be_silent("CreateChannelPayment", times=4)
    unknown = await desk.recharge()
    closed = await desk.close(unknown.payment_id)
    assert closed.state == pb.PAYMENT_STATE_CLOSED
    assert desk.gateway.order_of(unknown.payment_id).state == CLOSED
    assert await desk.violations() == []


async def test_only_a_recharge_that_no_person_decides_can_be_closed(desk: Desk) -> None:
    await desk.paid_recharge(100)
    moved = await desk.transfer(100)
    request = pb.ClosePaymentRequest(request_id=str(uuid.uuid4()), payment_id=moved.payment_id)
    error = await desk.refusal(desk.stub.ClosePayment, request)
    assert (error.reason, error.metadata["kind"]) == (Reason.PAYMENT_STATE_INVALID, "TRANSFER")

    pending = await desk.recharge()
    desk.gateway.move(pending.payment_id, SUCCEEDED).amount.minor_units = 1
    await desk.hear(pending.payment_id)
    request = pb.ClosePaymentRequest(request_id=str(uuid.uuid4()), payment_id=pending.payment_id)
    error = await desk.refusal(desk.stub.ClosePayment, request)
    assert (error.reason, error.metadata["current"]) == (Reason.PAYMENT_STATE_INVALID, "IN_REVIEW")
