"""What a database error means to a caller. Invariant: only losing the connection, a time limit and a lock
conflict become reasons of the contract; anything else is a bug of ours and passes through unchanged."""

from __future__ import annotations

from typing import Final

import psycopg
from psycopg import errors as pg
from sqlalchemy import exc

from runtime.connection_pool import UNAVAILABLE_RETRY_SECONDS
from runtime.errors import PaycenterError, Reason

LOCK_CONFLICT_RETRY_SECONDS: Final = 0.05
"""Least wait that a caller is told when another transaction was faster."""

_LOCK_CONFLICTS: Final = (pg.SerializationFailure, pg.DeadlockDetected, pg.LockNotAvailable)
_UNAVAILABLE: Final = (
    psycopg.OperationalError,
    pg.IdleInTransactionSessionTimeout,
    pg.ReadOnlySqlTransaction,
    OSError,
)


def driver_error(error: BaseException) -> psycopg.Error | None:
    """Returns psycopg's own error, also out of SQLAlchemy's wrapping; None when it is no database error."""
    if isinstance(error, psycopg.Error):
        return error
    if isinstance(error, exc.DBAPIError) and isinstance(error.orig, psycopg.Error):
        return error.orig
    return None


def is_lock_conflict(error: BaseException) -> bool:
    """Whether another transaction was in the way: serialization failure, deadlock or a lock that came too
    late."""
    return isinstance(driver_error(error), _LOCK_CONFLICTS)


def to_paycenter_error(error: BaseException, *, may_have_begun: bool = False) -> PaycenterError | None:
    """Returns LOCK_CONFLICT or DATABASE_UNAVAILABLE for a database error that has such a meaning, else None.

    A lost or refused connection, a server that shuts down, starts up or became a standby, full connection
    slots, and a time limit are DATABASE_UNAVAILABLE; `may_have_begun` says that a COMMIT was under way.
    """
    if is_lock_conflict(error):
        return PaycenterError(
            Reason.LOCK_CONFLICT,
            "Another command changed the record at the same moment.",
            retry_after_seconds=LOCK_CONFLICT_RETRY_SECONDS,
        )
    if isinstance(driver_error(error) or error, _UNAVAILABLE):
        return PaycenterError(
            Reason.DATABASE_UNAVAILABLE,
            "The database did not answer.",
            retry_after_seconds=UNAVAILABLE_RETRY_SECONDS,
            may_have_begun=may_have_begun,
        )
    return None
