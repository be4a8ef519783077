"""A command that has begun is carried out, whatever its caller does; a read is not worth that."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from paycenter.transaction.v1 import transaction_core_pb2 as pb

from runtime.context import mark_replayed
from runtime.interceptors import method
from tests.runtime.rpc.conftest import OpenFrontDesk
from tests.runtime.rpc.front_desk import SERVICE, FrontDesk, from_shop, give_up_soon, order_request, refused


class Gate:
    """A step of a command that takes as long as the test wants."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()
        self.cancelled = False

    async def __call__(self, _request: Any) -> None:
        self.reached.set()
        try:
            await self.opened.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise


async def until(condition: Any) -> None:
    """Waits until a condition holds."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


async def test_a_caller_that_gives_up_after_5_ms_cancels_nothing(front: FrontDesk, log: Any) -> None:
    gate = front.desk.create_order = Gate()
    await give_up_soon(front, gate.reached, timeout_seconds=0.005)
    await asyncio.sleep(0.05)
    gate.opened.set()
    await until(lambda: front.desk.orders == ["shop-1"])

    assert not gate.cancelled
    await until(lambda: len(front.server._pipeline.detached) == 0)
    [line] = [line for line in log() if line["event"] == "rpc"]
    assert (line["code"], line["caller_gone"]) == ("OK", True)
    assert line["duration_ms"] >= 50
    assert line["deadline_left_ms"] < 0


async def test_a_caller_that_hangs_up_cancels_nothing(front: FrontDesk) -> None:
    gate = front.desk.create_order = Gate()
    call = front.stub.CreateOrder(order_request(), metadata=from_shop())
    await gate.reached.wait()

    call.cancel()
    await front.channel.close()
    await asyncio.sleep(0.05)
    gate.opened.set()

    await until(lambda: front.desk.orders == ["shop-1"])
    assert not gate.cancelled


async def test_a_read_ends_with_its_caller(front: FrontDesk, log: Any) -> None:
    gate = front.desk.get_order = Gate()
    call = front.stub.GetOrder(pb.GetOrderRequest(order_id="O-1"), metadata=from_shop())
    await gate.reached.wait()

    call.cancel()

    await until(lambda: gate.cancelled)
    [line] = [line for line in log() if line["event"] == "rpc"]
    assert (line["code"], line["caller_gone"]) == ("CANCELLED", True)


async def test_a_read_whose_deadline_passes_is_logged_as_such(front: FrontDesk, log: Any) -> None:
    gate = front.desk.get_order = Gate()

    answer = await refused(
        front.stub.GetOrder(pb.GetOrderRequest(order_id="O-1"), metadata=from_shop(), timeout=0.05)
    )

    assert answer.code == "DEADLINE_EXCEEDED"
    await until(lambda: gate.cancelled)
    [line] = [line for line in log() if line["event"] == "rpc"]
    assert line["code"] == "DEADLINE_EXCEEDED"


@pytest.fixture
def caps_of_100_ms(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the server's caps short enough for a test."""
    monkeypatch.setattr(method, "READ_CAP_SECONDS", 0.1)
    monkeypatch.setattr(method, "WRITE_CAP_SECONDS", 0.1)
    method.profile_of.cache_clear()


async def test_a_read_without_deadline_ends_at_the_cap(caps_of_100_ms: None, front: FrontDesk) -> None:
    gate = front.desk.get_order = Gate()

    answer = await refused(front.stub.GetOrder(pb.GetOrderRequest(order_id="O-1"), metadata=from_shop()))

    assert (answer.code, answer.reason) == ("DEADLINE_EXCEEDED", "DEADLINE_TOO_SHORT")
    assert gate.cancelled
    method.profile_of.cache_clear()


async def test_a_command_above_its_cap_is_answered_and_still_carried_out(
    caps_of_100_ms: None, front: FrontDesk
) -> None:
    gate = front.desk.create_order = Gate()

    answer = await refused(front.stub.CreateOrder(order_request(), metadata=from_shop()))
    gate.opened.set()

    assert (answer.code, answer.reason) == ("DEADLINE_EXCEEDED", "DEADLINE_TOO_SHORT")
    await until(lambda: front.desk.orders == ["shop-1"])
    assert not gate.cancelled
    method.profile_of.cache_clear()


async def test_a_stopping_server_waits_for_a_command_whose_caller_has_gone(open_desk: OpenFrontDesk) -> None:
    front = await open_desk()
    gate = front.desk.create_order = Gate()
    await give_up_soon(front, gate.reached, timeout_seconds=0.02)

    stopping = asyncio.create_task(front.server.stop())
    await asyncio.sleep(0.1)
    assert not stopping.done()
    gate.opened.set()
    await stopping

    assert front.desk.orders == ["shop-1"]


async def test_a_stopping_server_answers_the_command_that_it_is_carrying_out(
    open_desk: OpenFrontDesk,
) -> None:
    front = await open_desk()
    gate = front.desk.create_order = Gate()
    call = asyncio.ensure_future(front.stub.CreateOrder(order_request(), metadata=from_shop()))
    await gate.reached.wait()

    stopping = asyncio.create_task(front.server.stop())
    await asyncio.sleep(0.05)
    gate.opened.set()

    assert (await call).order.order_id == "O-0001"
    await stopping


async def test_a_stopping_server_does_not_wait_for_ever(open_desk: OpenFrontDesk, log: Any) -> None:
    front = await open_desk(drain_grace_seconds=0.2)
    gate = front.desk.create_order = Gate()
    await give_up_soon(front, gate.reached, timeout_seconds=0.02)

    began = time.monotonic()
    await front.server.stop()

    assert time.monotonic() - began < 4
    assert any(line.get("commands") == 1 for line in log())
    gate.opened.set()
    await until(lambda: front.desk.orders == ["shop-1"])


async def test_an_answer_from_the_store_is_marked_as_replayed(front: FrontDesk, log: Any) -> None:
    async def replay(_request: Any) -> None:
        mark_replayed()

    fresh = front.stub.CreateOrder(order_request(), metadata=from_shop())
    assert "x-idempotent-replay" not in dict(await fresh.initial_metadata())
    front.desk.create_order = replay
    replayed = front.stub.CreateOrder(order_request(), metadata=from_shop())
    await replayed

    assert dict(await replayed.initial_metadata())["x-idempotent-replay"] == "true"
    lines = [line for line in log() if line["event"] == "rpc"]
    assert [line.get("replayed", False) for line in lines] == [False, True]


def test_the_contract_says_what_is_detached_and_how_long_it_may_take() -> None:
    create, pay = method.profile_of(f"/{SERVICE}/CreateOrder"), method.profile_of(f"/{SERVICE}/PayOrder")
    read, watch = (
        method.profile_of(f"/{SERVICE}/GetOrder"),
        method.profile_of(f"/{SERVICE}/WatchTransactions"),
    )

    assert (create.mutating, create.deadline_cap_seconds) == (True, 5.0)
    assert (pay.mutating, pay.deadline_cap_seconds) == (True, 15.0)
    assert (read.mutating, read.deadline_cap_seconds) == (False, 2.0)
    assert not watch.mutating
    assert method.profile_of("/unknown.Service/Method").mutating
