"""Finds channel orders for the tenant that asks. Invariant: another tenant's number is refused before
anything of it is told."""

from __future__ import annotations

from channel_gateway.domain.order import ChannelOrder
from channel_gateway.parts import GatewayParts
from channel_gateway.store import orders as store
from runtime.context import current_scope
from runtime.errors import PaycenterError, Reason


async def find_order(
    parts: GatewayParts, channel_order_id: str = "", *, payment_id: str = ""
) -> ChannelOrder:
    """Returns the order by its number, or the newest one that serves `payment_id`.

    Raises PaycenterError: CHANNEL_ORDER_NOT_FOUND, TENANT_FORBIDDEN; FIELD_INVALID when neither number is given.
    """
    if not channel_order_id and not payment_id:
        raise PaycenterError(
            Reason.FIELD_INVALID,
            "Name the channel order or the payment that it serves.",
            field="channel_order_id",
        )
    async with parts.database.read() as connection:
        if channel_order_id:
            order = await store.get_order(connection, channel_order_id)
        else:
            order = await store.get_order_of_payment(connection, payment_id)
    if order is None:
        raise PaycenterError(
            Reason.CHANNEL_ORDER_NOT_FOUND,
            "No channel order has this number.",
            field="channel_order_id" if channel_order_id else "payment_id",
            resource=("ChannelOrder", channel_order_id or payment_id),
        )
    if order.tenant_id != current_scope().platform.tenant_id:
        raise PaycenterError(Reason.TENANT_FORBIDDEN, "The channel order belongs to another tenant.")
    return order
