"""One trace through callers, servers and later work; cheap and silent when nobody records it."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import grpc
import pytest
from opentelemetry.trace import StatusCode
from paycenter.transaction.v1 import transaction_core_pb2 as pb
from paycenter.transaction.v1 import transaction_core_pb2_grpc as rpc

from runtime.context import TraceContext, current_scope, encode_platform, use_scope, with_business_id
from runtime.errors import PaycenterError, Reason
from runtime.grpc_client import open_channel
from runtime.settings import RuntimeSettings
from runtime.telemetry import scope_from_stored, setup_telemetry, span
from tests.runtime.rpc.conftest import OpenFrontDesk
from tests.runtime.rpc.front_desk import (
    SAMPLED,
    SHOP,
    TRACE_ID,
    UNSAMPLED,
    FrontDesk,
    Spans,
    from_shop,
    order_request,
    refused,
)

CREATE_ORDER = "paycenter.transaction.v1.TransactionCore/CreateOrder"


def hexadecimal(span_id: int) -> str:
    return f"{span_id:016x}"


async def test_a_recorded_call_continues_the_callers_trace(spans: Spans, front: FrontDesk) -> None:
    async def find_its_business_id(_request: Any) -> None:
        with with_business_id("O-4711"):
            pass

    front.desk.create_order = find_its_business_id
    await front.stub.CreateOrder(order_request(), metadata=from_shop(traceparent=SAMPLED))

    server = spans.named("CreateOrder", "SERVER")
    assert server.name == CREATE_ORDER
    assert f"{server.context.trace_id:032x}" == TRACE_ID
    assert server.parent is not None
    assert hexadecimal(server.parent.span_id) == "00f067aa0ba902b7"
    assert server.status.status_code is StatusCode.UNSET
    assert server.end_time is not None
    assert server.start_time is not None
    assert server.end_time > server.start_time
    assert dict(server.attributes or {}) == {
        "rpc.system.name": "grpc",
        "rpc.method": CREATE_ORDER,
        "rpc.response.status_code": "OK",
        "paycenter.caller_service": "shop",
        "paycenter.trace_id": TRACE_ID,
        "paycenter.business_id": "O-4711",
    }


async def test_a_chain_of_servers_is_a_chain_of_spans(spans: Spans, open_desk: OpenFrontDesk) -> None:
    front, back = await open_desk(), await open_desk()
    async with open_channel(back.target, caller_service="front-desk") as channel:
        to_back = rpc.TransactionCoreStub(channel)

        async def pass_on(_request: Any) -> None:
            with span("decide"):
                await to_back.GetOrder(pb.GetOrderRequest(order_id="O-1"))

        front.desk.create_order = pass_on
        await front.stub.CreateOrder(order_request(), metadata=from_shop(traceparent=SAMPLED))

    chain = [
        spans.named("CreateOrder", "SERVER"),
        spans.named("decide", "INTERNAL"),
        spans.named("GetOrder", "CLIENT"),
        spans.named("GetOrder", "SERVER"),
    ]
    for above, below in pairwise(chain):
        assert below.parent is not None
        assert below.parent.span_id == above.context.span_id
    assert {step.context.trace_id for step in chain} == {int(TRACE_ID, 16)}


async def test_a_call_that_is_not_recorded_keeps_its_trace_id_and_makes_no_span(
    spans: Spans, front: FrontDesk, log: Any
) -> None:
    async def step(_request: Any) -> None:
        with span("decide") as decide:
            decide.set_attribute("ignored", 1)

    front.desk.create_order = step
    await front.stub.CreateOrder(order_request(), metadata=from_shop(traceparent=UNSAMPLED))

    assert spans.finished == []
    assert [line["trace_id"] for line in log() if line["event"] == "rpc"] == [TRACE_ID]


async def test_a_call_without_trace_begins_one(spans: Spans, front: FrontDesk) -> None:
    setup_telemetry("front-desk", RuntimeSettings(trace_sample_ratio=1.0), processor=spans)
    seen: list[TraceContext] = []

    async def remember(_request: Any) -> None:
        seen.append(current_scope().trace)

    front.desk.create_order = remember
    await front.stub.CreateOrder(order_request(), metadata=from_shop()[:1])

    server = spans.named("CreateOrder", "SERVER")
    assert server.parent is None
    assert f"{server.context.trace_id:032x}" == seen[0].trace_id
    assert hexadecimal(server.context.span_id) == seen[0].span_id


@pytest.mark.parametrize(("ratio", "recorded"), [(0.0, 0), (1.0, 200), (0.25, 50)])
async def test_new_traces_are_recorded_by_ratio(ratio: float, recorded: int) -> None:
    from runtime.telemetry import new_trace

    setup_telemetry("front-desk", RuntimeSettings(trace_sample_ratio=ratio))
    sampled = sum(new_trace().sampled for _ in range(200))
    setup_telemetry("front-desk", RuntimeSettings(trace_sample_ratio=0.0))

    assert abs(sampled - recorded) <= (30 if 0 < ratio < 1 else 0)


@pytest.mark.parametrize(
    ("error", "code", "reason", "is_server_error"),
    [
        (PaycenterError(Reason.ORDER_NOT_FOUND, "No."), "NOT_FOUND", "ORDER_NOT_FOUND", False),
        (PaycenterError(Reason.LOCK_CONFLICT, "No."), "ABORTED", "LOCK_CONFLICT", False),
        (ValueError("card 6222"), "INTERNAL", "INTERNAL_ERROR", True),
        (PaycenterError(Reason.DATABASE_UNAVAILABLE, "No."), "UNAVAILABLE", "DATABASE_UNAVAILABLE", True),
    ],
)
async def test_only_the_servers_own_failures_are_errors_of_the_server_and_all_are_of_the_client(
    spans: Spans, front: FrontDesk, error: Exception, code: str, reason: str, is_server_error: bool
) -> None:
    async def fail(_request: Any) -> None:
        raise error

    front.desk.create_order = fail
    scope = scope_from_stored(SAMPLED, encode_platform(SHOP))
    async with open_channel(front.target, caller_service="portal") as channel:
        stub = rpc.TransactionCoreStub(channel)
        with use_scope(scope), pytest.raises(grpc.aio.AioRpcError):
            await stub.CreateOrder(order_request())

    server = next(one for one in spans.finished if one.kind.name == "SERVER")
    client = spans.named("CreateOrder", "CLIENT")
    assert (server.attributes or {})["rpc.response.status_code"] == code
    assert (server.attributes or {})["paycenter.reason"] == reason
    assert (server.status.status_code is StatusCode.ERROR) is is_server_error
    assert (server.attributes or {}).get("error.type") == (code if is_server_error else None)
    assert client.status.status_code is StatusCode.ERROR
    assert (client.attributes or {})["error.type"] == code
    assert "6222" not in "".join(one.to_json() for one in spans.finished)


async def test_an_inner_step_that_fails_tells_class_and_reason_only(spans: Spans, front: FrontDesk) -> None:
    async def step(_request: Any) -> None:
        with span("settle"):
            raise PaycenterError(Reason.INSUFFICIENT_FUNDS, "card 6222")

    front.desk.create_order = step
    await refused(front.stub.CreateOrder(order_request(), metadata=from_shop(traceparent=SAMPLED)))

    settle = spans.named("settle", "INTERNAL")
    assert settle.status.status_code is StatusCode.ERROR
    assert (settle.attributes or {})["error.type"] == "PaycenterError"
    assert (settle.attributes or {})["paycenter.reason"] == "INSUFFICIENT_FUNDS"
    assert "6222" not in settle.to_json()


async def test_later_work_continues_the_stored_trace_and_links_to_what_made_it(spans: Spans) -> None:
    scope = scope_from_stored(SAMPLED, encode_platform(SHOP))
    with use_scope(scope), span("process payment.succeeded", kind="consumer", links=(scope.trace,)):
        assert current_scope().platform == SHOP
        assert current_scope().trace.trace_id == TRACE_ID

    consumer = spans.named("payment.succeeded", "CONSUMER")
    assert f"{consumer.context.trace_id:032x}" == TRACE_ID
    assert [hexadecimal(link.context.span_id) for link in consumer.links] == ["00f067aa0ba902b7"]
    assert (consumer.attributes or {})["paycenter.business_id"] == SHOP.business_id


async def test_work_stored_without_a_trace_begins_one() -> None:
    scope = scope_from_stored("", encode_platform(SHOP))

    assert len(scope.trace.trace_id) == 32
    assert scope.platform == SHOP
