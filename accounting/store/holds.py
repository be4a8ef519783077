"""Holds and their history. Invariant: `held_minor_units` of a balance changes in the same statement as its hold."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from accounting.domain.holds import HoldAction, HoldPosition, HoldState
from runtime.money import Money


@dataclass(frozen=True, slots=True)
class Hold:
    """A hold with what it is for."""

    position: HoldPosition
    tenant_id: str
    caller: str
    request_id: str
    fingerprint: bytes
    currency_code: str
    business_number: str
    expire_time: datetime | None
    business_id: str
    traceparent: str
    platform: bytes
    create_time: datetime
    update_time: datetime

    @property
    def amount(self) -> Money:
        """Amount placed."""
        return Money(self.position.amount_minor_units, self.currency_code)


_SELECT = """
    SELECT *, coalesce(expire_time <= clock_timestamp(), false) AS expired FROM hold
"""
_GET = text(_SELECT + "WHERE shard = :shard AND hold_id = :hold_id")
_LOCK = text(_SELECT + "WHERE shard = :shard AND hold_id = :hold_id FOR UPDATE")
_OF_REQUEST = text(_SELECT + "WHERE shard = :shard AND caller = :caller AND request_id = :request_id")
_OF_BUSINESS = text(_SELECT + "WHERE business_id = :business_id ORDER BY create_time LIMIT 500")
_EXPIRED = text(
    _SELECT + "WHERE state = 'OPEN' AND expire_time <= clock_timestamp() ORDER BY expire_time LIMIT :limit"
)
_PLACE = text(
    """
    WITH placed AS (
        INSERT INTO hold (shard, hold_id, tenant_id, caller, request_id, fingerprint, account_id, currency_code,
                          amount_minor_units, state, business_number, expire_time, business_id, traceparent,
                          platform)
        SELECT :shard, :hold_id, :tenant_id, :caller, :request_id, :fingerprint, :account_id, :currency_code,
               :amount, 'OPEN', :business_number,
               clock_timestamp() + CAST(:hold_seconds AS double precision) * interval '1 second',
               :business_id, :traceparent, :platform
        WHERE NOT EXISTS (SELECT 1 FROM posting_refusal
                          WHERE shard = :shard AND caller = :caller AND request_id = :request_id)
        ON CONFLICT DO NOTHING RETURNING *
    ), history AS (
        INSERT INTO hold_event (shard, hold_id, version, action, amount_minor_units)
        SELECT shard, hold_id, version, 'PLACE', amount_minor_units FROM placed
    ), held AS (
        UPDATE account_balance b SET held_minor_units = b.held_minor_units + placed.amount_minor_units,
               version = b.version + 1
        FROM placed WHERE b.shard = placed.shard AND b.account_id = placed.account_id
    )
    SELECT *, false AS expired FROM placed
    """
)
_FREE = text(
    """
    WITH freed AS (
        UPDATE hold SET released_minor_units = released_minor_units + :released, state = :state,
               version = version + 1, update_time = clock_timestamp()
        WHERE shard = :shard AND hold_id = :hold_id AND version = :version RETURNING *
    ), history AS (
        INSERT INTO hold_event (shard, hold_id, version, action, amount_minor_units)
        SELECT shard, hold_id, version, :action, :released FROM freed
    ), held AS (
        UPDATE account_balance b SET held_minor_units = b.held_minor_units - :released, version = b.version + 1
        FROM freed WHERE b.shard = freed.shard AND b.account_id = freed.account_id
    )
    SELECT *, false AS expired FROM freed
    """
)


async def insert_hold(
    connection: AsyncConnection,
    *,
    shard: int,
    hold_id: str,
    tenant_id: str,
    caller: str,
    request_id: str,
    fingerprint: bytes,
    account_id: str,
    amount: Money,
    business_number: str,
    hold_seconds: float | None,
    business_id: str,
    traceparent: str,
    platform: bytes,
) -> Hold | None:
    """Places a hold on a locked account; None when the request was decided before."""
    row = (
        await connection.execute(
            _PLACE,
            {
                "shard": shard,
                "hold_id": hold_id,
                "tenant_id": tenant_id,
                "caller": caller,
                "request_id": request_id,
                "fingerprint": fingerprint,
                "account_id": account_id,
                "currency_code": amount.currency_code,
                "amount": amount.minor_units,
                "business_number": business_number,
                "hold_seconds": hold_seconds,
                "business_id": business_id,
                "traceparent": traceparent,
                "platform": platform,
            },
        )
    ).first()
    return _hold(row) if row else None


async def free_hold(
    connection: AsyncConnection, hold: HoldPosition, action: HoldAction, state: HoldState
) -> Hold | None:
    """Frees what a locked hold still keeps; None when it changed meanwhile."""
    row = (
        await connection.execute(
            _FREE,
            {
                "shard": hold.shard,
                "hold_id": hold.hold_id,
                "version": hold.version,
                "released": hold.remaining_minor_units,
                "state": state.value,
                "action": action.value,
            },
        )
    ).first()
    return _hold(row) if row else None


async def get_hold(
    connection: AsyncConnection, *, shard: int, hold_id: str, lock: bool = False
) -> Hold | None:
    """Reads a hold, under lock when asked; None when there is none."""
    row = (await connection.execute(_LOCK if lock else _GET, {"shard": shard, "hold_id": hold_id})).first()
    return _hold(row) if row else None


async def hold_of_request(
    connection: AsyncConnection, *, shard: int, caller: str, request_id: str
) -> Hold | None:
    """Reads the hold that a request placed; None when it placed none."""
    parameters = {"shard": shard, "caller": caller, "request_id": request_id}
    row = (await connection.execute(_OF_REQUEST, parameters)).first()
    return _hold(row) if row else None


async def holds_of_business(connection: AsyncConnection, business_id: str) -> list[Hold]:
    """Reads the holds of one business case, oldest first, at most 500."""
    return [_hold(row) for row in await connection.execute(_OF_BUSINESS, {"business_id": business_id})]


async def expired_holds(connection: AsyncConnection, *, limit: int) -> list[Hold]:
    """Reads open holds whose time has passed, the longest due first."""
    return [_hold(row) for row in await connection.execute(_EXPIRED, {"limit": limit})]


def _hold(row: Row[Any]) -> Hold:
    return Hold(
        position=HoldPosition(
            shard=row.shard,
            hold_id=row.hold_id,
            account_id=row.account_id,
            amount_minor_units=row.amount_minor_units,
            captured_minor_units=row.captured_minor_units,
            released_minor_units=row.released_minor_units,
            state=HoldState(row.state),
            expired=row.expired,
            version=row.version,
        ),
        tenant_id=row.tenant_id,
        caller=row.caller,
        request_id=row.request_id,
        fingerprint=bytes(row.fingerprint),
        currency_code=row.currency_code,
        business_number=row.business_number,
        expire_time=row.expire_time,
        business_id=row.business_id,
        traceparent=row.traceparent,
        platform=bytes(row.platform),
        create_time=row.create_time,
        update_time=row.update_time,
    )
