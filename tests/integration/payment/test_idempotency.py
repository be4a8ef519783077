"""The same command again: the same answer, no second effect, also at once and after a restart."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest
from paycenter.channel.v1 import channel_gateway_pb2 as channel_pb
from paycenter.payment.v1 import payment_core_pb2 as pb

from runtime.context import use_scope
from runtime.errors import PaycenterError, Reason
from tests.integration.payment.desk import Desk, open_desk

SUCCEEDED = channel_pb.CHANNEL_ORDER_STATE_SUCCEEDED


async def commands(desk: Desk) -> list[tuple[Any, Any]]:
    """One command of each kind that can be carried out now."""
    await desk.funded(5_000)
    paid = await desk.paid_recharge(10_000)
    pending = await desk.recharge()
    return [
        (desk.stub.CreateRecharge, desk.recharge_request()),
        (desk.stub.CreateRefund, desk.refund_request(paid.payment_id, 1_000)),
        (desk.stub.CreateTransfer, desk.transfer_request(1_000)),
        (desk.stub.CreateWithdrawal, desk.withdrawal_request(1_000)),
        (
            desk.stub.ClosePayment,
            pb.ClosePaymentRequest(
                request_id="7b3f9a52-1111-4222-8333-444455556666", payment_id=pending.payment_id
            ),
        ),
    ]


async def count_payments(desk: Desk) -> int:
    counted: int = (await desk.sql("SELECT count(*) FROM payment"))[0][0]
    return counted


async def test_the_same_request_again_gives_the_same_bytes_and_no_second_effect(desk: Desk) -> None:
    for call, request in await commands(desk):
        first = await desk.call(call, request)
        counted, journals = await count_payments(desk), len(desk.ledger.journals)
        again = await desk.call(call, request)
        assert again.SerializeToString() == first.SerializeToString()
        assert (await count_payments(desk), len(desk.ledger.journals)) == (counted, journals)
    assert await desk.violations() == []


async def test_a_replay_is_marked_in_the_metadata(desk: Desk) -> None:
    request = desk.recharge_request()
    marks = []
    for _ in range(2):
        with use_scope(desk.scope()):
            running = desk.stub.CreateRecharge(request)
            await running
            marks.append(dict(await running.initial_metadata()).get("x-idempotent-replay"))
    assert marks == [None, "true"]


async def test_another_body_under_the_same_id_is_refused(desk: Desk) -> None:
    for call, request in await commands(desk):
        await desk.call(call, request)
        if isinstance(request, pb.ClosePaymentRequest):
            continue
        request.amount.minor_units += 1
        error = await desk.refusal(call, request)
        assert error.reason is Reason.IDEMPOTENCY_KEY_REUSED
        assert [violation.field for violation in error.violations] == ["request_id"]


async def test_equal_requests_at_the_same_moment_have_one_effect(desk: Desk) -> None:
    for call, request in await commands(desk):
        counted = await count_payments(desk)
        outcomes = await asyncio.gather(
            *(_until_answered(desk, call, request) for _ in range(6)), return_exceptions=True
        )
        assert len({outcome.SerializeToString() for outcome in outcomes}) == 1  # type: ignore[union-attr]
        assert await count_payments(desk) - counted in (0, 1)
    assert len(desk.gateway.orders) == len({order.payment_id for order in desk.gateway.orders.values()})
    assert await desk.violations() == []


async def _until_answered(desk: Desk, call: Any, request: Any) -> Any:
    while True:
        try:
            return await desk.call(call, request)
        except PaycenterError as error:
            if error.reason is not Reason.REQUEST_IN_PROGRESS:
                raise
            await asyncio.sleep(0.02)


async def test_the_answer_stays_what_it_was_when_the_payment_goes_on(desk: Desk) -> None:
    request = desk.recharge_request()
    first = await desk.call(desk.stub.CreateRecharge, request)
    desk.gateway.move(first.payment.payment_id, SUCCEEDED)
    await desk.hear(first.payment.payment_id)
    assert await desk.call(desk.stub.CreateRecharge, request) == first


async def test_an_accepted_command_is_answered_also_when_the_rules_have_changed(desk: Desk) -> None:
    request = desk.recharge_request()
    first = await desk.call(desk.stub.CreateRecharge, request)
    desk.gateway.accounts[desk.payment_account_id].state = channel_pb.PAYMENT_ACCOUNT_STATE_DISABLED
    assert await desk.call(desk.stub.CreateRecharge, request) == first
    error = await desk.refusal(desk.stub.CreateRecharge, desk.recharge_request())
    assert error.reason is Reason.PAYMENT_ACCOUNT_DISABLED


async def test_after_a_restart_the_answer_is_the_same(database_url: str) -> None:
    async with AsyncExitStack() as first_life:
        desk = await open_desk(database_url, first_life)
        request = desk.recharge_request()
        first = await desk.call(desk.stub.CreateRecharge, request)
    async with AsyncExitStack() as second_life:
        desk = await open_desk(database_url, second_life)
        assert await desk.call(desk.stub.CreateRecharge, request) == first
        assert desk.gateway.faults.calls["CreateChannelPayment"] == 0


@pytest.mark.parametrize("give_up_seconds", [0.005, 0.05])
async def test_a_caller_that_gives_up_cancels_nothing(desk: Desk, give_up_seconds: float) -> None:
    desk.gateway.faults.slow_seconds["CreateChannelPayment"] = 0.15
    request = desk.recharge_request()
    with use_scope(desk.scope()):
        running = desk.stub.CreateRecharge(request)
        await asyncio.sleep(give_up_seconds)
        running.cancel()
    answer = await _until_answered(desk, desk.stub.CreateRecharge, request)
    assert answer.payment.state == pb.PAYMENT_STATE_PENDING
    assert await count_payments(desk) == 1
