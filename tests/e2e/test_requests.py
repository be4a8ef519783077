"""What a caller may rely on: once per request id, clear refusals, and nothing cancelled by giving up."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from paycenter.transaction.v1 import transaction_core_pb2 as tc
from paycenter_client import (
    AlreadyExists,
    CallerRejected,
    InvalidRequest,
    OutcomeUnknown,
    PaycenterError,
    PreconditionFailed,
    new_request_id,
)

from tests.e2e.center import Center, yuan


async def test_the_same_order_asked_for_many_times_at_once_is_taken_in_once(center: Center) -> None:
    shop = await center.merchant()
    request = shop.order_request()
    answers = await asyncio.gather(*[center.client.transaction.CreateOrder(request) for _ in range(6)])
    assert len({answer.SerializeToString(deterministic=True) for answer in answers}) == 1
    rows = center.rows(
        "transaction", "SELECT order_id FROM orders WHERE merchant_order_id = %s", request.merchant_order_id
    )
    assert [row["order_id"] for row in rows] == [answers[0].order.order_id]


async def test_the_same_attempt_asked_for_many_times_at_once_reaches_the_channel_once(center: Center) -> None:
    shop = await center.merchant()
    order = await shop.order()
    request = shop.pay_request(order, shop.wechat_pay)
    answers = await asyncio.gather(*[center.client.transaction.PayOrder(request) for _ in range(4)])
    assert len({answer.attempt.attempt_id for answer in answers}) == 1
    assert len({answer.attempt.credential.qr_code.code_url for answer in answers}) == 1
    rows = center.rows("channel", "SELECT 1 FROM channel_order WHERE business_id = %s", order.business_id)
    assert len(rows) == 1


async def test_the_same_refund_asked_for_twice_gives_back_once(center: Center) -> None:
    shop = await center.merchant()
    order = await shop.paid(100)
    request_id = new_request_id()
    first, second = await asyncio.gather(
        shop.refund(order, 60, request_id=request_id), shop.refund(order, 60, request_id=request_id)
    )
    assert first == second
    await shop.until(order, lambda seen: seen.state == tc.ORDER_STATE_PARTLY_REFUNDED)
    assert await shop.balance() == 40


async def test_a_request_id_with_another_body_is_refused(center: Center) -> None:
    shop = await center.merchant()
    request = shop.order_request()
    await center.client.transaction.CreateOrder(request)
    request.amount.minor_units += 1
    with pytest.raises(InvalidRequest) as error:
        await center.client.transaction.CreateOrder(request)
    assert (error.value.reason, error.value.field) == ("IDEMPOTENCY_KEY_REUSED", "request_id")


async def test_a_merchants_order_number_is_used_once_for_ever(center: Center) -> None:
    shop = await center.merchant()
    order = await shop.order()
    request = shop.order_request(merchant_order_id=order.merchant_order_id)
    with pytest.raises(AlreadyExists) as error:
        await center.client.transaction.CreateOrder(request)
    assert error.value.reason == "MERCHANT_ORDER_EXISTS"
    assert error.value.metadata["orderId"] == order.order_id


async def test_two_refunds_of_60_on_100_at_the_same_moment_one_succeeds(center: Center) -> None:
    shop = await center.merchant()
    order = await shop.paid(100, shop.wechat_pay)
    outcomes = await asyncio.gather(shop.refund(order, 60), shop.refund(order, 60), return_exceptions=True)
    refused = [outcome for outcome in outcomes if isinstance(outcome, PaycenterError)]
    assert [(error.reason, error.field) for error in refused] == [("REFUND_EXCEEDS_PAID", "amount")]
    seen = await shop.until(order, lambda seen: seen.refunded_amount.minor_units == 60)
    assert len(seen.refunds) == 1


@pytest.mark.parametrize(
    ("change", "reason", "field"),
    [
        ({"amount": yuan(0)}, "FIELD_INVALID", "amount"),
        ({"amount": yuan(-100)}, "FIELD_INVALID", "amount"),
        ({"amount": yuan(100, "QQQ")}, "CURRENCY_UNSUPPORTED", "amount.currency_code"),
        ({"amount": yuan(100, "cny")}, "FIELD_INVALID", "amount.currency_code"),
        ({"merchant_order_id": ""}, "FIELD_INVALID", "merchant_order_id"),
        ({"purchase": None}, "FIELD_INVALID", "purpose"),
        ({"notify_url": "ftp://x"}, "FIELD_INVALID", "notify_url"),
        ({"request_id": "7"}, "FIELD_INVALID", "request_id"),
    ],
)
async def test_a_bad_order_is_refused_with_reason_and_field(
    center: Center, change: dict[str, Any], reason: str, field: str
) -> None:
    shop = await center.merchant()
    with pytest.raises(InvalidRequest) as error:
        await shop.order(**change)
    assert error.value.reason == reason
    assert field in [violation.field for violation in error.value.violations]
    assert center.rows("transaction", "SELECT 1 FROM orders WHERE merchant_id = %s", shop.merchant_id) == []


async def test_a_bad_refund_is_refused_with_reason_and_field_and_changes_nothing(center: Center) -> None:
    shop, other = await center.merchant(), await center.merchant()
    order = await shop.paid(100)
    unpaid = await shop.order()
    cases: list[tuple[tc.Order, dict[str, Any], str, str | None]] = [
        (order, {"amount": yuan(0)}, "FIELD_INVALID", "amount"),
        (order, {"amount": yuan(-1)}, "FIELD_INVALID", "amount"),
        (order, {"amount": yuan(10, "USD")}, "CURRENCY_MISMATCH", "amount.currency_code"),
        (order, {"amount": yuan(101)}, "REFUND_EXCEEDS_PAID", "amount"),
        (order, {"merchant_id": other.merchant_id}, "MERCHANT_MISMATCH", "merchant_id"),
        (unpaid, {}, "ORDER_STATE_INVALID", None),
    ]
    for asked, change, reason, field in cases:
        with pytest.raises(PaycenterError) as error:
            await shop.refund(asked, 10, **change)
        assert error.value.reason == reason
        if field is not None:
            assert field in [violation.field for violation in error.value.violations]
    seen = await shop.see(order)
    assert (seen.etag, len(seen.refunds)) == (order.etag, 0)
    assert await shop.balance() == 100


async def test_another_tenant_learns_nothing_of_an_order(center: Center) -> None:
    shop = await center.merchant()
    order = await shop.order()
    async with center.client_of("shop", tenant_id="tenant-other") as stranger:
        with pytest.raises(CallerRejected) as error:
            await stranger.transaction.GetOrder(tc.GetOrderRequest(order_id=order.order_id))
    assert error.value.reason == "TENANT_FORBIDDEN"


async def test_a_caller_that_gives_up_after_5_ms_cancels_nothing_that_has_begun(center: Center) -> None:
    shop = await center.merchant()
    order = await shop.order()
    request = shop.pay_request(order, shop.alipay)
    with pytest.raises(OutcomeUnknown):
        await center.client.transaction.PayOrder(request, timeout=0.005)
    answer = await center.client.transaction.PayOrder(request)
    assert answer.attempt.credential.qr_code.code_url
    await shop.pays(answer.attempt)
    await shop.until(order, lambda seen: seen.state == tc.ORDER_STATE_PAID)
    assert len((await shop.see(order)).attempts) == 1


async def test_a_watch_goes_on_from_where_it_stopped(center: Center) -> None:
    shop = await center.merchant()
    order = await shop.paid(100)
    seen: list[tc.TransactionEvent] = []
    async with asyncio.timeout(20):
        async for event in center.client.watch_transactions(business_id=order.business_id):
            seen.append(event)
            if event.event_type == tc.TRANSACTION_EVENT_TYPE_ORDER_PAID:
                break
    assert [event.revision for event in seen] == sorted({event.revision for event in seen})
    again: list[tc.TransactionEvent] = []
    async with asyncio.timeout(20):
        async for event in center.client.watch_transactions(
            start_revision=seen[0].revision + 1, business_id=order.business_id
        ):
            again.append(event)
            if event.event_type == tc.TRANSACTION_EVENT_TYPE_ORDER_PAID:
                break
    assert again == seen[1:]


async def test_a_closed_order_takes_no_attempt(center: Center) -> None:
    shop = await center.merchant()
    order = await shop.order()
    await center.client.transaction.CloseOrder(
        tc.CloseOrderRequest(
            request_id=new_request_id(), merchant_id=shop.merchant_id, order_id=order.order_id
        )
    )
    with pytest.raises(PreconditionFailed) as error:
        await shop.begin(order)
    assert error.value.reason == "ORDER_STATE_INVALID"
    assert error.value.metadata["current"] == "CLOSED"
