"""The service's own invariants hold, say how much they looked at, and catch every tampering."""

from __future__ import annotations

import pytest
from paycenter.payment.v1 import payment_core_pb2 as pb

from core.payment.store.tables import metadata
from runtime.migrations import schema_differences
from tests.integration.payment.desk import Desk


async def test_a_check_says_how_many_records_it_looked_at(desk: Desk) -> None:
    paid = await desk.paid_recharge(10_000)
    await desk.refund(paid.payment_id, 100)
    await desk.recharge()
    response = await desk.call(desk.stub.CheckInvariants, pb.CheckInvariantsRequest())
    checked = {result.name: result.checked_count for result in response.results}
    assert checked == {
        "succeeded_payment_is_booked": 2,
        "refunds_within_payment": 2,
        "change_has_its_event": 4 + 2 + 2,
        "open_payment_has_next_step": 1,
        "paid_out_money_was_held": 1,
        "channel_payment_names_its_order": 2,
    }
    assert all(result.violation_count == 0 and result.description for result in response.results)


@pytest.mark.parametrize(
    ("tampering", "caught_by"),
    [
        ("UPDATE payment SET journal_id = '' WHERE kind = 'REFUND'", "succeeded_payment_is_booked"),
        ("UPDATE payment SET refunded_minor_units = 101 WHERE kind = 'RECHARGE'", "refunds_within_payment"),
        ("UPDATE payment SET refunding_minor_units = 1 WHERE kind = 'RECHARGE'", "refunds_within_payment"),
        ("DELETE FROM outbox_event WHERE resource_version = 2", "change_has_its_event"),
        ("UPDATE payment SET version = version + 1 WHERE kind = 'REFUND'", "change_has_its_event"),
        (
            "UPDATE outbox_event SET resource_version = 1 WHERE event_type = 'PAYMENT_CHANGED'",
            "change_has_its_event",
        ),
        ("UPDATE payment SET next_step_time = NULL WHERE state = 'PENDING'", "open_payment_has_next_step"),
        ("UPDATE payment SET hold_id = '' WHERE kind = 'REFUND'", "paid_out_money_was_held"),
        (
            "UPDATE payment SET channel_order_id = '' WHERE kind = 'REFUND'",
            "channel_payment_names_its_order",
        ),
    ],
)
async def test_a_tampering_is_caught_by_its_check(desk: Desk, tampering: str, caught_by: str) -> None:
    paid = await desk.paid_recharge(10_000)
    await desk.refund(paid.payment_id, 100)
    await desk.recharge()
    assert await desk.violations() == []
    await desk.write(tampering)
    found = await desk.violations()
    assert found
    assert {example.split(":")[0] for example in found} == {caught_by}


async def test_more_than_the_amount_cannot_even_be_written(desk: Desk) -> None:
    await desk.paid_recharge(10_000)
    with pytest.raises(Exception, match="refunds_within_amount"):
        await desk.write("UPDATE payment SET refunding_minor_units = amount_minor_units + 1")


async def test_the_migrations_make_what_the_tables_say(database_url: str) -> None:
    assert schema_differences(database_url, metadata) == []
