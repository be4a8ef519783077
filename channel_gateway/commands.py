"""One mutating call under its request id. Invariant: claimed in the first transaction, completed in the last,
and the stored response is what every later call gets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from sqlalchemy import bindparam, func, update
from sqlalchemy.ext.asyncio import AsyncConnection

from channel_gateway.store.tables import idempotency_record
from runtime.context import current_scope
from runtime.idempotency import Claim, Idempotency, Replay, Resume

ResultT = TypeVar("ResultT")

_LET_GO = (
    update(idempotency_record)
    .where(
        idempotency_record.c.shard == bindparam("b_shard"),
        idempotency_record.c.caller == bindparam("b_caller"),
        idempotency_record.c.method == bindparam("b_method"),
        idempotency_record.c.request_id == bindparam("b_request_id"),
        idempotency_record.c.response.is_(None),
    )
    .values(locked_until=func.clock_timestamp())
)


@dataclass(frozen=True, slots=True)
class Command(Generic[ResultT]):
    """A call's identity and how its result is written as the response that is kept."""

    method: str
    request_id: str
    fingerprint: bytes
    encode: Callable[[ResultT], bytes]

    async def claim(
        self,
        connection: AsyncConnection,
        idempotency: Idempotency,
        *,
        shard: int,
        resource_id: str,
        lease_seconds: float = 20.0,
    ) -> Claim | Replay | Resume:
        """Claims the request id; raises as `Idempotency.claim`."""
        return await idempotency.claim(
            connection,
            shard=shard,
            method=self.method,
            request_id=self.request_id,
            fingerprint=self.fingerprint,
            resource_id=resource_id,
            lease_seconds=lease_seconds,
        )

    async def complete(
        self, connection: AsyncConnection, idempotency: Idempotency, *, shard: int, result: ResultT
    ) -> None:
        """Stores the response in the transaction of the last effect."""
        await idempotency.complete(
            connection,
            shard=shard,
            method=self.method,
            request_id=self.request_id,
            response=self.encode(result),
        )

    async def let_go(self, connection: AsyncConnection, *, shard: int) -> None:
        """Ends the claim without a response, so that the next call with the same id goes on at once."""
        await connection.execute(
            _LET_GO,
            {
                "b_shard": shard,
                "b_caller": current_scope().platform.caller_service,
                "b_method": self.method,
                "b_request_id": self.request_id,
            },
        )
