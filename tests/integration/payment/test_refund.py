"""Refunds: money back to the payer, never more than was paid."""

from __future__ import annotations

import asyncio

from paycenter.channel.v1 import channel_gateway_pb2 as channel_pb
from paycenter.payment.v1 import payment_core_pb2 as pb

from runtime.errors import PaycenterError, Reason
from tests.integration.payment.desk import Desk, merchant

ACCEPTED = channel_pb.CHANNEL_ORDER_STATE_ACCEPTED
SUCCEEDED = channel_pb.CHANNEL_ORDER_STATE_SUCCEEDED
DECLINED = channel_pb.CHANNEL_ORDER_STATE_DECLINED
UNKNOWN = channel_pb.CHANNEL_ORDER_STATE_UNKNOWN


async def refund_sums(desk: Desk, payment_id: str) -> tuple[int, int]:
    rows = await desk.sql(
        "SELECT refunded_minor_units, refunding_minor_units FROM payment WHERE payment_id = :number",
        number=payment_id,
    )
    return rows[0][0], rows[0][1]


async def test_a_partial_refund_takes_held_money_and_is_counted_on_the_recharge(desk: Desk) -> None:
    paid = await desk.paid_recharge(10_000)
    refund = await desk.refund(paid.payment_id, 4_000)

    assert refund.state == pb.PAYMENT_STATE_SUCCEEDED
    assert refund.refunded_payment_id == paid.payment_id
    journal = desk.ledger.journal_of(refund.payment_id)
    assert (refund.journal_id, refund.hold_id) == (journal.journal_id, journal.hold_id)
    assert refund.hold_id
    assert desk.ledger.balances[desk.transit] == 6_000
    assert desk.ledger.held[desk.transit] == 0
    assert await refund_sums(desk, paid.payment_id) == (4_000, 0)
    assert (await desk.get(paid.payment_id)).refunded_amount.minor_units == 4_000
    assert (await desk.events_of(paid.payment_id))[-1] == (4, "PAYMENT_CHANGED")
    assert await desk.violations() == []


async def test_the_whole_can_be_refunded_in_parts_and_then_nothing_is_left(desk: Desk) -> None:
    paid = await desk.paid_recharge(10_000)
    for part in (1, 9_998, 1):
        assert (await desk.refund(paid.payment_id, part)).state == pb.PAYMENT_STATE_SUCCEEDED
    error = await desk.refusal(desk.stub.CreateRefund, desk.refund_request(paid.payment_id, 1))
    assert error.reason is Reason.AMOUNT_EXCEEDS_REFUNDABLE
    assert error.metadata["refundableMinorUnits"] == "0"


async def test_of_two_refunds_of_60_on_100_at_the_same_moment_one_succeeds(desk: Desk) -> None:
    paid = await desk.paid_recharge(100)
    outcomes = await asyncio.gather(
        *(desk.refund(paid.payment_id, 60) for _ in range(2)), return_exceptions=True
    )
    refused = [outcome for outcome in outcomes if isinstance(outcome, PaycenterError)]
    assert [error.reason for error in refused] == [Reason.AMOUNT_EXCEEDS_REFUNDABLE]
    assert refused[0].metadata["refundableMinorUnits"] == "40"
    assert await refund_sums(desk, paid.payment_id) == (60, 0)
    assert await desk.violations() == []


async def test_a_declined_refund_frees_the_money_and_what_was_being_refunded(desk: Desk) -> None:
    paid = await desk.paid_recharge(10_000)
    desk.gateway.next_states = [DECLINED]
    refund = await desk.refund(paid.payment_id, 4_000)
    assert refund.state == pb.PAYMENT_STATE_FAILED
    assert refund.failure.channel_code == "ACQ.BUYER_BALANCE_NOT_ENOUGH"
    assert desk.ledger.held[desk.transit] == 0
    assert await refund_sums(desk, paid.payment_id) == (0, 0)
    assert (await desk.refund(paid.payment_id, 10_000)).state == pb.PAYMENT_STATE_SUCCEEDED
    assert await desk.violations() == []


async def test_too_little_money_fails_the_refund_and_the_channel_is_not_asked(desk: Desk) -> None:
    paid = await desk.paid_recharge(10_000)
    refund = await desk.refund(paid.payment_id, 10, balance_owner=merchant(desk.merchant_id))
    assert refund.state == pb.PAYMENT_STATE_FAILED
    assert (refund.failure.reason, refund.failure.advice) == (
        "INSUFFICIENT_FUNDS",
        pb.FAILURE_ADVICE_FIX_REQUEST,
    )
    assert desk.gateway.faults.calls["CreateChannelRefund"] == 0
    assert await refund_sums(desk, paid.payment_id) == (0, 0)


async def test_a_refund_of_the_merchants_balance_is_taken_from_there(desk: Desk) -> None:
    paid = await desk.paid_recharge(10_000)
    await desk.transfer(10_000)
    refund = await desk.refund(paid.payment_id, 2_500, balance_owner=merchant(desk.merchant_id))
    assert refund.state == pb.PAYMENT_STATE_SUCCEEDED
    assert desk.ledger.balances[desk.balance] == 7_500


async def test_a_refund_that_the_channel_works_on_waits_for_its_word(desk: Desk) -> None:
    paid = await desk.paid_recharge(10_000)
    desk.gateway.next_states = [ACCEPTED]
    refund = await desk.refund(paid.payment_id, 4_000)
    assert refund.state == pb.PAYMENT_STATE_PENDING
    assert desk.ledger.held[desk.transit] == 4_000
    assert await refund_sums(desk, paid.payment_id) == (0, 4_000)

    desk.gateway.move(refund.payment_id, SUCCEEDED)
    await desk.hear(refund.payment_id)
    assert (await desk.get(refund.payment_id)).state == pb.PAYMENT_STATE_SUCCEEDED
    assert await refund_sums(desk, paid.payment_id) == (4_000, 0)


async def test_a_refund_with_a_lost_answer_is_repeated_and_paid_once(desk: Desk) -> None:
    paid = await desk.paid_recharge(10_000)
    desk.gateway.faults.lose_answer("CreateChannelRefund", times=4)
    refund = await desk.refund(paid.payment_id, 4_000)
    assert refund.state == pb.PAYMENT_STATE_UNKNOWN
    assert await refund_sums(desk, paid.payment_id) == (0, 4_000)
    await desk.repair()
    assert (await desk.get(refund.payment_id)).state == pb.PAYMENT_STATE_SUCCEEDED
    assert len(desk.gateway.orders) == 2
    assert await desk.violations() == []


async def test_a_channel_that_closes_a_refund_has_refused_it(desk: Desk) -> None:
    paid = await desk.paid_recharge(10_000)
    desk.gateway.next_states = [channel_pb.CHANNEL_ORDER_STATE_CLOSED]
    refund = await desk.refund(paid.payment_id, 4_000)
    assert refund.state == pb.PAYMENT_STATE_FAILED
    assert desk.ledger.held[desk.transit] == 0


async def test_a_silent_ledger_before_the_hold_asks_no_channel_and_the_refund_goes_on_later(
    desk: Desk,
) -> None:
    paid = await desk.paid_recharge(10_000)
    desk.ledger.faults.be_silent("PlaceHold", times=4)
    waiting = await desk.refund(paid.payment_id, 4_000)
    assert waiting.state == pb.PAYMENT_STATE_SUBMITTING
    assert desk.gateway.faults.calls["CreateChannelRefund"] == 0
    await desk.repair()
    assert (await desk.get(waiting.payment_id)).state == pb.PAYMENT_STATE_SUCCEEDED


async def test_while_held_money_cannot_be_freed_the_refund_is_not_failed(desk: Desk) -> None:
    paid = await desk.paid_recharge(10_000)
    desk.gateway.next_states = [DECLINED]
    desk.ledger.faults.be_silent("ReleaseHold", times=4)
    waiting = await desk.refund(paid.payment_id, 4_000)
    assert waiting.state == pb.PAYMENT_STATE_PENDING
    await desk.repair()
    assert (await desk.get(waiting.payment_id)).state == pb.PAYMENT_STATE_FAILED
    assert desk.ledger.held[desk.transit] == 0
    assert await refund_sums(desk, paid.payment_id) == (0, 0)
