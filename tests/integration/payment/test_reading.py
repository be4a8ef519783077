"""Lists, families, feeds: what callers see of payments."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from paycenter.payment.v1 import payment_core_pb2 as pb

from runtime.bus import Bus
from runtime.clock import SystemClock
from runtime.context import use_scope
from runtime.errors import Reason
from runtime.ids import NumberKind, new_number
from runtime.relay import Relay
from tests.integration.payment.desk import Desk


async def listed(desk: Desk, **filters: Any) -> list[str]:
    found: list[str] = []
    request = pb.ListPaymentsRequest(**filters)
    while True:
        response = await desk.call(desk.stub.ListPayments, request)
        found += [payment.payment_id for payment in response.payments]
        if not response.next_page_token:
            return found
        request.page_token = response.next_page_token


async def test_payments_are_listed_newest_first_by_pages(desk: Desk) -> None:
    made = []
    for position in range(5):
        made.append((await desk.recharge(order_id=f"O-{position % 2}")).payment_id)
        await asyncio.sleep(0.002)
    assert await listed(desk, page_size=2) == made[::-1]
    assert await listed(desk, business_id=desk.business_id) == made[::-1]
    assert await listed(desk, order_id="O-1", page_size=1) == [made[3], made[1]]
    assert await listed(desk, state=pb.PAYMENT_STATE_SUCCEEDED) == []
    assert await listed(desk, state=pb.PAYMENT_STATE_PENDING) == made[::-1]
    assert await listed(desk, business_id="B-none") == []


async def test_a_tenant_lists_its_own_payments_only(desk: Desk) -> None:
    await desk.recharge()
    response = await desk.call(desk.stub.ListPayments, pb.ListPaymentsRequest(), tenant_id="tenant-2")
    assert not response.payments


@pytest.mark.parametrize("token", ["nonsense", "%%%", "UC1ub25l"])
async def test_a_page_token_from_elsewhere_is_refused(desk: Desk, token: str) -> None:
    error = await desk.refusal(desk.stub.ListPayments, pb.ListPaymentsRequest(page_token=token))
    assert error.reason is Reason.PAGE_TOKEN_INVALID


async def test_any_number_finds_the_whole_family(desk: Desk) -> None:
    paid = await desk.paid_recharge(1_000)
    refund = await desk.refund(paid.payment_id, 400)
    everything = {
        paid.payment_id,
        paid.channel_order_id,
        paid.journal_id,
        refund.payment_id,
        refund.channel_order_id,
        refund.journal_id,
    }
    for number in (*everything, paid.channel_transaction_id, desk.business_id):
        response = await desk.call(desk.stub.GetPaymentFamily, pb.GetPaymentFamilyRequest(number=number))
        assert {member.number for member in response.members} == everything, number
        assert response.business_id == desk.business_id
    own = next(member for member in response.members if member.number == refund.payment_id)
    assert (own.service, own.kind, own.state, own.amount.minor_units) == (
        "payment",
        "payment",
        "SUCCEEDED",
        400,
    )
    assert own.trace_id == refund.trace_id


async def test_a_number_that_nobody_knows_is_not_found(desk: Desk) -> None:
    error = await desk.refusal(desk.stub.GetPaymentFamily, pb.GetPaymentFamilyRequest(number="nothing"))
    assert error.reason is Reason.NUMBER_NOT_FOUND


async def test_a_business_id_that_two_tenants_use_shows_each_its_own(desk: Desk) -> None:
    mine = await desk.recharge()
    desk.merchant_id = new_number(NumberKind.MERCHANT, shard=5)
    other_account = desk.gateway.open_account(desk.merchant_id, tenant_id="tenant-2")
    request = desk.recharge_request(payment_account_id=other_account)
    theirs = (await desk.call(desk.stub.CreateRecharge, request, tenant_id="tenant-2")).payment
    request_family = pb.GetPaymentFamilyRequest(number=desk.business_id)
    for tenant_id, payment in (("tenant-1", mine), ("tenant-2", theirs)):
        family = await desk.call(desk.stub.GetPaymentFamily, request_family, tenant_id=tenant_id)
        assert [m.number for m in family.members if m.service == "payment"] == [payment.payment_id]


async def assign_revisions(desk: Desk) -> None:
    """Runs the relay until every event has its revision; no bus is needed for that."""
    bus = await Bus.connect("nats://127.0.0.1:1", wait_seconds=0)
    relay = Relay(desk.parts.database, desk.parts.outbox, bus, SystemClock())
    try:
        await relay.step()
        await relay.step()
    finally:
        await relay.close()
        await bus.close()


async def test_the_feed_is_read_by_pages_from_a_revision_on(desk: Desk) -> None:
    paid = await desk.paid_recharge()
    await desk.recharge()
    await assign_revisions(desk)
    first = await desk.call(desk.stub.ListPaymentEvents, pb.ListPaymentEventsRequest(page_size=2))
    assert [event.revision for event in first.events] == [1, 2]
    rest = await desk.call(
        desk.stub.ListPaymentEvents, pb.ListPaymentEventsRequest(start_revision=first.next_revision)
    )
    assert [event.revision for event in rest.events] == [3, 4, 5]
    assert rest.events[0].event_type == pb.PAYMENT_EVENT_TYPE_PAYMENT_SUCCEEDED
    assert rest.events[0].payment == paid
    assert rest.next_revision == 6
    others = await desk.call(desk.stub.ListPaymentEvents, pb.ListPaymentEventsRequest(), tenant_id="tenant-2")
    assert (list(others.events), others.next_revision) == ([], 6)


async def test_a_watcher_gets_what_was_and_what_comes_and_may_resume(desk: Desk) -> None:
    await desk.recharge()
    await assign_revisions(desk)
    with use_scope(desk.scope()):
        stream = desk.stub.WatchPayments(pb.WatchPaymentsRequest(start_revision=2))
    seen = [await anext(aiter(stream))]
    await desk.recharge()
    await assign_revisions(desk)
    seen += [await anext(aiter(stream)) for _ in range(2)]
    stream.cancel()
    assert [response.event.revision for response in seen] == [2, 3, 4]


async def test_a_watch_of_one_business_case_hears_heartbeats_for_the_rest(desk: Desk) -> None:
    await desk.recharge()
    await assign_revisions(desk)
    request = pb.WatchPaymentsRequest(business_id="B-other", progress_interval=Duration(seconds=1))
    with use_scope(desk.scope()):
        stream = desk.stub.WatchPayments(request)
    heartbeat = await anext(aiter(stream))
    stream.cancel()
    assert (heartbeat.event.revision, heartbeat.event.HasField("payment")) == (2, False)
    assert heartbeat.event.event_type == pb.PAYMENT_EVENT_TYPE_UNSPECIFIED
