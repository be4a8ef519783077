"""Wires the gateway: settings in, a running server out. Invariant: the one place where parts are put
together."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from importlib.metadata import version

from channel_gateway.api import SERVICE_NAME, ChannelGatewayApi, add_to_server
from channel_gateway.channels.registry import discover
from channel_gateway.channels.transport import transport_factory
from channel_gateway.directory import AccountDirectory
from channel_gateway.inbox import Inbox
from channel_gateway.notice_listener import NoticeListener
from channel_gateway.parts import GatewayParts
from channel_gateway.secret_box import SecretBox
from channel_gateway.settings import ChannelGatewaySettings
from channel_gateway.store.tables import idempotency_record, outbox_event
from channel_gateway.switches import Switches
from channel_gateway.workers import gateway_workers
from runtime.bus import Bus
from runtime.clock import SystemClock
from runtime.database import Database, run_migrations
from runtime.grpc_server import GrpcServer
from runtime.idempotency import Idempotency
from runtime.logs import get_logger
from runtime.outbox import Outbox
from runtime.workers import run_workers

SERVICE = "channel"


async def build(settings: ChannelGatewaySettings, resources: AsyncExitStack) -> GrpcServer:
    """Opens what the server needs; `resources` closes it after the drain. Raises StartupError when a port is taken."""
    listener = NoticeListener(
        settings.notice_host, settings.notice_port, drain_grace_seconds=settings.drain_grace_seconds
    )
    resources.callback(listener.close)
    if settings.migrate_on_start:
        await asyncio.to_thread(run_migrations, settings.database_url, "channel_gateway:migrations")
    parts = open_parts(settings, resources, notice_base_url=settings.notice_base_url or listener.address)
    bus = await Bus.connect(settings.nats_url)
    resources.push_async_callback(bus.close)
    inbox = Inbox(parts)
    workers = gateway_workers(parts, inbox, bus)

    async def work(drain: asyncio.Event) -> None:
        await run_workers(workers, parts.clock, drain)

    async def listen(drain: asyncio.Event) -> None:
        get_logger().info("listening for notices", address=listener.address)
        await listener.serve(parts.accounts, inbox, drain)

    api = ChannelGatewayApi(parts, release=version("paycenter"))  # type: ignore[abstract]  # the rest is not served yet
    return GrpcServer(
        settings,
        "channel_gateway",
        [SERVICE_NAME],
        lambda server: add_to_server(api, server),
        parts.database,
        background=[work, listen],
    )


def open_parts(
    settings: ChannelGatewaySettings, resources: AsyncExitStack, *, notice_base_url: str
) -> GatewayParts:
    """Opens database, accounts and switches."""
    clock = SystemClock()
    database = Database(
        settings.database_url, pool_size=settings.database_pool_size, application_name="channel_gateway"
    )
    resources.push_async_callback(database.close)
    plugins = discover()
    secret_box = SecretBox(bytes.fromhex(settings.key_encryption_key.get_secret_value()))
    accounts = AccountDirectory(
        database,
        clock,
        plugins,
        secret_box,
        transport_factory(
            timeout_seconds=settings.channel_call_timeout_seconds,
            connect_timeout_seconds=settings.channel_connect_timeout_seconds,
            pool_size=settings.channel_pool_size,
        ),
        notice_base_url=notice_base_url,
        cache_seconds=settings.account_cache_seconds,
        cache_size=settings.account_cache_size,
        close_after_seconds=settings.step_lease.total_seconds(),
    )
    resources.push_async_callback(accounts.close)
    return GatewayParts(
        settings=settings,
        clock=clock,
        database=database,
        idempotency=Idempotency(idempotency_record),
        outbox=Outbox(outbox_event, service=SERVICE),
        plugins=plugins,
        accounts=accounts,
        switches=Switches(database, clock, cache_seconds=settings.account_cache_seconds),
        secret_box=secret_box,
        schedule=settings.schedule(),
    )
