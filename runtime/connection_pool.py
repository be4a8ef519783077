"""A pool of open database connections whose hand-over costs no round trip. Invariant: a connection is lent
to one task at a time, comes back outside of any transaction, and is never lent when its server has hung up.

SQLAlchemy's own pool rolls back on return and pings on checkout; here a transaction is always ended by
whoever began it, and a server that went away shows as a readable socket.
"""

from __future__ import annotations

import asyncio
import select
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

import psycopg
from psycopg.pq import TransactionStatus
from sqlalchemy.ext.asyncio import AsyncEngine

from runtime.errors import PaycenterError, Reason
from runtime.prepared_statements import PreparedConnection

UNAVAILABLE_RETRY_SECONDS: Final = 0.5
"""Least wait that a caller is told when the database cannot be reached."""

AFTER_COMMIT: Final = "paycenter_after_commit"
"""Key under which a connection keeps what is to run after its commit."""

_OPEN: Final = psycopg.pq.ConnStatus.OK


class PooledConnection:
    """One open connection: SQLAlchemy's view of it, psycopg's below, and how to tell that the server is
    gone."""

    __slots__ = ("_autocommit", "_poll", "connection", "driver")

    def __init__(self, connection: PreparedConnection) -> None:
        self.connection = connection
        self.driver = driver = connection.driver
        self._autocommit = False
        self._poll = select.poll()
        self._poll.register(driver.pgconn.socket, select.POLLIN | select.POLLHUP | select.POLLERR)

    @property
    def is_usable(self) -> bool:
        """Whether the connection is idle and its server has sent nothing since: a goodbye would wait to be
        read."""
        return self.is_idle and not self._poll.poll(0)

    @property
    def is_idle(self) -> bool:
        """Whether the connection is open and outside of any transaction, by its own books and without a
        round trip."""
        pgconn = self.driver.pgconn
        return (
            pgconn.status == _OPEN
            and pgconn.transaction_status == TransactionStatus.IDLE
            and not self.connection.invalidated
            and not self.connection.in_nested_transaction()
        )

    def take_after_commit(self) -> Iterable[Callable[[], object]]:
        """Returns what is to run after this commit and forgets it."""
        if self.connection.invalidated:
            return ()
        callbacks: Iterable[Callable[[], object]] = self.connection.info.pop(AFTER_COMMIT, ())
        return callbacks

    async def set_autocommit(self, enabled: bool) -> None:
        """Chooses whether each statement commits by itself; changes a flag of the client only."""
        if self._autocommit is not enabled:
            await self.driver.set_autocommit(enabled)
            self._autocommit = enabled


class ConnectionPool:
    """Lends at most `size` connections, the last returned first, and waits at most
    `checkout_timeout_seconds`."""

    def __init__(self, engine: AsyncEngine, *, size: int, checkout_timeout_seconds: float) -> None:
        self._engine = engine
        self._size = size
        self._checkout_timeout_seconds = checkout_timeout_seconds
        self._idle: list[PooledConnection] = []
        self._open_count = 0
        self._waiters: deque[asyncio.Future[PooledConnection | None]] = deque()
        self._closed = False
        self.wait_seconds_total = 0.0

    @property
    def in_use_count(self) -> int:
        """How many connections are lent at this moment."""
        return self._open_count - len(self._idle)

    @property
    def waiting_count(self) -> int:
        """How many tasks wait for a connection at this moment."""
        return sum(not waiter.done() for waiter in self._waiters)

    async def checkout(self) -> PooledConnection:
        """Lends a connection; opens one when none is idle and the pool is not full.

        Raises PaycenterError(DATABASE_UNAVAILABLE) when none came free in time or the pool is closed, and
        psycopg's or SQLAlchemy's error when a new connection could not be opened.
        """
        while True:
            if self._closed:
                raise _unavailable("The server has closed its database connections.")
            if self._idle:
                pooled = self._idle.pop()
            elif self._open_count < self._size:
                return await self._open()
            else:
                handed_over = await self._wait_for_return()
                if handed_over is None:
                    continue
                pooled = handed_over
            if pooled.is_usable:
                return pooled
            await self._discard(pooled)

    async def give_back(self, pooled: PooledConnection) -> None:
        """Takes a connection back; one that is broken or not idle is closed instead of lent again."""
        if not pooled.is_idle or self._closed:
            await self._discard(pooled)
        elif not self._hand_over(pooled):
            self._idle.append(pooled)

    async def close(self) -> None:
        """Closes the idle connections; lent ones close when they come back. Idempotent."""
        self._closed = True
        while self._idle:
            await self._discard(self._idle.pop())
        while self._hand_over(None):
            pass

    async def _open(self) -> PooledConnection:
        self._open_count += 1
        connection = PreparedConnection(self._engine)
        try:
            await connection.start()
        except BaseException:
            self._forget_one()
            raise
        return PooledConnection(connection)

    async def _discard(self, pooled: PooledConnection) -> None:
        self._forget_one()
        try:
            await pooled.driver.close()
            await pooled.connection.invalidate()
            await pooled.connection.close()
        except (psycopg.Error, OSError):
            return

    def _forget_one(self) -> None:
        self._open_count -= 1
        self._hand_over(None)

    async def _wait_for_return(self) -> PooledConnection | None:
        """Waits its turn for a returned connection, or for None: the right to look again."""
        waiter: asyncio.Future[PooledConnection | None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        started = time.monotonic()
        try:
            async with asyncio.timeout(self._checkout_timeout_seconds):
                return await waiter
        except BaseException as error:
            if waiter.done() and not waiter.cancelled():
                await self._pass_on(waiter.result())
            if isinstance(error, TimeoutError):
                raise _unavailable("No database connection came free in time.") from None
            raise
        finally:
            self.wait_seconds_total += time.monotonic() - started

    async def _pass_on(self, handed_over: PooledConnection | None) -> None:
        if handed_over is None:
            self._hand_over(None)
        else:
            await self.give_back(handed_over)

    def _hand_over(self, pooled: PooledConnection | None) -> bool:
        """Gives `pooled` to the task that has waited longest; returns whether there was one."""
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(pooled)
                return True
        return False


def _unavailable(message: str) -> PaycenterError:
    return PaycenterError(Reason.DATABASE_UNAVAILABLE, message, retry_after_seconds=UNAVAILABLE_RETRY_SECONDS)
