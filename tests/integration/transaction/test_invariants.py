"""The service answers for itself: each invariant can fail, and the database refuses what no code may do."""

from __future__ import annotations

import psycopg
import pytest
from paycenter.transaction.v1 import transaction_core_pb2 as tc

from core.transaction.store import checks
from tests.integration.transaction.desk import Desk, eventually

HARMS = {
    "order_refunds_within_paid": (
        "ALTER TABLE orders DROP CONSTRAINT ck_orders_refund_within_paid",
        "UPDATE orders SET refunded_minor_units = 2000 WHERE paid_minor_units > 0",
    ),
    "order_refund_counters_match_refunds": (
        "UPDATE orders SET refunding_minor_units = 5 WHERE paid_minor_units > 0",
    ),
    "paid_order_has_one_winner": ("UPDATE attempt SET state = 'FAILED' WHERE state = 'SUCCEEDED'",),
    "superseded_attempt_is_refunded": ("DELETE FROM refund WHERE automatic",),
    "order_version_has_event": ("DELETE FROM outbox_event WHERE event_type = 'ORDER_PAID'",),
    "outcome_is_notified": ("DELETE FROM notification WHERE event_type = 'ORDER_PAID'",),
    "open_record_has_next_step": (
        "ALTER TABLE attempt DROP CONSTRAINT ck_attempt_next_step",
        "UPDATE attempt SET state = 'UNKNOWN', next_step_time = NULL WHERE state = 'PENDING'",
    ),
    "waiting_notification_has_next_attempt": (
        "ALTER TABLE notification DROP CONSTRAINT ck_notification_next_attempt",
        "UPDATE notification SET state = 'DUE', next_attempt_time = NULL",
    ),
    "business_id_is_one": ("UPDATE attempt SET business_id = 'another'",),
}


async def test_every_invariant_holds_after_real_work_and_each_can_fail(desk: Desk) -> None:
    paid = await desk.paid_order()
    await desk.refund(paid, 10)
    await desk.pay(await desk.order())
    closed = await desk.order()
    attempt = await desk.pay(closed)
    await desk.close(closed)
    await desk.payment_succeeds(attempt)
    await eventually(
        lambda: desk.see(closed), lambda now: [r.state for r in now.refunds] == [tc.REFUND_STATE_SUCCEEDED]
    )
    looked_at = await desk.invariants_hold()
    assert set(looked_at) == set(HARMS)
    assert all(looked_at.values())
    url = desk.settings.database_url.replace("+psycopg", "")
    for name, statements in HARMS.items():
        broken = await _broken_after(url, statements)
        assert broken[name], f"{name} does not see its harm"
    await desk.invariants_hold()


async def _broken_after(url: str, statements: tuple[str, ...]) -> dict[str, int]:
    """Does harm, looks what the checks say, and takes the harm back."""
    async with await psycopg.AsyncConnection.connect(url) as connection:
        for statement in statements:
            await connection.execute(statement.encode())
        found = {
            check.name: len(await (await connection.execute(check.violation_query.encode())).fetchall())
            for check in checks.CHECKS
        }
        await connection.rollback()
    return found


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE orders SET amount_minor_units = 1",
        "UPDATE orders SET merchant_id = 'M9'",
        "UPDATE orders SET paid_minor_units = 1",
        "UPDATE orders SET refunding_minor_units = paid_minor_units + 1",
        "UPDATE orders SET state = 'PAID'",
        "UPDATE attempt SET next_step_time = NULL",
        "UPDATE number_index SET order_id = 'O'",
        "DELETE FROM number_index",
    ],
)
async def test_the_database_refuses_what_no_code_may_do(quiet_desk: Desk, statement: str) -> None:
    await quiet_desk.pay(await quiet_desk.order())
    with pytest.raises(psycopg.Error):
        quiet_desk.sql(statement)
