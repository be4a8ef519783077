"""Every command takes effect once per request id. Invariant: whoever holds the claim on a request id is the
only one that carries it out, and its stored response is what every later call gets.

A claim without a response means that a command of several transactions is under way, or was left in the
middle. It may be taken over when its lease has run out, or when the database connection that made it is
gone: then the process that held it is gone too (or has lost its connection; steps are repeatable, so both
are harmless).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from typing import Any, Final

import sqlalchemy as sa
from google.protobuf.message import Message
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from runtime.context import current_scope, mark_replayed
from runtime.database_errors import driver_error, is_lock_conflict
from runtime.errors import PaycenterError, Reason

RETENTION: Final = timedelta(hours=72)
"""Least time that a record is kept: a caller may repeat a request over a weekend."""

_LOCK_WAIT_RETRY_SECONDS: Final = 0.2
_SHORTEST_RETRY_SECONDS: Final = 0.05


@dataclass(frozen=True, slots=True)
class Claim:
    """The request is new and now ours: carry it out, then `complete`."""

    resource_id: str | None


@dataclass(frozen=True, slots=True)
class Resume:
    """The request was begun by somebody who is gone and is now ours: go on where `resource_id` stands."""

    resource_id: str | None


@dataclass(frozen=True, slots=True)
class Replay:
    """The request was carried out before; `response` is what was answered then."""

    response: bytes
    resource_id: str | None


def idempotency_table(metadata: sa.MetaData) -> sa.Table:
    """Adds the table of request ids to a service's tables."""
    return sa.Table(
        "idempotency_record",
        metadata,
        sa.Column("shard", sa.SmallInteger, primary_key=True),
        sa.Column("caller", sa.Text, primary_key=True),
        sa.Column("method", sa.Text, primary_key=True),
        sa.Column("request_id", sa.Text, primary_key=True),
        sa.Column("fingerprint", sa.LargeBinary, nullable=False),
        sa.Column("resource_id", sa.Text),
        sa.Column("response", sa.LargeBinary),
        sa.Column("claimed_by", sa.Integer, nullable=False, comment="process id of the claiming connection"),
        sa.Column("claimed_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("locked_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_time", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Index("ix_idempotency_record_created_time", "created_time", postgresql_using="brin"),
        postgresql_with={"fillfactor": "80"},
    )


def fingerprint(message: Message) -> bytes:
    """Returns what two requests have in common that ask for the same: a hash of all fields but
    `request_id`."""
    body = type(message)()
    body.CopyFrom(message)
    body.ClearField("request_id")
    return sha256(body.SerializeToString(deterministic=True)).digest()


class Idempotency:
    """Claims and answers request ids in one service's table."""

    def __init__(self, table: sa.Table) -> None:
        self._table = table
        moment = sa.func.clock_timestamp()
        lease = sa.func.make_interval(0, 0, 0, 0, 0, 0, sa.bindparam("lease_seconds", type_=sa.Float))
        self._claim_statement = (
            insert(table)
            .values(
                shard=sa.bindparam("shard"),
                caller=sa.bindparam("caller"),
                method=sa.bindparam("method"),
                request_id=sa.bindparam("request_id"),
                fingerprint=sa.bindparam("fingerprint"),
                resource_id=sa.bindparam("resource_id"),
                claimed_by=sa.func.pg_backend_pid(),
                claimed_time=moment,
                locked_until=moment + lease,
            )
            .on_conflict_do_nothing()
            .execution_options(preserve_rowcount=True)
        )
        this_record = sa.and_(
            table.c.shard == sa.bindparam("of_shard"),
            table.c.caller == sa.bindparam("of_caller"),
            table.c.method == sa.bindparam("of_method"),
            table.c.request_id == sa.bindparam("of_request_id"),
        )
        self._find_statement = (
            sa.select(
                table.c.fingerprint,
                table.c.resource_id,
                table.c.response,
                sa.func.greatest(
                    sa.cast(sa.extract("epoch", table.c.locked_until - moment), sa.Float), 0.0
                ).label("lease_left_seconds"),
                sa.case((table.c.response.is_(None), _claimant_is_there(table)), else_=False).label(
                    "claimant_is_there"
                ),
            )
            .where(this_record)
            .with_for_update(of=table)
        )
        self._take_over_statement = (
            sa.update(table)
            .where(this_record)
            .values(claimed_by=sa.func.pg_backend_pid(), claimed_time=moment, locked_until=moment + lease)
        )
        self._complete_statement = (
            sa.update(table).where(this_record).values(response=sa.bindparam("answer"), locked_until=moment)
        )

    async def claim(
        self,
        connection: AsyncConnection,
        *,
        shard: int,
        method: str,
        request_id: str,
        fingerprint: bytes,
        resource_id: str | None = None,
        lease_seconds: float = 20.0,
    ) -> Claim | Replay | Resume:
        """Claims a request id for the caller of the current scope, in the transaction of `connection`.

        One statement when the request is new. When an equal request is in another open transaction, it
        waits for that one to end. `resource_id` is the number that the effect will have; a `Resume` gives
        back the stored one. A `Replay` also marks the running rpc as replayed. Raises PaycenterError:
        IDEMPOTENCY_KEY_REUSED (field request_id) when the id was used for another body; REQUEST_IN_PROGRESS
        with the time to wait when the command is being carried out and its lease has not run out.
        """
        caller = current_scope().platform.caller_service
        try:
            inserted = await connection.execute(
                self._claim_statement,
                {
                    "shard": shard,
                    "caller": caller,
                    "method": method,
                    "request_id": request_id,
                    "fingerprint": fingerprint,
                    "resource_id": resource_id,
                    "lease_seconds": lease_seconds,
                },
            )
            if inserted.rowcount == 1:
                return Claim(resource_id)
            key = _key(shard=shard, caller=caller, method=method, request_id=request_id)
            found = (await connection.execute(self._find_statement, key)).one_or_none()
        except sa.exc.DBAPIError as error:
            if is_lock_conflict(error):
                raise _in_progress(_LOCK_WAIT_RETRY_SECONDS) from driver_error(error)
            raise
        if found is None:
            raise _in_progress(_SHORTEST_RETRY_SECONDS)
        if found.fingerprint != fingerprint:
            raise PaycenterError(
                Reason.IDEMPOTENCY_KEY_REUSED,
                "The request_id was used for another request.",
                field="request_id",
                metadata={"requestId": request_id},
            )
        if found.response is not None:
            mark_replayed()
            return Replay(found.response, found.resource_id)
        if found.lease_left_seconds > 0 and found.claimant_is_there:
            raise _in_progress(found.lease_left_seconds)
        await connection.execute(self._take_over_statement, {**key, "lease_seconds": lease_seconds})
        return Resume(found.resource_id)

    async def complete(
        self, connection: AsyncConnection, *, shard: int, method: str, request_id: str, response: bytes
    ) -> None:
        """Stores the response of a claimed request, in the transaction of its last effect.

        Raises RuntimeError when the current caller has no claim on `request_id`.
        """
        key = _key(
            shard=shard,
            caller=current_scope().platform.caller_service,
            method=method,
            request_id=request_id,
        )
        result = await connection.execute(self._complete_statement, {**key, "answer": response})
        if result.rowcount != 1:
            raise RuntimeError("A request is completed by whoever claimed it.")

    async def purge(self, connection: AsyncConnection, *, limit: int = 1000) -> int:
        """Deletes up to `limit` records older than `RETENTION` and returns how many; claims without a
        response stay until they are taken over or twice as old."""
        table = self._table
        age = sa.func.now() - table.c.created_time
        old = (
            sa.select(table.c.shard, table.c.caller, table.c.method, table.c.request_id)
            .where(
                table.c.created_time < sa.func.now() - RETENTION,
                sa.or_(table.c.response.is_not(None), age > 2 * RETENTION),
            )
            .limit(limit)
            .with_for_update(skip_locked=True)
            .cte("old")
        )
        result = await connection.execute(
            sa.delete(table).where(
                table.c.shard == old.c.shard,
                table.c.caller == old.c.caller,
                table.c.method == old.c.method,
                table.c.request_id == old.c.request_id,
            )
        )
        return result.rowcount


def _claimant_is_there(table: sa.Table) -> sa.ColumnElement[bool]:
    """Whether the connection that made the claim is still open; process ids are reused, hence its age."""
    activity = sa.table("pg_stat_activity", sa.column("pid"), sa.column("backend_start"))
    return sa.exists().where(
        activity.c.pid == table.c.claimed_by, activity.c.backend_start < table.c.claimed_time
    )


def _key(*, shard: int, caller: str, method: str, request_id: str) -> dict[str, Any]:
    return {"of_shard": shard, "of_caller": caller, "of_method": method, "of_request_id": request_id}


def _in_progress(lease_left_seconds: float) -> PaycenterError:
    wait_seconds = min(1.0, max(_SHORTEST_RETRY_SECONDS, lease_left_seconds))
    return PaycenterError(
        Reason.REQUEST_IN_PROGRESS,
        "The same request is being carried out.",
        retry_after_seconds=math.ceil(wait_seconds * 1000) / 1000,
    )
