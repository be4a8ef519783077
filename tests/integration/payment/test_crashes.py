"""A process that dies between any two steps: what is left is found and finished, once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from paycenter.channel.v1 import channel_gateway_pb2 as channel_pb
from paycenter.payment.v1 import payment_core_pb2 as pb

from core.payment.mapping import requests
from core.payment.records import Call
from core.payment.remote.accounting import AccountingClient
from core.payment.remote.channel_gateway import ChannelGatewayClient
from runtime.context import use_scope
from runtime.errors import PaycenterError, Reason
from runtime.idempotency import fingerprint
from runtime.outbox import Outbox
from tests.integration.payment.desk import Desk

SUCCEEDED = channel_pb.CHANNEL_ORDER_STATE_SUCCEEDED
DECLINED = channel_pb.CHANNEL_ORDER_STATE_DECLINED


class Killed(BaseException):
    """Stands for kill -9: nothing catches it, nothing after it runs."""


def kill_before(monkeypatch: pytest.MonkeyPatch, owner: type, method: str) -> None:
    async def killed(*_arguments: Any, **_options: Any) -> Any:
        raise Killed

    monkeypatch.setattr(owner, method, killed)


def kill_after(monkeypatch: pytest.MonkeyPatch, owner: type, method: str) -> None:
    original = getattr(owner, method)

    async def carried_out_then_killed(*arguments: Any, **options: Any) -> Any:
        await original(*arguments, **options)
        raise Killed

    monkeypatch.setattr(owner, method, carried_out_then_killed)


async def killed_while(desk: Desk, work: Callable[[], Awaitable[Any]]) -> None:
    with use_scope(desk.scope()), pytest.raises(Killed):
        await work()


def create_recharge(desk: Desk, request: pb.CreateRechargeRequest) -> Callable[[], Awaitable[Any]]:
    call = Call("CreateRecharge", request.request_id, fingerprint(request))
    return lambda: desk.parts.use_cases.recharges.create(requests.recharge_command(request), call)


def create_refund(desk: Desk, request: pb.CreateRefundRequest) -> Callable[[], Awaitable[Any]]:
    call = Call("CreateRefund", request.request_id, fingerprint(request))
    return lambda: desk.parts.use_cases.refunds.create(requests.refund_command(request), call)


def create_transfer(desk: Desk, request: pb.CreateTransferRequest) -> Callable[[], Awaitable[Any]]:
    call = Call("CreateTransfer", request.request_id, fingerprint(request))
    return lambda: desk.parts.use_cases.transfers.create(requests.transfer_command(request), call)


async def only_payment(desk: Desk, kind: str) -> pb.Payment:
    rows = await desk.sql("SELECT payment_id FROM payment WHERE kind = :kind", kind=kind)
    assert len(rows) == 1
    return await desk.get(rows[0][0])


async def test_killed_before_the_commit_nothing_happened(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    paid = await desk.paid_recharge(10_000)
    request = desk.refund_request(paid.payment_id, 10_000)
    with monkeypatch.context() as fault:
        kill_before(fault, Outbox, "append")
        await killed_while(desk, create_refund(desk, request))
    assert await desk.sql("SELECT 1 FROM payment WHERE kind = 'REFUND' OR refunding_minor_units > 0") == []
    answer = await desk.call(desk.stub.CreateRefund, request)
    assert answer.payment.state == pb.PAYMENT_STATE_SUCCEEDED


@pytest.mark.parametrize("kill", [kill_before, kill_after])
async def test_killed_around_the_gateways_call_the_recharge_goes_on_as_one_channel_order(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, kill: Callable[..., None]
) -> None:
    request = desk.recharge_request()
    with monkeypatch.context() as fault:
        kill(fault, ChannelGatewayClient, "create_payment")
        await killed_while(desk, create_recharge(desk, request))
    assert (await only_payment(desk, "RECHARGE")).state == pb.PAYMENT_STATE_SUBMITTING
    assert await desk.repair() == 0, "the call that began it has it to itself for its lease"
    await desk.let_leases_run_out()
    await desk.repair()

    pending = await only_payment(desk, "RECHARGE")
    assert pending.state == pb.PAYMENT_STATE_PENDING
    answer = await desk.call(desk.stub.CreateRecharge, request)
    assert answer.payment.payment_id == pending.payment_id
    assert answer.payment.credential == pending.credential
    assert len(desk.gateway.orders) == 1
    assert await desk.violations() == []


async def test_the_caller_may_come_back_before_the_repair(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = desk.recharge_request()
    with monkeypatch.context() as fault:
        kill_after(fault, ChannelGatewayClient, "create_payment")
        await killed_while(desk, create_recharge(desk, request))
    error = await desk.refusal(desk.stub.CreateRecharge, request)
    assert error.reason is Reason.REQUEST_IN_PROGRESS
    await desk.let_leases_run_out()
    answer = await desk.call(desk.stub.CreateRecharge, request)
    assert answer.payment.state == pb.PAYMENT_STATE_PENDING
    assert len(desk.gateway.orders) == 1
    assert await desk.call(desk.stub.CreateRecharge, request) == answer
    assert await desk.violations() == []


async def test_who_comes_back_and_is_refused_below_asks_first_whether_the_order_is_there(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = desk.recharge_request()
    with monkeypatch.context() as fault:
        kill_after(fault, ChannelGatewayClient, "create_payment")
        await killed_while(desk, create_recharge(desk, request))
    await desk.let_leases_run_out()
    desk.gateway.faults.refuse("CreateChannelPayment", Reason.PAYMENT_ACCOUNT_DISABLED)
    answer = await desk.call(desk.stub.CreateRecharge, request)
    assert answer.payment.state == pb.PAYMENT_STATE_PENDING


async def test_killed_between_journal_and_record_the_payment_finds_its_journal(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    pending = await desk.recharge()
    desk.gateway.move(pending.payment_id, SUCCEEDED)
    with monkeypatch.context() as fault:
        kill_after(fault, AccountingClient, "post_event")
        await killed_while(desk, lambda: desk.hear(pending.payment_id))
    assert (await desk.get(pending.payment_id)).state == pb.PAYMENT_STATE_PENDING
    await desk.repair()
    paid = await desk.get(pending.payment_id)
    assert paid.state == pb.PAYMENT_STATE_SUCCEEDED
    assert paid.journal_id == desk.ledger.journal_of(pending.payment_id).journal_id
    assert desk.ledger.balances[desk.transit] == 10_000


@pytest.mark.parametrize(
    ("owner", "method"),
    [
        (AccountingClient, "place_hold"),
        (ChannelGatewayClient, "create_refund"),
        (AccountingClient, "post_event"),
    ],
)
@pytest.mark.parametrize("kill", [kill_before, kill_after])
async def test_a_refund_killed_around_any_step_is_paid_once(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, kill: Callable[..., None], owner: type, method: str
) -> None:
    paid = await desk.paid_recharge(10_000)
    request = desk.refund_request(paid.payment_id, 4_000)
    with monkeypatch.context() as fault:
        kill(fault, owner, method)
        await killed_while(desk, create_refund(desk, request))
    await desk.let_leases_run_out()
    await desk.repair(steps=2)

    refund = await only_payment(desk, "REFUND")
    assert refund.state == pb.PAYMENT_STATE_SUCCEEDED
    assert desk.ledger.journal_of(refund.payment_id).hold_id == refund.hold_id
    assert (desk.ledger.balances[desk.transit], desk.ledger.held[desk.transit]) == (6_000, 0)
    assert (await desk.get(paid.payment_id)).refunded_amount.minor_units == 4_000
    assert (await desk.call(desk.stub.CreateRefund, request)).payment.payment_id == refund.payment_id
    assert await desk.violations() == []


@pytest.mark.parametrize("kill", [kill_before, kill_after])
async def test_a_declined_refund_killed_around_the_release_frees_the_money_once(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, kill: Callable[..., None]
) -> None:
    paid = await desk.paid_recharge(10_000)
    desk.gateway.next_states = [DECLINED]
    with monkeypatch.context() as fault:
        kill(fault, AccountingClient, "release_hold")
        await killed_while(desk, create_refund(desk, desk.refund_request(paid.payment_id, 4_000)))
    await desk.let_leases_run_out()
    await desk.repair(steps=2)
    assert (await only_payment(desk, "REFUND")).state == pb.PAYMENT_STATE_FAILED
    assert desk.ledger.available(desk.transit) == 10_000
    assert await desk.violations() == []


@pytest.mark.parametrize("kill", [kill_before, kill_after])
async def test_a_transfer_killed_around_its_journal_is_booked_once(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, kill: Callable[..., None]
) -> None:
    await desk.paid_recharge(100)
    request = desk.transfer_request(100)
    with monkeypatch.context() as fault:
        kill(fault, AccountingClient, "post_event")
        await killed_while(desk, create_transfer(desk, request))
    await desk.let_leases_run_out()
    await desk.repair()
    moved = await only_payment(desk, "TRANSFER")
    assert moved.state == pb.PAYMENT_STATE_SUCCEEDED
    assert moved.journal_id == desk.ledger.journal_of(moved.payment_id).journal_id
    assert (await desk.call(desk.stub.CreateTransfer, request)).payment == moved
    assert await desk.violations() == []


async def test_killed_in_the_middle_of_closing_the_close_goes_on(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    pending = await desk.recharge()
    call = Call("ClosePayment", "00000000-0000-4000-8000-000000000001", b"close")
    with monkeypatch.context() as fault:
        kill_after(fault, ChannelGatewayClient, "close_order")
        await killed_while(desk, lambda: desk.parts.use_cases.closing.close(pending.payment_id, call))
    assert (await desk.get(pending.payment_id)).state == pb.PAYMENT_STATE_CLOSING
    await desk.repair()
    assert (await desk.get(pending.payment_id)).state == pb.PAYMENT_STATE_CLOSED
    assert await desk.violations() == []


async def test_two_repair_workers_side_by_side_do_the_work_once(desk: Desk) -> None:
    payments = [await desk.recharge() for _ in range(6)]
    for payment in payments:
        desk.gateway.move(payment.payment_id, SUCCEEDED)
    asked = desk.gateway.faults.calls["QueryChannelOrder"]
    taken = await asyncio.gather(desk.parts.repair.step(), desk.parts.repair.step())
    assert sum(taken) == 6
    assert desk.gateway.faults.calls["QueryChannelOrder"] - asked == 6
    for payment in payments:
        assert (await desk.get(payment.payment_id)).state == pb.PAYMENT_STATE_SUCCEEDED
        desk.ledger.journal_of(payment.payment_id)
    assert await desk.violations() == []


async def test_an_event_that_overtakes_the_answer_of_the_call_settles_and_the_call_says_so(
    desk: Desk,
) -> None:
    desk.gateway.faults.slow_seconds["CreateChannelPayment"] = 0.0
    request = desk.recharge_request()
    original = ChannelGatewayClient.create_payment
    heard: list[str] = []

    async def create_and_let_the_event_pass(client: ChannelGatewayClient, command: bytes) -> Any:
        word = await original(client, command)
        desk.gateway.move(word.payment_id, SUCCEEDED)
        await desk.hear(word.payment_id)
        heard.append(word.payment_id)
        return word

    with pytest.MonkeyPatch.context() as overtaken:
        overtaken.setattr(ChannelGatewayClient, "create_payment", create_and_let_the_event_pass)
        answer = await desk.call(desk.stub.CreateRecharge, request)
    assert answer.payment.state == pb.PAYMENT_STATE_SUCCEEDED
    assert await desk.call(desk.stub.CreateRecharge, request) == answer
    assert heard == [answer.payment.payment_id]
    assert await desk.violations() == []


async def test_a_lost_database_is_an_error_that_may_be_repeated(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = desk.recharge_request()

    async def lost(*_arguments: Any, **_options: Any) -> Any:
        raise PaycenterError(Reason.DATABASE_UNAVAILABLE, "lost")

    with monkeypatch.context() as fault:
        fault.setattr(type(desk.parts.use_cases.recharges._records), "record", lost)
        error = await desk.refusal(desk.stub.CreateRecharge, request)
    assert error.reason is Reason.DEPENDENCY_UNAVAILABLE
    assert (await desk.call(desk.stub.CreateRecharge, request)).payment.state == pb.PAYMENT_STATE_PENDING
