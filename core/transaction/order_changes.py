"""Stores a decision about an order with its events and notifications. Invariant: state, events and notifications of
one decision are written in one transaction, and each event carries the order as it is after it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from sqlalchemy.ext.asyncio import AsyncConnection

from core.transaction import metrics
from core.transaction.domain.change import Change, Happening
from core.transaction.domain.records import Notification, OrderFile
from core.transaction.domain.states import NOTIFIED_EVENTS, AttemptState, NotificationState
from core.transaction.mapping import resources
from core.transaction.parts import Parts
from core.transaction.store import notifications, order_files, order_saving
from runtime.context import current_scope, encode_platform, with_business_id
from runtime.database import after_commit
from runtime.errors import PaycenterError, Reason
from runtime.ids import NumberKind, new_number
from runtime.outbox import OutboxEvent

Decide = Callable[[OrderFile], Change | None]
Finish = Callable[[AsyncConnection, OrderFile], Awaitable[None]]


async def decide(
    parts: Parts,
    decision: Decide,
    *,
    shard: int,
    order_id: str,
    known: OrderFile | None = None,
    finish: Finish | None = None,
) -> OrderFile:
    """Makes one decision about an order in one transaction and returns the file after it.

    With `known` the decision is first tried on what was read before, without a lock; when somebody else was faster
    the order is read again, locked, and decided anew. `finish` is written in the same transaction. Raises
    PaycenterError(ORDER_NOT_FOUND).
    """
    async with parts.database.begin() as connection:
        file = await _decide_on(parts, connection, known, decision) if known is not None else None
        if file is None:
            locked = await order_files.read_file(connection, shard, order_id, lock=True)
            if locked is None:
                raise order_not_found(order_id)
            file = await _decide_on(parts, connection, locked, decision) or locked
        if finish is not None:
            await finish(connection, file)
    return file


async def _decide_on(
    parts: Parts, connection: AsyncConnection, file: OrderFile, decision: Decide
) -> OrderFile | None:
    change = decision(file)
    if change is None:
        return None
    try:
        return await store(parts, connection, change)
    except order_saving.ChangeLost:
        return None


async def store(parts: Parts, connection: AsyncConnection, change: Change) -> OrderFile:
    """Writes a change, its events and its notifications; returns the file after it.

    Raises ChangeLost when the order has another version by now; then nothing was written.
    """
    file = await order_saving.save(connection, change)
    await tell(parts, connection, file, change.happenings)
    if any(attempt.state is AttemptState.CLOSING for attempt in change.attempts):
        after_commit(connection, parts.nudges.attempt.set)
    if any(refund.automatic for refund in change.new_refunds) or any(
        refund.legs for refund in change.refunds
    ):
        after_commit(connection, parts.nudges.refund.set)
    return file


async def tell(
    parts: Parts, connection: AsyncConnection, file: OrderFile, happenings: tuple[Happening, ...]
) -> None:
    """Appends the events of a change and the notifications that they cause."""
    with with_business_id(file.order.business_id):
        await _tell(parts, connection, file, happenings)


async def _tell(
    parts: Parts, connection: AsyncConnection, file: OrderFile, happenings: tuple[Happening, ...]
) -> None:
    order = file.order
    shown = resources.order_to_proto(file)
    events = []
    fresh = []
    for happening in happenings:
        event_id = new_number(NumberKind.EVENT, shard=order.shard)
        payload = resources.event_payload(
            event_id=event_id,
            event_type=happening.event_type,
            event_time=order.update_time,
            order=shown,
            changed_number=happening.changed_number,
        )
        events.append(
            OutboxEvent(
                shard=order.shard,
                event_id=event_id,
                event_type=happening.event_type.value,
                resource_id=order.order_id,
                resource_version=order.version,
                payload=payload,
                business_id=order.business_id,
            )
        )
        if order.notify_url and happening.event_type in NOTIFIED_EVENTS:
            number = new_number(NumberKind.NOTIFICATION, shard=order.shard)
            body = resources.callback_body(
                notification_id=number, event_type=happening.event_type, order=shown
            )
            fresh.append(_notification(file, happening, number, body))
        metrics.order_events.labels(happening.event_type.value).inc()
    await parts.outbox.append(connection, *events)
    if fresh:
        await notifications.insert(connection, fresh)
        after_commit(connection, parts.nudges.notification.set)


def _notification(file: OrderFile, happening: Happening, number: str, body: bytes) -> Notification:
    order = file.order
    scope = current_scope()
    return Notification(
        shard=order.shard,
        business_id=order.business_id,
        traceparent=scope.trace.format(),
        platform=encode_platform(scope.platform),
        create_time=order.update_time,
        update_time=order.update_time,
        notification_id=number,
        order_id=order.order_id,
        tenant_id=order.tenant_id,
        event_type=happening.event_type,
        url=order.notify_url,
        host=urlsplit(order.notify_url).netloc.rpartition("@")[2].lower(),
        body=body,
        state=NotificationState.DUE,
    )


def order_not_found(order_id: str) -> PaycenterError:
    """Returns the refusal for a number that names no order."""
    return PaycenterError(
        Reason.ORDER_NOT_FOUND,
        "No order has this number.",
        metadata={"orderId": order_id},
        resource=("order", order_id),
    )
