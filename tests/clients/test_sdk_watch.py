"""Watching: resumes behind the last event after an interruption, skips heartbeats, gives up on what no retry mends."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from paycenter.transaction.v1 import transaction_core_pb2 as transaction
from paycenter_client import AsyncPaycenterClient, Caller, PaycenterClient, RevisionCompacted, Targets

from clients.cli.order_feed import OrderFeed, next_revision
from tests.clients.scripted_center import ScriptedCenter, refuse, serving

CALLER = Caller(service="shop", tenant_id="t1")
PAID = transaction.TRANSACTION_EVENT_TYPE_ORDER_PAID


def event(revision: int, *, order_id: str = "O1", state: Any = transaction.ORDER_STATE_PAID) -> Any:
    order = transaction.Order(order_id=order_id, state=state)
    return transaction.TransactionEvent(revision=revision, event_type=PAID, order=order)


def heartbeat(revision: int) -> Any:
    return transaction.TransactionEvent(revision=revision)


async def take(client: AsyncPaycenterClient, count: int, *, start_revision: int = 1) -> list[int]:
    revisions = []
    async for each in client.watch_transactions(start_revision=start_revision):
        revisions.append(each.revision)
        if len(revisions) == count:
            break
    return revisions


async def interrupted_twice(request: Any, context: Any, call_number: int) -> AsyncIterator[Any]:
    """Two events a call; the first two calls end badly, the second after a heartbeat that moves on."""
    start = request.start_revision
    yield event(start)
    yield event(start + 1)
    if call_number == 1:
        await refuse(context, grpc.StatusCode.UNAVAILABLE, "SERVER_DRAINING")
    if call_number == 2:
        yield heartbeat(start + 5)
        await refuse(context, grpc.StatusCode.UNAVAILABLE, "SERVER_DRAINING")
    await asyncio.sleep(30)


async def test_a_watch_goes_on_behind_the_last_revision_when_the_server_drains() -> None:
    center = ScriptedCenter(watch=interrupted_twice)
    async with (
        serving(center) as target,
        AsyncPaycenterClient(Targets(transaction=target), caller=CALLER) as client,
    ):
        assert await take(client, 6, start_revision=7) == [7, 8, 9, 10, 15, 16]
    assert [request.start_revision for _, request, *_ in center.calls] == [7, 9, 15]


async def test_a_watch_survives_a_server_that_is_gone_and_comes_back() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    async def for_ever(request: Any, _context: Any, _call_number: int) -> AsyncIterator[Any]:
        yield event(request.start_revision)
        await asyncio.sleep(30)

    async with AsyncPaycenterClient(Targets(transaction=f"127.0.0.1:{port}"), caller=CALLER) as client:
        first, second = ScriptedCenter(watch=for_ever), ScriptedCenter(watch=for_ever)
        watching = client.watch_transactions(start_revision=3)
        async with serving(first, port=port):
            assert (await anext(watching)).revision == 3
        next_one = asyncio.ensure_future(anext(watching))
        await asyncio.sleep(0.2)
        async with serving(second, port=port):
            assert (await asyncio.wait_for(next_one, 20)).revision == 4
        await watching.aclose()  # type: ignore[attr-defined]


async def test_a_revision_that_is_no_longer_kept_is_raised() -> None:
    async def compacted(_request: Any, context: Any, _call_number: int) -> AsyncIterator[Any]:
        await refuse(context, grpc.StatusCode.OUT_OF_RANGE, "REVISION_COMPACTED")
        yield event(1)

    async with (
        serving(ScriptedCenter(watch=compacted)) as target,
        AsyncPaycenterClient(Targets(transaction=target), caller=CALLER) as client,
    ):
        with pytest.raises(RevisionCompacted) as caught:
            await take(client, 1)
    assert caught.value.reason == "REVISION_COMPACTED"


async def test_the_synchronous_watch_resumes_too() -> None:
    center = ScriptedCenter(watch=interrupted_twice)

    def use(target: str) -> list[int]:
        with PaycenterClient(Targets(transaction=target), caller=CALLER) as client:
            events = client.watch_transactions(start_revision=1)
            return [next(events).revision for _ in range(6)]

    async with serving(center) as target:
        assert await asyncio.to_thread(use, target) == [1, 2, 3, 4, 9, 10]


async def feed_of(events_kept: int) -> ScriptedCenter:
    async def list_events(request: Any, _context: Any) -> Any:
        found = [event(request.start_revision)] if request.start_revision <= events_kept else []
        return transaction.ListTransactionEventsResponse(events=found)

    return ScriptedCenter(answers={"ListTransactionEvents": list_events})


@pytest.mark.parametrize("events_kept", [0, 1, 2, 15, 16, 17, 100_000])
async def test_the_end_of_the_feed_is_found_by_a_few_questions(events_kept: int) -> None:
    center = await feed_of(events_kept)
    async with (
        serving(center) as target,
        AsyncPaycenterClient(Targets(transaction=target), caller=CALLER) as client,
    ):
        assert await next_revision(client) == events_kept + 1
    assert center.count("ListTransactionEvents") <= 30


async def test_an_order_is_told_of_by_the_feed_and_read_when_the_feed_is_late() -> None:
    center = await feed_of(0)
    told = asyncio.Event()

    async def watch(_request: Any, _context: Any, _call_number: int) -> AsyncIterator[Any]:
        await told.wait()
        yield event(1, order_id="O1")
        await asyncio.sleep(30)

    async def get_order(request: Any, _context: Any) -> Any:
        state = transaction.ORDER_STATE_PAYING
        return transaction.GetOrderResponse(order=transaction.Order(order_id=request.order_id, state=state))

    center.watch = watch
    center.answers["GetOrder"] = get_order

    def is_paid(order: transaction.Order) -> bool:
        return order.state == transaction.ORDER_STATE_PAID

    async with (
        serving(center) as target,
        AsyncPaycenterClient(Targets(transaction=target), caller=CALLER) as client,
        OrderFeed(client) as feed,
    ):
        as_it_stands = await feed.wait_for("O1", is_paid, timeout_seconds=0.1)
        assert as_it_stands.state == transaction.ORDER_STATE_PAYING
        waiting = asyncio.create_task(feed.wait_for("O1", is_paid, timeout_seconds=20))
        told.set()
        assert (await asyncio.wait_for(waiting, 5)).state == transaction.ORDER_STATE_PAID
