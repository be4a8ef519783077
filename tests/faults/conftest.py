"""A center of each file's own, quick to take up what was left in the middle, whose servers may be killed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.e2e.center import QUICK, Center, RunningCenter, opened_center


def _every_two_seconds(longest_seconds: int) -> str:
    """A schedule that is quick at first and outlasts every outage of these scenarios: no person is asked for."""
    return str([0.3, 0.5, 1, *[2] * (longest_seconds // 2)])


# Leases short enough for a test: after them a repair worker takes up what a killed process left.
SHORT_LEASES = {
    "PAYCENTER_CALL_LEASE_SECONDS": "4",
    "PAYCENTER_SUBMITTING_LEASE_SECONDS": "4",
    "PAYCENTER_REPAIR_LEASE_SECONDS": "4",
    "PAYCENTER_CHANNEL_SEND_ATTEMPTS": "1",
    "PAYCENTER_ATTEMPT_RETRY_SECONDS": "2",
    "PAYCENTER_UNKNOWN_SCHEDULE_SECONDS": _every_two_seconds(120),
    "PAYCENTER_CLOSING_SCHEDULE_SECONDS": _every_two_seconds(120),
    "PAYCENTER_UNKNOWN_QUERY_SCHEDULE_SECONDS": _every_two_seconds(120),
    "PAYCENTER_CLOSED_SCHEDULE": "[2, 4, 8, 16, 32]",
    "PAYCENTER_CLOSED_WATCH_SCHEDULE_SECONDS": "[2, 4, 8, 16, 32]",
    "PAYCENTER_REVIEW_SECONDS": "5",
    "PAYCENTER_REVIEW_INTERVAL_SECONDS": "5",
}


@pytest.fixture(scope="module")
def running_center(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCenter]:
    folder: Path = tmp_path_factory.mktemp("center")
    with opened_center(folder, environment={**QUICK, **SHORT_LEASES}) as running:
        yield running


@pytest.fixture
async def center(running_center: RunningCenter) -> AsyncIterator[Center]:
    async with Center(running_center) as opened:
        await opened.sandbox.change_settings(notice_retry_scale=0.01)
        yield opened
