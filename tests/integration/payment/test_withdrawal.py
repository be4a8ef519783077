"""Withdrawals: money of a balance out to a payee."""

from __future__ import annotations

import pytest
from paycenter.channel.v1 import channel_gateway_pb2 as channel_pb
from paycenter.payment.v1 import payment_core_pb2 as pb

from tests.integration.payment.desk import Desk

ACCEPTED = channel_pb.CHANNEL_ORDER_STATE_ACCEPTED
SUCCEEDED = channel_pb.CHANNEL_ORDER_STATE_SUCCEEDED
DECLINED = channel_pb.CHANNEL_ORDER_STATE_DECLINED
UNKNOWN = channel_pb.CHANNEL_ORDER_STATE_UNKNOWN


async def test_a_payout_takes_the_held_money(desk: Desk) -> None:
    await desk.funded(10_000)
    payout = await desk.withdraw(7_000)
    assert payout.state == pb.PAYMENT_STATE_SUCCEEDED
    assert desk.ledger.journal_of(payout.payment_id).hold_id == payout.hold_id
    assert desk.ledger.balances[desk.balance] == 3_000
    assert desk.ledger.held[desk.balance] == 0
    assert await desk.violations() == []


async def test_too_little_money_fails_the_payout_and_the_channel_is_not_asked(desk: Desk) -> None:
    await desk.funded(100)
    payout = await desk.withdraw(101)
    assert payout.state == pb.PAYMENT_STATE_FAILED
    assert payout.failure.reason == "INSUFFICIENT_FUNDS"
    assert desk.gateway.faults.calls["CreateChannelPayout"] == 0
    states = {step.kind: step.state for step in payout.steps}
    assert states[pb.PAYMENT_STEP_KIND_RESERVE_FUNDS] == pb.PAYMENT_STEP_STATE_REFUSED
    assert states[pb.PAYMENT_STEP_KIND_INVOKE_CHANNEL] == pb.PAYMENT_STEP_STATE_SKIPPED


async def test_a_declined_payout_frees_the_money(desk: Desk) -> None:
    await desk.funded(10_000)
    desk.gateway.next_states = [DECLINED]
    payout = await desk.withdraw(7_000)
    assert payout.state == pb.PAYMENT_STATE_FAILED
    assert desk.ledger.available(desk.balance) == 10_000


async def test_an_unknown_payout_keeps_the_money_held_until_the_channel_says(desk: Desk) -> None:
    await desk.funded(10_000)
    desk.gateway.next_states = [UNKNOWN]
    payout = await desk.withdraw(7_000)
    assert payout.state == pb.PAYMENT_STATE_UNKNOWN
    for _ in range(8):
        await desk.repair(wait_seconds=0.003)
    assert (await desk.get(payout.payment_id)).state == pb.PAYMENT_STATE_IN_REVIEW
    assert desk.ledger.available(desk.balance) == 3_000
    desk.gateway.move(payout.payment_id, DECLINED)
    await desk.repair(wait_seconds=0.003)
    assert (await desk.get(payout.payment_id)).state == pb.PAYMENT_STATE_FAILED
    assert desk.ledger.available(desk.balance) == 10_000


async def test_a_payout_is_routed_when_no_account_is_named(desk: Desk) -> None:
    await desk.funded(10_000)
    payout = await desk.withdraw(1, payment_account_id="")
    assert payout.payment_account_id == desk.payment_account_id


@pytest.mark.parametrize("state", [SUCCEEDED, DECLINED])
async def test_the_channels_word_may_come_before_the_call_has_noted_its_hold(
    desk: Desk, state: channel_pb.ChannelOrderState.ValueType
) -> None:
    await desk.funded(10_000)
    desk.gateway.next_states = [ACCEPTED]
    payout = await desk.withdraw(7_000)
    desk.gateway.move(payout.payment_id, state)
    await desk.write("UPDATE payment SET hold_id = '', state = 'SUBMITTING' WHERE kind = 'WITHDRAWAL'")
    await desk.hear(payout.payment_id)
    ended = await desk.get(payout.payment_id)
    assert ended.hold_id == payout.hold_id
    assert desk.ledger.held[desk.balance] == 0
    if state == SUCCEEDED:
        assert ended.state == pb.PAYMENT_STATE_SUCCEEDED
        assert desk.ledger.journal_of(payout.payment_id).hold_id == payout.hold_id
    else:
        assert ended.state == pb.PAYMENT_STATE_FAILED
        assert desk.ledger.available(desk.balance) == 10_000
