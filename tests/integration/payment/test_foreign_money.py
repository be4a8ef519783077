"""Money of others is never touched: not another payer's, not another tenant's, and no step moves money twice."""

from __future__ import annotations

from typing import Any

import pytest
from paycenter.payment.v1 import payment_core_pb2 as pb
from paycenter.type.v1 import party_pb2

from core.payment.posting import Posting
from runtime.errors import Reason
from runtime.ids import NumberKind, new_number
from tests.integration.payment.desk import Desk, merchant, user
from tests.integration.payment.test_refusals import fields_of
from tests.integration.payment.test_resolve import resolve, reviewed_recharge


async def test_what_is_given_back_is_not_settled_from_the_money_of_others(desk: Desk) -> None:
    reviewed = await reviewed_recharge(desk)
    await resolve(desk, reviewed.payment_id, pb.PAYMENT_RESOLUTION_REFUND)
    await desk.paid_recharge(10_000, transaction_number="A-2")
    given_back = desk.transfer_request(10_000, transaction_number="A-1")

    for _ in ("held to go back", "gone back"):
        error = await desk.refusal(desk.stub.CreateTransfer, given_back)
        assert (error.reason, error.metadata["current"]) == (Reason.PAYMENT_STATE_INVALID, "GIVEN_BACK")
        await desk.repair()

    assert desk.ledger.available(desk.transit) == 10_000
    moved = await desk.transfer(10_000, transaction_number="A-2")
    assert moved.state == pb.PAYMENT_STATE_SUCCEEDED
    assert await desk.violations() == []


async def test_what_has_not_arrived_is_not_settled(desk: Desk) -> None:
    await desk.paid_recharge(10_000, transaction_number="A-2")
    await desk.recharge(10_000, transaction_number="A-1")
    error = await desk.refusal(
        desk.stub.CreateTransfer, desk.transfer_request(10_000, transaction_number="A-1")
    )
    assert (error.reason, error.metadata["current"]) == (Reason.PAYMENT_STATE_INVALID, "PENDING")


@pytest.mark.parametrize("known", [True, False])
async def test_a_receiver_of_another_tenant_is_refused(desk: Desk, known: bool) -> None:
    other = new_number(NumberKind.MERCHANT, shard=2)
    if known:
        desk.gateway.open_account(other, tenant_id="tenant-2")
    request = desk.transfer_request(
        100,
        receivers=[
            party_pb2.SplitReceiver(receiver=merchant(desk.merchant_id), remainder=True),
            party_pb2.SplitReceiver(receiver=merchant(other), amount=desk.transfer_request(40).amount),
        ],
    )
    error = await desk.refusal(desk.stub.CreateTransfer, request)
    assert error.reason is (Reason.TENANT_FORBIDDEN if known else Reason.MERCHANT_NOT_FOUND)
    assert fields_of(error) == ["receivers[1].receiver.owner_id"]
    assert desk.ledger.opened == []


async def test_a_recharge_into_a_balance_of_another_tenant_asks_no_channel(desk: Desk) -> None:
    desk.ledger.faults.refuse("OpenAccount", Reason.TENANT_FORBIDDEN)
    error = await desk.refusal(desk.stub.CreateRecharge, desk.recharge_request(balance_owner=user("theirs")))
    assert error.reason is Reason.TENANT_FORBIDDEN
    assert not desk.gateway.payments_seen
    assert await desk.sql("SELECT payment_id FROM payment") == []


async def test_a_step_is_one_payment_also_when_its_request_is_forgotten(desk: Desk) -> None:
    await desk.paid_recharge(10_000, transaction_number="A-2")
    recharge = desk.recharge_request()
    transfer = desk.transfer_request(4_000, transaction_number="A-2")
    steps: list[tuple[Any, Any]] = [
        (desk.stub.CreateRecharge, recharge),
        (desk.stub.CreateTransfer, transfer),
    ]
    for call, request in steps:
        first = await desk.call(call, request)
        await desk.write("DELETE FROM idempotency_record")
        again = await desk.call(call, request)
        assert again == await desk.call(call, request)
        assert again.payment == await desk.get(first.payment.payment_id)
    assert desk.ledger.balances[desk.balance] == 4_000

    await desk.write("DELETE FROM idempotency_record")
    transfer.amount.minor_units = 3_000
    error = await desk.refusal(desk.stub.CreateTransfer, transfer)
    assert error.reason is Reason.IDEMPOTENCY_KEY_REUSED
    assert desk.ledger.balances[desk.balance] == 4_000


async def test_a_step_that_breaks_leaves_the_rest_of_the_batch_alone(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    await desk.paid_recharge(200)
    desk.ledger.faults.refuse("PostEvent", Reason.OVERLOADED, times=2)
    broken, sound = await desk.transfer(100), await desk.transfer(100)
    post = Posting.post

    async def break_one(self: Posting, payment: object) -> str:
        if getattr(payment, "payment_id", "") == broken.payment_id:
            raise AssertionError("a fault of ours")
        return await post(self, payment)  # type: ignore[arg-type]

    with monkeypatch.context() as fault:
        fault.setattr(Posting, "post", break_one)
        assert await desk.repair() == 2
    assert (await desk.get(sound.payment_id)).state == pb.PAYMENT_STATE_SUCCEEDED
    await desk.repair(wait_seconds=0.01)
    assert (await desk.get(broken.payment_id)).state == pb.PAYMENT_STATE_SUCCEEDED
