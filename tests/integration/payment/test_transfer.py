"""Transfers between balances: at once, exactly divided, booked once."""

from __future__ import annotations

from google.type import decimal_pb2
from paycenter.payment.v1 import payment_core_pb2 as pb
from paycenter.type.v1 import party_pb2

from runtime.errors import Reason
from tests.integration.payment.desk import Desk, cny, merchant, user


async def test_a_purchase_settles_into_the_merchants_balance_in_the_answer(desk: Desk) -> None:
    await desk.paid_recharge(10_000)
    moved = await desk.transfer(10_000)
    assert moved.state == pb.PAYMENT_STATE_SUCCEEDED
    assert (moved.source_account_id, moved.destination_account_id) == (desk.transit, desk.balance)
    assert desk.ledger.journal_of(moved.payment_id).event_code == "TRANSFER"
    assert (desk.ledger.balances[desk.transit], desk.ledger.balances[desk.balance]) == (0, 10_000)
    assert await desk.events_of(moved.payment_id) == [(1, "PAYMENT_ACCEPTED"), (2, "PAYMENT_SUCCEEDED")]
    assert await desk.violations() == []


async def test_several_receivers_get_exact_parts_and_one_the_remainder(desk: Desk) -> None:
    await desk.paid_recharge(1_001)
    moved = await desk.transfer(
        1_001,
        receivers=[
            party_pb2.SplitReceiver(receiver=user("agent"), amount=cny(100)),
            party_pb2.SplitReceiver(receiver=user("partner"), ratio=decimal_pb2.Decimal(value="0.333333")),
            party_pb2.SplitReceiver(receiver=merchant(desk.merchant_id), remainder=True),
        ],
    )
    assert moved.state == pb.PAYMENT_STATE_SUCCEEDED
    assert desk.ledger.balances["2102:agent:CNY"] == 100
    assert desk.ledger.balances["2102:partner:CNY"] == 333
    assert desk.ledger.balances[desk.balance] == 568
    assert len(desk.ledger.journal_of(moved.payment_id).entries) == 4


async def test_too_little_money_is_an_outcome(desk: Desk) -> None:
    refused = await desk.transfer(1)
    assert refused.state == pb.PAYMENT_STATE_FAILED
    assert refused.failure.reason == "INSUFFICIENT_FUNDS"
    assert not desk.ledger.journals
    assert await desk.violations() == []


async def test_a_transfer_with_a_lost_answer_is_unknown_and_booked_once(desk: Desk) -> None:
    await desk.paid_recharge(100)
    desk.ledger.faults.lose_answer("PostEvent", times=4)
    unknown = await desk.transfer(100)
    assert unknown.state == pb.PAYMENT_STATE_UNKNOWN
    await desk.repair()
    moved = await desk.get(unknown.payment_id)
    assert moved.state == pb.PAYMENT_STATE_SUCCEEDED
    assert desk.ledger.journal_of(moved.payment_id).journal_id == moved.journal_id
    assert desk.ledger.balances[desk.balance] == 100


async def test_a_query_of_an_open_transfer_asks_the_ledger_and_moves_nothing(desk: Desk) -> None:
    await desk.paid_recharge(100)
    desk.ledger.faults.be_silent("PostEvent", times=4)
    unknown = await desk.transfer(100)
    request = pb.QueryPaymentRequest(payment_id=unknown.payment_id)
    still = (await desk.call(desk.stub.QueryPayment, request)).payment
    assert still.state == pb.PAYMENT_STATE_UNKNOWN
    assert desk.ledger.balances[desk.transit] == 100
    await desk.repair()
    assert desk.ledger.balances[desk.transit] == 0


async def test_a_ledger_that_is_busy_leaves_the_transfer_to_repair(desk: Desk) -> None:
    await desk.paid_recharge(100)
    desk.ledger.faults.refuse("PostEvent", Reason.OVERLOADED)
    waiting = await desk.transfer(100)
    assert waiting.state == pb.PAYMENT_STATE_SUBMITTING
    await desk.repair()
    assert (await desk.get(waiting.payment_id)).state == pb.PAYMENT_STATE_SUCCEEDED


async def test_money_moves_between_users_and_merchants(desk: Desk) -> None:
    await desk.funded(100)
    moved = await desk.transfer(
        40,
        source_owner=merchant(desk.merchant_id),
        receivers=[party_pb2.SplitReceiver(receiver=user("u-1"), remainder=True)],
    )
    assert moved.state == pb.PAYMENT_STATE_SUCCEEDED
    assert (desk.ledger.balances[desk.balance], desk.ledger.balances["2102:u-1:CNY"]) == (60, 40)
