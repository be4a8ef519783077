"""Tells the bus what happened to a channel order. Invariant: called in the transaction of the change, once
per change, so that an order's version equals the number of its events."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

from channel_gateway import mapping
from channel_gateway.domain.order import ChannelOrder
from channel_gateway.domain.states import event_of
from runtime.outbox import Outbox, OutboxEvent


async def tell(
    connection: AsyncConnection, outbox: Outbox, order: ChannelOrder, *, created: bool = False
) -> None:
    """Appends the event of the change that brought `order` where it is."""
    event_type = event_of(order.state, created=created)
    event_id, payload = mapping.event_payload(order, event_type)
    await outbox.append(
        connection,
        OutboxEvent(
            shard=order.shard,
            event_id=event_id,
            event_type=event_type.value,
            resource_id=order.channel_order_id,
            resource_version=order.version,
            business_id=order.business_id,
            payload=payload,
        ),
    )
