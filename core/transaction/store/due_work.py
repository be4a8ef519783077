"""Claims work that is due, safely beside other processes. Invariant: a claim moves `next_step_time` on by a lease, so
that work of a process that dies comes up again by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from core.transaction.store.tables import attempt, orders, refund


@dataclass(frozen=True, slots=True, kw_only=True)
class DueWork:
    """One record that the worker claimed; `try_count` says how often it was looked at in its present state."""

    shard: int
    order_id: str
    number: str
    state: str
    try_count: int
    version: int
    business_id: str
    traceparent: str
    platform: bytes


class DueWorkTable:
    """The due records of one table; `key` is the column of their own number."""

    def __init__(self, table: sa.Table, key: str) -> None:
        number = table.c[key]
        due = (
            sa.select(table.c.shard, number)
            .where(table.c.next_step_time <= sa.func.now())
            .order_by(table.c.next_step_time)
            .limit(sa.bindparam("most"))
            .with_for_update(skip_locked=True)
            .cte("due")
        )
        self._claim = (
            sa.update(table)
            .where(table.c.shard == due.c.shard, number == due.c[key])
            .values(next_step_time=_after("lease_seconds"), step_try_count=table.c.step_try_count + 1)
            .returning(
                table.c.shard,
                table.c.order_id,
                number.label("number"),
                table.c.state,
                table.c.step_try_count,
                table.c.version,
                table.c.business_id,
                table.c.traceparent,
                table.c.platform,
            )
        )
        self._postpone = (
            sa.update(table)
            .where(
                table.c.shard == sa.bindparam("k_shard"),
                number == sa.bindparam("k_number"),
                table.c.version == sa.bindparam("k_version"),
                table.c.next_step_time.is_not(None),
            )
            .values(next_step_time=_after("wait_seconds"))
        )
        self._hasten = (
            sa.update(table)
            .where(
                table.c.shard == sa.bindparam("k_shard"),
                number == sa.bindparam("k_number"),
                table.c.next_step_time.is_not(None),
            )
            .values(next_step_time=sa.func.now())
        )

    async def claim(
        self, connection: AsyncConnection, *, most: int, lease_seconds: float
    ) -> Sequence[DueWork]:
        """Claims up to `most` records, the longest due first; they stay claimed for `lease_seconds`."""
        found = await connection.execute(self._claim, {"most": most, "lease_seconds": lease_seconds})
        return [
            DueWork(
                shard=row.shard,
                order_id=row.order_id,
                number=row.number,
                state=row.state,
                try_count=row.step_try_count,
                version=row.version,
                business_id=row.business_id,
                traceparent=row.traceparent,
                platform=row.platform,
            )
            for row in found
        ]

    async def postpone(
        self, connection: AsyncConnection, work: DueWork, *, wait_seconds: float | None
    ) -> None:
        """Makes a claimed record due again after `wait_seconds` (None: never), unless it has changed since: then its
        change said when."""
        await connection.execute(
            self._postpone,
            {
                "k_shard": work.shard,
                "k_number": work.number,
                "k_version": work.version,
                "wait_seconds": wait_seconds,
            },
        )

    async def hasten(self, connection: AsyncConnection, *, shard: int, number: str) -> None:
        """Makes a record that is not final due at once."""
        await connection.execute(self._hasten, {"k_shard": shard, "k_number": number})


def _after(parameter: str) -> Any:
    seconds = sa.bindparam(parameter, type_=sa.Float)
    return sa.func.now() + sa.func.make_interval(0, 0, 0, 0, 0, 0, seconds)


DUE_ORDERS = DueWorkTable(orders, "order_id")
DUE_ATTEMPTS = DueWorkTable(attempt, "attempt_id")
DUE_REFUNDS = DueWorkTable(refund, "refund_id")
