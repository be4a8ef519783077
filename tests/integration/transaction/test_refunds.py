"""Money of paid orders that goes back."""

from __future__ import annotations

import asyncio

import pytest
from paycenter.payment.v1 import payment_core_pb2 as pc
from paycenter.transaction.v1 import transaction_core_pb2 as tc
from paycenter.type.v1 import party_pb2

from runtime.errors import PaycenterError, Reason
from tests.integration.transaction.desk import MERCHANT, USER, Desk, eventually, owner, yuan
from tests.integration.transaction.fake_payment_core import FAILED, IN_REVIEW, PENDING, SUCCEEDED, UNKNOWN

REFUND = pc.PAYMENT_KIND_REFUND


async def test_partial_refunds_go_on_until_all_is_back(desk: Desk) -> None:
    order = await desk.paid_order(1000)
    for minor_units, left, state in (
        (400, 600, tc.ORDER_STATE_PARTLY_REFUNDED),
        (600, 0, tc.ORDER_STATE_REFUNDED),
    ):
        refund = await desk.refund(order, minor_units)
        assert (refund.state, refund.amount) == (tc.REFUND_STATE_SUCCEEDED, yuan(minor_units))
        seen = await desk.see(order)
        assert (seen.state, seen.refunded_amount, seen.refunding_amount) == (
            state,
            yuan(1000 - left),
            yuan(0),
        )
    calls = [call for method, call in desk.payment_core.calls if method == "CreateRefund"]
    assert [call.balance_owner for call in calls] == [owner(MERCHANT, desk.merchant_id)] * 2
    winner = order.attempts[0].payment_id
    assert {call.refunded_payment_id for call in calls} == {winner}
    refused = await desk.refused("CreateRefund", desk.refund_request(order, 1))
    assert (refused.reason, refused.metadata["current"]) == (Reason.ORDER_STATE_INVALID, "REFUNDED")
    await desk.invariants_hold()


async def test_of_two_refunds_of_sixty_at_once_one_succeeds(desk: Desk) -> None:
    order = await desk.paid_order(100)
    outcomes = await asyncio.gather(desk.refund(order, 60), desk.refund(order, 60), return_exceptions=True)
    [refused] = [one for one in outcomes if isinstance(one, PaycenterError)]
    assert (refused.reason, refused.violations[0].field) == (Reason.REFUND_EXCEEDS_PAID, "amount")
    assert refused.metadata["refundableMinorUnits"] == "40"
    assert (await desk.see(order)).refunded_amount == yuan(60)
    assert desk.payment_core.count("CreateRefund") == 1
    await desk.invariants_hold()


async def test_the_same_request_refunds_once_also_at_once(desk: Desk) -> None:
    order = await desk.paid_order(100)
    request = desk.refund_request(order, 30, merchant_refund_id="r-1")
    outcomes = await asyncio.gather(
        *(desk.caller.call("CreateRefund", request) for _ in range(4)), return_exceptions=True
    )
    answers = [one for one in outcomes if isinstance(one, tc.CreateRefundResponse)]
    assert {one.reason for one in outcomes if isinstance(one, PaycenterError)} <= {Reason.REQUEST_IN_PROGRESS}
    assert await desk.caller.call("CreateRefund", request) == answers[0]
    assert desk.sql("SELECT count(*) FROM refund") == [(1,)]
    request.amount.minor_units = 31
    assert (await desk.refused("CreateRefund", request)).reason is Reason.IDEMPOTENCY_KEY_REUSED


@pytest.mark.parametrize(
    ("fields", "reason", "field"),
    [
        ({"amount": yuan(101)}, Reason.REFUND_EXCEEDS_PAID, "amount"),
        ({"amount": yuan(0)}, Reason.FIELD_INVALID, "amount"),
        ({"amount": yuan(-1)}, Reason.FIELD_INVALID, "amount"),
        ({"amount": yuan(10, "USD")}, Reason.CURRENCY_MISMATCH, "amount.currency_code"),
        ({"merchant_id": "M9"}, Reason.MERCHANT_MISMATCH, "merchant_id"),
        ({"merchant_refund_id": "taken"}, Reason.MERCHANT_ORDER_EXISTS, "merchant_refund_id"),
    ],
)
async def test_what_may_not_be_refunded_is_refused_with_reason_and_field(
    desk: Desk, fields: dict[str, object], reason: Reason, field: str
) -> None:
    other = await desk.paid_order(100)
    await desk.refund(other, 1, merchant_refund_id="taken")
    order = await desk.paid_order(100)
    refused = await desk.refused("CreateRefund", desk.refund_request(order, 10, **fields))
    assert refused.reason is reason
    if refused.violations:
        assert refused.violations[0].field == field
    assert (await desk.see(order)).refunds == []
    unpaid = await desk.order()
    refused = await desk.refused("CreateRefund", desk.refund_request(unpaid, 1))
    assert refused.reason is Reason.ORDER_STATE_INVALID


async def test_a_refund_that_is_on_its_way_counts_until_it_is_proven_to_have_failed(desk: Desk) -> None:
    order = await desk.paid_order(100)
    desk.payment_core.first_state["CreateRefund"] = PENDING
    refund = await desk.refund(order, 70)
    assert refund.state == tc.REFUND_STATE_PENDING
    refused = await desk.refused("CreateRefund", desk.refund_request(order, 31))
    assert refused.metadata["refundableMinorUnits"] == "30"
    payment = desk.payment_core.of(refund.refund_id, REFUND)
    await desk.tell(
        desk.payment_core.becomes(payment, FAILED, failure_reason="CHANNEL_REFUSED", channel_code="X1")
    )
    seen = await eventually(
        lambda: desk.see(order), lambda now: now.refunds[0].state == tc.REFUND_STATE_FAILED
    )
    assert (seen.refunding_amount, seen.state) == (yuan(0), tc.ORDER_STATE_PAID)
    assert (seen.refunds[0].failure_reason, seen.refunds[0].channel_code) == ("CHANNEL_REFUSED", "X1")
    desk.payment_core.first_state.clear()
    assert (await desk.refund(order, 100)).state == tc.REFUND_STATE_SUCCEEDED
    await desk.invariants_hold()


async def test_the_outcome_comes_by_event_too_and_only_once(desk: Desk) -> None:
    order = await desk.paid_order(100)
    desk.payment_core.first_state["CreateRefund"] = PENDING
    refund = await desk.refund(order, 70)
    payment = desk.payment_core.becomes(desk.payment_core.of(refund.refund_id, REFUND), SUCCEEDED)
    await desk.tell(payment, times=3)
    seen = await desk.until(order, tc.ORDER_STATE_PARTLY_REFUNDED)
    await asyncio.sleep(0.2)
    assert (await desk.see(order)).etag == seen.etag
    request = tc.GetRefundRequest(refund_id=refund.refund_id)
    assert (await desk.caller.call("GetRefund", request)).refund.HasField("succeed_time")


async def test_what_payment_core_refuses_is_the_refunds_outcome(desk: Desk) -> None:
    order = await desk.paid_order(100)
    desk.payment_core.refuse("CreateRefund", Reason.INSUFFICIENT_FUNDS)
    request = desk.refund_request(order, 70)
    answer = await desk.caller.call("CreateRefund", request)
    assert (answer.refund.state, answer.refund.failure_reason) == (
        tc.REFUND_STATE_FAILED,
        "INSUFFICIENT_FUNDS",
    )
    assert await desk.caller.call("CreateRefund", request) == answer
    assert (await desk.see(order)).refunding_amount == yuan(0)


async def test_a_refund_without_answer_is_repeated_and_happens_once(quiet_desk: Desk) -> None:
    order = await _paid(quiet_desk, 100)
    quiet_desk.payment_core.silent.add("CreateRefund")
    request = quiet_desk.refund_request(order, 40)
    answer = await quiet_desk.caller.call("CreateRefund", request)
    assert answer.refund.state == tc.REFUND_STATE_ACCEPTED
    quiet_desk.payment_core.silent.clear()
    quiet_desk.make_due("refund")
    await quiet_desk.step("repair-refund")
    assert (await quiet_desk.see(order)).refunded_amount == yuan(40)
    assert await quiet_desk.caller.call("CreateRefund", request) == answer
    assert len([p for p in quiet_desk.payment_core.payments.values() if p.kind == REFUND]) == 1


async def _paid(desk: Desk, minor_units: int, **fields: object) -> tc.Order:
    order = await desk.order(minor_units, **fields)
    attempt = await desk.pay(order)
    desk.payment_core.becomes(desk.payment_core.of(attempt.attempt_id), SUCCEEDED)
    answer = await desk.caller.call("QueryOrder", tc.QueryOrderRequest(order_id=order.order_id))
    paid: tc.Order = answer.order
    assert paid.state == tc.ORDER_STATE_PAID
    return paid


async def test_unknown_and_review_are_shown_and_found_out_by_asking(quiet_desk: Desk) -> None:
    order = await _paid(quiet_desk, 100)
    quiet_desk.payment_core.first_state["CreateRefund"] = UNKNOWN
    refund = await quiet_desk.refund(order, 40)
    assert refund.state == tc.REFUND_STATE_UNKNOWN
    payment = quiet_desk.payment_core.of(refund.refund_id, REFUND)
    for below, shown in ((IN_REVIEW, tc.REFUND_STATE_IN_REVIEW), (SUCCEEDED, tc.REFUND_STATE_SUCCEEDED)):
        quiet_desk.payment_core.becomes(payment, below)
        quiet_desk.make_due("refund")
        await quiet_desk.step("repair-refund")
        assert (await quiet_desk.see(order)).refunds[0].state == shown


async def test_an_automatic_refund_that_fails_is_begun_anew(quiet_desk: Desk) -> None:
    order = await quiet_desk.order(100)
    attempt = await quiet_desk.pay(order)
    await quiet_desk.close(order)
    quiet_desk.payment_core.becomes(quiet_desk.payment_core.of(attempt.attempt_id), SUCCEEDED)
    quiet_desk.payment_core.refuse("CreateRefund", Reason.INSUFFICIENT_FUNDS)
    quiet_desk.make_due()
    await quiet_desk.step("repair-attempt", "repair-refund")
    [refund] = (await quiet_desk.see(order)).refunds
    assert (refund.state, refund.failure_reason) == (tc.REFUND_STATE_ACCEPTED, "INSUFFICIENT_FUNDS")
    quiet_desk.make_due("refund")
    await quiet_desk.step("repair-refund")
    assert (await quiet_desk.see(order)).refunds[0].state == tc.REFUND_STATE_SUCCEEDED
    ids = [call.request_id for method, call in quiet_desk.payment_core.calls if method == "CreateRefund"]
    assert len(set(ids)) == 2


async def test_a_recharge_is_refunded_from_the_balance_that_it_filled(quiet_desk: Desk) -> None:
    order = await _paid(quiet_desk, 100, recharge=tc.Recharge(balance_owner=owner(USER, "u1")))
    await quiet_desk.refund(order, 40)
    assert quiet_desk.payment_core.calls[-1][1].balance_owner == owner(USER, "u1")


async def test_another_tenants_refund_is_forbidden(desk: Desk) -> None:
    order = await desk.paid_order(100)
    refund = await desk.refund(order, 40)
    desk.caller.tenant_id = "somebody-else"
    request = tc.GetRefundRequest(refund_id=refund.refund_id)
    assert (await desk.refused("GetRefund", request)).reason is Reason.TENANT_FORBIDDEN
    unknown = tc.GetRefundRequest(refund_id="R" + refund.refund_id[1:-4] + "0" + refund.refund_id[-3:])
    assert (await desk.refused("GetRefund", unknown)).reason is Reason.REFUND_NOT_FOUND


class TestSplitPurchase:
    """Receivers give back their part before the payer is refunded."""

    async def _order(self, desk: Desk) -> tc.Order:
        receivers = [
            party_pb2.SplitReceiver(receiver=owner(MERCHANT, "M2"), amount=yuan(300)),
            party_pb2.SplitReceiver(receiver=owner(USER, "u3"), amount=yuan(200)),
            party_pb2.SplitReceiver(receiver=owner(MERCHANT, desk.merchant_id), remainder=True),
        ]
        order = await _paid(desk, 1000, split_purchase=tc.SplitPurchase(receivers=receivers))
        desk.payment_core.calls.clear()
        return order

    def _moves(self, desk: Desk) -> list[tuple[str, str, int]]:
        return sorted(
            (call.source_owner.owner_id, call.receivers[0].receiver.owner_id, call.amount.minor_units)
            for method, call in desk.payment_core.calls
            if method == "CreateTransfer"
        )

    async def test_each_receiver_gives_its_part(self, quiet_desk: Desk) -> None:
        order = await self._order(quiet_desk)
        refund = await quiet_desk.refund(order, 100)
        assert refund.state == tc.REFUND_STATE_SUCCEEDED
        merchant = quiet_desk.merchant_id
        assert self._moves(quiet_desk) == [("M2", merchant, 30), ("u3", merchant, 20)]
        call = quiet_desk.payment_core.calls[-1][1]
        assert (call.balance_owner, call.amount) == (owner(MERCHANT, merchant), yuan(100))
        await quiet_desk.invariants_hold()

    async def test_a_receiver_without_money_makes_the_others_get_theirs_back(self, quiet_desk: Desk) -> None:
        order = await self._order(quiet_desk)
        quiet_desk.payment_core.refuse("CreateTransfer", Reason.INSUFFICIENT_FUNDS)
        refund = await quiet_desk.refund(order, 100)
        assert (refund.state, refund.failure_reason) == (tc.REFUND_STATE_FAILED, "INSUFFICIENT_FUNDS")
        assert quiet_desk.payment_core.count("CreateRefund") == 0
        merchant = quiet_desk.merchant_id
        moves = self._moves(quiet_desk)
        assert [move for move in moves if move[0] == merchant] in (
            [(merchant, "u3", 20)],
            [(merchant, "M2", 30)],
        )
        assert (await quiet_desk.see(order)).refunding_amount == yuan(0)
        await quiet_desk.invariants_hold()

    async def test_a_refund_that_fails_at_the_channel_gives_the_parts_back(self, quiet_desk: Desk) -> None:
        order = await self._order(quiet_desk)
        quiet_desk.payment_core.first_state["CreateRefund"] = FAILED
        refund = await quiet_desk.refund(order, 100)
        assert refund.state != tc.REFUND_STATE_SUCCEEDED
        await quiet_desk.step("repair-refund")
        seen = await quiet_desk.see(order)
        assert (seen.refunds[0].state, seen.refunding_amount) == (tc.REFUND_STATE_FAILED, yuan(0))
        merchant = quiet_desk.merchant_id
        assert self._moves(quiet_desk) == sorted(
            [("M2", merchant, 30), ("u3", merchant, 20), (merchant, "M2", 30), (merchant, "u3", 20)]
        )

    async def test_a_part_without_answer_is_asked_again_before_the_payer_is_paid(
        self, quiet_desk: Desk
    ) -> None:
        order = await self._order(quiet_desk)
        quiet_desk.payment_core.silent.add("CreateTransfer")
        refund = await quiet_desk.refund(order, 100)
        assert refund.state == tc.REFUND_STATE_ACCEPTED
        assert quiet_desk.payment_core.count("CreateRefund") == 0
        quiet_desk.payment_core.silent.clear()
        quiet_desk.make_due("refund")
        await quiet_desk.step("repair-refund")
        assert (await quiet_desk.see(order)).refunds[0].state == tc.REFUND_STATE_SUCCEEDED
        taken = [
            p for p in quiet_desk.payment_core.payments.values() if p.transaction_number == refund.refund_id
        ]
        assert sorted(p.amount.minor_units for p in taken) == [20, 30, 100]
