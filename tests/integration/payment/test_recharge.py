"""Recharges from the request to the booked money, and everything that can come between."""

from __future__ import annotations

import pytest
from paycenter.channel.v1 import channel_gateway_pb2 as channel_pb
from paycenter.errors.v1 import errors_pb2
from paycenter.payment.v1 import payment_core_pb2 as pb
from paycenter.type.v1 import credential_pb2, party_pb2

from runtime.errors import Reason
from tests.integration.payment.desk import Desk, user

ACCEPTED = channel_pb.CHANNEL_ORDER_STATE_ACCEPTED
SUCCEEDED = channel_pb.CHANNEL_ORDER_STATE_SUCCEEDED
DECLINED = channel_pb.CHANNEL_ORDER_STATE_DECLINED
NOT_SENT = channel_pb.CHANNEL_ORDER_STATE_NOT_SENT
UNKNOWN = channel_pb.CHANNEL_ORDER_STATE_UNKNOWN


async def test_a_purchase_is_pending_until_the_channel_says_paid_and_is_then_booked(desk: Desk) -> None:
    pending = await desk.recharge(10_000)
    assert pending.state == pb.PAYMENT_STATE_PENDING
    assert pending.credential.qr_code.code_url.startswith("testpay://")
    assert pending.business_id == desk.business_id
    assert not desk.ledger.journals

    desk.gateway.move(pending.payment_id, SUCCEEDED)
    await desk.hear(pending.payment_id)

    paid = await desk.get(pending.payment_id)
    journal = desk.ledger.journal_of(pending.payment_id)
    assert paid.state == pb.PAYMENT_STATE_SUCCEEDED
    assert paid.journal_id == journal.journal_id
    assert paid.channel_fee.minor_units == 60
    assert paid.channel_transaction_id
    assert not paid.HasField("credential")
    assert desk.ledger.balances[desk.transit] == 10_000
    assert desk.ledger.balances[desk.clearing] == -9_940
    assert desk.ledger.balances[f"5101:{desk.merchant_id}:CNY"] == -60
    assert journal.business_id == desk.business_id
    assert await desk.events_of(pending.payment_id) == [
        (1, "PAYMENT_ACCEPTED"),
        (2, "PAYMENT_CHANGED"),
        (3, "PAYMENT_SUCCEEDED"),
    ]
    assert await desk.violations() == []


async def test_the_steps_of_a_payment_tell_what_was_done(desk: Desk) -> None:
    pending = await desk.recharge()
    states = {step.kind: step.state for step in pending.steps}
    assert states[pb.PAYMENT_STEP_KIND_ROUTE] == pb.PAYMENT_STEP_STATE_DONE
    assert states[pb.PAYMENT_STEP_KIND_INVOKE_CHANNEL] == pb.PAYMENT_STEP_STATE_DONE
    assert states[pb.PAYMENT_STEP_KIND_POST_JOURNAL] == pb.PAYMENT_STEP_STATE_DUE
    rows = await desk.sql(
        "SELECT step, state FROM payment_step WHERE payment_id = :number", number=pending.payment_id
    )
    assert ("INVOKE_CHANNEL", "DONE") in [(row[0], row[1]) for row in rows]


async def test_a_channel_that_pays_at_once_gives_a_succeeded_answer(desk: Desk) -> None:
    desk.gateway.next_states = [SUCCEEDED]
    paid = await desk.recharge(
        500, invoke_method=credential_pb2.INVOKE_METHOD_BARCODE, authorization_code="2801"
    )
    assert paid.state == pb.PAYMENT_STATE_SUCCEEDED
    assert desk.ledger.journal_of(paid.payment_id).journal_id == paid.journal_id


async def test_a_recharge_of_a_wallet_reaches_the_users_balance(desk: Desk) -> None:
    desk.gateway.next_states = [SUCCEEDED]
    paid = await desk.recharge(700, balance_owner=user("user-7"))
    assert paid.destination_account_id == "2102:user-7:CNY"
    assert desk.ledger.balances["2102:user-7:CNY"] == 700


@pytest.mark.parametrize(
    ("state", "reason", "safety", "advice"),
    [
        (
            DECLINED,
            "PAYER_FUNDS_INSUFFICIENT",
            errors_pb2.OUTCOME_SAFETY_DECLINED,
            pb.FAILURE_ADVICE_RETRY_OTHER_CHANNEL,
        ),
        (NOT_SENT, "NOT_REACHED", errors_pb2.OUTCOME_SAFETY_NOT_SENT, pb.FAILURE_ADVICE_RETRY_OTHER_CHANNEL),
    ],
)
async def test_a_refusal_of_the_channel_fails_the_payment_with_its_reason(
    desk: Desk,
    state: channel_pb.ChannelOrderState.ValueType,
    reason: str,
    safety: errors_pb2.OutcomeSafety.ValueType,
    advice: pb.FailureAdvice.ValueType,
) -> None:
    desk.gateway.next_states = [state]
    failed = await desk.recharge()
    assert failed.state == pb.PAYMENT_STATE_FAILED
    assert (failed.failure.reason, failed.failure.outcome_safety, failed.failure.advice) == (
        reason,
        safety,
        advice,
    )
    assert not desk.ledger.journals
    assert await desk.repair() == 0
    assert await desk.violations() == []


async def test_an_unknown_outcome_is_never_failed_by_the_clock_and_resolved_by_query(desk: Desk) -> None:
    desk.gateway.next_states = [UNKNOWN]
    unknown = await desk.recharge()
    assert unknown.state == pb.PAYMENT_STATE_UNKNOWN
    assert unknown.failure.advice == pb.FAILURE_ADVICE_WAIT

    for _ in range(8):
        await desk.repair(wait_seconds=0.003)
    needs_person = await desk.get(unknown.payment_id)
    assert needs_person.state == pb.PAYMENT_STATE_IN_REVIEW
    assert (await desk.events_of(unknown.payment_id))[-1][1] == "PAYMENT_REVIEW_NEEDED"

    desk.gateway.move(unknown.payment_id, SUCCEEDED)
    await desk.repair(wait_seconds=0.003)
    assert (await desk.get(unknown.payment_id)).state == pb.PAYMENT_STATE_SUCCEEDED
    assert await desk.violations() == []


async def test_a_silent_gateway_leaves_the_outcome_open_and_the_same_request_is_repeated(desk: Desk) -> None:
    desk.gateway.faults.be_silent("CreateChannelPayment", times=4)
    unknown = await desk.recharge()
    assert unknown.state == pb.PAYMENT_STATE_UNKNOWN
    await desk.repair()
    assert (await desk.get(unknown.payment_id)).state == pb.PAYMENT_STATE_PENDING
    assert len({request.SerializeToString() for request in desk.gateway.payments_seen}) == 1


async def test_a_lost_answer_gives_one_channel_order(desk: Desk) -> None:
    desk.gateway.faults.lose_answer("CreateChannelPayment", times=4)
    unknown = await desk.recharge()
    assert unknown.state == pb.PAYMENT_STATE_UNKNOWN
    await desk.repair()
    pending = await desk.get(unknown.payment_id)
    assert pending.state == pb.PAYMENT_STATE_PENDING
    assert pending.channel_order_id == desk.gateway.order_of(unknown.payment_id).channel_order_id
    assert len(desk.gateway.orders) == 1


async def test_a_slow_gateway_is_an_answer_with_an_open_outcome(desk: Desk) -> None:
    desk.gateway.faults.slow_seconds["CreateChannelPayment"] = 1.2
    assert (await desk.recharge()).state == pb.PAYMENT_STATE_UNKNOWN


async def test_what_provably_was_not_begun_stays_submitting_and_is_repeated(desk: Desk) -> None:
    desk.gateway.faults.refuse("CreateChannelPayment", Reason.OVERLOADED)
    submitting = await desk.recharge()
    assert submitting.state == pb.PAYMENT_STATE_SUBMITTING
    await desk.repair()
    assert (await desk.get(submitting.payment_id)).state == pb.PAYMENT_STATE_PENDING


async def test_a_late_refusal_of_the_gateway_fails_the_payment_with_that_reason(desk: Desk) -> None:
    desk.gateway.faults.refuse("CreateChannelPayment", Reason.PAYMENT_ACCOUNT_DISABLED)
    failed = await desk.recharge()
    assert failed.state == pb.PAYMENT_STATE_FAILED
    assert failed.failure.reason == "PAYMENT_ACCOUNT_DISABLED"
    assert failed.failure.outcome_safety == errors_pb2.OUTCOME_SAFETY_NOT_SENT


async def test_a_refusal_after_a_lost_answer_proves_nothing_and_the_gateway_is_asked(desk: Desk) -> None:
    desk.gateway.faults.lose_answer("CreateChannelPayment", times=4)
    unknown = await desk.recharge()
    desk.gateway.faults.refuse("CreateChannelPayment", Reason.PAYMENT_ACCOUNT_DISABLED)
    await desk.repair()
    assert (await desk.get(unknown.payment_id)).state == pb.PAYMENT_STATE_PENDING


async def test_another_amount_than_was_asked_for_goes_to_a_person(desk: Desk) -> None:
    pending = await desk.recharge(10_000)
    order = desk.gateway.move(pending.payment_id, SUCCEEDED)
    order.amount.minor_units = 1
    await desk.hear(pending.payment_id)
    reviewed = await desk.get(pending.payment_id)
    assert reviewed.state == pb.PAYMENT_STATE_IN_REVIEW
    assert reviewed.failure.reason == "MISMATCH"
    assert reviewed.failure.advice == pb.FAILURE_ADVICE_CONTACT_OPERATIONS
    assert not desk.ledger.journals


async def test_while_the_ledger_is_silent_a_paid_recharge_waits_for_its_booking(desk: Desk) -> None:
    desk.gateway.next_states = [SUCCEEDED]
    desk.ledger.faults.be_silent("PostEvent", times=4)
    waiting = await desk.recharge()
    assert waiting.state == pb.PAYMENT_STATE_PENDING
    await desk.repair()
    assert (await desk.get(waiting.payment_id)).state == pb.PAYMENT_STATE_SUCCEEDED
    desk.ledger.journal_of(waiting.payment_id)


async def test_what_the_ledger_refuses_to_book_goes_to_a_person_and_is_booked_later(desk: Desk) -> None:
    desk.ledger.frozen.add(desk.transit)
    desk.gateway.next_states = [SUCCEEDED]
    reviewed = await desk.recharge()
    assert reviewed.state == pb.PAYMENT_STATE_IN_REVIEW
    assert reviewed.failure.reason == "ACCOUNT_STATE_INVALID"
    assert reviewed.failure.outcome_safety == errors_pb2.OUTCOME_SAFETY_SUCCEEDED
    await desk.repair(wait_seconds=0.003)
    desk.ledger.frozen.clear()
    await desk.repair(wait_seconds=0.003)
    assert (await desk.get(reviewed.payment_id)).state == pb.PAYMENT_STATE_SUCCEEDED
    assert await desk.violations() == []


async def test_a_refusal_that_the_ledger_keeps_does_not_stand_in_the_way_of_a_later_booking(
    desk: Desk,
) -> None:
    desk.ledger.full.add(desk.transit)
    desk.gateway.next_states = [SUCCEEDED]
    reviewed = await desk.recharge()
    assert reviewed.failure.reason == "BALANCE_OVERFLOW"
    await desk.repair(wait_seconds=0.003)
    desk.ledger.full.clear()
    await desk.repair(wait_seconds=0.003)
    assert (await desk.get(reviewed.payment_id)).state == pb.PAYMENT_STATE_SUCCEEDED
    desk.ledger.journal_of(reviewed.payment_id)


async def test_the_cheapest_account_that_can_is_chosen_when_none_is_named(desk: Desk) -> None:
    dear = desk.gateway.open_account(desk.merchant_id, tenant_id="tenant-1", fee_ratio="0.01")
    cheap = desk.gateway.open_account(desk.merchant_id, tenant_id="tenant-1", fee_ratio="0.002")
    switched_off = desk.gateway.open_account(
        desk.merchant_id, tenant_id="tenant-1", channel="otherpay", fee_ratio="0"
    )
    desk.gateway.open_account(desk.merchant_id, tenant_id="tenant-1", fee_ratio="0.001", enabled=False)
    desk.gateway.channels["otherpay"] = False
    routed = await desk.recharge(payment_account_id="")
    assert routed.payment_account_id == cheap
    assert routed.payment_account_id not in (dear, switched_off)


async def test_a_case_without_a_business_id_gets_the_payments_number(desk: Desk) -> None:
    desk.business_id = ""
    pending = await desk.recharge()
    assert pending.business_id == pending.payment_id
    assert desk.gateway.order_of(pending.payment_id).business_id == pending.payment_id


async def test_query_asks_the_channel_and_books_what_it_says(desk: Desk) -> None:
    pending = await desk.recharge()
    request = pb.QueryPaymentRequest(payment_id=pending.payment_id)
    still = (await desk.call(desk.stub.QueryPayment, request)).payment
    assert still.state == pb.PAYMENT_STATE_PENDING
    desk.gateway.move(pending.payment_id, SUCCEEDED)
    paid = (await desk.call(desk.stub.QueryPayment, request)).payment
    assert paid.state == pb.PAYMENT_STATE_SUCCEEDED
    asked = desk.gateway.faults.calls["QueryChannelOrder"]
    await desk.call(desk.stub.QueryPayment, request)
    assert desk.gateway.faults.calls["QueryChannelOrder"] == asked


async def test_accounts_are_opened_once_in_a_process(desk: Desk) -> None:
    await desk.paid_recharge(100)
    opened = list(desk.ledger.opened)
    await desk.paid_recharge(100)
    assert desk.ledger.opened == opened
    assert len(opened) == len(set(opened)) == 3


async def test_what_the_payer_needs_goes_to_the_channel_unchanged(desk: Desk) -> None:
    payer = party_pb2.Payer(user_id="u", channel_payer_id="openid-1", client_ip="10.0.0.1")
    await desk.recharge(321, payer=payer, return_url="https://shop.example/back", subject="two teas")
    seen = desk.gateway.payments_seen[0]
    assert (seen.payer, seen.return_url, seen.subject) == (payer, "https://shop.example/back", "two teas")
    assert seen.amount.minor_units == 321
    assert seen.HasField("expire_time")
