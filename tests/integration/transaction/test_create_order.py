"""Intake of orders."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from google.type import decimal_pb2
from paycenter.transaction.v1 import transaction_core_pb2 as tc
from paycenter.type.v1 import party_pb2

from runtime.errors import PaycenterError, Reason
from runtime.ids import new_request_id, shard_of_number, shard_of_owner
from tests.integration.transaction.desk import MERCHANT, USER, Desk, owner, yuan


def _in(span: timedelta) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(datetime.now(UTC) + span)
    return stamp


async def test_an_order_gets_a_number_that_tells_its_merchants_shard(quiet_desk: Desk) -> None:
    order = await quiet_desk.order(1234, annotations={"table": "7"}, merchant_serial_number="s-1")
    assert order.order_id.startswith("O")
    assert shard_of_number(order.order_id) == shard_of_owner(quiet_desk.merchant_id)
    assert (order.state, order.amount, order.paid_amount) == (tc.ORDER_STATE_CREATED, yuan(1234), yuan(0))
    assert (order.annotations["table"], order.merchant_serial_number) == ("7", "s-1")
    assert order.trace_id == quiet_desk.caller.trace.trace_id
    life = order.expire_time.ToDatetime() - order.create_time.ToDatetime()
    assert abs(life - timedelta(minutes=15)) < timedelta(seconds=2)
    assert quiet_desk.events_of(order) == [("ORDER_CREATED", 1)]
    assert await quiet_desk.see(order) == order


async def test_the_business_id_of_the_context_goes_with_the_order(quiet_desk: Desk) -> None:
    quiet_desk.caller.business_id = "case-77"
    order = await quiet_desk.order()
    assert order.business_id == "case-77"
    rows = quiet_desk.sql(
        "SELECT business_id, traceparent FROM orders UNION SELECT business_id, '' FROM outbox_event"
    )
    assert {business_id for business_id, _ in rows} == {"case-77"}


async def test_the_serial_number_stands_in_for_the_order_number(quiet_desk: Desk) -> None:
    order = await quiet_desk.order(merchant_order_id="", merchant_serial_number="serial-9")
    assert order.merchant_order_id == "serial-9"
    request = tc.GetOrderRequest(merchant_id=quiet_desk.merchant_id, merchant_order_id="serial-9")
    assert (await quiet_desk.caller.call("GetOrder", request)).order == order


async def test_the_same_request_at_once_makes_one_order(quiet_desk: Desk) -> None:
    request = quiet_desk.order_request()
    answers = await asyncio.gather(*(quiet_desk.caller.call("CreateOrder", request) for _ in range(5)))
    assert len({answer.SerializeToString(deterministic=True) for answer in answers}) == 1
    assert quiet_desk.sql("SELECT count(*) FROM orders") == [(1,)]
    await quiet_desk.caller.call("CreateOrder", request)
    assert quiet_desk.caller.last_metadata["x-idempotent-replay"] == "true"


async def test_a_replay_gets_the_first_answer_though_the_order_moved_on_or_would_be_too_late_now(
    quiet_desk: Desk,
) -> None:
    request = quiet_desk.order_request(expire_time=_in(timedelta(seconds=1)))
    first = await quiet_desk.caller.call("CreateOrder", request)
    await quiet_desk.pay(first.order)
    await asyncio.sleep(1.1)
    assert await quiet_desk.caller.call("CreateOrder", request) == first


async def test_another_body_under_the_same_request_id_is_refused(quiet_desk: Desk) -> None:
    request = quiet_desk.order_request(1000)
    await quiet_desk.caller.call("CreateOrder", request)
    request.amount.minor_units = 1001
    refused = await quiet_desk.refused("CreateOrder", request)
    assert (refused.reason, refused.violations[0].field) == (Reason.IDEMPOTENCY_KEY_REUSED, "request_id")


async def test_a_merchants_number_names_one_order_for_ever(quiet_desk: Desk) -> None:
    order = await quiet_desk.order(merchant_order_id="bill-1")
    refused = await quiet_desk.refused("CreateOrder", quiet_desk.order_request(merchant_order_id="bill-1"))
    assert refused.reason is Reason.MERCHANT_ORDER_EXISTS
    assert refused.metadata["orderId"] == order.order_id
    racing = [quiet_desk.order_request(merchant_order_id="bill-2") for _ in range(4)]
    outcomes = await asyncio.gather(
        *(quiet_desk.caller.call("CreateOrder", request) for request in racing), return_exceptions=True
    )
    made = [one.order.order_id for one in outcomes if isinstance(one, tc.CreateOrderResponse)]
    told = [one.metadata["orderId"] for one in outcomes if isinstance(one, PaycenterError)]
    assert len(made) == 1
    assert told == made * 3


SPLIT_TOO_SMALL = tc.SplitPurchase(
    receivers=[party_pb2.SplitReceiver(receiver=owner(MERCHANT, "M2"), amount=yuan(999))]
)
SAME_OWNER = tc.Transfer(source_owner=owner(USER, "u"), destination_owner=owner(USER, "u"))


@pytest.mark.parametrize(
    ("fields", "reason", "field"),
    [
        ({"merchant_order_id": ""}, Reason.FIELD_INVALID, "merchant_order_id"),
        ({"amount": yuan(0)}, Reason.FIELD_INVALID, "amount"),
        ({"amount": yuan(-5)}, Reason.FIELD_INVALID, "amount"),
        ({"amount": yuan(5, "XYZ")}, Reason.CURRENCY_UNSUPPORTED, "amount.currency_code"),
        ({"subject": ""}, Reason.FIELD_INVALID, "subject"),
        ({"notify_url": "ftp://shop"}, Reason.FIELD_INVALID, "notify_url"),
        ({"notify_url": "http://商店.example/"}, Reason.FIELD_INVALID, "notify_url"),
        ({"notify_url": "http://shop:99999/"}, Reason.FIELD_INVALID, "notify_url"),
        ({"notify_url": "http://:80/"}, Reason.FIELD_INVALID, "notify_url"),
        ({"expire_time": _in(timedelta(seconds=-5))}, Reason.FIELD_INVALID, "expire_time"),
        ({"expire_time": _in(timedelta(days=8))}, Reason.FIELD_INVALID, "expire_time"),
        ({"split_purchase": SPLIT_TOO_SMALL}, Reason.FIELD_INVALID, "split_purchase.receivers"),
        ({"transfer": SAME_OWNER}, Reason.FIELD_INVALID, "transfer.destination_owner"),
        (
            {"preauthorized_purchase": tc.PreauthorizedPurchase()},
            Reason.FIELD_INVALID,
            "preauthorized_purchase",
        ),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, str) else None,
)
async def test_what_an_order_may_not_be_is_refused_with_reason_and_field(
    quiet_desk: Desk, fields: dict[str, Any], reason: Reason, field: str
) -> None:
    refused = await quiet_desk.refused("CreateOrder", quiet_desk.order_request(**fields))
    assert (refused.reason, refused.violations[0].field) == (reason, field)
    assert quiet_desk.sql("SELECT count(*) FROM orders") == [(0,)]
    assert quiet_desk.sql("SELECT count(*) FROM idempotency_record") == [(0,)]


async def test_a_split_is_kept_in_exact_amounts(quiet_desk: Desk) -> None:
    receivers = [
        party_pb2.SplitReceiver(receiver=owner(MERCHANT, "M2"), ratio=decimal_pb2.Decimal(value="0.333")),
        party_pb2.SplitReceiver(receiver=owner(MERCHANT, quiet_desk.merchant_id), remainder=True),
    ]
    await quiet_desk.order(1000, split_purchase=tc.SplitPurchase(receivers=receivers))
    [(purpose,)] = quiet_desk.sql("SELECT purpose FROM orders")
    assert [share["minor_units"] for share in purpose["shares"]] == [333, 667]


async def test_methods_that_are_not_served_yet_say_so(quiet_desk: Desk) -> None:
    info = (await quiet_desk.caller.call("GetServerInfo", tc.GetServerInfoRequest())).server_info
    names = set(tc.DESCRIPTOR.services_by_name["TransactionCore"].methods_by_name)
    assert names - set(info.methods) == {"ConfirmAttempt", "CaptureOrder", "VoidOrder"}
    request = tc.VoidOrderRequest(request_id=new_request_id(), merchant_id="M", order_id="O")
    assert (await quiet_desk.refused("VoidOrder", request)).reason is Reason.METHOD_UNIMPLEMENTED
