"""Channel events that come twice, late, out of order, wrong, or not at all."""

from __future__ import annotations

import asyncio

import pytest
from paycenter.channel.v1 import channel_gateway_pb2 as channel_pb
from paycenter.payment.v1 import payment_core_pb2 as pb
from prometheus_client import REGISTRY

from runtime.ids import NumberKind, new_number
from tests.integration.payment.desk import Desk

SUCCEEDED = channel_pb.CHANNEL_ORDER_STATE_SUCCEEDED
DECLINED = channel_pb.CHANNEL_ORDER_STATE_DECLINED
CLOSED = channel_pb.CHANNEL_ORDER_STATE_CLOSED


def snapshot(order: channel_pb.ChannelOrder) -> channel_pb.ChannelOrder:
    taken = channel_pb.ChannelOrder()
    taken.CopyFrom(order)
    return taken


async def test_the_same_event_many_times_at_once_is_booked_once(desk: Desk) -> None:
    pending = await desk.recharge()
    desk.gateway.move(pending.payment_id, SUCCEEDED)
    await asyncio.gather(*(desk.hear(pending.payment_id) for _ in range(8)))
    await desk.hear(pending.payment_id)
    paid = await desk.get(pending.payment_id)
    assert (paid.state, paid.version) == (pb.PAYMENT_STATE_SUCCEEDED, 3)
    assert desk.ledger.balances[desk.transit] == 10_000
    assert await desk.violations() == []


async def test_an_older_event_after_a_newer_one_changes_nothing(desk: Desk) -> None:
    pending = await desk.recharge()
    closed = snapshot(desk.gateway.move(pending.payment_id, CLOSED))
    desk.gateway.move(pending.payment_id, SUCCEEDED)
    await desk.hear(pending.payment_id)
    await desk.hear(pending.payment_id, closed)
    assert (await desk.get(pending.payment_id)).state == pb.PAYMENT_STATE_SUCCEEDED
    assert await desk.violations() == []


async def test_a_lost_event_is_made_up_for_by_the_repair_worker(desk: Desk) -> None:
    pending = await desk.recharge()
    desk.gateway.move(pending.payment_id, SUCCEEDED)
    await desk.repair()
    assert (await desk.get(pending.payment_id)).state == pb.PAYMENT_STATE_SUCCEEDED


async def test_a_refusal_that_comes_as_an_event_fails_the_payment(desk: Desk) -> None:
    pending = await desk.recharge()
    desk.gateway.move(pending.payment_id, DECLINED)
    await desk.hear(pending.payment_id)
    failed = await desk.get(pending.payment_id)
    assert failed.state == pb.PAYMENT_STATE_FAILED
    assert failed.failure.reason == "PAYER_FUNDS_INSUFFICIENT"


async def test_a_failed_payment_is_never_left_by_an_event(desk: Desk) -> None:
    pending = await desk.recharge()
    desk.gateway.move(pending.payment_id, DECLINED)
    await desk.hear(pending.payment_id)
    desk.gateway.move(pending.payment_id, SUCCEEDED)
    await desk.hear(pending.payment_id)
    assert (await desk.get(pending.payment_id)).state == pb.PAYMENT_STATE_FAILED
    assert not desk.ledger.journals


@pytest.mark.parametrize("minor_units", [10_000, 9_000])
async def test_money_for_a_failed_payment_is_counted_in_whatever_amount(desk: Desk, minor_units: int) -> None:
    pending = await desk.recharge(10_000)
    desk.gateway.move(pending.payment_id, DECLINED)
    await desk.hear(pending.payment_id)
    desk.gateway.move(pending.payment_id, SUCCEEDED).amount.minor_units = minor_units
    counter = "paycenter_payment_contradictions_total"
    before = REGISTRY.get_sample_value(counter) or 0
    await desk.hear(pending.payment_id)
    assert REGISTRY.get_sample_value(counter) == before + 1


async def test_an_event_for_a_payment_that_is_not_ours_is_let_pass(desk: Desk) -> None:
    pending = await desk.recharge()
    stranger = snapshot(desk.gateway.move(pending.payment_id, SUCCEEDED))
    for number in ("nonsense", new_number(NumberKind.PAYMENT, shard=9)):
        stranger.payment_id = number
        await desk.hear(pending.payment_id, stranger)
    assert (await desk.get(pending.payment_id)).state == pb.PAYMENT_STATE_PENDING


async def test_an_event_of_another_channel_order_changes_nothing(desk: Desk) -> None:
    pending = await desk.recharge()
    forged = snapshot(desk.gateway.move(pending.payment_id, SUCCEEDED))
    forged.channel_order_id = new_number(NumberKind.CHANNEL_ORDER, shard=1)
    await desk.hear(pending.payment_id, forged)
    assert (await desk.get(pending.payment_id)).state == pb.PAYMENT_STATE_PENDING
    assert not desk.ledger.journals


async def test_everything_of_a_payment_carries_one_business_id_and_one_trace(desk: Desk) -> None:
    paid = await desk.paid_recharge()
    rows = await desk.sql("SELECT DISTINCT business_id, split_part(traceparent, '-', 2) FROM outbox_event")
    assert [tuple(row) for row in rows] == [(desk.business_id, paid.trace_id)]
    assert desk.gateway.order_of(paid.payment_id).business_id == desk.business_id
    assert desk.ledger.journal_of(paid.payment_id).business_id == desk.business_id


async def test_a_late_word_of_before_does_not_undo_what_a_person_has_to_look_at(desk: Desk) -> None:
    pending = await desk.recharge()
    closed = snapshot(desk.gateway.move(pending.payment_id, CLOSED))
    await desk.hear(pending.payment_id)
    desk.ledger.frozen.add(desk.transit)
    desk.gateway.move(pending.payment_id, SUCCEEDED)
    await desk.hear(pending.payment_id)
    assert (await desk.get(pending.payment_id)).state == pb.PAYMENT_STATE_IN_REVIEW
    await desk.hear(pending.payment_id, closed)
    assert (await desk.get(pending.payment_id)).state == pb.PAYMENT_STATE_IN_REVIEW
