"""Who may enter: calls with a sound platform context, as long as there is room."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from paycenter.context.v1 import platform_context_pb2
from paycenter.transaction.v1 import transaction_core_pb2 as pb

from runtime.context import PLATFORM_CONTEXT_KEY, CallScope, current_scope
from runtime.errors import PaycenterError
from tests.runtime.rpc.conftest import OpenFrontDesk
from tests.runtime.rpc.front_desk import SHOP, UNSAMPLED, FrontDesk, from_shop, order_request, refused


async def test_a_call_without_platform_context_is_not_let_in(front: FrontDesk, log: Any) -> None:
    answer = await refused(front.stub.CreateOrder(order_request(), metadata=(("traceparent", UNSAMPLED),)))

    assert (answer.code, answer.reason) == ("UNAUTHENTICATED", "CONTEXT_MISSING")
    assert front.desk.orders == []
    [line] = [line for line in log() if line["event"] == "rpc"]
    assert (line["code"], line["reason"]) == ("UNAUTHENTICATED", "CONTEXT_MISSING")


@pytest.mark.parametrize(
    ("encoded", "field"),
    [
        (b"\xff\xff\xff", PLATFORM_CONTEXT_KEY),
        (platform_context_pb2.PlatformContext(tenant_id="tenant-1").SerializeToString(), "caller_service"),
        (
            platform_context_pb2.PlatformContext(caller_service="shop").SerializeToString(),
            "tenant_id",
        ),
        (
            platform_context_pb2.PlatformContext(
                caller_service="shop", tenant_id="tenant-1", business_id="B" * 65
            ).SerializeToString(),
            "business_id",
        ),
        (
            platform_context_pb2.PlatformContext(
                caller_service="shop", tenant_id="tenant-1", operator="x" * 1024
            ).SerializeToString(),
            PLATFORM_CONTEXT_KEY,
        ),
    ],
    ids=["garbage", "no caller", "no tenant", "long business id", "above 1 KiB"],
)
async def test_a_broken_platform_context_is_refused_with_its_field(
    front: FrontDesk, encoded: bytes, field: str
) -> None:
    answer = await refused(
        front.stub.CreateOrder(order_request(), metadata=((PLATFORM_CONTEXT_KEY, encoded),))
    )

    assert (answer.code, answer.reason) == ("INVALID_ARGUMENT", "CONTEXT_INVALID")
    assert answer.fields == [field]
    assert front.desk.orders == []


async def test_the_handler_sees_who_acts(front: FrontDesk) -> None:
    seen: list[CallScope] = []

    async def remember(_request: Any) -> None:
        seen.append(current_scope())

    front.desk.create_order = remember
    platform = replace(SHOP, business_line="fees", locale="en-GB", origin="pos", shadow=True)
    await front.stub.CreateOrder(order_request(), metadata=from_shop(platform))

    assert seen[0].platform == platform


async def test_what_a_server_can_do_is_told_to_anyone(front: FrontDesk) -> None:
    await front.stub.GetServerInfo(pb.GetServerInfoRequest())


async def test_health_is_told_to_anyone_for_the_server_and_the_service(front: FrontDesk) -> None:
    health: Any = health_pb2_grpc.HealthStub(front.channel)  # type: ignore[no-untyped-call]
    for name in ("", "paycenter.transaction.v1.TransactionCore"):
        answer = await health.Check(health_pb2.HealthCheckRequest(service=name))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_a_full_server_refuses_before_anything_has_begun(open_desk: OpenFrontDesk) -> None:
    front = await open_desk(calls_limit=2)
    open_the_gate = asyncio.Event()

    async def wait(_request: Any) -> None:
        await open_the_gate.wait()

    front.desk.create_order = wait
    waiting = [
        asyncio.ensure_future(front.stub.CreateOrder(order_request(), metadata=from_shop())) for _ in range(2)
    ]
    while front.server._pipeline._admission.calls_in_flight < 2:
        await asyncio.sleep(0.005)

    answer = await refused(front.stub.CreateOrder(order_request(), metadata=from_shop()))
    open_the_gate.set()
    await asyncio.gather(*waiting)

    assert (answer.code, answer.reason) == ("RESOURCE_EXHAUSTED", "OVERLOADED")
    assert answer.detail(error_details_pb2.QuotaFailure()).violations[0].subject == "caller:shop"
    assert answer.has(error_details_pb2.RetryInfo)
    assert len(front.desk.orders) == 2
    front.desk.create_order = None
    await front.stub.CreateOrder(order_request(), metadata=from_shop())


def test_a_platform_context_cannot_leave_above_one_kibibyte() -> None:
    from runtime.context import encode_platform

    with pytest.raises(PaycenterError) as caught:
        encode_platform(replace(SHOP, operator="x" * 1100))
    assert caught.value.reason.value == "CONTEXT_INVALID"
