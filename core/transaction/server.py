"""Wires TransactionCore: settings in, a running server out."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from core.transaction.api import SERVICE_NAME, TransactionCoreApi, add_to_server
from core.transaction.callback_http import CallbackSender
from core.transaction.callback_signing import load_signer
from core.transaction.database_clock import DatabaseClock
from core.transaction.notification import DeliveryRules, DeliveryWorker
from core.transaction.parts import Parts
from core.transaction.remote import PaymentCoreClient
from core.transaction.settings import TransactionSettings
from core.transaction.store.order_intake import read_clock
from core.transaction.store.tables import idempotency_record, outbox_event
from core.transaction.workers import build_workers
from runtime.bus import Bus
from runtime.clock import SystemClock
from runtime.database import Database, run_migrations
from runtime.grpc_client import open_channel
from runtime.grpc_server import GrpcServer
from runtime.idempotency import Idempotency
from runtime.outbox import Outbox
from runtime.relay import Relay
from runtime.workers import Worker, run_workers

NAME = "transaction"
MIGRATIONS = "core.transaction:migrations"


@dataclass(frozen=True, slots=True)
class Wiring:
    """A server that is not started yet, with what it works with."""

    server: GrpcServer
    parts: Parts
    workers: Sequence[Worker]


async def build(settings: TransactionSettings, resources: AsyncExitStack) -> GrpcServer:
    """Opens what the server needs; `resources` closes it after the drain."""
    return (await wire(settings, resources)).server


async def wire(settings: TransactionSettings, resources: AsyncExitStack) -> Wiring:
    """Does what `build` does and shows the inside, for tests that step the workers."""
    if settings.migrate_on_start:
        await asyncio.to_thread(run_migrations, settings.database_url, MIGRATIONS)
    clock = SystemClock()
    database = Database(settings.database_url, pool_size=settings.database_pool_size, application_name=NAME)
    resources.push_async_callback(database.close)
    channel = open_channel(settings.payment_target, caller_service="transaction-core")
    resources.push_async_callback(channel.close)
    parts = Parts(
        database=database,
        outbox=Outbox(outbox_event, service=NAME),
        idempotency=Idempotency(idempotency_record),
        payment_core=PaymentCoreClient(channel, call_timeout_seconds=settings.payment_timeout_seconds),
        plan=settings.plan(),
        clock=clock,
        database_clock=DatabaseClock(clock),
        order_expire_seconds=settings.order_expire_seconds,
        order_longest_expire_seconds=settings.order_longest_expire_seconds,
    )
    async with database.read() as connection:
        parts.database_clock.observe(await read_clock(connection))
    bus = await Bus.connect(settings.nats_url, name=NAME)
    resources.push_async_callback(bus.close)
    relay = Relay(database, parts.outbox, bus, clock)
    resources.push_async_callback(relay.close)
    delivery = _delivery(settings, parts)
    resources.push_async_callback(delivery.close)
    workers = build_workers(parts, relay=relay, bus=bus, delivery=delivery, clock=clock, settings=settings)

    async def work(drain: asyncio.Event) -> None:
        await run_workers(workers, clock, drain)

    api = TransactionCoreApi(parts, release=_release())  # type: ignore[abstract]  # the rest is not served yet
    server = GrpcServer(
        settings,
        NAME,
        [SERVICE_NAME],
        lambda server: add_to_server(api, server),
        database,
        background=[work] if settings.workers_enabled else [],
    )
    return Wiring(server, parts, workers)


def _delivery(settings: TransactionSettings, parts: Parts) -> DeliveryWorker:
    sender = CallbackSender(
        timeout_seconds=settings.callback_timeout_seconds,
        forbid_private_addresses=settings.callback_private_addresses_forbidden,
    )
    signer = load_signer(
        settings.callback_signing_key_file,
        data_directory=settings.data_directory,
        key_id=settings.callback_key_id,
    )
    rules = DeliveryRules(
        concurrency=settings.callback_concurrency,
        concurrency_per_host=settings.callback_concurrency_per_host,
        timeout_seconds=settings.callback_timeout_seconds,
        schedule_seconds=settings.callback_schedule,
        jitter=settings.callback_jitter,
        idle_seconds=settings.idle_seconds,
    )
    return DeliveryWorker(parts, sender, signer, rules, parts.clock)


def _release() -> str:
    try:
        return version("paycenter")
    except PackageNotFoundError:
        return "0.0.0"
