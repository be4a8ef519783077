"""Wires the accounting server: settings in, a running server out."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from importlib.metadata import version

from accounting.api import SERVICE_NAME, AccountingApi, add_to_server
from accounting.books import Books
from accounting.settings import AccountingSettings
from accounting.tables import IDEMPOTENCY_RECORD, OUTBOX_EVENT
from accounting.workers import HoldExpiry
from runtime.bus import Bus
from runtime.clock import SystemClock
from runtime.database import Database, run_migrations
from runtime.grpc_server import GrpcServer
from runtime.idempotency import Idempotency
from runtime.outbox import Outbox
from runtime.relay import Relay
from runtime.workers import run_workers


async def build(settings: AccountingSettings, resources: AsyncExitStack) -> GrpcServer:
    """Opens what the server needs; `resources` closes it after the drain."""
    if settings.migrate_on_start:
        await asyncio.to_thread(run_migrations, settings.database_url, "accounting:migrations")
    clock = SystemClock()
    database = Database(
        settings.database_url, pool_size=settings.database_pool_size, application_name="accounting"
    )
    resources.push_async_callback(database.close)
    outbox = Outbox(OUTBOX_EVENT, service="accounting")
    bus = await Bus.connect(settings.nats_url)
    resources.push_async_callback(bus.close)
    relay = Relay(database, outbox, bus, clock)
    resources.push_async_callback(relay.close)
    books = Books(
        database=database,
        outbox=outbox,
        idempotency=Idempotency(IDEMPOTENCY_RECORD),
        clock=clock,
        settings=settings,
    )
    workers = (relay, HoldExpiry(books))

    async def work(drain: asyncio.Event) -> None:
        await run_workers(workers, clock, drain)

    api = AccountingApi(books, release=version("paycenter"))  # type: ignore[abstract]  # the rest is not served yet
    return GrpcServer(
        settings,
        "accounting",
        [SERVICE_NAME],
        lambda server: add_to_server(api, server),
        database,
        background=[work],
    )
