"""What a caller learns when something is refused or breaks, and what it never learns."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from paycenter.transaction.v1 import transaction_core_pb2 as pb

from runtime.errors import FieldViolation, PaycenterError, Reason
from tests.runtime.rpc.front_desk import SERVICE, TRACE_ID, FrontDesk, from_shop, order_request, refused

CARD = "6222021234567890123"


def failing_with(error: Exception) -> Any:
    async def behave(_request: Any) -> None:
        raise error

    return behave


async def test_the_text_of_an_unexpected_error_stays_in_the_log(front: FrontDesk, log: Any) -> None:
    front.desk.create_order = failing_with(ValueError(f"card {CARD} has no owner"))

    answer = await refused(front.stub.CreateOrder(order_request(), metadata=from_shop()))

    assert (answer.code, answer.reason, answer.info.domain) == (
        "INTERNAL",
        "INTERNAL_ERROR",
        "platform.paycenter",
    )
    assert answer.info.metadata["traceId"] == TRACE_ID
    assert CARD not in answer.message
    assert CARD.encode() not in answer.raw
    stack = next(line for line in log() if line["event"] == "unexpected error in a handler")
    assert "Traceback" in stack["exception"]
    assert stack["trace_id"] == TRACE_ID


async def test_an_internal_error_raised_on_purpose_keeps_its_text_too(front: FrontDesk) -> None:
    error = PaycenterError(Reason.INTERNAL_ERROR, f"card {CARD}", metadata={"card": CARD}, field=CARD)
    front.desk.create_order = failing_with(error)

    answer = await refused(front.stub.CreateOrder(order_request(), metadata=from_shop()))

    assert answer.reason == "INTERNAL_ERROR"
    assert CARD.encode() not in answer.raw


async def test_a_business_refusal_tells_reason_domain_resource_and_where_to_read_on(front: FrontDesk) -> None:
    front.desk.get_order = failing_with(
        PaycenterError(
            Reason.ORDER_NOT_FOUND,
            "No order has this number.",
            metadata={"orderId": "O-9"},
            resource=("order", "O-9"),
        )
    )

    answer = await refused(front.stub.GetOrder(pb.GetOrderRequest(order_id="O-9"), metadata=from_shop()))

    assert (answer.code, answer.message) == ("NOT_FOUND", "No order has this number.")
    assert (answer.reason, answer.info.domain) == ("ORDER_NOT_FOUND", "transaction.paycenter")
    assert dict(answer.info.metadata) == {"orderId": "O-9", "traceId": TRACE_ID}
    resource = answer.detail(error_details_pb2.ResourceInfo())
    assert (resource.resource_type, resource.resource_name) == ("order", "O-9")
    assert answer.detail(error_details_pb2.Help()).links[0].url == "docs/errors.md#ORDER_NOT_FOUND"


async def test_a_state_that_forbids_the_command_is_a_broken_precondition(front: FrontDesk) -> None:
    front.desk.create_order = failing_with(
        PaycenterError(
            Reason.ORDER_STATE_INVALID,
            "The order is CLOSED.",
            metadata={"current": "CLOSED", "allowed": "CREATED,PAYING"},
            resource=("order", "O-1"),
        )
    )

    answer = await refused(front.stub.CreateOrder(order_request(), metadata=from_shop()))

    assert answer.code == "FAILED_PRECONDITION"
    broken = answer.detail(error_details_pb2.PreconditionFailure()).violations[0]
    assert (broken.type, broken.subject) == ("ORDER_STATE_INVALID", "O-1")
    assert answer.info.metadata["allowed"] == "CREATED,PAYING"


@pytest.mark.parametrize(
    ("reason", "given_seconds", "told_milliseconds"),
    [
        (Reason.REQUEST_IN_PROGRESS, 3.25, 3250),
        (Reason.LOCK_CONFLICT, None, 200),
        (Reason.RATE_LIMITED, None, 1000),
        (Reason.DATABASE_UNAVAILABLE, None, 1000),
        (Reason.ORDER_STATE_INVALID, None, None),
    ],
)
async def test_who_may_try_again_is_told_when(
    front: FrontDesk, reason: Reason, given_seconds: float | None, told_milliseconds: int | None
) -> None:
    front.desk.create_order = failing_with(
        PaycenterError(reason, "Not now.", retry_after_seconds=given_seconds)
    )
    channel = grpc.aio.insecure_channel(front.target, options=[("grpc.enable_retries", 0)])

    create_order = channel.unary_unary(
        f"/{SERVICE}/CreateOrder", pb.CreateOrderRequest.SerializeToString, pb.CreateOrderResponse.FromString
    )
    answer = await refused(create_order(order_request(), metadata=from_shop()))
    await channel.close()

    assert answer.has(error_details_pb2.RetryInfo) is (told_milliseconds is not None)
    told = answer.detail(error_details_pb2.RetryInfo()).retry_delay
    assert told.ToMilliseconds() == (told_milliseconds or 0)


async def test_a_hundred_bad_fields_still_fit_into_the_trailers(front: FrontDesk) -> None:
    front.desk.create_order = failing_with(
        PaycenterError(
            Reason.FIELD_INVALID,
            "Many lines are wrong. " * 100,
            violations=[FieldViolation(f"lines[{n}].amount.minor_units", "x" * 300) for n in range(300)],
            metadata={"long": "y" * 4000},
        )
    )

    answer = await refused(front.stub.CreateOrder(order_request(), metadata=from_shop()))

    assert answer.reason == "FIELD_INVALID"
    assert len(answer.raw) <= 4096
    assert answer.fields[0] == "lines[0].amount.minor_units"
    assert int(answer.info.metadata["violationsOmitted"]) == 300 - len(answer.fields)


async def test_a_method_that_the_release_does_not_serve_says_so(front: FrontDesk) -> None:
    answer = await refused(front.stub.ListOrders(pb.ListOrdersRequest(), metadata=from_shop()))

    assert (answer.code, answer.reason) == ("UNIMPLEMENTED", "METHOD_UNIMPLEMENTED")


async def test_bytes_that_are_no_request_are_refused_as_the_callers_fault(front: FrontDesk) -> None:
    raw_call: Any = front.channel.unary_unary(f"/{SERVICE}/CreateOrder")

    answer = await refused(raw_call(b"\xff\xff\xff not protobuf", metadata=from_shop()))

    assert (answer.code, answer.reason) == ("INVALID_ARGUMENT", "FIELD_INVALID")
    assert front.desk.orders == []


async def test_every_field_that_breaks_a_rule_is_named(front: FrontDesk) -> None:
    request = order_request(notify_url="ftp://shop", annotations={"": "note"})
    request.request_id = "not-a-uuid"
    request.amount.minor_units = 0

    answer = await refused(front.stub.CreateOrder(request, metadata=from_shop()))

    assert (answer.code, answer.reason) == ("INVALID_ARGUMENT", "FIELD_INVALID")
    assert set(answer.fields) == {"request_id", "amount", "notify_url", 'annotations[""]'}
    assert front.desk.orders == []


async def test_a_sensitive_value_is_never_repeated(front: FrontDesk, log: Any) -> None:
    code = "28" + "secret" * 30
    request = pb.PayOrderRequest(
        request_id=order_request().request_id, merchant_id="M1", order_id="O-1", authorization_code=code
    )

    answer = await refused(front.stub.PayOrder(request, metadata=from_shop()))

    assert answer.fields == ["authorization_code"]
    violation = answer.detail(error_details_pb2.BadRequest()).field_violations[0]
    assert violation.description == "The value breaks its rule."
    assert "secret" not in str(log())


@pytest.mark.parametrize("method", ["CreateOrder", "GetOrder"])
async def test_a_handler_that_is_cancelled_from_within_has_failed(front: FrontDesk, method: str) -> None:
    async def give_itself_up(_request: Any) -> None:
        raise asyncio.CancelledError

    front.desk.create_order = front.desk.get_order = give_itself_up
    request = order_request() if method == "CreateOrder" else pb.GetOrderRequest(order_id="O-1")
    answer = await refused(getattr(front.stub, method)(request, metadata=from_shop()))

    assert (answer.code, answer.reason) == ("INTERNAL", "INTERNAL_ERROR")
