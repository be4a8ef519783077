"""One line stays of every call, and it tells what an operator asks first."""

from __future__ import annotations

import time
from typing import Any

from paycenter.transaction.v1 import transaction_core_pb2 as pb
from prometheus_client import REGISTRY

from runtime.context import with_business_id
from runtime.errors import PaycenterError, Reason
from runtime.logs import annotate, get_logger
from tests.runtime.rpc.front_desk import TRACE_ID, FrontDesk, from_shop, order_request, refused

METHOD = "paycenter.transaction.v1.TransactionCore/CreateOrder"


async def test_the_line_of_a_command_tells_who_what_and_how_long(front: FrontDesk, log: Any) -> None:
    async def behave(_request: Any) -> None:
        with with_business_id("O-4711"):
            annotate(order_id="O-4711", state_from="CREATED", state_to="PAYING", attempts=2)

    front.desk.create_order = behave
    request = order_request()
    await front.stub.CreateOrder(request, metadata=from_shop(), timeout=3)

    [line] = [line for line in log() if line["event"] == "rpc"]
    assert 2000 < line.pop("deadline_left_ms") <= 3010
    assert 0 < line.pop("duration_ms") < 1000
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "event": "rpc",
        "level": "info",
        "method": METHOD,
        "code": "OK",
        "caller_service": "shop",
        "tenant_id": "tenant-1",
        "request_id": request.request_id,
        "order_id": "O-4711",
        "state_from": "CREATED",
        "state_to": "PAYING",
        "attempts": 2,
        "service": "front-desk",
        "trace_id": TRACE_ID,
        "business_id": "O-4711",
    }


async def test_only_the_servers_own_failures_are_logged_as_errors(front: FrontDesk, log: Any) -> None:
    async def refuse(request: pb.GetOrderRequest) -> None:
        raise PaycenterError(Reason(request.order_id), "No.")

    front.desk.get_order = refuse
    for reason in ("ORDER_NOT_FOUND", "INTERNAL_ERROR"):
        await refused(front.stub.GetOrder(pb.GetOrderRequest(order_id=reason), metadata=from_shop()))

    lines = [line for line in log() if line["event"] == "rpc"]
    assert [(line["reason"], line["level"]) for line in lines] == [
        ("ORDER_NOT_FOUND", "info"),
        ("INTERNAL_ERROR", "error"),
    ]


async def test_every_other_line_of_the_call_carries_the_same_identifiers(front: FrontDesk, log: Any) -> None:
    async def behave(_request: Any) -> None:
        get_logger().info("risk assessed", score=7)

    front.desk.create_order = behave
    await front.stub.CreateOrder(order_request(), metadata=from_shop())

    [line] = [line for line in log() if line["event"] == "risk assessed"]
    assert (line["service"], line["trace_id"], line["business_id"], line["score"]) == (
        "front-desk",
        TRACE_ID,
        "O-0001",
        7,
    )


async def test_figures_count_calls_by_method_and_code(front: FrontDesk) -> None:
    def count(code: str) -> float:
        labels = {"method": METHOD, "code": code}
        return REGISTRY.get_sample_value("rpc_server_call_duration_seconds_count", labels) or 0.0

    in_flight: list[float | None] = []

    async def behave(_request: Any) -> None:
        in_flight.append(REGISTRY.get_sample_value("rpc_server_calls_in_flight", {"method": METHOD}))

    before = (count("OK"), count("INVALID_ARGUMENT"))
    front.desk.create_order = behave
    await front.stub.CreateOrder(order_request(), metadata=from_shop())
    await refused(front.stub.CreateOrder(pb.CreateOrderRequest(), metadata=from_shop()))

    assert (count("OK"), count("INVALID_ARGUMENT")) == (before[0] + 1, before[1] + 1)
    assert in_flight == [1.0]
    assert REGISTRY.get_sample_value("rpc_server_calls_in_flight", {"method": METHOD}) == 0.0


async def test_a_line_is_written_when_the_work_ends(front: FrontDesk, log: Any) -> None:
    began = time.monotonic()
    for _ in range(50):
        await front.stub.CreateOrder(order_request(), metadata=from_shop())

    lines = [line for line in log() if line["event"] == "rpc"]
    assert len(lines) == 50
    assert sum(line["duration_ms"] for line in lines) <= (time.monotonic() - began) * 1000
