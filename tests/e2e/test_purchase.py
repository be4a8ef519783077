"""A payment goes end to end: order, channel, notice, books, callback, refund."""

from __future__ import annotations

import asyncio

import pytest
from paycenter.transaction.v1 import transaction_core_pb2 as tc
from paycenter.type.v1 import party_pb2

from tests.e2e.center import MINI_PROGRAM, PC, QR, Center, eventually, in_seconds, yuan


@pytest.mark.parametrize(
    ("channel", "method", "form"),
    [
        ("alipay", QR, "qr_code"),
        ("alipay", PC, "redirect"),
        ("wechat_pay", QR, "qr_code"),
        ("wechat_pay", MINI_PROGRAM, "in_app_call"),
    ],
)
async def test_a_purchase_is_paid_booked_told_and_partly_refunded(
    center: Center, channel: str, method: int, form: str
) -> None:
    shop = await center.merchant()
    order = await shop.order(1000)
    attempt = await shop.begin(order, getattr(shop, channel), method)  # type: ignore[arg-type]
    assert attempt.credential.WhichOneof("form") == form
    assert (await shop.see(order)).state == tc.ORDER_STATE_PAYING
    await shop.pays(attempt)
    paid = await shop.until(order, lambda seen: seen.state == tc.ORDER_STATE_PAID)
    assert (paid.paid_amount.minor_units, paid.winning_attempt_id) == (1000, attempt.attempt_id)
    assert (await shop.balance(), await shop.transit()) == (1000, 0)

    refund = await shop.refund(order, 300)
    seen = await shop.until(order, lambda seen: seen.state == tc.ORDER_STATE_PARTLY_REFUNDED)
    assert (seen.refunded_amount.minor_units, seen.refunding_amount.minor_units) == (300, 0)
    assert await shop.balance() == 700

    async with eventually():
        while len(told := center.business.callbacks_of(order.order_id)) < 2:
            await asyncio.sleep(0.05)
    assert [each.event_type for each in told] == ["ORDER_PAID", "REFUND_SUCCEEDED"]
    assert seen.refunds[0].refund_id == refund.refund_id


async def test_refunds_go_on_until_everything_went_back(center: Center) -> None:
    shop = await center.merchant()
    order = await shop.paid(100, shop.wechat_pay)
    for part in (30, 30, 40):
        await shop.refund(order, part)
        await shop.until(order, lambda seen: seen.refunding_amount.minor_units == 0)
    assert (await shop.see(order)).state == tc.ORDER_STATE_REFUNDED
    assert await shop.balance() == 0


async def test_a_recharge_a_transfer_and_a_withdrawal_move_a_users_money(center: Center) -> None:
    shop = await center.merchant()
    user = party_pb2.AccountOwner(kind=party_pb2.ACCOUNT_OWNER_KIND_USER, owner_id=f"u-{shop.merchant_id}")
    merchant = party_pb2.AccountOwner(kind=party_pb2.ACCOUNT_OWNER_KIND_MERCHANT, owner_id=shop.merchant_id)
    recharge = await shop.order(500, purchase=None, recharge=tc.Recharge(balance_owner=user))
    await shop.pays(await shop.begin(recharge, shop.alipay))
    await shop.until(recharge, lambda seen: seen.state == tc.ORDER_STATE_PAID)

    transfer = await shop.order(
        200, purchase=None, transfer=tc.Transfer(source_owner=user, destination_owner=merchant)
    )
    await shop.begin(transfer)
    await shop.until(transfer, lambda seen: seen.state == tc.ORDER_STATE_PAID)
    assert await shop.balance() == 200

    payee = party_pb2.Payee(channel_payee_id="payee-1")
    for account in (shop.alipay, shop.wechat_pay):
        withdrawal = await shop.order(
            150, purchase=None, withdrawal=tc.Withdrawal(balance_owner=user, payee=payee)
        )
        await shop.begin(withdrawal, account)
        await shop.until(withdrawal, lambda seen: seen.state == tc.ORDER_STATE_PAID)
    too_much = await shop.order(1, purchase=None, withdrawal=tc.Withdrawal(balance_owner=user, payee=payee))
    await shop.begin(too_much, shop.alipay)
    failed = await shop.until(too_much, lambda seen: seen.state == tc.ORDER_STATE_FAILED)
    assert failed.attempts[0].failure_reason == "INSUFFICIENT_FUNDS"


async def test_a_split_purchase_reaches_every_receiver(center: Center) -> None:
    shop = await center.merchant()
    partner = await center.merchant()

    def owner(merchant_id: str) -> party_pb2.AccountOwner:
        return party_pb2.AccountOwner(kind=party_pb2.ACCOUNT_OWNER_KIND_MERCHANT, owner_id=merchant_id)

    split = tc.SplitPurchase(
        receivers=[
            party_pb2.SplitReceiver(receiver=owner(partner.merchant_id), amount=yuan(33)),
            party_pb2.SplitReceiver(receiver=owner(shop.merchant_id), remainder=True),
        ]
    )
    await shop.paid(100, purchase=None, split_purchase=split)
    assert (await shop.balance(), await partner.balance()) == (67, 33)


async def test_an_order_that_nobody_pays_expires_at_the_channel_too(center: Center) -> None:
    shop = await center.merchant()
    order = await shop.order(100, expire_time=in_seconds(1.5))
    await shop.begin(order, shop.wechat_pay)
    expired = await shop.until(order, lambda seen: seen.state == tc.ORDER_STATE_EXPIRED)
    assert expired.attempts[0].state == tc.ATTEMPT_STATE_CLOSED
    states = center.rows(
        "channel", "SELECT state FROM channel_order WHERE business_id = %s", expired.business_id
    )
    assert [row["state"] for row in states] == ["CLOSED"]


async def test_everything_holds_afterwards(center: Center) -> None:
    shop = await center.merchant()
    order = await shop.paid(100)
    await shop.refund(order, 10)
    await shop.until(order, lambda seen: seen.state == tc.ORDER_STATE_PARTLY_REFUNDED)
    assert await center.violations() == []
