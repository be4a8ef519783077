"""Transactions on the service's own PostgreSQL. Invariant: a block either commits as a whole or leaves
nothing, and once COMMIT is sent no cancellation stops the wait for its outcome.

SQLAlchemy compiles and runs the statements; where a transaction begins and ends is left to psycopg, which
costs about a third less per transaction than SQLAlchemy's own begin, commit and pool. Statements that are
made once, with `bindparam`, are compiled and keyed once; made anew for each call they cost half as much
again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Final

import psycopg
from prometheus_client import Counter, Gauge
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow
from sqlalchemy import MetaData, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from runtime.connection_pool import AFTER_COMMIT, ConnectionPool, PooledConnection
from runtime.context import scope_or_none
from runtime.database_errors import to_paycenter_error
from runtime.logs import get_logger
from runtime.migrations import run_migrations
from runtime.shielded_connection import ShieldedConnection

__all__ = ["Database", "after_commit", "connection_options", "new_metadata", "run_migrations"]

_NAMING_CONVENTION: Final = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
_PREPARE_AFTER_RUNS: Final = 2
_PROBE: Final = text("SELECT 1")

_connections = Gauge(
    "paycenter_database_connections", "Database connections by what they do.", ("application", "state")
)
_wait_seconds = Gauge(
    "paycenter_database_connection_wait_seconds_total", "Seconds waited for a connection.", ("application",)
)
_failures = Counter(
    "paycenter_database_failures_total", "Transactions that the database did not carry out.", ("reason",)
)
_unknown_commits = Counter(
    "paycenter_database_unknown_commits_total", "Connections lost while a COMMIT was under way."
)


def new_metadata() -> MetaData:
    """Returns an empty collection of tables whose constraints and indexes get stable names."""
    return MetaData(naming_convention=_NAMING_CONVENTION)


def after_commit(connection: AsyncConnection, callback: Callable[[], object]) -> None:
    """Runs `callback` once when the transaction of `connection` has committed, and never when it rolls back.

    The callback is quick and raises nothing; the same callback given twice runs once.
    """
    connection.info.setdefault(AFTER_COMMIT, set()).add(callback)


def connection_options(
    *,
    application_name: str,
    statement_timeout_seconds: float = 5.0,
    lock_timeout_seconds: float = 3.0,
    idle_in_transaction_timeout_seconds: float = 10.0,
) -> dict[str, object]:
    """Returns what psycopg needs to open a connection of the center: limits, UTC, READ COMMITTED, quick
    detection of a dead peer; 0 seconds means no limit."""
    settings = {
        "TimeZone": "UTC",
        "default_transaction_isolation": r"read\ committed",
        "statement_timeout": f"{statement_timeout_seconds * 1000:.0f}",
        "lock_timeout": f"{lock_timeout_seconds * 1000:.0f}",
        "idle_in_transaction_session_timeout": f"{idle_in_transaction_timeout_seconds * 1000:.0f}",
        "jit": "off",
    }
    return {
        "application_name": application_name,
        "options": " ".join(f"-c {name}={value}" for name, value in settings.items()),
        "prepare_threshold": _PREPARE_AFTER_RUNS,
        "connect_timeout": 5,
        "keepalives_idle": 15,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 15_000,
    }


class Database:
    """The service's database: at most `pool_size` connections, opened when first needed.

    Waiting for a connection is bounded by `checkout_timeout_seconds`; a statement, a lock and an idle
    transaction by the limits of `connection_options`. `engine` has no pool; it serves tools and tests.
    """

    def __init__(
        self,
        url: str,
        *,
        pool_size: int = 10,
        application_name: str = "paycenter",
        checkout_timeout_seconds: float = 5.0,
        statement_timeout_seconds: float = 5.0,
        lock_timeout_seconds: float = 3.0,
    ) -> None:
        self.application_name = application_name
        self._options = connection_options(
            application_name=application_name,
            statement_timeout_seconds=statement_timeout_seconds,
            lock_timeout_seconds=lock_timeout_seconds,
        )
        self.engine: AsyncEngine = create_async_engine(
            url,
            poolclass=NullPool,
            pool_reset_on_return=None,
            connect_args={**self._options, "async_creator_fn": ShieldedConnection.connect},
            use_native_hstore=False,
            hide_parameters=True,
        )
        self._pool = ConnectionPool(
            self.engine, size=pool_size, checkout_timeout_seconds=checkout_timeout_seconds
        )
        _connections.labels(application_name, "in_use").set_function(lambda: self._pool.in_use_count)
        _connections.labels(application_name, "waited_for").set_function(lambda: self._pool.waiting_count)
        _wait_seconds.labels(application_name).set_function(lambda: self._pool.wait_seconds_total)

    def begin(self) -> _Transaction:
        """Opens one transaction: `async with database.begin() as connection`.

        Commits when the block ends, rolls back when it raises. BEGIN goes out with the first statement: an
        empty block costs nothing. The commit is shielded: a cancellation that arrives meanwhile is raised
        after its outcome is known. Raises PaycenterError(DATABASE_UNAVAILABLE) when the database does not
        answer (`may_have_begun` when COMMIT was under way) and PaycenterError(LOCK_CONFLICT) when another
        transaction was in the way; a constraint that is broken stays SQLAlchemy's IntegrityError.
        """
        return _Transaction(self._pool, autocommit=False)

    def read(self) -> _Transaction:
        """Opens a connection on which every statement sees its own snapshot: no BEGIN, no COMMIT, half the
        cost.

        For queries; two of them may see different states. Errors as for `begin`.
        """
        return _Transaction(self._pool, autocommit=True)

    def autocommit(self) -> _Transaction:
        """Opens a connection on which every statement is a transaction: for a command that is one statement.

        Errors as for `begin`.
        """
        return _Transaction(self._pool, autocommit=True)

    async def check(self) -> None:
        """Asks the database for an answer, for health checks; raises PaycenterError(DATABASE_UNAVAILABLE)."""
        async with self.read() as connection:
            await connection.execute(_PROBE)

    async def open_session(self) -> psycopg.AsyncConnection[TupleRow]:
        """Opens a connection outside of the pool, each statement its own transaction, for a lock that lives
        as long as it does; whoever opens it closes it.

        Raises PaycenterError(DATABASE_UNAVAILABLE).
        """
        url = self.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
        try:
            return await psycopg.AsyncConnection.connect(url, autocommit=True, **self._options)  # type: ignore[arg-type]
        except (psycopg.Error, OSError) as error:
            raise to_paycenter_error(error) or error from error

    async def close(self) -> None:
        """Closes the connections that are not in use; those in use close when they come back. Idempotent."""
        await self._pool.close()
        await self.engine.dispose()


class _Transaction:
    """One block on one lent connection; see `Database.begin` and `Database.read`."""

    __slots__ = ("_autocommit", "_pool", "_pooled", "_started")

    _pooled: PooledConnection
    _started: float

    def __init__(self, pool: ConnectionPool, *, autocommit: bool) -> None:
        self._pool = pool
        self._autocommit = autocommit

    async def __aenter__(self) -> AsyncConnection:
        self._started = time.monotonic()
        try:
            self._pooled = pooled = await self._pool.checkout()
        except Exception as error:
            raise _translate(error) from error
        try:
            await pooled.set_autocommit(self._autocommit)
        except BaseException:
            await pooled.driver.close()
            await self._pool.give_back(pooled)
            raise
        return pooled.connection

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pooled = self._pooled
        callbacks = pooled.take_after_commit()
        try:
            if error is None:
                await _commit(pooled.driver)
                for callback in callbacks:
                    callback()
            else:
                await _roll_back(pooled.driver)
        finally:
            await self._pool.give_back(pooled)
            self._record_time()
        if isinstance(error, Exception):
            translated = _translate(error)
            if translated is not error:
                raise translated from error

    def _record_time(self) -> None:
        scope = scope_or_none()
        if scope is not None and scope.record is not None:
            fields = scope.record.fields
            spent_before = fields.get("db_ms", 0.0)
            if isinstance(spent_before, float):
                fields["db_ms"] = round(spent_before + (time.monotonic() - self._started) * 1000, 2)


async def _commit(driver: psycopg.AsyncConnection[Any]) -> None:
    status = driver.pgconn.transaction_status
    if status == TransactionStatus.IDLE:
        return
    if status == TransactionStatus.INERROR:
        await _roll_back(driver)
        raise RuntimeError("A statement failed here and its error was swallowed: nothing is committed.")
    try:
        await driver.commit()
    except psycopg.Error as error:
        outcome_unknown = driver.closed
        if outcome_unknown:
            _unknown_commits.inc()
            get_logger().error("commit outcome unknown", error=type(error).__name__)
        raise _translate(error, may_have_begun=outcome_unknown) from error


async def _roll_back(driver: psycopg.AsyncConnection[Any]) -> None:
    """Ends the transaction if there is one; a connection that cannot is closed by the pool."""
    if driver.pgconn.transaction_status in (TransactionStatus.INTRANS, TransactionStatus.INERROR):
        with suppress(psycopg.Error):
            await driver.rollback()


def _translate(error: Exception, *, may_have_begun: bool = False) -> Exception:
    translated = to_paycenter_error(error, may_have_begun=may_have_begun)
    if translated is None:
        return error
    _failures.labels(translated.reason.value).inc()
    return translated
