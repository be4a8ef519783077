"""What the client promises of one call: context, deadline, typed refusals, and which of them it repeats."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import paycenter_client
import pytest
from paycenter.transaction.v1 import transaction_core_pb2 as transaction
from paycenter_client import (
    AsyncPaycenterClient,
    Caller,
    Conflict,
    InvalidRequest,
    NotFound,
    OutcomeUnknown,
    PaycenterClient,
    PreconditionFailed,
    Targets,
    Unavailable,
    business_case,
)

from tests.clients.scripted_center import ScriptedCenter, refuse, serving

CALLER = Caller(service="shop", tenant_id="t1", business_line="books", operator="o-7")


@pytest.fixture
async def center() -> ScriptedCenter:
    return ScriptedCenter()


@pytest.fixture
async def client(center: ScriptedCenter) -> AsyncIterator[AsyncPaycenterClient]:
    async with (
        serving(center) as target,
        AsyncPaycenterClient(Targets(transaction=target), caller=CALLER) as opened,
    ):
        yield opened


def order(order_id: str = "O1") -> transaction.GetOrderResponse:
    return transaction.GetOrderResponse(order=transaction.Order(order_id=order_id))


async def test_a_call_carries_who_calls_and_a_trace(
    center: ScriptedCenter, client: AsyncPaycenterClient
) -> None:
    async def answer(_request: Any, _context: Any) -> Any:
        return order()

    center.answers["GetOrder"] = answer
    await client.transaction.GetOrder(transaction.GetOrderRequest(order_id="O1"))
    context = center.last_context()
    assert (context.caller_service, context.tenant_id) == ("shop", "t1")
    assert (context.business_line, context.operator, context.business_id) == ("books", "o-7", "")
    version, trace_id, span_id, flags = center.last_metadata()["traceparent"].split("-")
    assert (version, len(trace_id), len(span_id), flags) == ("00", 32, 16, "01")


async def test_calls_inside_a_business_case_share_its_number_and_trace(
    center: ScriptedCenter, client: AsyncPaycenterClient
) -> None:
    async def answer(_request: Any, _context: Any) -> Any:
        return order()

    center.answers["GetOrder"] = answer
    traceparent = f"00-{'a' * 32}-{'b' * 16}-01"
    with business_case(business_id="CASE-7", traceparent=traceparent):
        await client.transaction.GetOrder(transaction.GetOrderRequest(order_id="O1"))
    assert center.last_context().business_id == "CASE-7"
    assert center.last_metadata()["traceparent"] == traceparent
    await client.transaction.GetOrder(transaction.GetOrderRequest(order_id="O1"))
    assert center.last_context().business_id == ""
    assert center.last_metadata()["traceparent"] != traceparent


@pytest.mark.parametrize(
    ("method", "cap_seconds"), [("GetOrder", 2.0), ("CreateOrder", 5.0), ("PayOrder", 15.0)]
)
async def test_the_deadline_is_the_contracts_when_none_is_given(
    center: ScriptedCenter, client: AsyncPaycenterClient, method: str, cap_seconds: float
) -> None:
    async def answer(_request: Any, _context: Any) -> Any:
        return getattr(transaction, f"{method}Response")()

    center.answers[method] = answer
    request = getattr(transaction, f"{method}Request")()
    await getattr(client.transaction, method)(request)
    assert center.calls[-1][3] == pytest.approx(cap_seconds, abs=0.5)
    await getattr(client.transaction, method)(request, timeout=0.7)
    assert center.calls[-1][3] == pytest.approx(0.7, abs=0.2)


@pytest.mark.parametrize(
    ("code", "raised"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, InvalidRequest),
        (grpc.StatusCode.UNAUTHENTICATED, paycenter_client.CallerRejected),
        (grpc.StatusCode.PERMISSION_DENIED, paycenter_client.CallerRejected),
        (grpc.StatusCode.NOT_FOUND, NotFound),
        (grpc.StatusCode.ALREADY_EXISTS, paycenter_client.AlreadyExists),
        (grpc.StatusCode.FAILED_PRECONDITION, PreconditionFailed),
        (grpc.StatusCode.OUT_OF_RANGE, paycenter_client.RevisionCompacted),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, paycenter_client.Overloaded),
        (grpc.StatusCode.UNIMPLEMENTED, paycenter_client.Unimplemented),
        (grpc.StatusCode.INTERNAL, paycenter_client.InternalError),
    ],
)
async def test_a_refusal_is_typed_by_its_code(
    center: ScriptedCenter,
    client: AsyncPaycenterClient,
    code: grpc.StatusCode,
    raised: type[paycenter_client.PaycenterError],
) -> None:
    async def answer(_request: Any, context: Any) -> Any:
        await refuse(context, code, "SOME_REASON", "what is wrong")

    center.answers["CreateOrder"] = answer
    with pytest.raises(raised) as caught:
        await client.transaction.CreateOrder(transaction.CreateOrderRequest())
    assert type(caught.value) is raised
    assert (caught.value.code, caught.value.reason) == (code, "SOME_REASON")
    assert center.count("CreateOrder") == 1


async def test_a_refusal_names_field_reason_and_trace(
    center: ScriptedCenter, client: AsyncPaycenterClient
) -> None:
    async def answer(_request: Any, context: Any) -> Any:
        await refuse(
            context,
            grpc.StatusCode.INVALID_ARGUMENT,
            "FIELD_INVALID",
            "The request is not valid.",
            field_at_fault="amount.minor_units",
            metadata={"traceId": "0123456789abcdef" * 2, "limit": "5"},
        )

    center.answers["CreateOrder"] = answer
    with pytest.raises(InvalidRequest) as caught:
        await client.transaction.CreateOrder(transaction.CreateOrderRequest())
    error = caught.value
    assert (error.reason, error.field) == ("FIELD_INVALID", "amount.minor_units")
    assert (error.trace_id, error.metadata["limit"]) == ("0123456789abcdef" * 2, "5")
    assert "FIELD_INVALID: The request is not valid. (amount.minor_units: is wrong)" in str(error)


async def test_a_request_in_progress_is_repeated_with_the_same_id_until_it_is_answered(
    center: ScriptedCenter, client: AsyncPaycenterClient
) -> None:
    async def answer(request: Any, context: Any) -> Any:
        if center.count("CreateOrder") < 3:
            await refuse(context, grpc.StatusCode.ABORTED, "REQUEST_IN_PROGRESS", retry_after_milliseconds=80)
        return transaction.CreateOrderResponse(order=transaction.Order(order_id=request.request_id))

    center.answers["CreateOrder"] = answer
    started = time.monotonic()
    answered = await client.transaction.CreateOrder(transaction.CreateOrderRequest(request_id="R1"))
    assert answered.order.order_id == "R1"
    assert [request.request_id for _, request, *_ in center.calls] == ["R1"] * 3
    assert time.monotonic() - started >= 0.16, "the center's delay was not kept"


async def test_a_conflict_that_outlasts_the_deadline_is_raised(
    center: ScriptedCenter, client: AsyncPaycenterClient
) -> None:
    async def answer(_request: Any, context: Any) -> Any:
        await refuse(context, grpc.StatusCode.ABORTED, "REQUEST_IN_PROGRESS", retry_after_milliseconds=200)

    center.answers["CreateOrder"] = answer
    with pytest.raises(Conflict) as caught:
        await client.transaction.CreateOrder(transaction.CreateOrderRequest(), timeout=0.5)
    assert caught.value.retry_after_seconds == pytest.approx(0.2)
    assert 1 < center.count("CreateOrder") < 4


async def test_an_edit_on_an_old_record_is_not_repeated(
    center: ScriptedCenter, client: AsyncPaycenterClient
) -> None:
    async def answer(_request: Any, context: Any) -> Any:
        await refuse(context, grpc.StatusCode.ABORTED, "ETAG_MISMATCH")

    center.answers["CreateOrder"] = answer
    with pytest.raises(Conflict):
        await client.transaction.CreateOrder(transaction.CreateOrderRequest())
    assert center.count("CreateOrder") == 1


async def test_a_center_that_is_away_for_a_moment_is_asked_again(
    center: ScriptedCenter, client: AsyncPaycenterClient
) -> None:
    async def answer(_request: Any, context: Any) -> Any:
        if center.count("GetOrder") == 1:
            await refuse(context, grpc.StatusCode.UNAVAILABLE, "SERVER_DRAINING")
        return order()

    center.answers["GetOrder"] = answer
    answered = await client.transaction.GetOrder(transaction.GetOrderRequest(order_id="O1"))
    assert answered.order.order_id == "O1"
    assert center.count("GetOrder") == 2


async def test_nobody_listening_is_unavailable() -> None:
    async with AsyncPaycenterClient(Targets(transaction="127.0.0.1:9"), caller=CALLER) as client:
        with pytest.raises(Unavailable) as caught:
            await client.transaction.GetOrder(transaction.GetOrderRequest(order_id="O1"))
    assert caught.value.reason == ""


async def test_no_answer_in_time_is_an_unknown_outcome(
    center: ScriptedCenter, client: AsyncPaycenterClient
) -> None:
    async def answer(_request: Any, _context: Any) -> Any:
        await asyncio.sleep(5)
        return transaction.CreateOrderResponse()

    center.answers["CreateOrder"] = answer
    with pytest.raises(OutcomeUnknown):
        await client.transaction.CreateOrder(transaction.CreateOrderRequest(), timeout=0.2)


async def test_a_list_is_paged_to_its_end_and_the_request_is_left_alone(
    center: ScriptedCenter, client: AsyncPaycenterClient
) -> None:
    pages = {"": (["O1", "O2"], "p2"), "p2": (["O3"], "p3"), "p3": ([], "")}

    async def answer(request: Any, _context: Any) -> Any:
        numbers, next_page_token = pages[request.page_token]
        return transaction.ListOrdersResponse(
            orders=[transaction.Order(order_id=number) for number in numbers], next_page_token=next_page_token
        )

    center.answers["ListOrders"] = answer
    request = transaction.ListOrdersRequest(merchant_id="M1", page_size=2)
    found = [
        each.order_id
        async for page in client.pages(client.transaction.ListOrders, request)
        for each in page.orders
    ]
    assert found == ["O1", "O2", "O3"]
    assert request.page_token == ""
    assert all(sent.merchant_id == "M1" and sent.page_size == 2 for _, sent, *_ in center.calls)


async def test_the_synchronous_client_does_the_same(center: ScriptedCenter) -> None:
    async def in_progress_once(request: Any, context: Any) -> Any:
        if center.count("CreateOrder") == 1:
            await refuse(context, grpc.StatusCode.ABORTED, "REQUEST_IN_PROGRESS")
        return transaction.CreateOrderResponse(order=transaction.Order(order_id=request.request_id))

    async def not_found(_request: Any, context: Any) -> Any:
        await refuse(context, grpc.StatusCode.NOT_FOUND, "ORDER_NOT_FOUND")

    async def one_page_after_another(request: Any, _context: Any) -> Any:
        following = "" if request.page_token else "p2"
        return transaction.ListOrdersResponse(orders=[transaction.Order()], next_page_token=following)

    center.answers |= {
        "CreateOrder": in_progress_once,
        "GetOrder": not_found,
        "ListOrders": one_page_after_another,
    }

    def use(target: str) -> int:
        with PaycenterClient(Targets(transaction=target), caller=CALLER) as client:
            created = client.transaction.CreateOrder(transaction.CreateOrderRequest(request_id="R1"))
            assert created.order.order_id == "R1"
            with pytest.raises(NotFound) as caught:
                client.transaction.GetOrder(transaction.GetOrderRequest(order_id="O1"))
            assert caught.value.reason == "ORDER_NOT_FOUND"
            return len(list(client.pages(client.transaction.ListOrders, transaction.ListOrdersRequest())))

    async with serving(center) as target:
        assert await asyncio.to_thread(use, target) == 2
    assert center.count("CreateOrder") == 2
