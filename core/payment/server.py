"""Wires PaymentCore: settings in, a running server out."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from importlib.metadata import version
from typing import Final

from core.payment.api import SERVICE_NAME, add_to_server
from core.payment.parts import build_parts
from core.payment.settings import PaymentSettings
from core.payment.store.tables import idempotency_record, outbox_event
from core.payment.workers import build_workers
from runtime.bus import Bus
from runtime.clock import SystemClock
from runtime.database import Database, run_migrations
from runtime.grpc_client import open_channel
from runtime.grpc_server import GrpcServer
from runtime.idempotency import Idempotency
from runtime.outbox import Outbox
from runtime.workers import run_workers

SHORT_NAME: Final = "payment"
"""Name of the service in logs, spans, subjects and as a caller of others."""

MIGRATIONS: Final = "core.payment:migrations"


async def build(settings: PaymentSettings, resources: AsyncExitStack) -> GrpcServer:
    """Opens what the server needs; `resources` closes it after the drain."""
    if settings.migrate_on_start:
        await asyncio.to_thread(run_migrations, settings.database_url, MIGRATIONS)
    clock = SystemClock()
    database = Database(
        settings.database_url, pool_size=settings.database_pool_size, application_name=SHORT_NAME
    )
    resources.push_async_callback(database.close)
    outbox = Outbox(outbox_event, service=SHORT_NAME)
    bus = await Bus.connect(settings.nats_url)
    resources.push_async_callback(bus.close)
    gateway_channel = open_channel(settings.channel_target, caller_service=SHORT_NAME)
    resources.push_async_callback(gateway_channel.close)
    ledger_channel = open_channel(settings.accounting_target, caller_service=SHORT_NAME)
    resources.push_async_callback(ledger_channel.close)
    parts = build_parts(
        settings,
        database=database,
        outbox=outbox,
        idempotency=Idempotency(idempotency_record),
        gateway_channel=gateway_channel,
        ledger_channel=ledger_channel,
        clock=clock,
    )
    workers = build_workers(settings, parts, bus=bus, clock=clock)

    async def work(drain: asyncio.Event) -> None:
        await run_workers(workers, clock, drain)

    return GrpcServer(
        settings,
        SHORT_NAME,
        [SERVICE_NAME],
        lambda server: add_to_server(parts.use_cases, server, release=version("paycenter")),
        database,
        background=[work],
    )
