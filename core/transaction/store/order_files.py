"""Reads orders with their attempts and refunds. Invariant: every statement leads with the shard."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from core.transaction.domain.records import OrderFile, Refund
from core.transaction.store import rows
from core.transaction.store.tables import attempt, orders, refund

MERCHANT_REFUND_UNIQUE = "uq_refund_merchant_refund"

_NOW = sa.func.clock_timestamp()


_BY_KEY = sa.and_(orders.c.shard == sa.bindparam("k_shard"), orders.c.order_id == sa.bindparam("k_order_id"))
_READ_ORDER = sa.select(orders, _NOW.label("read_time")).where(_BY_KEY)
_LOCK_ORDER = _READ_ORDER.with_for_update()
_READ_ATTEMPTS = (
    sa.select(attempt)
    .where(attempt.c.shard == sa.bindparam("k_shard"), attempt.c.order_id == sa.bindparam("k_order_id"))
    .order_by(attempt.c.attempt_id)
)
_READ_REFUNDS = (
    sa.select(refund)
    .where(refund.c.shard == sa.bindparam("k_shard"), refund.c.order_id == sa.bindparam("k_order_id"))
    .order_by(refund.c.refund_id)
)

_FIND_BY_MERCHANT_ORDER = sa.select(orders.c.order_id).where(
    orders.c.shard == sa.bindparam("shard"),
    orders.c.tenant_id == sa.bindparam("tenant_id"),
    orders.c.merchant_id == sa.bindparam("merchant_id"),
    orders.c.merchant_order_id == sa.bindparam("merchant_order_id"),
)
_FIND_BY_MERCHANT_REFUND = sa.select(refund.c.refund_id).where(
    refund.c.shard == sa.bindparam("shard"),
    refund.c.tenant_id == sa.bindparam("tenant_id"),
    refund.c.merchant_id == sa.bindparam("merchant_id"),
    refund.c.merchant_refund_id == sa.bindparam("merchant_refund_id"),
    refund.c.merchant_refund_id != "",
)
_ORDER_OF_ATTEMPT = sa.select(attempt.c.order_id).where(
    attempt.c.shard == sa.bindparam("shard"), attempt.c.attempt_id == sa.bindparam("number")
)
_ORDER_OF_REFUND = sa.select(refund.c.order_id).where(
    refund.c.shard == sa.bindparam("shard"), refund.c.refund_id == sa.bindparam("number")
)


_FIND_REFUND = sa.select(refund).where(
    refund.c.shard == sa.bindparam("shard"), refund.c.refund_id == sa.bindparam("refund_id")
)


_PAYMENT_SEEN = sa.select(
    attempt.c.state, attempt.c.payment_id, attempt.c.payment_version, attempt.c.transfer_payment_id
).where(attempt.c.shard == sa.bindparam("shard"), attempt.c.attempt_id == sa.bindparam("number"))


@dataclass(frozen=True, slots=True)
class PaymentSeen:
    """What was heard last of an attempt's payment."""

    state: str
    payment_id: str
    payment_version: int
    transfer_payment_id: str


async def read_file(
    connection: AsyncConnection, shard: int, order_id: str, *, lock: bool = False
) -> OrderFile | None:
    """Reads an order with attempts and refunds; with `lock` nobody else changes it until the transaction ends."""
    key = {"k_shard": shard, "k_order_id": order_id}
    row = (await connection.execute(_LOCK_ORDER if lock else _READ_ORDER, key)).one_or_none()
    if row is None:
        return None
    order = rows.order_from_row(row)
    attempts: tuple[Any, ...] = ()
    refunds: tuple[Any, ...] = ()
    if order.attempt_count:
        attempts = tuple(
            rows.attempt_from_row(found) for found in await connection.execute(_READ_ATTEMPTS, key)
        )
    if order.refund_count:
        refunds = tuple(rows.refund_from_row(found) for found in await connection.execute(_READ_REFUNDS, key))
    return OrderFile(read_time=row.read_time, order=order, attempts=attempts, refunds=refunds)


async def find_by_merchant_order(
    connection: AsyncConnection, *, shard: int, tenant_id: str, merchant_id: str, merchant_order_id: str
) -> str | None:
    """Returns the number of the order that a merchant knows by its own number, or None."""
    parameters = {
        "shard": shard,
        "tenant_id": tenant_id,
        "merchant_id": merchant_id,
        "merchant_order_id": merchant_order_id,
    }
    found: str | None = (await connection.execute(_FIND_BY_MERCHANT_ORDER, parameters)).scalar_one_or_none()
    return found


async def find_by_merchant_refund(
    connection: AsyncConnection, *, shard: int, tenant_id: str, merchant_id: str, merchant_refund_id: str
) -> str | None:
    """Returns the number of the refund that a merchant knows by its own number, or None."""
    parameters = {
        "shard": shard,
        "tenant_id": tenant_id,
        "merchant_id": merchant_id,
        "merchant_refund_id": merchant_refund_id,
    }
    found: str | None = (await connection.execute(_FIND_BY_MERCHANT_REFUND, parameters)).scalar_one_or_none()
    return found


async def order_of_attempt(connection: AsyncConnection, *, shard: int, attempt_id: str) -> str | None:
    """Returns the number of the order that an attempt belongs to, or None."""
    found: str | None = (
        await connection.execute(_ORDER_OF_ATTEMPT, {"shard": shard, "number": attempt_id})
    ).scalar_one_or_none()
    return found


async def payment_seen(connection: AsyncConnection, *, shard: int, attempt_id: str) -> PaymentSeen | None:
    """Returns what was heard last of an attempt's payment, or None when there is no such attempt."""
    row = (await connection.execute(_PAYMENT_SEEN, {"shard": shard, "number": attempt_id})).one_or_none()
    if row is None:
        return None
    return PaymentSeen(row.state, row.payment_id, row.payment_version, row.transfer_payment_id)


async def order_of_refund(connection: AsyncConnection, *, shard: int, refund_id: str) -> str | None:
    """Returns the number of the order that a refund belongs to, or None."""
    found: str | None = (
        await connection.execute(_ORDER_OF_REFUND, {"shard": shard, "number": refund_id})
    ).scalar_one_or_none()
    return found


async def read_refund(connection: AsyncConnection, *, shard: int, refund_id: str) -> Refund | None:
    """Reads one refund."""
    row = (await connection.execute(_FIND_REFUND, {"shard": shard, "refund_id": refund_id})).one_or_none()
    return rows.refund_from_row(row) if row is not None else None
