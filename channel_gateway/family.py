"""Finds every record of this service that belongs to a number. Invariant: only records of the tenant that
asks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from channel_gateway.domain.order import ChannelOrder
from channel_gateway.parts import GatewayParts
from channel_gateway.store import reads
from channel_gateway.store.notices import StoredNotice
from runtime.context import current_scope
from runtime.errors import PaycenterError, Reason
from runtime.ids import NumberKind, number_kind, shard_of_number


@dataclass(frozen=True, slots=True)
class Family:
    """The channel orders and notices of one business identifier."""

    business_id: str
    orders: Sequence[ChannelOrder]
    notices: Sequence[StoredNotice]


async def find_family(parts: GatewayParts, number: str) -> Family:
    """Returns the family of a channel order, notice, payment, channel transaction or business identifier.

    Raises PaycenterError: NUMBER_NOT_FOUND, TENANT_FORBIDDEN.
    """
    tenant_id = current_scope().platform.tenant_id
    business_id = await _business_id_of(parts, number) or number
    async with parts.database.read() as connection:
        orders, notices = await reads.family_of(connection, business_id)
    own_orders = [order for order in orders if order.tenant_id == tenant_id]
    own_notices = [notice for notice in notices if notice.tenant_id == tenant_id]
    if not own_orders and not own_notices:
        if orders or notices:
            raise PaycenterError(Reason.TENANT_FORBIDDEN, "The number belongs to another tenant.")
        raise PaycenterError(
            Reason.NUMBER_NOT_FOUND, "No record of this service has this number.", field="number"
        )
    return Family(business_id, own_orders, own_notices)


async def _business_id_of(parts: GatewayParts, number: str) -> str | None:
    try:
        kind, shard = number_kind(number), shard_of_number(number)
    except ValueError:
        kind, shard = None, 0
    async with parts.database.read() as connection:
        match kind:
            case NumberKind.CHANNEL_ORDER:
                return await reads.business_id_of_order(connection, shard, number)
            case NumberKind.NOTICE:
                return await reads.business_id_of_notice(connection, shard, number)
            case NumberKind.PAYMENT:
                return await reads.business_id_of_payment(connection, shard, number)
            case None:
                return await reads.business_id_of_transaction(connection, number)
            case _:
                return None
