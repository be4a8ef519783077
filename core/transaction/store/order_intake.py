"""Writes a new order. Invariant: request id, order, event and answer are one statement: all of them or none."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert as pg_insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from core.transaction.domain.records import OrderFile
from core.transaction.store import order_saving, rows
from core.transaction.store.order_saving import Answer, Event
from core.transaction.store.tables import idempotency_record, orders

MERCHANT_ORDER_UNIQUE: Final = "uq_orders_merchant_order"

_CLOCK: Final = sa.select(sa.func.clock_timestamp())


def _statement() -> sa.Select[Any]:
    record = idempotency_record
    asked = (
        pg_insert(record)
        .values(
            shard=sa.bindparam("k_shard"),
            caller=sa.bindparam("q_caller"),
            method=sa.bindparam("q_method"),
            request_id=sa.bindparam("q_request_id"),
            fingerprint=sa.bindparam("q_fingerprint"),
            resource_id=sa.bindparam("k_order_id"),
            response=sa.bindparam("q_response"),
            claimed_by=sa.func.pg_backend_pid(),
            claimed_time=sa.func.now(),
            locked_until=sa.func.now(),
        )
        .on_conflict_do_nothing()
        .returning(record.c.shard, record.c.resource_id.label("order_id"))
        .cte("asked")
    )
    names = [column.name for column in orders.c if column.name not in ("shard", "order_id")]
    source = sa.select(
        asked.c.shard,
        asked.c.order_id,
        *(sa.bindparam(f"o_{name}", type_=orders.c[name].type).label(name) for name in names),
    )
    made = (
        sa.insert(orders)
        .from_select(["shard", "order_id", *names], source)
        .returning(orders.c.shard)
        .cte("made")
    )
    return sa.select(sa.func.count()).select_from(asked).add_cte(made, order_saving.add_events(asked))


_TAKE_IN: Final = _statement()


async def take_in(
    connection: AsyncConnection,
    file: OrderFile,
    *,
    events: Sequence[Event],
    origin: tuple[str, bytes],
    answer: Answer,
    fingerprint: bytes,
) -> bool:
    """Writes a new order, its events and its answer; returns False, with nothing written, when the request id was
    used before. Raises IntegrityError when the merchant's number is taken."""
    order = file.order
    parameters = {
        "k_shard": order.shard,
        "k_order_id": order.order_id,
        "q_fingerprint": fingerprint,
        **order_saving.answer_parameters(answer),
        **{f"o_{name}": value for name, value in rows.order_values(order).items()},
        "o_create_time": order.create_time,
        "o_update_time": order.update_time,
        **order_saving.event_parameters(events, file, origin),
    }
    taken: int = (await connection.execute(_TAKE_IN, parameters)).scalar_one()
    return taken == 1


async def read_clock(connection: AsyncConnection) -> datetime:
    """Reads the database's clock."""
    now: datetime = (await connection.execute(_CLOCK)).scalar_one()
    return now


def broken_constraint(error: IntegrityError) -> str:
    """Returns the name of the constraint or index that a statement broke; empty when the database named none."""
    diagnostics = getattr(error.orig, "diag", None)
    return getattr(diagnostics, "constraint_name", None) or ""
