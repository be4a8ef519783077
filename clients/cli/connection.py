"""Finds the running center and opens clients to it. Invariant: every call carries the same caller and tenant."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from paycenter_client import AsyncPaycenterClient, Caller, Targets

from clients.cli.failure import CommandFailed
from runtime.embedded import EmbeddedError, Endpoints, load_endpoints, read_status

CALLER = Caller(service="paycenter-cli", tenant_id="demo", business_line="demo", origin="command-line")

Outcome = TypeVar("Outcome")


def running_center(data_directory: Path) -> Endpoints:
    """The addresses of the center that runs on a data directory. Raises CommandFailed when none does."""
    how_to_start = f"paycenter up --data-directory {data_directory}"
    if not read_status(data_directory).is_running:
        raise CommandFailed(f"no center runs on {data_directory}; start one with: {how_to_start}")
    try:
        return load_endpoints(data_directory)
    except EmbeddedError as error:
        raise CommandFailed(f"{error} (the center on {data_directory} may still be starting)") from error


def open_client(endpoints: Endpoints) -> AsyncPaycenterClient:
    """A client of all four servers, for one event loop."""
    targets = Targets(
        transaction=endpoints.transaction_target,
        payment=endpoints.payment_target,
        channel=endpoints.channel_target,
        accounting=endpoints.accounting_target,
    )
    return AsyncPaycenterClient(targets, caller=CALLER)


def with_center(
    data_directory: Path, work: Callable[[Endpoints, AsyncPaycenterClient], Coroutine[Any, Any, Outcome]]
) -> Outcome:
    """Runs asynchronous work against the running center and gives its outcome."""
    endpoints = running_center(data_directory)

    async def run() -> Outcome:
        async with open_client(endpoints) as client:
            return await work(endpoints, client)

    return asyncio.run(run())
