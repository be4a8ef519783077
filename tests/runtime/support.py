"""What the tests of the runtime share: a small shop with its own tables, and the scope that its calls run
in."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from runtime.bus import Bus
from runtime.clock import SystemClock
from runtime.context import CallScope, PlatformContext, TraceContext, use_scope
from runtime.database import Database, new_metadata
from runtime.idempotency import Idempotency, idempotency_table
from runtime.outbox import Outbox, OutboxEvent, outbox_table
from runtime.relay import Relay

SHOP: Final = "shop"

metadata = new_metadata()
orders = sa.Table(
    "orders",
    metadata,
    sa.Column("order_id", sa.Text, primary_key=True),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False, server_default="1"),
)
outbox_event = outbox_table(metadata)
idempotency_record = idempotency_table(metadata)


@contextmanager
def calling_as(
    caller: str = "web-shop", *, business_id: str = "B-1", tenant_id: str = "T-1"
) -> Iterator[CallScope]:
    """Runs the block as a call of `caller` in a fresh, sampled trace."""
    platform = PlatformContext(caller_service=caller, tenant_id=tenant_id, business_id=business_id)
    trace = TraceContext.new(sampled=True)
    with use_scope(CallScope(platform, TraceContext(trace.trace_id, "00f067aa0ba902b7", True))) as scope:
        yield scope


def order_event(
    order_id: str, *, version: int = 1, event_type: str = "ORDER_CREATED", shard: int = 7
) -> OutboxEvent:
    """Makes the event of an order's change; its payload says which."""
    return OutboxEvent(
        shard=shard,
        event_type=event_type,
        resource_id=order_id,
        resource_version=version,
        payload=f"{order_id}/{version}".encode(),
    )


@dataclass(frozen=True, slots=True)
class Shop:
    """A service as small as can be: orders, their events, and request ids."""

    database: Database
    outbox: Outbox
    idempotency: Idempotency

    async def create_order(self, order_id: str, *, state: str = "CREATED") -> None:
        """Writes an order and its event in one transaction."""
        async with self.database.begin() as connection:
            await connection.execute(orders.insert(), {"order_id": order_id, "state": state})
            await self.outbox.append(connection, order_event(order_id))

    async def change_order(self, order_id: str, state: str) -> int:
        """Moves an order on and tells it; returns the new version."""
        async with self.database.begin() as connection:
            version = await _set_state(connection, order_id, state)
            await self.outbox.append(
                connection, order_event(order_id, version=version, event_type=f"ORDER_{state}")
            )
        return version

    async def count(self, table: sa.Table) -> int:
        """Counts the rows of a table."""
        async with self.database.read() as connection:
            found = await connection.scalar(sa.select(sa.func.count()).select_from(table))
        return int(found or 0)

    def relay(self, bus: Bus) -> Relay:
        """Makes the relay of the shop's events."""
        return Relay(self.database, self.outbox, bus, SystemClock())


async def _set_state(connection: AsyncConnection, order_id: str, state: str) -> int:
    changed = (
        sa.update(orders)
        .where(orders.c.order_id == order_id)
        .values(state=state, version=orders.c.version + 1)
        .returning(orders.c.version)
    )
    return int((await connection.execute(changed)).scalar_one())


def new_shop(database: Database) -> Shop:
    """Opens the shop on its database."""
    return Shop(database, Outbox(outbox_event, service=SHOP), Idempotency(idempotency_record))


async def eventually(
    condition: Callable[[], Awaitable[bool]] | Callable[[], bool], *, timeout_seconds: float = 20.0
) -> None:
    """Waits until `condition` holds; fails the test when it does not in time."""
    async with asyncio.timeout(timeout_seconds):
        while True:
            found = condition()
            if found if isinstance(found, bool) else await found:
                return
            await asyncio.sleep(0.02)
