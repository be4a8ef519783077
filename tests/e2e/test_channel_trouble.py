"""Channels that time out, lie, repeat themselves or pay at the wrong moment: nothing is lost, nothing is believed."""

from __future__ import annotations

import asyncio

import pytest
from paycenter.transaction.v1 import transaction_core_pb2 as tc
from paycenter_client import new_request_id

from tests.e2e.center import Center, Shop


def settled(order: tc.Order) -> bool:
    """Whether money that no order needed went back."""
    return any(refund.automatic and refund.state == tc.REFUND_STATE_SUCCEEDED for refund in order.refunds)


async def close(shop: Shop, order: tc.Order) -> tc.Order:
    answer = await shop.client.transaction.CloseOrder(
        tc.CloseOrderRequest(
            request_id=new_request_id(), merchant_id=shop.merchant_id, order_id=order.order_id
        )
    )
    return answer.order


@pytest.mark.parametrize("channel", ["alipay", "wechat_pay"])
async def test_a_time_out_after_the_charge_is_unknown_until_the_channel_says_what_happened(
    center: Center, channel: str
) -> None:
    shop = await center.merchant()
    order = await shop.order(100)
    name = {"alipay": "alipay", "wechat_pay": "wechat"}[channel]
    request = shop.pay_request(order, getattr(shop, channel))
    fault = await center.sandbox.add_fault(
        channel=name, operation="pay", kind="timeout_after_charge", rate=1.0, count=1, seconds=8
    )
    answer = await center.client.transaction.PayOrder(request)
    assert await center.sandbox.fault_has_fired(fault)
    assert answer.attempt.state in {
        tc.ATTEMPT_STATE_UNKNOWN,
        tc.ATTEMPT_STATE_PAID,
        tc.ATTEMPT_STATE_SUCCEEDED,
    }
    paid = await shop.until(order, lambda seen: seen.state == tc.ORDER_STATE_PAID)
    assert len(paid.attempts) == 1
    assert await shop.balance() == 100


async def test_a_502_with_html_is_not_taken_for_an_answer(center: Center) -> None:
    shop = await center.merchant()
    order = await shop.order(100)
    await center.sandbox.add_fault(
        channel="wechat", operation="pay", kind="bad_gateway_after", rate=1.0, count=1
    )
    attempt = await shop.begin(order, shop.wechat_pay)
    assert attempt.state in {tc.ATTEMPT_STATE_UNKNOWN, tc.ATTEMPT_STATE_PENDING}
    await shop.pays(attempt)
    await shop.until(order, lambda seen: seen.state == tc.ORDER_STATE_PAID)


async def test_paid_after_close_is_booked_and_goes_back_by_itself(center: Center) -> None:
    shop = await center.merchant()
    order = await shop.order(100)
    attempt = await shop.begin(order, shop.alipay)
    await close(shop, order)
    await shop.until(order, lambda seen: seen.state == tc.ORDER_STATE_CLOSED)
    await shop.pays(attempt, force=True)
    seen = await shop.until(order, settled)
    assert seen.state == tc.ORDER_STATE_CLOSED
    assert seen.attempts[0].state == tc.ATTEMPT_STATE_SUPERSEDED
    assert (await shop.transit(), seen.paid_amount.minor_units) == (0, 0)
    assert await center.violations() == []


async def test_paid_on_both_channels_one_is_kept_and_the_other_goes_back(center: Center) -> None:
    shop = await center.merchant()
    order = await shop.order(100)
    first = await shop.begin(order, shop.alipay)
    second = await shop.begin(order, shop.wechat_pay)
    await asyncio.gather(shop.pays(first, force=True), shop.pays(second, force=True))
    seen = await shop.until(order, settled)
    states = sorted(tc.AttemptState.Name(attempt.state) for attempt in seen.attempts)
    assert states == ["ATTEMPT_STATE_SUCCEEDED", "ATTEMPT_STATE_SUPERSEDED"]
    assert (await shop.balance(), await shop.transit()) == (100, 0)
    assert seen.state == tc.ORDER_STATE_PAID


async def test_the_loser_of_a_switch_of_channels_is_closed_at_its_channel(center: Center) -> None:
    shop = await center.merchant()
    order = await shop.order(100)
    first = await shop.begin(order, shop.alipay)
    second = await shop.begin(order, shop.wechat_pay)
    await shop.pays(second)
    seen = await shop.until(
        order,
        lambda seen: (
            {attempt.state for attempt in seen.attempts}
            == {tc.ATTEMPT_STATE_SUCCEEDED, tc.ATTEMPT_STATE_CLOSED}
        ),
    )
    loser = next(attempt for attempt in seen.attempts if attempt.attempt_id == first.attempt_id)
    assert loser.state == tc.ATTEMPT_STATE_CLOSED


@pytest.mark.parametrize(
    ("kind", "refusal"),
    [
        ("forged_notice", "SIGNATURE_INVALID"),
        ("flipped_byte_notice", "SIGNATURE_INVALID"),
        ("unsigned_notice", "UNSIGNED"),
        ("wrong_amount_notice", "AMOUNT_MISMATCH"),
        ("other_merchant_notice", "ACCOUNT_MISMATCH"),
        ("other_order_notice", "ORDER_NOT_FOUND"),
    ],
)
@pytest.mark.parametrize("channel", ["alipay", "wechat_pay"])
async def test_a_notice_that_lies_is_refused_stored_and_changes_nothing(
    center: Center, channel: str, kind: str, refusal: str
) -> None:
    shop = await center.merchant()
    account = getattr(shop, channel)
    name = {"alipay": "alipay", "wechat_pay": "wechat"}[channel]
    order = await shop.order(100)
    attempt = await shop.begin(order, account)
    number = await shop.channel_order_id(attempt)
    await center.sandbox.add_fault(
        channel=name, operation="notice", out_trade_no=number, kind="no_notice", count=1
    )
    await center.sandbox.pay(number)
    before = center.rows("channel", "SELECT version FROM channel_order WHERE channel_order_id = %s", number)
    assert not await center.sandbox.lie(number, kind=kind)
    stored = center.rows(
        "channel", "SELECT state, refusal FROM notice WHERE payment_account_id = %s", account
    )
    assert ("REFUSED", refusal) in [(row["state"], row["refusal"]) for row in stored]
    after = center.rows("channel", "SELECT version FROM channel_order WHERE channel_order_id = %s", number)
    assert before[0]["version"] == after[0]["version"]


async def test_a_notice_that_comes_twice_books_once(center: Center) -> None:
    shop = await center.merchant()
    order = await shop.order(100)
    attempt = await shop.begin(order, shop.alipay)
    number = await shop.channel_order_id(attempt)
    await center.sandbox.add_fault(
        channel="alipay", operation="notice", out_trade_no=number, kind="duplicate_notice", count=1
    )
    await center.sandbox.pay(number)
    await shop.until(order, lambda seen: seen.state == tc.ORDER_STATE_PAID)
    assert await shop.balance() == 100
    journals = center.rows(
        "accounting",
        "SELECT event_code FROM journal WHERE business_id = %s ORDER BY create_time",
        order.business_id,
    )
    assert [row["event_code"] for row in journals] == ["RECHARGE", "TRANSFER"]
