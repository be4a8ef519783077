"""Stores and claims notifications. Invariant: one process at a time sends a notification, and what an answer decides
is written only by whoever still holds the claim (`version`)."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection

from core.transaction.domain.records import Notification
from core.transaction.domain.states import NotificationState
from core.transaction.store import rows
from core.transaction.store.tables import notification

LOOK_AHEAD = 1000
"""How many due notifications one claim looks at, so that those of one slow host do not hide the others for long."""


_due = (
    sa.select(
        notification.c.shard,
        notification.c.notification_id,
        notification.c.host,
        notification.c.next_attempt_time,
    )
    .where(
        notification.c.next_attempt_time <= sa.func.now(),
        notification.c.host != sa.all_(sa.bindparam("full_hosts", type_=ARRAY(sa.Text))),
    )
    .order_by(notification.c.next_attempt_time)
    .limit(LOOK_AHEAD)
    .cte("due")
)
_placed = sa.select(
    _due.c.shard,
    _due.c.notification_id,
    _due.c.next_attempt_time,
    sa.func.row_number().over(partition_by=_due.c.host, order_by=_due.c.next_attempt_time).label("place"),
).cte("placed")
_held = (
    sa.select(notification.c.shard, notification.c.notification_id)
    .join(
        _placed,
        sa.and_(
            notification.c.shard == _placed.c.shard,
            notification.c.notification_id == _placed.c.notification_id,
        ),
    )
    .where(
        _placed.c.place <= sa.bindparam("most_per_host"),
        notification.c.next_attempt_time <= sa.func.now(),
    )
    .order_by(_placed.c.next_attempt_time)
    .limit(sa.bindparam("most"))
    .with_for_update(of=notification, skip_locked=True)
    .cte("held")
)
_CLAIM = (
    sa.update(notification)
    .where(notification.c.shard == _held.c.shard, notification.c.notification_id == _held.c.notification_id)
    .values(
        next_attempt_time=sa.func.now()
        + sa.func.make_interval(0, 0, 0, 0, 0, 0, sa.bindparam("lease_seconds", type_=sa.Float)),
        attempts=notification.c.attempts + 1,
        version=notification.c.version + 1,
    )
    .returning(notification)
)

_HOLDER = sa.and_(
    notification.c.shard == sa.bindparam("k_shard"),
    notification.c.notification_id == sa.bindparam("k_notification_id"),
    notification.c.version == sa.bindparam("k_version"),
)
_DELIVERED = (
    sa.update(notification)
    .where(_HOLDER)
    .values(
        state=NotificationState.DELIVERED.value,
        last_status=sa.bindparam("status"),
        next_attempt_time=None,
        deliver_time=sa.func.now(),
        version=notification.c.version + 1,
        update_time=sa.func.now(),
    )
)
_NOT_DELIVERED = (
    sa.update(notification)
    .where(_HOLDER)
    .values(
        state=sa.bindparam("new_state"),
        last_status=sa.bindparam("status"),
        schedule_position=sa.bindparam("position"),
        next_attempt_time=sa.func.now()
        + sa.func.make_interval(0, 0, 0, 0, 0, 0, sa.bindparam("wait_seconds", type_=sa.Float)),
        version=notification.c.version + 1,
        update_time=sa.func.now(),
    )
)
_READ = sa.select(notification).where(
    notification.c.shard == sa.bindparam("shard"),
    notification.c.notification_id == sa.bindparam("notification_id"),
)
_MAKE_DUE = (
    sa.update(notification)
    .where(_HOLDER)
    .values(
        state=NotificationState.DUE.value,
        schedule_position=0,
        next_attempt_time=sa.func.now(),
        deliver_time=None,
        version=notification.c.version + 1,
        update_time=sa.func.now(),
    )
    .returning(notification)
)


async def claim(
    connection: AsyncConnection,
    *,
    most: int,
    most_per_host: int,
    full_hosts: Sequence[str],
    lease_seconds: float,
) -> Sequence[Notification]:
    """Claims due notifications, the longest due first, none of `full_hosts` and few of any one host."""
    found = await connection.execute(
        _CLAIM,
        {
            "most": most,
            "most_per_host": most_per_host,
            "full_hosts": list(full_hosts),
            "lease_seconds": lease_seconds,
        },
    )
    return [rows.notification_from_row(row) for row in found]


async def mark_delivered(connection: AsyncConnection, claimed: Notification, *, status: int) -> bool:
    """Notes that the business system took it; False when the claim was lost meanwhile."""
    result = await connection.execute(_DELIVERED, {**_holder(claimed), "status": status})
    return result.rowcount == 1


async def mark_not_delivered(
    connection: AsyncConnection,
    claimed: Notification,
    *,
    state: NotificationState,
    status: int,
    schedule_position: int,
    wait_seconds: float | None,
) -> bool:
    """Notes a try without success (`status` 0: no answer); without `wait_seconds` nothing more is due."""
    result = await connection.execute(
        _NOT_DELIVERED,
        {
            **_holder(claimed),
            "new_state": state.value,
            "status": status,
            "position": schedule_position,
            "wait_seconds": wait_seconds,
        },
    )
    return result.rowcount == 1


async def read(connection: AsyncConnection, *, shard: int, notification_id: str) -> Notification | None:
    """Reads a notification."""
    row = (
        await connection.execute(_READ, {"shard": shard, "notification_id": notification_id})
    ).one_or_none()
    return rows.notification_from_row(row) if row is not None else None


async def make_due(connection: AsyncConnection, known: Notification) -> Notification | None:
    """Makes a notification due at once with its full schedule; None when it changed since it was read."""
    row = (await connection.execute(_MAKE_DUE, _holder(known))).one_or_none()
    return rows.notification_from_row(row) if row is not None else None


def _holder(known: Notification) -> dict[str, object]:
    return {
        "k_shard": known.shard,
        "k_notification_id": known.notification_id,
        "k_version": known.version,
    }
