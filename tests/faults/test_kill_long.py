"""The long form: runs of payments under a storm of kills at random moments, round after round on one center."""

from __future__ import annotations

import asyncio
import os
import random

import pytest

from tests.e2e.center import Center, RunningCenter
from tests.faults.run_of_payments import RunOfPayments
from tests.faults.server_logs import ServerLogs

ROUNDS = 20
ORDERS = 48
CALLERS = 8
MOST_STRIKES = 6
LONGEST_GAP_SECONDS = 2.0
LONGEST_OUTAGE_SECONDS = 2.0
VICTIMS = ("transaction", "payment", "channel", "accounting", "postgres", "nats", "sandbox")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def base_seed() -> int:
    """Seed of the whole series; PAYCENTER_FAULTS_SEED repeats one that was printed."""
    return int(os.environ.get("PAYCENTER_FAULTS_SEED", random.randrange(10**6)))


@pytest.fixture(scope="module")
def logs(running_center: RunningCenter) -> ServerLogs:
    return ServerLogs(running_center.stack.data_directory / "logs")


@pytest.mark.parametrize("round_number", range(ROUNDS))
async def test_a_run_of_payments_survives_a_storm(
    center: Center, logs: ServerLogs, base_seed: int, round_number: int
) -> None:
    seed = base_seed + round_number
    print(f"PAYCENTER_FAULTS_SEED={base_seed} (round {round_number}, seed {seed})")
    shop = await center.merchant()
    async with RunOfPayments(center, shop, order_count=ORDERS, callers=CALLERS, seed=seed) as run:
        await run.at(0.05)
        chance = random.Random(seed)
        strikes = 0
        while run.is_under_way and strikes < MOST_STRIKES:
            await strike(center, chance)
            strikes += 1
        await run.converges()
    logs.check()


async def strike(center: Center, chance: random.Random) -> None:
    """Kills one process or two at once after a while, and starts them again after another."""
    stack = center.running.stack
    victims = chance.sample(VICTIMS, k=chance.choice((1, 1, 2)))
    await asyncio.sleep(chance.uniform(0, LONGEST_GAP_SECONDS))
    print(f"kill -9 {' and '.join(victims)}")
    await asyncio.gather(*(asyncio.to_thread(stack.kill, name) for name in victims))
    await asyncio.sleep(chance.uniform(0, LONGEST_OUTAGE_SECONDS))
    for name in victims:
        if name == "nats" and chance.random() < 0.5:
            print("wiping nats")
            await asyncio.to_thread(stack.wipe_nats)
        else:
            await asyncio.to_thread(stack.start_process, name)
