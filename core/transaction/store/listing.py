"""Lists and searches. Invariant: pages follow the number of the record, newest first, so that records that are added
meanwhile neither shift nor hide an entry."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from core.transaction.domain.records import Notification, Order
from core.transaction.store import rows
from core.transaction.store.tables import attempt, notification, number_index, orders, refund


async def list_orders(
    connection: AsyncConnection, *, tenant_id: str, merchant_id: str, state: str, before: str, most: int
) -> list[Order]:
    """Returns up to `most` orders with a number below `before` (empty: from the newest), newest first."""
    statement = sa.select(orders).where(orders.c.tenant_id == tenant_id)
    if merchant_id:
        statement = statement.where(orders.c.merchant_id == merchant_id)
    if state:
        statement = statement.where(orders.c.state == state)
    if before:
        statement = statement.where(orders.c.order_id < before)
    found = await connection.execute(statement.order_by(orders.c.order_id.desc()).limit(most))
    return [rows.order_from_row(row) for row in found]


async def list_notifications(
    connection: AsyncConnection,
    *,
    tenant_id: str,
    shard: int | None,
    order_id: str,
    state: str,
    before: str,
    most: int,
) -> list[Notification]:
    """Returns up to `most` notifications with a number below `before` (empty: from the newest), newest first."""
    statement = sa.select(notification).where(notification.c.tenant_id == tenant_id)
    if order_id:
        statement = statement.where(notification.c.shard == shard, notification.c.order_id == order_id)
    if state:
        statement = statement.where(notification.c.state == state)
    if before:
        statement = statement.where(notification.c.notification_id < before)
    found = await connection.execute(statement.order_by(notification.c.notification_id.desc()).limit(most))
    return [rows.notification_from_row(row) for row in found]


_BY_BUSINESS_ID = (
    sa.select(orders.c.shard, orders.c.order_id, orders.c.tenant_id, orders.c.business_id)
    .where(orders.c.business_id == sa.bindparam("number"))
    .order_by(orders.c.order_id)
    .limit(sa.bindparam("most"))
)
_NOTIFICATIONS_OF = (
    sa.select(notification)
    .where(
        notification.c.shard == sa.bindparam("shard"),
        notification.c.order_id == sa.bindparam("order_id"),
    )
    .order_by(notification.c.notification_id)
)


def _matching() -> Any:
    """Orders that a number names, whatever its kind: every branch is one index look-up."""
    number: sa.BindParameter[str] = sa.bindparam("number", type_=sa.Text)
    own = sa.select(orders.c.shard, orders.c.order_id)
    branches = [
        own.where(orders.c.merchant_order_id == number),
        own.where(orders.c.merchant_serial_number == number, orders.c.merchant_serial_number != ""),
        own.where(orders.c.business_id == number),
        sa.select(refund.c.shard, refund.c.order_id).where(
            refund.c.merchant_refund_id == number, refund.c.merchant_refund_id != ""
        ),
        sa.select(number_index.c.shard, number_index.c.order_id).where(number_index.c.number == number),
    ]
    return sa.union(*branches).subquery("matching")


def _by_own_number(table: sa.Table, key: str) -> Any:
    return (
        sa.select(orders.c.shard, orders.c.order_id, orders.c.tenant_id, orders.c.business_id)
        .join(table, sa.and_(table.c.shard == orders.c.shard, table.c.order_id == orders.c.order_id))
        .where(table.c.shard == sa.bindparam("shard"), table.c[key] == sa.bindparam("number"))
    )


_matches = _matching()
_BY_ANY_NUMBER = (
    sa.select(orders.c.shard, orders.c.order_id, orders.c.tenant_id, orders.c.business_id)
    .join(_matches, sa.and_(orders.c.shard == _matches.c.shard, orders.c.order_id == _matches.c.order_id))
    .order_by(orders.c.order_id)
    .limit(sa.bindparam("most"))
)
_BY_OWN_NUMBER = {
    "O": sa.select(orders.c.shard, orders.c.order_id, orders.c.tenant_id, orders.c.business_id).where(
        orders.c.shard == sa.bindparam("shard"), orders.c.order_id == sa.bindparam("number")
    ),
    "A": _by_own_number(attempt, "attempt_id"),
    "R": _by_own_number(refund, "refund_id"),
    "N": _by_own_number(notification, "notification_id"),
}


@dataclass(frozen=True, slots=True)
class Match:
    """An order that a number led to."""

    shard: int
    order_id: str
    tenant_id: str
    business_id: str


def _matches_of(found: Iterable[Any]) -> list[Match]:
    return [Match(row.shard, row.order_id, row.tenant_id, row.business_id) for row in found]


async def find_by_own_number(
    connection: AsyncConnection, *, kind: str, shard: int, number: str
) -> list[Match]:
    """Returns the order that a number of this service belongs to."""
    return _matches_of(await connection.execute(_BY_OWN_NUMBER[kind], {"shard": shard, "number": number}))


async def find_by_any_number(connection: AsyncConnection, *, number: str, most: int) -> list[Match]:
    """Returns the orders that a number of somebody else names: merchant, channel, PaymentCore, business case."""
    return _matches_of(await connection.execute(_BY_ANY_NUMBER, {"number": number, "most": most}))


async def find_by_business_id(connection: AsyncConnection, *, business_id: str, most: int) -> list[Match]:
    """Returns the orders of one business case, oldest first."""
    return _matches_of(await connection.execute(_BY_BUSINESS_ID, {"number": business_id, "most": most}))


async def notifications_of(connection: AsyncConnection, *, shard: int, order_id: str) -> list[Notification]:
    """Returns the notifications of an order, oldest first."""
    found = await connection.execute(_NOTIFICATIONS_OF, {"shard": shard, "order_id": order_id})
    return [rows.notification_from_row(row) for row in found]
