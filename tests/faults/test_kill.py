"""kill -9 of any process in the middle of a run of payments: everything converges and the books agree."""

from __future__ import annotations

import asyncio

import pytest

from tests.e2e.center import Center, RunningCenter
from tests.faults.run_of_payments import RunOfPayments
from tests.faults.server_logs import ServerLogs

SHORT_RUN_ORDERS = 16
MOMENT_SECONDS = 0.7


@pytest.fixture(scope="module")
def logs(running_center: RunningCenter) -> ServerLogs:
    return ServerLogs(running_center.stack.data_directory / "logs")


@pytest.mark.parametrize(
    "name", ["transaction", "payment", "channel", "accounting", "postgres", "nats", "sandbox"]
)
async def test_a_run_of_payments_survives_the_kill_of(center: Center, logs: ServerLogs, name: str) -> None:
    stack = center.running.stack
    async with RunOfPayments(center, await center.merchant(), order_count=SHORT_RUN_ORDERS) as run:
        await run.at(0.3)
        await asyncio.to_thread(stack.kill, name)
        await asyncio.sleep(MOMENT_SECONDS)
        await asyncio.to_thread(stack.start_process, name)
        await run.converges()
    logs.check()


async def test_a_run_of_payments_survives_the_loss_of_everything_on_the_bus(
    center: Center, logs: ServerLogs
) -> None:
    stack = center.running.stack
    async with RunOfPayments(center, await center.merchant(), order_count=SHORT_RUN_ORDERS) as run:
        await run.at(0.3)
        await asyncio.to_thread(stack.kill, "nats")
        await asyncio.to_thread(stack.wipe_nats)
        await run.converges()
    logs.check()
