"""Reading orders, lists and families."""

from __future__ import annotations

from typing import Any

import pytest
from paycenter.transaction.v1 import transaction_core_pb2 as tc
from paycenter.type.v1 import family_pb2

from runtime.errors import Reason
from runtime.ids import NumberKind, new_number
from tests.integration.transaction.desk import Desk, eventually


async def test_another_tenants_order_is_forbidden_and_another_merchants_refused(quiet_desk: Desk) -> None:
    order = await quiet_desk.order()
    wrong_merchant = tc.GetOrderRequest(order_id=order.order_id, merchant_id="M9")
    assert (await quiet_desk.refused("GetOrder", wrong_merchant)).reason is Reason.MERCHANT_MISMATCH
    for request, reason, field in (
        (tc.GetOrderRequest(), Reason.FIELD_INVALID, "order_id"),
        (tc.GetOrderRequest(merchant_order_id="shop-1"), Reason.FIELD_INVALID, "merchant_id"),
    ):
        refused = await quiet_desk.refused("GetOrder", request)
        assert (refused.reason, refused.violations[0].field) == (reason, field)
    for unknown in (
        tc.GetOrderRequest(order_id=new_number(NumberKind.ORDER, shard=7)),
        tc.GetOrderRequest(order_id="nonsense"),
        tc.GetOrderRequest(merchant_id=quiet_desk.merchant_id, merchant_order_id="shop-99"),
    ):
        assert (await quiet_desk.refused("GetOrder", unknown)).reason is Reason.ORDER_NOT_FOUND
    quiet_desk.caller.tenant_id = "somebody-else"
    requests: list[tuple[str, Any]] = [
        ("GetOrder", tc.GetOrderRequest(order_id=order.order_id)),
        ("QueryOrder", tc.QueryOrderRequest(order_id=order.order_id)),
        ("GetOrderFamily", tc.GetOrderFamilyRequest(number=order.order_id)),
    ]
    for method, request in requests:
        assert (await quiet_desk.refused(method, request)).reason is Reason.TENANT_FORBIDDEN


async def test_orders_are_listed_newest_first_by_pages(quiet_desk: Desk) -> None:
    orders = [await quiet_desk.order() for _ in range(5)]
    await quiet_desk.stranger.call("CreateOrder", quiet_desk.order_request())
    await quiet_desk.close(orders[0])
    token, pages = "", []
    for _ in range(3):
        request = tc.ListOrdersRequest(page_size=2, page_token=token)
        answer = await quiet_desk.caller.call("ListOrders", request)
        pages.append([order.order_id for order in answer.orders])
        token = answer.next_page_token
    assert [len(page) for page in pages] == [2, 2, 1]
    assert [number for page in pages for number in page] == [order.order_id for order in reversed(orders)]
    assert token == ""
    closed = await quiet_desk.caller.call("ListOrders", tc.ListOrdersRequest(state=tc.ORDER_STATE_CLOSED))
    assert [order.order_id for order in closed.orders] == [orders[0].order_id]
    nobody = await quiet_desk.caller.call("ListOrders", tc.ListOrdersRequest(merchant_id="M9"))
    assert list(nobody.orders) == []


@pytest.mark.parametrize("token", ["nonsense", "bm90aWZpY2F0aW9uczpO", "b3JkZXJz", "b3JkZXJzOic7LS0="])
async def test_a_page_token_that_is_not_ours_is_refused(quiet_desk: Desk, token: str) -> None:
    refused = await quiet_desk.refused("ListOrders", tc.ListOrdersRequest(page_token=token))
    assert (refused.reason, refused.violations[0].field) == (Reason.PAGE_TOKEN_INVALID, "page_token")


async def test_notifications_are_listed_newest_first(quiet_desk: Desk) -> None:
    orders = [await quiet_desk.order() for _ in range(3)]
    for order in orders:
        await quiet_desk.close(order)
    request = tc.ListNotificationsRequest(page_size=2, state=tc.NOTIFICATION_STATE_DUE)
    first = await quiet_desk.caller.call("ListNotifications", request)
    request.page_token = first.next_page_token
    second = await quiet_desk.caller.call("ListNotifications", request)
    told = [one.order_id for one in (*first.notifications, *second.notifications)]
    assert told == [order.order_id for order in reversed(orders)]
    none = tc.ListNotificationsRequest(order_id="nonsense")
    assert list((await quiet_desk.caller.call("ListNotifications", none)).notifications) == []


async def test_any_number_leads_to_the_whole_family(desk: Desk) -> None:
    order = await desk.paid_order(merchant_order_id="bill-7", merchant_serial_number="serial-7")
    refund = await desk.refund(order, 10, merchant_refund_id="back-7")
    attempt = order.attempts[0]
    desk.payment_core.members[order.business_id] = [
        family_pb2.FamilyMember(service="payment", kind="payment", number=attempt.payment_id),
        family_pb2.FamilyMember(service="channel", kind="channel_order", number="C7"),
        family_pb2.FamilyMember(service="accounting", kind="journal", number="J7"),
    ]
    [(notification_id,)] = desk.sql(
        "SELECT notification_id FROM notification WHERE event_type = 'ORDER_PAID'"
    )
    payment = desk.payment_core.of(attempt.attempt_id)
    numbers = [
        order.order_id,
        "bill-7",
        "serial-7",
        attempt.attempt_id,
        attempt.payment_id,
        attempt.transfer_payment_id,
        payment.channel_order_id,
        attempt.channel_transaction_id,
        refund.refund_id,
        refund.payment_id,
        "back-7",
        str(notification_id),
        "J7",
        "C7",
    ]
    families = [
        await desk.caller.call("GetOrderFamily", tc.GetOrderFamilyRequest(number=number))
        for number in numbers
    ]
    for number, found in zip(numbers, families, strict=True):
        assert (found.business_id, found.order.order_id) == (order.business_id, order.order_id), number
        kinds = sorted(member.kind for member in found.members)
        assert kinds == sorted(
            [
                "order",
                "attempt",
                "refund",
                "notification",
                "notification",
                "payment",
                "channel_order",
                "journal",
            ]
        )
        assert {m.business_id for m in found.members if m.service == "transaction"} == {order.business_id}


async def test_a_number_that_nobody_knows_and_a_silent_payment_core_are_told_apart(quiet_desk: Desk) -> None:
    for number in (
        "nothing",
        new_number(NumberKind.ATTEMPT, shard=3),
        new_number(NumberKind.PAYMENT, shard=3),
    ):
        refused = await quiet_desk.refused("GetOrderFamily", tc.GetOrderFamilyRequest(number=number))
        assert refused.reason is Reason.NUMBER_NOT_FOUND
    order = await quiet_desk.order()
    await quiet_desk.payment_core.stop()
    refused = await quiet_desk.refused("GetOrderFamily", tc.GetOrderFamilyRequest(number=order.order_id))
    assert refused.reason is Reason.DEPENDENCY_UNAVAILABLE


async def test_a_family_below_without_an_order_is_found_too(quiet_desk: Desk) -> None:
    member = family_pb2.FamilyMember(service="payment", kind="payment", number="P7")
    quiet_desk.payment_core.members["case-9"] = [member]
    found = await quiet_desk.caller.call("GetOrderFamily", tc.GetOrderFamilyRequest(number="P7"))
    assert (found.business_id, found.HasField("order"), list(found.members)) == ("case-9", False, [member])


async def test_reads_go_on_while_the_bus_is_empty_and_payment_core_is_down(desk: Desk) -> None:
    order = await desk.order()
    await desk.payment_core.stop()
    assert (await desk.see(order)).state == tc.ORDER_STATE_CREATED
    answer = await desk.caller.call("PayOrder", desk.pay_request(order))
    assert answer.attempt.state == tc.ATTEMPT_STATE_CREATED
    seen = await eventually(lambda: desk.see(order), lambda now: bool(now.attempts))
    assert seen.state == tc.ORDER_STATE_PAYING
