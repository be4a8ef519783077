"""The listings and searches. Invariant: each is bound to a tenant and walks one index."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import Select, bindparam, select
from sqlalchemy.ext.asyncio import AsyncConnection

from channel_gateway.domain.order import ChannelOrder
from channel_gateway.domain.vocabulary import ChannelOrderState, NoticeState
from channel_gateway.store.notices import StoredNotice, notice_of
from channel_gateway.store.orders import order_of
from channel_gateway.store.tables import channel_order, notice

_FAMILY_LIMIT = 500

_ORDERS_OF_BUSINESS = (
    select(channel_order)
    .where(channel_order.c.business_id == bindparam("b_business_id"))
    .order_by(channel_order.c.create_time, channel_order.c.channel_order_id)
    .limit(_FAMILY_LIMIT)
)
_NOTICES_OF_BUSINESS = (
    select(notice)
    .where(notice.c.business_id == bindparam("b_business_id"))
    .order_by(notice.c.create_time, notice.c.notice_id)
    .limit(_FAMILY_LIMIT)
)
_OF_TRANSACTION = (
    select(channel_order.c.business_id)
    .where(
        channel_order.c.channel_transaction_id == bindparam("b_number"),
        channel_order.c.channel_transaction_id != "",
    )
    .order_by(channel_order.c.create_time)
    .limit(1)
)
_OF_NOTICE = select(notice.c.business_id).where(
    notice.c.shard == bindparam("b_shard"), notice.c.notice_id == bindparam("b_number")
)
_OF_PAYMENT = select(channel_order.c.business_id).where(
    channel_order.c.shard == bindparam("b_shard"), channel_order.c.payment_id == bindparam("b_number")
)
_OF_ORDER = select(channel_order.c.business_id).where(
    channel_order.c.shard == bindparam("b_shard"), channel_order.c.channel_order_id == bindparam("b_number")
)


async def list_orders(
    connection: AsyncConnection,
    tenant_id: str,
    *,
    business_id: str,
    payment_account_id: str,
    state: ChannelOrderState | None,
    before: str,
    limit: int,
) -> Sequence[ChannelOrder]:
    """Reads a tenant's channel orders with numbers below `before` (all when empty), newest first."""
    filters = _given(
        business_id=business_id,
        payment_account_id=payment_account_id,
        state="" if state is None else state.value,
    )
    statement = _listing("channel_order", tuple(filters), bool(before))
    parameters = {**filters, "tenant_id": tenant_id, "before": before, "row_limit": limit}
    rows = await connection.execute(statement, parameters if before else _without(parameters, "before"))
    return [order_of(row) for row in rows.mappings()]


async def list_notices(
    connection: AsyncConnection,
    tenant_id: str,
    *,
    payment_account_id: str,
    state: NoticeState | None,
    before: str,
    limit: int,
) -> Sequence[StoredNotice]:
    """Reads a tenant's notices with numbers below `before` (all when empty), newest first."""
    filters = _given(payment_account_id=payment_account_id, state="" if state is None else state.value)
    statement = _listing("notice", tuple(filters), bool(before))
    parameters = {**filters, "tenant_id": tenant_id, "before": before, "row_limit": limit}
    rows = await connection.execute(statement, parameters if before else _without(parameters, "before"))
    return [notice_of(row) for row in rows.mappings()]


async def business_id_of_order(connection: AsyncConnection, shard: int, number: str) -> str | None:
    """Returns the business identifier of a channel order."""
    return await _first(connection, _OF_ORDER, {"b_shard": shard, "b_number": number})


async def business_id_of_notice(connection: AsyncConnection, shard: int, number: str) -> str | None:
    """Returns the business identifier of a notice."""
    return await _first(connection, _OF_NOTICE, {"b_shard": shard, "b_number": number})


async def business_id_of_payment(connection: AsyncConnection, shard: int, number: str) -> str | None:
    """Returns the business identifier of the orders that serve a payment."""
    return await _first(connection, _OF_PAYMENT, {"b_shard": shard, "b_number": number})


async def business_id_of_transaction(connection: AsyncConnection, number: str) -> str | None:
    """Returns the business identifier of the order that a channel's transaction number names."""
    return await _first(connection, _OF_TRANSACTION, {"b_number": number})


async def family_of(
    connection: AsyncConnection, business_id: str
) -> tuple[Sequence[ChannelOrder], Sequence[StoredNotice]]:
    """Reads every channel order and notice of a business identifier, oldest first."""
    parameters = {"b_business_id": business_id}
    orders = [order_of(row) for row in (await connection.execute(_ORDERS_OF_BUSINESS, parameters)).mappings()]
    notices = [
        notice_of(row) for row in (await connection.execute(_NOTICES_OF_BUSINESS, parameters)).mappings()
    ]
    return orders, notices


@lru_cache(maxsize=64)
def _listing(table_name: str, filters: tuple[str, ...], has_before: bool) -> Select[Any]:
    table, key = {
        "channel_order": (channel_order, channel_order.c.channel_order_id),
        "notice": (notice, notice.c.notice_id),
    }[table_name]
    statement = select(table).where(table.c.tenant_id == bindparam("tenant_id"))
    for name in filters:
        statement = statement.where(table.c[name] == bindparam(name))
    if has_before:
        statement = statement.where(key < bindparam("before"))
    return statement.order_by(key.desc()).limit(bindparam("row_limit"))


def _given(**filters: str) -> dict[str, str]:
    return {name: value for name, value in filters.items() if value}


def _without(parameters: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in parameters.items() if key != name}


async def _first(
    connection: AsyncConnection, statement: Select[Any], parameters: Mapping[str, Any]
) -> str | None:
    row = (await connection.execute(statement, parameters)).first()
    return None if row is None else row[0]
