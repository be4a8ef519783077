"""The event log of a service, written in the transaction that changes its state. Invariant: an event exists
exactly when its state change does, and keeps its place (revision) in the log for ever.

A row gets its `sequence` when it is inserted and its `revision` after its commit, from the one relay:
sequences become visible out of order, revisions never do, so whoever has read revision n has missed nothing
before it. Both agree for the events of one resource when they are appended after the resource's row was
locked or changed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from runtime.context import CallScope, current_scope, encode_platform
from runtime.database import after_commit
from runtime.errors import PaycenterError, Reason
from runtime.ids import NumberKind, new_number
from runtime.revisions import Revisions

SUBJECT_ROOT: Final = "paycenter"


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxEvent:
    """A fact to tell. `event_type` is upper case (`PAYMENT_SUCCEEDED`), `payload` the serialized event
    message.

    `event_id` defaults to a fresh number; `business_id` to that of the current scope, and without one to
    `resource_id`.
    """

    shard: int
    event_type: str
    resource_id: str
    resource_version: int
    payload: bytes
    event_id: str = ""
    business_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEvent:
    """An event that has its place in the log; `published_time` is None until the bus has acknowledged it."""

    revision: int
    shard: int
    event_id: str
    subject: str
    event_type: str
    resource_id: str
    resource_version: int
    business_id: str
    payload: bytes
    traceparent: str
    platform: bytes
    created_time: datetime
    published_time: datetime | None


STORED_COLUMNS: Final = tuple(StoredEvent.__slots__)
"""Columns of the table that make a `StoredEvent`."""


def outbox_table(metadata: sa.MetaData) -> sa.Table:
    """Adds the event log to a service's tables.

    Two indexes carry it: the few rows without a revision in order of sequence, and all others by revision.
    """
    table = sa.Table(
        "outbox_event",
        metadata,
        sa.Column("shard", sa.SmallInteger, primary_key=True),
        sa.Column("event_id", sa.Text, primary_key=True),
        sa.Column("sequence", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("revision", sa.BigInteger, unique=True),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("event_type", sa.Text, nullable=False),
        sa.Column("resource_id", sa.Text, nullable=False),
        sa.Column("resource_version", sa.BigInteger, nullable=False),
        sa.Column("business_id", sa.Text, nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
        sa.Column("traceparent", sa.Text, nullable=False),
        sa.Column("platform", sa.LargeBinary, nullable=False),
        sa.Column("created_time", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("published_time", sa.DateTime(timezone=True)),
        postgresql_with={"fillfactor": "60", "autovacuum_vacuum_scale_factor": "0.05"},
    )
    sa.Index("ix_outbox_event_waiting", table.c.sequence, postgresql_where=table.c.revision.is_(None))
    return table


class Outbox:
    """Appends to and reads one service's event log.

    `service` is the second part of every subject (`paycenter.<service>.<shard>.<event_type>`); `nudge` is
    set after each commit that appended something, so that the relay of this process wakes at once;
    `revisions` wakes the streams that wait for more events, the relay keeps it up to date.
    """

    def __init__(self, table: sa.Table, *, service: str, nudge: asyncio.Event | None = None) -> None:
        self.table = table
        self.service = service
        self.nudge = nudge or asyncio.Event()
        self.revisions = Revisions()
        self._read_statement = (
            sa.select(*(table.c[name] for name in STORED_COLUMNS))
            .where(table.c.revision > sa.bindparam("after_revision"))
            .order_by(table.c.revision)
            .limit(sa.bindparam("row_limit"))
        )
        self._edges_statement = sa.select(sa.func.min(table.c.revision), sa.func.max(table.c.revision))

    def subject_of(self, event: OutboxEvent) -> str:
        """Returns the subject under which the bus carries the event."""
        return f"{SUBJECT_ROOT}.{self.service}.{event.shard}.{event.event_type.lower()}"

    async def append(self, connection: AsyncConnection, *events: OutboxEvent) -> None:
        """Writes events in the transaction of `connection`, in order, by one statement; without events none.

        Trace, platform context and business id come from the current scope (LookupError without one).
        """
        if not events:
            return
        scope = current_scope()
        traceparent, platform = scope.trace.format(), encode_platform(scope.platform)
        parameters: dict[str, Any] = {"traceparent": traceparent, "platform": platform}
        for position, event in enumerate(events):
            for name, value in self._row(event, scope).items():
                parameters[f"{name}_{position}"] = value
        await connection.execute(_append_statement(self.table.name, len(events)), parameters)
        after_commit(connection, self.nudge.set)

    def _row(self, event: OutboxEvent, scope: CallScope) -> Mapping[str, object]:
        return {
            "shard": event.shard,
            "event_id": event.event_id or new_number(NumberKind.EVENT, shard=event.shard),
            "subject": self.subject_of(event),
            "event_type": event.event_type,
            "resource_id": event.resource_id,
            "resource_version": event.resource_version,
            "business_id": event.business_id or scope.platform.business_id or event.resource_id,
            "payload": event.payload,
        }

    async def read_events(
        self, connection: AsyncConnection, *, after_revision: int, limit: int
    ) -> list[StoredEvent]:
        """Returns up to `limit` events behind `after_revision`, in order of revision without a gap.

        Raises PaycenterError(REVISION_COMPACTED, metadata compactRevision) when the next one is no longer
        kept.
        """
        rows = await connection.execute(
            self._read_statement, {"after_revision": after_revision, "row_limit": limit}
        )
        events = [StoredEvent(**row) for row in rows.mappings()]
        if events and events[0].revision > after_revision + 1:
            compacted = events[0].revision - 1
            raise PaycenterError(
                Reason.REVISION_COMPACTED,
                "The events behind this revision are no longer kept.",
                metadata={"compactRevision": str(compacted)},
            )
        return events

    async def edges(self, connection: AsyncConnection) -> tuple[int, int]:
        """Returns the compacted revision (the last one no longer kept) and the newest one; both 0 at the
        start."""
        oldest, newest = (await connection.execute(self._edges_statement)).one()
        return (oldest - 1, newest) if oldest is not None else (0, 0)

    async def compact(self, connection: AsyncConnection, *, before: datetime, limit: int = 5000) -> int:
        """Deletes up to `limit` of the oldest events that were made before `before` and published; returns
        how many.

        Only a beginning of the log goes, and the newest event always stays: it remembers the revision.
        """
        table = self.table
        oldest = (
            sa.select(table.c.revision, table.c.created_time, table.c.published_time)
            .where(table.c.revision.is_not(None))
            .order_by(table.c.revision)
            .limit(limit)
            .subquery("oldest")
        )
        keeps = sa.or_(oldest.c.created_time >= before, oldest.c.published_time.is_(None))
        first_kept = sa.select(sa.func.min(oldest.c.revision)).where(keeps).scalar_subquery()
        behind = sa.select(sa.func.max(oldest.c.revision) + 1).scalar_subquery()
        newest = sa.select(sa.func.max(table.c.revision)).scalar_subquery()
        result = await connection.execute(
            sa.delete(table).where(
                table.c.revision < sa.func.least(sa.func.coalesce(first_kept, behind), newest)
            )
        )
        return result.rowcount


_APPENDED: Final[Mapping[str, sa.types.TypeEngine[Any]]] = {
    "shard": sa.SmallInteger(),
    "event_id": sa.Text(),
    "subject": sa.Text(),
    "event_type": sa.Text(),
    "resource_id": sa.Text(),
    "resource_version": sa.BigInteger(),
    "business_id": sa.Text(),
    "payload": sa.LargeBinary(),
}


@lru_cache(maxsize=256)
def _append_statement(table_name: str, event_count: int) -> sa.TextClause:
    """Builds the insertion of `event_count` rows once; rows of one statement get their sequences in order."""
    columns = (*_APPENDED, "traceparent", "platform")
    shared = [":traceparent", ":platform"]
    rows = ", ".join(
        f"({', '.join([f':{name}_{position}' for name in _APPENDED] + shared)})"
        for position in range(event_count)
    )
    statement = sa.text(f"INSERT INTO {table_name} ({', '.join(columns)}) VALUES {rows}")
    return statement.bindparams(
        sa.bindparam("traceparent", type_=sa.Text()),
        sa.bindparam("platform", type_=sa.LargeBinary()),
        *(
            sa.bindparam(f"{name}_{position}", type_=column_type)
            for position in range(event_count)
            for name, column_type in _APPENDED.items()
        ),
    )
