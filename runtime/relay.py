"""Gives committed events their revision and tells them to the bus. Invariant: revisions are strictly
increasing without a gap, assigned by one relay at a time on the very session that holds its lock; an event
is marked as published only after the bus has stored it.

Watching does not depend on the bus: revisions go on while NATS is down, and what waits is published when it
is back. Events that were published and then lost with a wiped NATS are not sent again; the repair workers
of the layers above find what they missed. An event may be published twice (a crash between the
acknowledgement and the mark): the server drops it within its duplicate window, the consumers ignore it
after that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from hashlib import sha256
from typing import Final

import psycopg
from prometheus_client import Counter, Gauge
from psycopg.rows import TupleRow, class_row
from psycopg.sql import SQL, Composed, Identifier

from runtime.bus_connection import Bus, BusUnavailableError
from runtime.clock import Clock
from runtime.database import Database
from runtime.database_errors import to_paycenter_error
from runtime.logs import get_logger
from runtime.outbox import STORED_COLUMNS, Outbox, StoredEvent

_BATCH_EVENTS: Final = 256
_POLL_SECONDS: Final = 0.2
_GATHER_SECONDS: Final = 0.002
_MARK_EVERY_SECONDS: Final = 0.25
_TRY_ROLE_EVERY_SECONDS: Final = 1.0
_TRY_BUS_EVERY_SECONDS: Final = 0.5
_MEASURE_EVERY_SECONDS: Final = 5.0

_lag_rows = Gauge("paycenter_outbox_lag_rows", "Events that the bus has not acknowledged.", ("service",))
_lag_seconds = Gauge("paycenter_outbox_lag_seconds", "Age of the oldest event that waits.", ("service",))
_has_role = Gauge("paycenter_outbox_relay_active", "1 where this process relays the events.", ("service",))
_published = Counter("paycenter_outbox_published_total", "Events that the bus acknowledged.", ("service",))


class Relay:
    """The relay of one service's event log; every process of the service runs one, and one of them has the
    role.

    A commit of this process wakes it at once through the outbox's nudge; commits of other processes are
    found by a poll every 200 ms. While it has not the role it keeps `outbox.revisions` up to date for this
    process's streams.
    """

    idle_seconds = _POLL_SECONDS

    def __init__(self, database: Database, outbox: Outbox, bus: Bus, clock: Clock) -> None:
        self.name = f"relay-{outbox.service}"
        self.nudge = outbox.nudge
        self._database = database
        self._outbox = outbox
        self._bus = bus
        self._clock = clock
        self._session: psycopg.AsyncConnection[TupleRow] | None = None
        self._statements = _Statements(outbox.table.name)
        self._lock_key = int.from_bytes(
            sha256(f"relay {outbox.table.name}".encode()).digest()[:8], signed=True
        )
        self._assigned = 0
        self._published = 0
        self._marked = 0
        self.has_more = False
        self._bus_is_down = False
        never = float("-inf")
        self._stepped_at_seconds = never
        self._role_tried_at_seconds = never
        self._bus_tried_at_seconds = never
        self._marked_at_seconds = never
        self._measured_at_seconds = never

    @property
    def is_active(self) -> bool:
        """Whether this process has the role at this moment, as far as it knows."""
        return self._session is not None

    async def step(self) -> int:
        """Assigns revisions to one batch, publishes one window, and returns how many events moved on.

        Raises PaycenterError(DATABASE_UNAVAILABLE) when the database does not answer; the role is given up
        then. That NATS does not answer is no error: events wait.
        """
        session = self._session or await self._try_role()
        if session is None:
            await self._follow()
            return 0
        if self._clock.monotonic_seconds() - self._stepped_at_seconds < _GATHER_SECONDS:
            await asyncio.sleep(_GATHER_SECONDS)
        try:
            fresh = await self._assign(session)
            published = await self._publish(session, fresh)
            await self._mark(session, idle=not fresh and not published)
            await self._measure(session)
        except BaseException as error:
            await self._give_up_role()
            if isinstance(error, psycopg.Error):
                raise to_paycenter_error(error) or error from error
            raise
        self._stepped_at_seconds = self._clock.monotonic_seconds()
        self.has_more = len(fresh) == _BATCH_EVENTS or (published > 0 and self._published < self._assigned)
        return max(len(fresh), published)

    async def close(self) -> None:
        """Marks what was published and gives up the role. Idempotent."""
        if self._session is not None:
            with suppress(psycopg.Error):
                await self._mark(self._session, idle=True)
        await self._give_up_role()

    async def _try_role(self) -> psycopg.AsyncConnection[TupleRow] | None:
        now_seconds = self._clock.monotonic_seconds()
        if now_seconds - self._role_tried_at_seconds < _TRY_ROLE_EVERY_SECONDS:
            return None
        self._role_tried_at_seconds = now_seconds
        session = await self._database.open_session()
        try:
            row = await (await session.execute(self._statements.try_lock, (self._lock_key,))).fetchone()
            if row is None or not row[0]:
                await session.close()
                return None
            await session.execute(self._statements.plan_by_index)
            row = await (await session.execute(self._statements.edges)).fetchone()
        except BaseException as error:
            await session.close()
            if isinstance(error, psycopg.Error):
                raise to_paycenter_error(error) or error from error
            raise
        assert row is not None, "an aggregate gives a row"
        self._assigned, self._published = row
        self._marked = self._published
        self._session = session
        self._outbox.revisions.advance(self._assigned)
        _has_role.labels(self._outbox.service).set(1)
        get_logger().info(
            "relay active", worker=self.name, revision=self._assigned, published=self._published
        )
        return session

    async def _give_up_role(self) -> None:
        session, self._session = self._session, None
        if session is None:
            return
        self.has_more = False
        _has_role.labels(self._outbox.service).set(0)
        for gauge in (_lag_rows, _lag_seconds):
            with suppress(KeyError):
                gauge.remove(self._outbox.service)
        await session.close()

    async def _follow(self) -> None:
        """Without the role: looks for what the active relay has assigned, when a stream of this process
        waits."""
        revisions = self._outbox.revisions
        if revisions.waiter_count:
            async with self._database.read() as connection:
                _, newest = await self._outbox.edges(connection)
            revisions.advance(newest)

    async def _assign(self, session: psycopg.AsyncConnection[TupleRow]) -> list[StoredEvent]:
        cursor = session.cursor(binary=True, row_factory=class_row(StoredEvent))
        await cursor.execute(self._statements.assign, (_BATCH_EVENTS, self._assigned))
        fresh = await cursor.fetchall()
        if fresh:
            fresh.sort(key=lambda event: event.revision)
            self._assigned = fresh[-1].revision
            self._outbox.revisions.advance(self._assigned)
        return fresh

    async def _publish(self, session: psycopg.AsyncConnection[TupleRow], fresh: Sequence[StoredEvent]) -> int:
        if self._published == self._assigned or not self._bus_may_be_tried():
            return 0
        window = fresh
        if not fresh or fresh[0].revision != self._published + 1:
            cursor = session.cursor(binary=True, row_factory=class_row(StoredEvent))
            await cursor.execute(self._statements.read, (self._published, _BATCH_EVENTS))
            window = await cursor.fetchall()
        try:
            stored = await self._bus.publish(window)
        except BusUnavailableError:
            await self._on_bus_down()
            return 0
        self._published = window[stored - 1].revision
        _published.labels(self._outbox.service).inc(stored)
        if self._bus_is_down:
            self._bus_is_down = False
            get_logger().info("relay publishes again", worker=self.name, revision=self._published)
        return stored

    def _bus_may_be_tried(self) -> bool:
        if not self._bus_is_down:
            return True
        waited_seconds = self._clock.monotonic_seconds() - self._bus_tried_at_seconds
        return self._bus.is_connected and waited_seconds >= _TRY_BUS_EVERY_SECONDS

    async def _on_bus_down(self) -> None:
        """Notes it, and makes the stream again in case that a wiped server has forgotten it."""
        if not self._bus_is_down:
            self._bus_is_down = True
            get_logger().warning("relay cannot publish", worker=self.name, published=self._published)
        with suppress(BusUnavailableError):
            await self._bus.ensure_stream(self._outbox.service)
        self._bus_tried_at_seconds = self._clock.monotonic_seconds()

    async def _mark(self, session: psycopg.AsyncConnection[TupleRow], *, idle: bool) -> None:
        now_seconds = self._clock.monotonic_seconds()
        if self._marked == self._published:
            return
        if idle or now_seconds - self._marked_at_seconds >= _MARK_EVERY_SECONDS:
            await session.execute(self._statements.mark, (self._marked, self._published))
            self._marked = self._published
            self._marked_at_seconds = now_seconds

    async def _measure(self, session: psycopg.AsyncConnection[TupleRow]) -> None:
        now_seconds = self._clock.monotonic_seconds()
        if now_seconds - self._measured_at_seconds < _MEASURE_EVERY_SECONDS:
            return
        self._measured_at_seconds = now_seconds
        cursor = session.cursor()
        await cursor.execute(self._statements.lag, (self._published,))
        row = await cursor.fetchone()
        assert row is not None, "an aggregate gives a row"
        waiting_rows, oldest_age_seconds = row
        _lag_rows.labels(self._outbox.service).set(waiting_rows + self._assigned - self._published)
        _lag_seconds.labels(self._outbox.service).set(oldest_age_seconds)


class _Statements:
    """The relay's SQL. The planner is kept to the indexes: it may know little about a young or bursting
    table."""

    try_lock = SQL("SELECT pg_try_advisory_lock(%s)")
    plan_by_index = SQL("SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off")

    def __init__(self, table_name: str) -> None:
        names = {"table": Identifier(table_name)}
        columns = [Identifier(name) for name in STORED_COLUMNS]
        names_with_columns = {
            **names,
            "columns": SQL(", ").join(columns),
            "event_columns": SQL(", ").join(SQL("event.{}").format(column) for column in columns),
        }
        self.edges: Composed = SQL(
            "SELECT coalesce(max(revision), 0),"
            " coalesce((SELECT revision FROM {table} WHERE revision IS NOT NULL AND published_time IS NOT NULL"
            "           ORDER BY revision DESC LIMIT 1), coalesce(min(revision), 1) - 1)"
            " FROM {table}"
        ).format(**names)
        self.assign: Composed = SQL(
            "WITH batch AS ("
            " SELECT shard, event_id, row_number() OVER (ORDER BY sequence) AS place FROM {table}"
            " WHERE revision IS NULL ORDER BY sequence LIMIT %s)"
            " UPDATE {table} AS event SET revision = %s + batch.place FROM batch"
            " WHERE event.shard = batch.shard AND event.event_id = batch.event_id RETURNING {event_columns}"
        ).format(**names_with_columns)
        self.read: Composed = SQL(
            "SELECT {columns} FROM {table} WHERE revision > %s ORDER BY revision LIMIT %s"
        ).format(**names_with_columns)
        self.mark: Composed = SQL(
            "UPDATE {table} SET published_time = clock_timestamp() WHERE revision > %s AND revision <= %s"
        ).format(**names)
        self.lag: Composed = SQL(
            "SELECT count(*), coalesce(extract(epoch FROM clock_timestamp() - least(min(created_time),"
            " (SELECT created_time FROM {table} WHERE revision > %s ORDER BY revision LIMIT 1))), 0)::float8"
            " FROM {table} WHERE revision IS NULL"
        ).format(**names)
