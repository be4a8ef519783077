"""One trace and one business identifier, from the order to the ledger and back by a notice that came later."""

from __future__ import annotations

import asyncio

from paycenter.transaction.v1 import transaction_core_pb2 as tc
from paycenter_client import business_case

from runtime.embedded.trace_store import TraceStore
from tests.e2e.center import Center, eventually


async def test_one_trace_is_found_in_all_four_services_the_bus_and_the_notice(center: Center) -> None:
    shop = await center.merchant()
    trace_id = "5" * 31 + "7"
    with business_case(traceparent=f"00-{trace_id}-{'3' * 16}-01"):
        order = await shop.order(100)
        attempt = await shop.begin(order, shop.wechat_pay)
    await asyncio.sleep(1)
    await shop.pays(attempt)
    await shop.until(order, lambda seen: seen.state == tc.ORDER_STATE_PAID)
    wanted = {"transaction", "payment", "channel", "accounting"}
    store = TraceStore(center.endpoints.trace_file)
    async with eventually(20):
        while True:
            spans = store.spans_of_trace(trace_id)
            services = {span.service.removeprefix("core.") for span in spans}
            kinds = {(span.service, span.kind.lower()) for span in spans}
            notice = [span for span in spans if "notice" in span.name.lower()]
            consumers = [kind for _, kind in kinds if "consumer" in kind]
            if len(services) >= len(wanted) and notice and consumers:
                break
            await asyncio.sleep(0.3)
    assert all(span.trace_id == trace_id for span in spans)


async def test_every_row_of_one_payment_carries_the_same_business_id(center: Center) -> None:
    shop = await center.merchant()
    with business_case(business_id="case-4711"):
        order = await shop.order(100)
        await shop.pays(await shop.begin(order, shop.alipay))
    await shop.until(order, lambda seen: seen.state == tc.ORDER_STATE_PAID)
    await shop.refund(order, 100)
    await shop.until(order, lambda seen: seen.state == tc.ORDER_STATE_REFUNDED)
    family = await center.client.transaction.GetOrderFamily(tc.GetOrderFamilyRequest(number=order.order_id))
    assert family.business_id == "case-4711"
    assert {member.business_id for member in family.members} == {"case-4711"}
    kinds = {member.kind for member in family.members}
    assert {"order", "attempt", "refund", "payment", "channel_order", "journal", "notice"} <= kinds
    for member in family.members:
        if member.kind in {"attempt", "payment", "channel_order", "journal", "refund"}:
            found = await center.client.transaction.GetOrderFamily(
                tc.GetOrderFamilyRequest(number=member.number)
            )
            assert found.business_id == "case-4711"
    for database in ("transaction", "payment", "channel", "accounting"):
        rows = center.rows(
            database,
            "SELECT DISTINCT business_id FROM outbox_event WHERE resource_id = ANY(%s)",
            [member.number for member in family.members],
        )
        assert [row["business_id"] for row in rows] == ["case-4711"]
