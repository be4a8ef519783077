"""Watching: a stream ends cleanly with its watcher, at once when the server drains, and is checked like any call."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from paycenter.transaction.v1 import transaction_core_pb2 as pb

from runtime.errors import PaycenterError, Reason
from runtime.logs import annotate
from tests.runtime.rpc.conftest import OpenFrontDesk
from tests.runtime.rpc.front_desk import FrontDesk, Refused, from_shop, refused


class Feed:
    """Two revisions, then silence; notes when it is closed."""

    def __init__(self) -> None:
        self.closed = asyncio.Event()
        self.silent = asyncio.Event()

    async def __call__(self, request: pb.WatchTransactionsRequest) -> AsyncGenerator[int, None]:
        try:
            yield request.start_revision
            yield request.start_revision + 1
            self.silent.set()
            await asyncio.sleep(60)
        finally:
            self.closed.set()


def watch(front: FrontDesk, start_revision: int = 7) -> Any:
    return front.stub.WatchTransactions(
        pb.WatchTransactionsRequest(start_revision=start_revision), metadata=from_shop()
    )


async def next_revision(stream: Any) -> int:
    message = await stream.read()
    return int(message.event.revision)


async def test_a_watcher_gets_revisions_until_it_leaves(front: FrontDesk, log: Any) -> None:
    feed = front.desk.watch = Feed()
    stream = watch(front)
    assert [await next_revision(stream), await next_revision(stream)] == [7, 8]
    await feed.silent.wait()

    stream.cancel()

    async with asyncio.timeout(20):
        await feed.closed.wait()
        while not (lines := [line for line in log() if line["event"] == "rpc"]):
            await asyncio.sleep(0.01)
    assert [line["code"] for line in lines] == ["CANCELLED"]


async def test_a_draining_server_sends_its_watchers_away_at_once(open_desk: OpenFrontDesk) -> None:
    front = await open_desk(drain_grace_seconds=30.0)
    feed = front.desk.watch = Feed()
    stream = watch(front)
    assert [await next_revision(stream), await next_revision(stream)] == [7, 8]
    await feed.silent.wait()

    began = time.monotonic()
    stopping = asyncio.create_task(front.server.stop())
    error = await refused(stream.read())
    await stopping

    assert time.monotonic() - began < 10
    assert (error.code, error.reason) == ("UNAVAILABLE", "SERVER_DRAINING")
    assert feed.closed.is_set()


async def test_a_draining_server_sends_busy_watchers_away_too(open_desk: OpenFrontDesk, log: Any) -> None:
    front = await open_desk(drain_grace_seconds=30.0)

    async def endless(_request: Any) -> AsyncGenerator[int, None]:
        revision = 0
        try:
            while True:
                revision += 1
                yield revision
                await asyncio.sleep(0)
        finally:
            annotate(last_revision=revision)

    front.desk.watch = endless
    streams = [watch(front) for _ in range(5)]
    for stream in streams:
        await next_revision(stream)

    async def drink(stream: Any) -> Refused:
        last = 0
        try:
            while True:
                revision = await next_revision(stream)
                assert revision == last + 1 or last == 0
                last = revision
        except grpc.aio.AioRpcError as error:
            return Refused(error)

    drinkers = [asyncio.create_task(drink(stream)) for stream in streams]
    await asyncio.sleep(0.1)
    began = time.monotonic()
    await front.server.stop()
    answers = await asyncio.gather(*drinkers)

    assert time.monotonic() - began < 10
    assert {answer.reason for answer in answers} == {"SERVER_DRAINING"}
    lines = [line for line in log() if line["event"] == "rpc"]
    assert len(lines) == 5
    assert all(line["last_revision"] > 0 for line in lines)


async def test_who_watches_the_health_does_not_hold_up_the_drain(open_desk: OpenFrontDesk) -> None:
    front = await open_desk(drain_grace_seconds=30.0)
    health: Any = health_pb2_grpc.HealthStub(front.channel)  # type: ignore[no-untyped-call]
    watched = health.Watch(health_pb2.HealthCheckRequest(service=""))
    assert (await watched.read()).status == health_pb2.HealthCheckResponse.SERVING

    began = time.monotonic()
    await front.server.stop()

    assert time.monotonic() - began < 10


async def test_a_feed_that_fails_tells_its_reason(front: FrontDesk) -> None:
    async def compacted(_request: Any) -> AsyncGenerator[int, None]:
        yield 1
        raise PaycenterError(
            Reason.REVISION_COMPACTED, "The revision is gone.", metadata={"compactRevision": "40"}
        )

    front.desk.watch = compacted
    stream = watch(front)
    await next_revision(stream)
    error = await refused(stream.read())

    assert (error.code, error.reason) == ("OUT_OF_RANGE", "REVISION_COMPACTED")
    assert error.info.metadata["compactRevision"] == "40"


async def test_a_feed_that_breaks_tells_nothing(front: FrontDesk) -> None:
    async def broken(_request: Any) -> AsyncGenerator[int, None]:
        yield 1
        raise ValueError("card 6222021234567890123")

    front.desk.watch = broken
    stream = watch(front)
    await next_revision(stream)
    error = await refused(stream.read())

    assert (error.code, error.reason) == ("INTERNAL", "INTERNAL_ERROR")
    assert b"6222" not in error.raw


async def test_a_watch_is_checked_like_any_call(front: FrontDesk) -> None:
    front.desk.watch = Feed()
    negative = await refused(watch(front, start_revision=-1).read())
    stranger = await refused(front.stub.WatchTransactions(pb.WatchTransactionsRequest()).read())

    assert (negative.reason, negative.fields) == ("FIELD_INVALID", ["start_revision"])
    assert stranger.reason == "CONTEXT_MISSING"
