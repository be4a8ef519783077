"""Fixtures of the rpc tests: the front desk, the log and the spans of one test."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest

from runtime.logs import setup_logging
from runtime.settings import RuntimeSettings
from runtime.telemetry import setup_telemetry
from tests.runtime.rpc.front_desk import FrontDesk, Spans, log_lines, open_front_desk

OpenFrontDesk = Callable[..., Awaitable[FrontDesk]]


@pytest.fixture
def log(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """Returns the lines logged since it was asked last."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    setup_logging("front-desk")
    yield lambda: log_lines(capsys.readouterr().err)
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def spans() -> Iterator[Spans]:
    """Every span that the test's servers finish."""
    collected = Spans()
    settings = RuntimeSettings(trace_sample_ratio=0.0)
    setup_telemetry("front-desk", settings, processor=collected)
    yield collected
    setup_telemetry("front-desk", settings)


@pytest.fixture
async def open_desk(log: Callable[[], list[dict[str, Any]]]) -> AsyncIterator[OpenFrontDesk]:
    """Starts front desks and stops them after the test."""
    opened: list[FrontDesk] = []

    async def start(**options: Any) -> FrontDesk:
        desk = await open_front_desk(**options)
        opened.append(desk)
        return desk

    yield start
    for desk in opened:
        await desk.close()


@pytest.fixture
async def front(open_desk: OpenFrontDesk) -> FrontDesk:
    """A front desk with the usual settings."""
    return await open_desk()
