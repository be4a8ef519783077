"""A person decides what no channel says: with evidence, an audit row, and the same ends as ever."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from paycenter.channel.v1 import channel_gateway_pb2 as channel_pb
from paycenter.payment.v1 import payment_core_pb2 as pb

from core.payment.remote.accounting import AccountingClient
from runtime.errors import Reason
from tests.integration.payment.desk import Desk
from tests.integration.payment.test_crashes import kill_after, killed_while

UNKNOWN = channel_pb.CHANNEL_ORDER_STATE_UNKNOWN


async def reviewed_recharge(desk: Desk) -> pb.Payment:
    desk.gateway.next_states = [UNKNOWN]
    unknown = await desk.recharge(10_000)
    for _ in range(8):
        await desk.repair(wait_seconds=0.003)
    reviewed = await desk.get(unknown.payment_id)
    assert reviewed.state == pb.PAYMENT_STATE_IN_REVIEW
    return reviewed


def resolve_request(payment_id: str, resolution: pb.PaymentResolution.ValueType) -> pb.ResolvePaymentRequest:
    return pb.ResolvePaymentRequest(
        request_id=str(uuid.uuid4()), payment_id=payment_id, resolution=resolution, evidence="bill row 17"
    )


async def resolve(desk: Desk, payment_id: str, resolution: pb.PaymentResolution.ValueType) -> pb.Payment:
    request = resolve_request(payment_id, resolution)
    return (await desk.call(desk.stub.ResolvePayment, request)).payment


async def test_money_that_moved_is_booked_and_the_decision_is_kept_for_ever(desk: Desk) -> None:
    reviewed = await reviewed_recharge(desk)
    request = resolve_request(reviewed.payment_id, pb.PAYMENT_RESOLUTION_SUCCEEDED)
    first = await desk.call(desk.stub.ResolvePayment, request)
    assert first.payment.state == pb.PAYMENT_STATE_SUCCEEDED
    assert desk.ledger.journal_of(reviewed.payment_id).journal_id == first.payment.journal_id
    assert await desk.call(desk.stub.ResolvePayment, request) == first

    rows = await desk.sql(
        "SELECT resolution, evidence, operator, caller, business_id FROM payment_resolution"
    )
    assert [tuple(row) for row in rows] == [
        ("SUCCEEDED", "bill row 17", "lin", "transaction", desk.business_id)
    ]
    for statement in ("UPDATE payment_resolution SET evidence = ''", "DELETE FROM payment_resolution"):
        with pytest.raises(Exception, match="append-only"):
            await desk.write(statement)
    with pytest.raises(Exception, match="append-only"):
        await desk.write("DELETE FROM payment")
    assert await desk.violations() == []


async def test_money_that_did_not_move_frees_what_is_held(desk: Desk) -> None:
    await desk.funded(10_000)
    desk.gateway.next_states = [UNKNOWN]
    payout = await desk.withdraw(7_000)
    for _ in range(8):
        await desk.repair(wait_seconds=0.003)
    failed = await resolve(desk, payout.payment_id, pb.PAYMENT_RESOLUTION_FAILED)
    assert failed.state == pb.PAYMENT_STATE_FAILED
    assert desk.ledger.available(desk.balance) == 10_000
    assert await desk.violations() == []


async def test_money_that_nobody_may_keep_is_booked_held_and_given_back(desk: Desk) -> None:
    reviewed = await reviewed_recharge(desk)
    booked = await resolve(desk, reviewed.payment_id, pb.PAYMENT_RESOLUTION_REFUND)
    assert booked.state == pb.PAYMENT_STATE_SUCCEEDED
    assert desk.ledger.available(desk.transit) == 0, "nobody can take it before it goes back"

    await desk.repair()
    rows = await desk.sql("SELECT payment_id FROM payment WHERE kind = 'REFUND'")
    refund = await desk.get(rows[0][0])
    assert refund.state == pb.PAYMENT_STATE_SUCCEEDED
    assert refund.refunded_payment_id == reviewed.payment_id
    assert (await desk.get(reviewed.payment_id)).refunded_amount.minor_units == 10_000
    assert desk.ledger.balances[desk.transit] == 0
    assert await desk.violations() == []


@pytest.mark.parametrize("method", ["post_event", "place_hold"])
async def test_a_decision_that_was_interrupted_is_carried_out_once(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    reviewed = await reviewed_recharge(desk)
    request = resolve_request(reviewed.payment_id, pb.PAYMENT_RESOLUTION_REFUND)
    with monkeypatch.context() as fault:
        kill_after(fault, AccountingClient, method)
        await killed_while(desk, lambda: _resolve_directly(desk, request))
    await desk.repair(steps=3, wait_seconds=0.005)
    assert (await desk.get(reviewed.payment_id)).refunded_amount.minor_units == 10_000
    assert desk.ledger.balances[desk.transit] == 0
    assert await desk.violations() == []


async def _resolve_directly(desk: Desk, request: pb.ResolvePaymentRequest) -> Any:
    from core.payment.mapping.requests import resolve_command
    from core.payment.records import Call
    from runtime.idempotency import fingerprint

    call = Call("ResolvePayment", request.request_id, fingerprint(request))
    return await desk.parts.use_cases.resolutions.resolve(resolve_command(request), call)


async def test_only_a_payment_in_review_is_decided_by_hand(desk: Desk) -> None:
    pending = await desk.recharge()
    request = resolve_request(pending.payment_id, pb.PAYMENT_RESOLUTION_FAILED)
    error = await desk.refusal(desk.stub.ResolvePayment, request)
    assert (error.reason, error.metadata["current"]) == (Reason.PAYMENT_STATE_INVALID, "PENDING")
    assert (await desk.get(pending.payment_id)).state == pb.PAYMENT_STATE_PENDING


async def test_only_a_recharge_can_be_given_back(desk: Desk) -> None:
    await desk.funded(10_000)
    desk.gateway.next_states = [UNKNOWN]
    payout = await desk.withdraw(7_000)
    for _ in range(8):
        await desk.repair(wait_seconds=0.003)
    request = resolve_request(payout.payment_id, pb.PAYMENT_RESOLUTION_REFUND)
    error = await desk.refusal(desk.stub.ResolvePayment, request)
    assert (error.reason, error.violations[0].field) == (Reason.FIELD_INVALID, "resolution")
    assert await desk.sql("SELECT 1 FROM payment_resolution") == []
