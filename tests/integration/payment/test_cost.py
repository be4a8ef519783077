"""What a purchase costs: this service is on the way of every one, so its statements are counted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from paycenter.channel.v1 import channel_gateway_pb2 as channel_pb
from sqlalchemy import event

from tests.integration.payment.desk import Desk


@contextmanager
def statements_of(desk: Desk) -> Iterator[list[str]]:
    """Collects the kind of every statement that PaymentCore sends."""
    engine = desk.parts.database.engine.sync_engine
    sent: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        kinds = {"WITH asked": "record", "WITH changed": "change", "SELECT payment.shard,": "read"}
        sent.append(kinds.get(" ".join(statement.split()[:2]), statement))

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(engine, "before_cursor_execute", note)


async def test_a_purchase_costs_five_writes_and_one_read(desk: Desk) -> None:
    await desk.funded(1)
    with statements_of(desk) as recharge:
        pending = await desk.recharge()
    desk.gateway.move(pending.payment_id, channel_pb.CHANNEL_ORDER_STATE_SUCCEEDED)
    with statements_of(desk) as settlement:
        await desk.hear(pending.payment_id)
    with statements_of(desk) as transfer:
        await desk.transfer(10_000)

    assert recharge == ["record", "change"]
    assert settlement == ["read", "change"]
    assert transfer == ["record", "change"]


async def test_a_warm_purchase_asks_the_services_below_once_for_each_step(desk: Desk) -> None:
    await desk.funded(1)
    gateway, ledger = dict(desk.gateway.faults.calls), dict(desk.ledger.faults.calls)
    await desk.paid_recharge()
    await desk.transfer(10_000)
    asked = {
        method: count - before.get(method, 0)
        for calls, before in ((desk.gateway.faults.calls, gateway), (desk.ledger.faults.calls, ledger))
        for method, count in calls.items()
        if count != before.get(method, 0)
    }
    routes = {"ListChannels": 1, "GetPaymentAccount": 1}
    assert asked == {"CreateChannelPayment": 1, "PostEvent": 2, **routes}, (
        "routes are remembered for 0 s here"
    )
