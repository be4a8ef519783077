"""One server calling another: what goes along, how long it may take, and what a refusal below means above."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from paycenter.transaction.v1 import transaction_core_pb2 as pb
from paycenter.transaction.v1 import transaction_core_pb2_grpc as rpc

from runtime.context import CallScope, TraceContext, current_scope, use_scope, with_business_id
from runtime.errors import FieldViolation, PaycenterError, Reason
from runtime.grpc_client import DEADLINE_MARGIN_SECONDS, open_channel, raise_for_rpc
from tests.runtime.rpc.conftest import OpenFrontDesk
from tests.runtime.rpc.front_desk import (
    SHOP,
    TRACE_ID,
    FrontDesk,
    from_shop,
    give_up_soon,
    order_request,
    refused,
)

READ = pb.GetOrderRequest(order_id="O-1")


@dataclass
class Chain:
    """A front desk that passes each order on to a back office."""

    front: FrontDesk
    back: FrontDesk
    to_back: rpc.TransactionCoreAsyncStub
    channel: grpc.aio.Channel


@pytest.fixture
async def chain(open_desk: OpenFrontDesk) -> AsyncIterator[Chain]:
    """Two servers, one above the other."""
    front, back = await open_desk(), await open_desk()
    channel = open_channel(back.target, caller_service="front-desk")
    yield Chain(front, back, rpc.TransactionCoreStub(channel), channel)
    await channel.close()


def scope(deadline_in_seconds: float | None = None) -> CallScope:
    """A scope outside of any server, as a worker has it."""
    deadline = None if deadline_in_seconds is None else time.monotonic() + deadline_in_seconds
    return CallScope(SHOP, TraceContext(TRACE_ID, "00f067aa0ba902b7", sampled=False), deadline)


async def test_context_and_trace_go_along_under_the_calling_servers_name(chain: Chain) -> None:
    seen: list[CallScope] = []

    async def pass_on(_request: Any) -> None:
        with with_business_id("O-4711"):
            await chain.to_back.GetOrder(READ)

    async def remember(_request: Any) -> None:
        seen.append(current_scope())

    chain.front.desk.create_order = pass_on
    chain.back.desk.get_order = remember
    await chain.front.stub.CreateOrder(order_request(), metadata=from_shop())

    platform = seen[0].platform
    assert (platform.caller_service, platform.business_id) == ("front-desk", "O-4711")
    assert (platform.tenant_id, platform.operator) == ("tenant-1", "clerk-7")
    assert seen[0].trace.trace_id == TRACE_ID


async def test_a_call_outside_of_any_scope_is_a_mistake(chain: Chain) -> None:
    with pytest.raises(LookupError):
        chain.to_back.GetOrder(READ)


@pytest.mark.parametrize(
    ("deadline_in_seconds", "timeout", "expected_seconds"),
    [
        (None, None, 2.0),
        (10.0, None, 2.0),
        (1.0, None, 1.0 - DEADLINE_MARGIN_SECONDS),
        (1.0, 0.5, 0.5),
        (None, 60.0, 2.0),
    ],
    ids=["the cap alone", "cap below deadline", "deadline less margin", "given time-out", "cap above all"],
)
async def test_the_least_of_deadline_cap_and_timeout_goes_down(
    open_desk: OpenFrontDesk,
    log: Any,
    deadline_in_seconds: float | None,
    timeout: float | None,
    expected_seconds: float,
) -> None:
    back = await open_desk()
    async with open_channel(back.target, caller_service="front-desk") as channel:
        await channel.channel_ready()
        with use_scope(scope(deadline_in_seconds)):
            await rpc.TransactionCoreStub(channel).GetOrder(READ, timeout=timeout)

    [line] = [line for line in log() if line["event"] == "rpc"]
    assert expected_seconds - 0.2 < line["deadline_left_ms"] / 1000 <= expected_seconds + 0.01


async def test_without_time_left_nothing_is_sent(chain: Chain) -> None:
    reached = asyncio.Event()

    async def note(_request: Any) -> None:
        reached.set()

    chain.back.desk.get_order = note
    with use_scope(scope(DEADLINE_MARGIN_SECONDS)), pytest.raises(PaycenterError) as caught:
        await chain.to_back.GetOrder(READ)

    assert (caught.value.reason, caught.value.may_have_begun) == (Reason.DEADLINE_TOO_SHORT, False)
    assert not reached.is_set()


async def test_a_command_has_the_servers_own_time_and_not_its_impatient_callers(chain: Chain) -> None:
    seen: list[float] = []
    begun, done = asyncio.Event(), asyncio.Event()

    async def pass_on(_request: Any) -> None:
        begun.set()
        deadline = current_scope().deadline_monotonic_seconds
        assert deadline is not None
        seen.append(deadline - time.monotonic())
        await asyncio.sleep(0.1)
        await chain.to_back.GetOrder(READ)
        done.set()

    chain.front.desk.create_order = pass_on
    await give_up_soon(chain.front, begun, timeout_seconds=0.03)
    async with asyncio.timeout(10):
        await done.wait()

    assert 4.0 < seen[0] <= 5.0


def passing_on(chain: Chain, caught: list[PaycenterError]) -> Any:
    async def pass_on(_request: Any) -> None:
        try:
            await chain.to_back.GetOrder(READ)
        except grpc.aio.AioRpcError as error:
            caught.append(raise_for_rpc(error))
            raise caught[-1] from error

    return pass_on


async def test_a_business_refusal_below_is_the_same_refusal_above(chain: Chain) -> None:
    async def refuse(_request: Any) -> None:
        raise PaycenterError(
            Reason.INSUFFICIENT_FUNDS,
            "The account holds less.",
            metadata={"availableMinorUnits": "100"},
            violations=[FieldViolation("lines[1].amount", "too much")],
            resource=("account", "2101:M1:CNY"),
        )

    caught: list[PaycenterError] = []
    chain.front.desk.create_order = passing_on(chain, caught)
    chain.back.desk.get_order = refuse
    answer = await refused(chain.front.stub.CreateOrder(order_request(), metadata=from_shop()))

    assert (answer.code, answer.reason, answer.message) == (
        "FAILED_PRECONDITION",
        "INSUFFICIENT_FUNDS",
        "The account holds less.",
    )
    assert answer.info.domain == "accounting.paycenter"
    assert answer.info.metadata["availableMinorUnits"] == "100"
    assert answer.fields == ["lines[1].amount"]
    assert caught[0].resource == ("account", "2101:M1:CNY")
    assert not caught[0].may_have_begun


async def test_a_refusal_that_nobody_caught_is_mapped_all_the_same(chain: Chain) -> None:
    async def pass_on(_request: Any) -> None:
        await chain.to_back.GetOrder(READ)

    async def refuse(_request: Any) -> None:
        raise PaycenterError(Reason.ACCOUNT_NOT_FOUND, "No account.")

    chain.front.desk.create_order = pass_on
    chain.back.desk.get_order = refuse
    answer = await refused(chain.front.stub.CreateOrder(order_request(), metadata=from_shop()))

    assert (answer.code, answer.reason) == ("NOT_FOUND", "ACCOUNT_NOT_FOUND")


async def test_a_failure_below_is_told_as_our_own_without_its_text(chain: Chain) -> None:
    async def break_down(_request: Any) -> None:
        raise ValueError("card 6222021234567890123")

    caught: list[PaycenterError] = []
    chain.front.desk.create_order = passing_on(chain, caught)
    chain.back.desk.get_order = break_down
    answer = await refused(chain.front.stub.CreateOrder(order_request(), metadata=from_shop()))

    assert (answer.code, answer.reason) == ("INTERNAL", "INTERNAL_ERROR")
    assert caught[0].may_have_begun
    assert b"6222" not in answer.raw


async def test_a_service_that_is_down_is_a_dependency_and_the_layers_above_do_not_retry_it(
    chain: Chain, log: Any
) -> None:
    caught: list[PaycenterError] = []
    chain.front.desk.create_order = passing_on(chain, caught)
    await chain.back.close()

    async with open_channel(chain.front.target, caller_service="portal") as channel:
        with use_scope(scope()):
            answer = await refused(rpc.TransactionCoreStub(channel).CreateOrder(order_request()))

    assert (answer.code, answer.reason) == ("UNAVAILABLE", "DEPENDENCY_UNAVAILABLE")
    assert answer.info.metadata["dependencyCode"] == "UNAVAILABLE"
    assert caught[0].may_have_begun
    assert len(caught) == 1
    assert answer.trailers["grpc-retry-pushback-ms"] == "-1"


async def test_a_service_that_does_not_answer_in_time_may_have_begun(chain: Chain) -> None:
    async def dawdle(_request: Any) -> None:
        await asyncio.sleep(5)

    chain.back.desk.get_order = dawdle
    with use_scope(scope(0.2)), pytest.raises(grpc.aio.AioRpcError) as caught:
        await chain.to_back.GetOrder(READ)

    error = raise_for_rpc(caught.value)
    assert (error.reason, error.may_have_begun) == (Reason.DEPENDENCY_UNAVAILABLE, True)
    assert error.metadata["dependencyCode"] == "DEADLINE_EXCEEDED"


@pytest.mark.parametrize(
    ("below", "above", "may_have_begun"),
    [
        (Reason.SERVER_DRAINING, Reason.DEPENDENCY_UNAVAILABLE, False),
        (Reason.DATABASE_UNAVAILABLE, Reason.DEPENDENCY_UNAVAILABLE, True),
        (Reason.CHANNEL_NOT_CONTACTED, Reason.CHANNEL_NOT_CONTACTED, False),
        (Reason.REQUEST_IN_PROGRESS, Reason.REQUEST_IN_PROGRESS, False),
        (Reason.CALLER_UNKNOWN, Reason.INTERNAL_ERROR, False),
    ],
)
async def test_what_a_reason_below_means_above(
    chain: Chain, below: Reason, above: Reason, may_have_begun: bool
) -> None:
    async def refuse(_request: Any) -> None:
        raise PaycenterError(below, "Not now.", retry_after_seconds=0.01)

    chain.back.desk.get_order = refuse
    with use_scope(scope()), pytest.raises(grpc.aio.AioRpcError) as caught:
        await chain.to_back.GetOrder(READ)

    error = raise_for_rpc(caught.value)
    assert (error.reason, error.may_have_begun) == (above, may_have_begun)


async def test_the_transport_repeats_what_was_unavailable_and_the_server_counts_it(
    chain: Chain, log: Any
) -> None:
    calls: list[int] = []

    async def unavailable_twice(_request: Any) -> None:
        calls.append(1)
        if len(calls) < 3:
            raise PaycenterError(Reason.DATABASE_UNAVAILABLE, "Gone.", retry_after_seconds=0.01)

    chain.back.desk.get_order = unavailable_twice
    with use_scope(scope()):
        await chain.to_back.GetOrder(READ)

    lines = [line for line in log() if line["event"] == "rpc"]
    assert [line.get("previous_attempts", 0) for line in lines] == [0, 1, 2]


@pytest.mark.parametrize("reason", [Reason.LOCK_CONFLICT, Reason.ORDER_NOT_FOUND, Reason.INTERNAL_ERROR])
async def test_the_transport_repeats_nothing_else(chain: Chain, reason: Reason) -> None:
    calls: list[int] = []

    async def refuse(_request: Any) -> None:
        calls.append(1)
        raise PaycenterError(reason, "No.")

    chain.back.desk.get_order = refuse
    with use_scope(scope()), pytest.raises(grpc.aio.AioRpcError):
        await chain.to_back.GetOrder(READ)

    assert calls == [1]


async def test_a_watch_below_carries_the_scope_too(chain: Chain) -> None:
    async def feed(_request: Any) -> AsyncGenerator[int, None]:
        assert current_scope().platform.caller_service == "front-desk"
        yield 41

    chain.back.desk.watch = feed
    with use_scope(scope()):
        stream = chain.to_back.WatchTransactions(pb.WatchTransactionsRequest())
        message: Any = await stream.read()

    assert message.event.revision == 41
