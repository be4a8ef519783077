"""A psycopg connection whose COMMIT and ROLLBACK no cancellation interrupts. Invariant: once either was
sent, the task learns the outcome first and is cancelled afterwards.

`asyncio.shield` would do the same at the price of one task per transaction.
"""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

import psycopg
from psycopg import waiting
from psycopg.abc import PQGen
from psycopg.rows import TupleRow

Result = TypeVar("Result")

_WAIT_INTERVAL_SECONDS = 0.1


class ShieldedConnection(psycopg.AsyncConnection[TupleRow]):
    """Behaves as its parent but for the end of a transaction."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._is_shielded = False

    async def commit(self) -> None:
        """Commits; a cancellation that arrives meanwhile is raised when the outcome is known."""
        self._is_shielded = True
        try:
            await super().commit()
        finally:
            self._is_shielded = False

    async def rollback(self) -> None:
        """Rolls back; a cancellation that arrives meanwhile is raised when the outcome is known."""
        self._is_shielded = True
        try:
            await super().rollback()
        finally:
            self._is_shielded = False

    async def wait(
        self, gen: PQGen[Result], interval: float = _WAIT_INTERVAL_SECONDS, timeout: float | None = None
    ) -> Result:
        """Runs psycopg's conversation `gen` with the server; it may be resumed where a cancellation left
        it."""
        if not self._is_shielded:
            return await super().wait(gen, interval, timeout)
        cancellation: asyncio.CancelledError | None = None
        while True:
            try:
                result = await waiting.wait_async(gen, self.pgconn.socket, interval=interval, timeout=timeout)
                break
            except asyncio.CancelledError as error:
                cancellation = error
        if cancellation is not None:
            raise cancellation
        return result
