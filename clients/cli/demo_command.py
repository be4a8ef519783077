"""`paycenter demo`: pays orders, or replays a bill, on real parts. Invariant: a center that it starts is stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from paycenter_client import AsyncPaycenterClient

from clients.cli.bill.bill_file import read_bill
from clients.cli.bill.replay import replay_bill
from clients.cli.center import running_stack, signals_as_interrupt
from clients.cli.connection import open_client
from clients.cli.demo.show import show_orders
from clients.cli.failure import CommandFailed
from clients.cli.output import DEFAULT_DATA_DIRECTORY, DataDirectory, console
from runtime.embedded import Endpoints, load_endpoints, read_status

_DIFFERS = 1


def demo(
    bill: Annotated[
        Path | None,
        typer.Option("--bill", help="Replay this trade bill of WeChat Pay instead.", dir_okay=False),
    ] = None,
    data_directory: DataDirectory = DEFAULT_DATA_DIRECTORY,
) -> None:
    """Pays a file of orders through all four servers, reconciles, and proves the invariants.

    Starts the center when none runs on the data directory, and stops it at the end. Ends with exit code 1 when
    anything differs from what was expected.
    """
    work: Callable[[Endpoints, AsyncPaycenterClient], Awaitable[bool]] = show_orders
    if bill is not None:
        try:
            content = read_bill(bill)
        except OSError as error:
            raise CommandFailed(f"{bill} cannot be read: {error.strerror}") from error

        async def replay(endpoints: Endpoints, client: AsyncPaycenterClient) -> bool:
            return await replay_bill(endpoints, client, content, name=bill.name)

        work = replay

    async def run(endpoints: Endpoints) -> bool:
        async with open_client(endpoints) as client:
            return await work(endpoints, client)

    with signals_as_interrupt():
        try:
            with _center(data_directory) as endpoints:
                all_well = asyncio.run(run(endpoints))
        except KeyboardInterrupt:
            raise CommandFailed("interrupted") from None
    if not all_well:
        raise typer.Exit(_DIFFERS)


@contextmanager
def _center(data_directory: Path) -> Iterator[Endpoints]:
    if read_status(data_directory).is_running:
        console.print(f"Using the center that runs on {data_directory}.", soft_wrap=True)
        yield load_endpoints(data_directory)
        return
    with running_stack(data_directory) as stack:
        yield stack.endpoints
