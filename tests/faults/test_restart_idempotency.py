"""A request id means the same before and after kill -9: the same answer, and never a second effect."""

from __future__ import annotations

import asyncio

import pytest
from paycenter.transaction.v1 import transaction_core_pb2 as tc
from paycenter_client import new_request_id

from tests.e2e.center import Center, Shop, yuan
from tests.faults.convergence import Convergence
from tests.faults.patience import insist, insist_at_sandbox
from tests.faults.plans import PlannedOrder, Story

SERVERS = ["transaction", "payment"]
AMOUNT, REFUND = 1000, 300


def refund_request(shop: Shop, order: tc.Order) -> tc.CreateRefundRequest:
    return tc.CreateRefundRequest(
        request_id=new_request_id(),
        merchant_id=shop.merchant_id,
        order_id=order.order_id,
        amount=yuan(REFUND),
        reason="returned",
    )


async def restart_by_force(center: Center, name: str) -> None:
    await asyncio.to_thread(center.running.stack.kill, name)
    await asyncio.to_thread(center.running.stack.start_process, name)


def effects_of(center: Center, order: tc.Order) -> dict[str, list[str]]:
    """What an order has caused, service by service."""
    reads = {
        "orders": ("transaction", "SELECT kind FROM orders WHERE business_id = %s"),
        "attempts": ("transaction", "SELECT 'ATTEMPT' AS kind FROM attempt WHERE business_id = %s"),
        "refunds": ("transaction", "SELECT 'REFUND' AS kind FROM refund WHERE business_id = %s"),
        "payments": ("payment", "SELECT kind FROM payment WHERE business_id = %s ORDER BY kind"),
        "channel orders": ("channel", "SELECT kind FROM channel_order WHERE business_id = %s ORDER BY kind"),
        "journals": (
            "accounting",
            "SELECT event_code AS kind FROM journal WHERE business_id = %s ORDER BY 1",
        ),
    }
    return {
        name: [row["kind"] for row in center.rows(database, query, order.business_id)]
        for name, (database, query) in reads.items()
    }


ONE_OF_EACH = {
    "orders": ["PURCHASE"],
    "attempts": ["ATTEMPT"],
    "refunds": ["REFUND"],
    "payments": ["RECHARGE", "REFUND", "TRANSFER"],
    "channel orders": ["PAY", "REFUND"],
    "journals": ["RECHARGE", "REFUND", "TRANSFER"],
}


@pytest.mark.parametrize("name", SERVERS)
@pytest.mark.parametrize("channel", ["alipay", "wechat_pay"])
async def test_the_answer_is_the_same_after_the_kill_and_nothing_happens_twice(
    center: Center, name: str, channel: str
) -> None:
    shop = await center.merchant()
    transaction = center.client.transaction
    create = shop.order_request(AMOUNT)
    created = await transaction.CreateOrder(create)
    pay = shop.pay_request(created.order, getattr(shop, channel))
    paying = await transaction.PayOrder(pay)
    await shop.pays(paying.attempt)
    await shop.until(created.order, lambda seen: seen.state == tc.ORDER_STATE_PAID)
    give_back = refund_request(shop, created.order)
    refunding = await transaction.CreateRefund(give_back)

    await restart_by_force(center, name)

    assert await insist(lambda: transaction.CreateOrder(create)) == created
    assert await insist(lambda: transaction.PayOrder(pay)) == paying
    assert await insist(lambda: transaction.CreateRefund(give_back)) == refunding
    await shop.until(created.order, lambda seen: seen.refunded_amount.minor_units == REFUND)
    assert effects_of(center, created.order) == ONE_OF_EACH
    assert await shop.balance() == AMOUNT - REFUND


@pytest.mark.parametrize("name", SERVERS)
async def test_a_command_that_the_kill_struck_has_one_effect(center: Center, name: str) -> None:
    shop = await center.merchant()
    transaction = center.client.transaction
    paid = await shop.paid(AMOUNT, shop.wechat_pay)
    unpaid = await shop.order(AMOUNT)
    create, pay = shop.order_request(AMOUNT), shop.pay_request(unpaid, shop.alipay)
    give_back = refund_request(shop, paid)
    calls = [
        asyncio.create_task(insist(lambda: transaction.CreateOrder(create))),
        asyncio.create_task(insist(lambda: transaction.PayOrder(pay))),
        asyncio.create_task(insist(lambda: transaction.CreateRefund(give_back))),
    ]
    await asyncio.sleep(0.01)

    await restart_by_force(center, name)

    created, paying, refunding = await asyncio.gather(*calls)
    assert await transaction.CreateOrder(create) == created
    assert await transaction.PayOrder(pay) == paying
    assert await transaction.CreateRefund(give_back) == refunding
    await shop.until(
        unpaid,
        lambda seen: bool(seen.attempts and seen.attempts[0].credential.WhichOneof("form")),
    )
    number = await shop.channel_order_id((await shop.see(unpaid)).attempts[0])
    assert await insist_at_sandbox(lambda: center.sandbox.pay(number)) is None
    await shop.until(paid, lambda seen: seen.refunded_amount.minor_units == REFUND)
    await shop.until(unpaid, lambda seen: seen.state == tc.ORDER_STATE_PAID)
    assert effects_of(center, paid) == ONE_OF_EACH
    assert effects_of(center, unpaid) == ONE_OF_EACH | {
        "refunds": [],
        "payments": ["RECHARGE", "TRANSFER"],
        "channel orders": ["PAY"],
        "journals": ["RECHARGE", "TRANSFER"],
    }
    rows = center.rows(
        "transaction", "SELECT 1 FROM orders WHERE merchant_order_id = %s", create.merchant_order_id
    )
    assert len(rows) == 1
    planned = [
        PlannedOrder(0, Story.PARTLY_REFUNDED, "wechat_pay", AMOUNT, (REFUND,), paid),
        PlannedOrder(1, Story.PAID, "alipay", AMOUNT, (), unpaid),
    ]
    await Convergence(center, shop, planned).within(30)
