"""Answers a request id whose caller may be gone. Invariant: an answer once stored is never replaced."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from core.transaction.store.order_saving import Answer
from core.transaction.store.tables import idempotency_record

_COMPLETE_IF_OPEN = (
    sa.update(idempotency_record)
    .where(
        idempotency_record.c.shard == sa.bindparam("k_shard"),
        idempotency_record.c.caller == sa.bindparam("k_caller"),
        idempotency_record.c.method == sa.bindparam("k_method"),
        idempotency_record.c.request_id == sa.bindparam("k_request_id"),
        idempotency_record.c.response.is_(None),
    )
    .values(response=sa.bindparam("answer"), locked_until=sa.func.now())
)


_FIND = sa.select(idempotency_record.c.fingerprint, idempotency_record.c.response).where(
    idempotency_record.c.shard == sa.bindparam("k_shard"),
    idempotency_record.c.caller == sa.bindparam("k_caller"),
    idempotency_record.c.method == sa.bindparam("k_method"),
    idempotency_record.c.request_id == sa.bindparam("k_request_id"),
    idempotency_record.c.response.is_not(None),
)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that was answered: the fingerprint of its body, and the answer."""

    fingerprint: bytes
    response: bytes


async def find(
    connection: AsyncConnection, *, shard: int, caller: str, method: str, request_id: str
) -> Asked | None:
    """Returns what was asked and answered under a request id, or None."""
    key = {"k_shard": shard, "k_caller": caller, "k_method": method, "k_request_id": request_id}
    row = (await connection.execute(_FIND, key)).one_or_none()
    return Asked(row.fingerprint, row.response) if row is not None else None


async def complete_if_open(connection: AsyncConnection, *, shard: int, answer: Answer) -> None:
    """Stores the answer of a command that was left without one; does nothing when it has one."""
    await connection.execute(
        _COMPLETE_IF_OPEN,
        {
            "k_shard": shard,
            "k_caller": answer.caller,
            "k_method": answer.method,
            "k_request_id": answer.request_id,
            "answer": answer.response,
        },
    )
