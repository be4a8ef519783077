"""Attempts to carry an order out."""

from __future__ import annotations

import asyncio

from paycenter.transaction.v1 import transaction_core_pb2 as tc
from paycenter.type.v1 import credential_pb2, party_pb2

from runtime.errors import FieldViolation, Reason
from runtime.ids import new_request_id
from tests.integration.transaction.desk import PC, QR, USER, Desk, owner
from tests.integration.transaction.fake_payment_core import FAILED, UNKNOWN


async def test_an_attempt_is_sent_with_the_orders_amount_into_the_payers_transit(quiet_desk: Desk) -> None:
    order = await quiet_desk.order(1000)
    answer = await quiet_desk.caller.call("PayOrder", quiet_desk.pay_request(order))
    assert (answer.order.state, answer.attempt.state) == (tc.ORDER_STATE_PAYING, tc.ATTEMPT_STATE_PENDING)
    assert answer.attempt.credential.qr_code.code_url
    [(method, request)] = quiet_desk.payment_core.calls
    assert (method, request.amount.minor_units, request.payer_transit) == ("CreateRecharge", 1000, True)
    assert (request.order_id, request.transaction_number) == (order.order_id, answer.attempt.attempt_id)
    assert request.expire_time == order.expire_time
    assert quiet_desk.payment_core.of(answer.attempt.attempt_id).business_id == order.business_id
    assert quiet_desk.events_of(order) == [
        ("ORDER_CREATED", 1),
        ("ATTEMPT_CHANGED", 2),
        ("ATTEMPT_CHANGED", 3),
    ]


async def test_the_same_request_pays_once_also_at_once(quiet_desk: Desk) -> None:
    order = await quiet_desk.order()
    request = quiet_desk.pay_request(order)
    first = await quiet_desk.caller.call("PayOrder", request)
    assert await quiet_desk.caller.call("PayOrder", request) == first
    assert quiet_desk.caller.last_metadata["x-idempotent-replay"] == "true"
    request = quiet_desk.pay_request(order, invoke_method=PC)
    answers = await asyncio.gather(
        *(quiet_desk.caller.call("PayOrder", request) for _ in range(4)), return_exceptions=True
    )
    assert sum(isinstance(one, tc.PayOrderResponse) for one in answers) >= 1
    assert quiet_desk.payment_core.count("CreateRecharge") == 2
    request.payment_account_id = "K2"
    assert (await quiet_desk.refused("PayOrder", request)).reason is Reason.IDEMPOTENCY_KEY_REUSED


async def test_who_may_not_pay_is_refused(quiet_desk: Desk) -> None:
    order = await quiet_desk.order()
    request = quiet_desk.pay_request(order, merchant_id="M9")
    refused = await quiet_desk.refused("PayOrder", request)
    assert (refused.reason, refused.violations[0].field) == (Reason.MERCHANT_MISMATCH, "merchant_id")
    for number in ("O0000", order.order_id.replace(order.order_id[5], "Z", 1), "A" + order.order_id[1:]):
        request = quiet_desk.pay_request(order, order_id=number)
        assert (await quiet_desk.refused("PayOrder", request)).reason is Reason.ORDER_NOT_FOUND
    request = quiet_desk.pay_request(order, invoke_method=credential_pb2.INVOKE_METHOD_UNSPECIFIED)
    refused = await quiet_desk.refused("PayOrder", request)
    assert (refused.reason, refused.violations[0].field) == (Reason.FIELD_INVALID, "invoke_method")
    quiet_desk.caller.tenant_id = "somebody-else"
    request = quiet_desk.pay_request(order)
    assert (await quiet_desk.refused("PayOrder", request)).reason is Reason.TENANT_FORBIDDEN
    assert quiet_desk.payment_core.calls == []


async def test_a_closed_order_cannot_be_paid(quiet_desk: Desk) -> None:
    order = await quiet_desk.order()
    await quiet_desk.close(order)
    refused = await quiet_desk.refused("PayOrder", quiet_desk.pay_request(order))
    assert refused.reason is Reason.ORDER_STATE_INVALID
    assert (refused.metadata["current"], refused.metadata["allowed"]) == ("CLOSED", "CREATED,PAYING")


async def test_a_payer_may_switch_but_not_begin_the_same_way_twice(quiet_desk: Desk) -> None:
    order = await quiet_desk.order()
    first = await quiet_desk.pay(order, payment_account_id="K1", invoke_method=QR)
    refused = await quiet_desk.refused("PayOrder", quiet_desk.pay_request(order))
    assert (refused.reason, refused.metadata["attemptId"]) == (Reason.ATTEMPT_IN_PROGRESS, first.attempt_id)
    await quiet_desk.pay(order, payment_account_id="K2", invoke_method=QR)
    await quiet_desk.pay(order, payment_account_id="K1", invoke_method=PC)
    assert [a.state for a in (await quiet_desk.see(order)).attempts] == [tc.ATTEMPT_STATE_PENDING] * 3


async def test_the_same_way_is_open_again_when_the_first_failed(quiet_desk: Desk) -> None:
    order = await quiet_desk.order()
    quiet_desk.payment_core.first_state["CreateRecharge"] = FAILED
    failed = await quiet_desk.pay(order)
    assert failed.state == tc.ATTEMPT_STATE_FAILED
    quiet_desk.payment_core.first_state.clear()
    assert (await quiet_desk.pay(order)).state == tc.ATTEMPT_STATE_PENDING


async def test_the_same_way_is_open_again_when_no_credential_came_in_time(quiet_desk: Desk) -> None:
    order = await quiet_desk.order()
    quiet_desk.payment_core.first_state["CreateRecharge"] = UNKNOWN
    unknown = await quiet_desk.pay(order)
    assert unknown.state == tc.ATTEMPT_STATE_UNKNOWN
    assert (
        await quiet_desk.refused("PayOrder", quiet_desk.pay_request(order))
    ).reason is Reason.ATTEMPT_IN_PROGRESS
    quiet_desk.sql("UPDATE attempt SET create_time = create_time - interval '16 seconds'")
    quiet_desk.payment_core.first_state.clear()
    assert (await quiet_desk.pay(order)).state == tc.ATTEMPT_STATE_PENDING


async def test_money_that_goes_out_is_never_tried_twice_at_once(quiet_desk: Desk) -> None:
    withdrawal = tc.Withdrawal(
        balance_owner=owner(USER, "u1"), payee=party_pb2.Payee(channel_payee_id="openid-1", real_name="Li")
    )
    order = await quiet_desk.order(500, withdrawal=withdrawal)
    first = await quiet_desk.pay(order, payment_account_id="")
    quiet_desk.sql("UPDATE attempt SET create_time = create_time - interval '1 hour'")
    for account in ("", "K1", "K2"):
        request = quiet_desk.pay_request(order, payment_account_id=account, invoke_method=PC)
        refused = await quiet_desk.refused("PayOrder", request)
        assert (refused.reason, refused.metadata["attemptId"]) == (
            Reason.ATTEMPT_IN_PROGRESS,
            first.attempt_id,
        )
    assert quiet_desk.payment_core.count("CreateWithdrawal") == 1
    request = quiet_desk.payment_core.calls[0][1]
    assert (request.balance_owner, request.payee.channel_payee_id) == (owner(USER, "u1"), "openid-1")


async def test_what_payment_core_refuses_is_answered_as_it_is_and_the_order_stays_payable(
    quiet_desk: Desk,
) -> None:
    order = await quiet_desk.order()
    violation = FieldViolation(field="payer.channel_payer_id", description="is missing", rule="REQUIRED")
    quiet_desk.payment_core.refuse(
        "CreateRecharge",
        Reason.FIELD_INVALID,
        "no openid",
        violations=[violation],
        metadata={"channel": "wechat"},
    )
    request = quiet_desk.pay_request(order)
    refused = await quiet_desk.refused("PayOrder", request)
    assert (refused.reason, refused.message) == (Reason.FIELD_INVALID, "no openid")
    assert (refused.violations[0].field, refused.metadata["channel"]) == ("payer.channel_payer_id", "wechat")
    again = await quiet_desk.refused("PayOrder", request)
    assert (again.reason, again.message, again.violations, again.metadata) == (
        refused.reason,
        refused.message,
        refused.violations,
        refused.metadata,
    )
    assert quiet_desk.payment_core.count("CreateRecharge") == 1
    seen = await quiet_desk.see(order)
    assert (seen.state, seen.attempts[0].state) == (tc.ORDER_STATE_PAYING, tc.ATTEMPT_STATE_FAILED)
    assert (await quiet_desk.pay(order)).state == tc.ATTEMPT_STATE_PENDING
    await quiet_desk.invariants_hold()


async def test_a_silent_payment_core_leaves_the_attempt_created_and_repair_sends_the_very_same_request(
    quiet_desk: Desk,
) -> None:
    order = await quiet_desk.order()
    quiet_desk.payment_core.deaf.add("CreateRecharge")
    request = quiet_desk.pay_request(order, authorization_code="287634438256643945")
    answer = await quiet_desk.caller.call("PayOrder", request)
    assert (answer.attempt.state, answer.order.state) == (tc.ATTEMPT_STATE_CREATED, tc.ORDER_STATE_PAYING)
    quiet_desk.payment_core.deaf.clear()
    quiet_desk.make_due()
    await quiet_desk.step("repair-attempt")
    seen = await quiet_desk.see(order)
    assert [a.state for a in seen.attempts] == [tc.ATTEMPT_STATE_PENDING]
    sent = [call for method, call in quiet_desk.payment_core.calls if method == "CreateRecharge"]
    assert len(sent) == 2
    assert sent[0] == sent[1]
    assert sent[0].authorization_code == "287634438256643945"
    assert await quiet_desk.caller.call("PayOrder", request) == answer
    assert quiet_desk.sql("SELECT instruction ? 'authorization_code' FROM attempt") == [(False,)]


async def test_an_answer_that_was_lost_is_found_by_repeating_the_request(quiet_desk: Desk) -> None:
    order = await quiet_desk.order()
    quiet_desk.payment_core.silent.add("CreateRecharge")
    assert (await quiet_desk.pay(order)).state == tc.ATTEMPT_STATE_CREATED
    quiet_desk.payment_core.silent.clear()
    quiet_desk.make_due()
    await quiet_desk.step("repair-attempt")
    seen = await quiet_desk.see(order)
    assert seen.attempts[0].state == tc.ATTEMPT_STATE_PENDING
    assert len(quiet_desk.payment_core.payments) == 1


async def test_a_caller_that_gives_up_cancels_nothing(desk: Desk) -> None:
    order = await desk.order()
    call = desk.caller.stub.PayOrder(desk.pay_request(order), metadata=desk.caller.metadata, timeout=20)
    await asyncio.sleep(0.005)
    call.cancel()
    seen = await desk.see(order)
    if seen.attempts:  # the call had arrived before it was given up
        from tests.integration.transaction.desk import eventually

        await eventually(
            lambda: desk.see(order), lambda now: now.attempts[0].state == tc.ATTEMPT_STATE_PENDING
        )


async def test_an_expired_order_cannot_be_paid_before_the_worker_has_seen_it(quiet_desk: Desk) -> None:
    order = await quiet_desk.order()
    quiet_desk.sql("UPDATE orders SET expire_time = now() - interval '1 second'")
    refused = await quiet_desk.refused("PayOrder", quiet_desk.pay_request(order, request_id=new_request_id()))
    assert refused.reason is Reason.ORDER_STATE_INVALID
