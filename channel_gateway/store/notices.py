"""The statements about the inbox of notices. Invariant: what came is kept with its outcome before it is
answered; the same bytes with the same outcome are one row that counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Interval, RowMapping, bindparam, case, delete, func, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from channel_gateway.domain.vocabulary import NoticeState
from channel_gateway.store.origin import Origin
from channel_gateway.store.tables import notice as t

_NOW = func.now()
_DELAY = bindparam("delay", type_=Interval)

_PUT = upsert(t).values(next_step_time=_NOW + _DELAY)
_PUT = _PUT.on_conflict_do_update(
    index_elements=["shard", "payment_account_id", "digest", "refusal"],
    set_={
        "receive_count": t.c.receive_count + 1,
        "state": case((t.c.state == NoticeState.RECEIVED.value, _PUT.excluded.state), else_=t.c.state),
        "channel_order_id": case(
            (t.c.state == NoticeState.RECEIVED.value, _PUT.excluded.channel_order_id),
            else_=t.c.channel_order_id,
        ),
        "next_step_time": case(
            (t.c.state == NoticeState.RECEIVED.value, _PUT.excluded.next_step_time), else_=t.c.next_step_time
        ),
        "version": t.c.version + 1,
        "update_time": _NOW,
    },
)
_DUE = (
    select(t.c.shard, t.c.notice_id)
    .where(t.c.next_step_time <= _NOW)
    .order_by(t.c.next_step_time)
    .limit(bindparam("b_limit"))
    .with_for_update(skip_locked=True)
)
_TAKE_DUE = (
    update(t)
    .where(tuple_(t.c.shard, t.c.notice_id).in_(_DUE))
    .values(next_step_time=_NOW + _DELAY, step_count=t.c.step_count + 1)
    .returning(t)
)
_REMOVE_RECEIVED = delete(t).where(
    t.c.shard == bindparam("b_shard"),
    t.c.notice_id == bindparam("b_number"),
    t.c.state == NoticeState.RECEIVED.value,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredNotice:
    """One notice of the inbox."""

    shard: int
    notice_id: str
    tenant_id: str
    channel: str
    payment_account_id: str
    digest: bytes
    state: NoticeState
    refusal: str
    channel_order_id: str
    receive_count: int
    headers: Mapping[str, str]
    body: bytes
    received_time: datetime
    step_count: int
    business_id: str
    traceparent: str
    create_time: datetime
    update_time: datetime


async def put_notice(
    connection: AsyncConnection, made: StoredNotice, origin: Origin, *, delay: timedelta | None
) -> None:
    """Writes a notice with its outcome, or counts it once more; one that waits for its outcome gets it."""
    values = {
        "shard": made.shard,
        "notice_id": made.notice_id,
        "tenant_id": made.tenant_id,
        "channel": made.channel,
        "payment_account_id": made.payment_account_id,
        "digest": made.digest,
        "state": made.state.value,
        "refusal": made.refusal,
        "channel_order_id": made.channel_order_id,
        "headers": dict(made.headers),
        "body": made.body,
        "received_time": made.received_time,
        "version": 1,
        "delay": delay,
        **origin.values(),
    }
    await connection.execute(_PUT, values)


async def take_due_notices(
    connection: AsyncConnection, *, limit: int, lease: timedelta
) -> Sequence[StoredNotice]:
    """Takes notices that wait for their outcome; nobody else gets them before the lease ends."""
    rows = (await connection.execute(_TAKE_DUE, {"b_limit": limit, "delay": lease})).mappings().all()
    return [notice_of(row) for row in rows]


async def remove_received(connection: AsyncConnection, waiting: StoredNotice) -> bool:
    """Takes a waiting notice out, to be put back with its outcome in the same transaction; False when it is gone."""
    parameters = {"b_shard": waiting.shard, "b_number": waiting.notice_id}
    return (await connection.execute(_REMOVE_RECEIVED, parameters)).rowcount == 1


def notice_of(row: RowMapping) -> StoredNotice:
    """Returns the notice that a row of the table holds."""
    return StoredNotice(
        shard=row["shard"],
        notice_id=row["notice_id"],
        tenant_id=row["tenant_id"],
        channel=row["channel"],
        payment_account_id=row["payment_account_id"],
        digest=row["digest"],
        state=NoticeState(row["state"]),
        refusal=row["refusal"],
        channel_order_id=row["channel_order_id"],
        receive_count=row["receive_count"],
        headers=row["headers"],
        body=row["body"],
        received_time=row["received_time"],
        step_count=row["step_count"],
        business_id=row["business_id"],
        traceparent=row["traceparent"],
        create_time=row["create_time"],
        update_time=row["update_time"],
    )
