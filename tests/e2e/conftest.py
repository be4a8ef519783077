"""A whole center on real parts, with a merchant on both channels and a business system that takes callbacks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.e2e.center import Center, RunningCenter, opened_center


@pytest.fixture(scope="session")
def running_center(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCenter]:
    folder: Path = tmp_path_factory.mktemp("center")
    with opened_center(folder) as running:
        yield running


@pytest.fixture
async def center(running_center: RunningCenter) -> AsyncIterator[Center]:
    async with Center(running_center) as opened:
        yield opened
