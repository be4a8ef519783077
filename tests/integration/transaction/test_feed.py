"""The feed of events: watched and listed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from paycenter.transaction.v1 import transaction_core_pb2 as tc

from runtime.errors import Reason
from runtime.rich_status import error_from_rpc
from tests.integration.transaction.desk import Caller, Desk


@asynccontextmanager
async def _watch(caller: Caller, **fields: Any) -> AsyncIterator[Any]:
    call = caller.stub.WatchTransactions(tc.WatchTransactionsRequest(**fields), metadata=caller.metadata)
    try:
        yield call
    finally:
        call.cancel()


async def _next(call: Any) -> tc.TransactionEvent:
    event: tc.TransactionEvent = (await asyncio.wait_for(call.read(), 8)).event
    return event


async def test_a_watch_tells_what_was_and_what_comes_in_order(desk: Desk) -> None:
    first = await desk.order()
    async with _watch(desk.caller) as call:
        seen = [await _next(call)]
        order = await desk.paid_order()
        while seen[-1].event_type != tc.TRANSACTION_EVENT_TYPE_ORDER_PAID:
            seen.append(await _next(call))
    revisions = [event.revision for event in seen]
    assert revisions == sorted(set(revisions))
    assert seen[0].order.order_id == first.order_id
    last = seen[-1]
    assert last.order == order
    assert (last.business_id, last.changed_number) == (order.business_id, order.attempts[0].attempt_id)
    assert last.event_id.startswith("E")
    etags = [int(event.order.etag) for event in seen if event.order.order_id == order.order_id]
    assert etags == [1, 2, 3, 4, 5]


async def test_a_watch_resumes_without_loss_or_repetition(desk: Desk) -> None:
    orders = [await desk.order() for _ in range(4)]
    async with _watch(desk.caller) as call:
        seen = [await _next(call), await _next(call)]
    async with _watch(desk.caller, start_revision=seen[-1].revision + 1) as call:
        seen += [await _next(call), await _next(call)]
    assert [event.order.order_id for event in seen] == [order.order_id for order in orders]


async def test_a_watch_tells_its_tenant_and_business_case_only(desk: Desk) -> None:
    await desk.order()
    desk.stranger.business_id = "theirs"
    theirs = (await desk.stranger.call("CreateOrder", desk.order_request())).order
    async with _watch(desk.stranger) as call:
        assert (await _next(call)).order.order_id == theirs.order_id
    desk.caller.business_id = "case-2"
    wanted = await desk.order()
    async with _watch(desk.caller, business_id="case-2") as call:
        assert (await _next(call)).order.order_id == wanted.order_id


async def test_a_silent_feed_sends_heartbeats_with_its_position(desk: Desk) -> None:
    await desk.stranger.call("CreateOrder", desk.order_request())
    interval = Duration()
    interval.FromMilliseconds(1)
    started = time.monotonic()
    async with _watch(desk.caller, progress_interval=interval) as call:
        beat = await _next(call)
    assert time.monotonic() - started > 0.9
    assert (beat.event_type, beat.HasField("order"), beat.revision) == (0, False, 1)
    assert beat.HasField("event_time")


async def test_a_compacted_start_is_refused_with_where_to_begin(desk: Desk) -> None:
    for _ in range(3):
        await desk.order()
    events = await _listed(desk, 3)
    desk.sql("DELETE FROM outbox_event WHERE revision <= 2")
    async with _watch(desk.caller) as call:
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await _next(call)
    error = error_from_rpc(ended.value)
    assert (error.reason, error.metadata["compactRevision"]) == (Reason.REVISION_COMPACTED, "2")
    refused = await desk.refused("ListTransactionEvents", tc.ListTransactionEventsRequest(start_revision=1))
    assert refused.reason is Reason.REVISION_COMPACTED
    async with _watch(desk.caller, start_revision=3) as call:
        assert await _next(call) == events[2]


async def _listed(desk: Desk, count: int) -> list[tc.TransactionEvent]:
    for _ in range(200):
        answer = await desk.caller.call(
            "ListTransactionEvents", tc.ListTransactionEventsRequest(page_size=500)
        )
        if len(answer.events) >= count:
            return list(answer.events)
        await asyncio.sleep(0.02)
    raise AssertionError("the events did not come")


async def test_pages_tell_the_same_as_the_watch(desk: Desk) -> None:
    for _ in range(5):
        await desk.order()
        await desk.stranger.call("CreateOrder", desk.order_request())
    whole = await _listed(desk, 5)
    assert len(whole) == 5
    paged: list[tc.TransactionEvent] = []
    next_revision = 0
    for _ in range(5):
        request = tc.ListTransactionEventsRequest(start_revision=next_revision, page_size=2)
        answer = await desk.caller.call("ListTransactionEvents", request)
        paged += answer.events
        next_revision = answer.next_revision
    assert paged == whole
    async with _watch(desk.caller) as call:
        assert [await _next(call) for _ in range(5)] == whole


async def test_a_draining_server_ends_the_stream_and_says_so(desk: Desk) -> None:
    async with _watch(desk.caller) as call:
        await desk.order()
        await _next(call)
        stopping = asyncio.create_task(desk.wiring.server.stop())
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await _next(call)
    assert error_from_rpc(ended.value).metadata["dependencyReason"] == "SERVER_DRAINING"
    await stopping
