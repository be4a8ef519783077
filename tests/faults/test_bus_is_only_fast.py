"""The bus only makes the center fast: without it everything converges by the repair workers alone."""

from __future__ import annotations

import asyncio

from tests.e2e.center import Center, eventually
from tests.faults.run_of_payments import RunOfPayments
from tests.faults.server_logs import ServerLogs

ORDERS = 16
SERVICES = ("transaction", "payment", "channel", "accounting")


async def test_a_run_of_payments_converges_without_the_bus(center: Center) -> None:
    stack = center.running.stack
    logs = ServerLogs(stack.data_directory / "logs")
    await asyncio.to_thread(stack.kill, "nats")
    async with RunOfPayments(center, await center.merchant(), order_count=ORDERS) as run:
        await run.at(0.3)
        await asyncio.to_thread(stack.kill, "payment")
        await asyncio.to_thread(stack.start_process, "payment")
        await run.converges()
    assert unpublished(center) != dict.fromkeys(SERVICES, 0), "the bus was not down"

    await asyncio.to_thread(stack.start_process, "nats")
    async with eventually():
        while unpublished(center) != dict.fromkeys(SERVICES, 0):
            await asyncio.sleep(0.2)
    assert await center.violations() == []
    logs.check()


def unpublished(center: Center) -> dict[str, int]:
    """How many events of each service the bus has not taken yet."""
    query = "SELECT count(*) AS waiting FROM outbox_event WHERE published_time IS NULL"
    return {service: center.rows(service, query)[0]["waiting"] for service in SERVICES}
