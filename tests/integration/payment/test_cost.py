"""What a purchase costs: this service is on the way of every one, so its statements are counted."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from paycenter.channel.v1 import channel_gateway_pb2 as channel_pb

from tests.integration.payment.desk import Desk


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collects the kind of every statement that this process sends."""
    sent: list[str] = []
    execute = psycopg.AsyncCursor.execute
    kinds = {"WITH asked": "record", "WITH changed": "change", "SELECT payment.shard,": "read"}

    async def note(cursor: Any, query: Any, *arguments: Any, **options: Any) -> Any:
        text = query if isinstance(query, str) else str(query)
        sent.append(kinds.get(" ".join(text.split()[:2]), text))
        return await execute(cursor, query, *arguments, **options)

    monkeypatch.setattr(psycopg.AsyncCursor, "execute", note)
    return sent


async def test_a_purchase_costs_five_writes_and_one_read(desk: Desk, statements: list[str]) -> None:
    await desk.funded(1)
    statements.clear()
    pending = await desk.recharge()
    assert statements == ["record", "change"]
    desk.gateway.move(pending.payment_id, channel_pb.CHANNEL_ORDER_STATE_SUCCEEDED)
    statements.clear()
    await desk.hear(pending.payment_id)
    assert statements == ["read", "change"]
    statements.clear()
    await desk.transfer(10_000)
    assert statements == ["record", "change"]


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
