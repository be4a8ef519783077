"""Stores a decision about an order with what is told of it. Invariant: state, events, notification and answer of one
decision are written together, and each event shows the order as it is after it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Final
from urllib.parse import urlsplit

from sqlalchemy.ext.asyncio import AsyncConnection

from core.transaction import metrics
from core.transaction.domain.change import Change, Happening
from core.transaction.domain.records import Notification, OrderFile
from core.transaction.domain.states import NOTIFIED_EVENTS, AttemptState, NotificationState
from core.transaction.mapping import resources
from core.transaction.parts import Parts
from core.transaction.store import idempotency, order_files, order_saving
from core.transaction.store.order_saving import Answer
from runtime.context import encode_platform, with_business_id
from runtime.database import after_commit
from runtime.errors import PaycenterError, Reason
from runtime.ids import NumberKind, new_number
from runtime.outbox import SUBJECT_ROOT
from runtime.telemetry import span

SHORTEST_STEP: Final = timedelta(microseconds=1)
"""Least time between two changes of one order, so that their order can be seen in their instants."""

Decide = Callable[[OrderFile], Change | None]
AnswerOf = Callable[[OrderFile], Answer | None]
"""Gives what a command answers once the file stands as given; None when its last step is still to come."""


async def decide(
    parts: Parts,
    decision: Decide,
    *,
    shard: int,
    order_id: str,
    known: OrderFile | None = None,
    answer_of: AnswerOf | None = None,
) -> OrderFile:
    """Makes one decision about an order, stores it with the command's answer, and returns the file after it.

    With `known` the decision is first tried on what was read before, without a lock; when somebody else was faster
    the order is read again, locked, and decided anew. Raises PaycenterError(ORDER_NOT_FOUND).
    """
    with span("update_order"):
        if known is not None:
            file = await _decide_unlocked(parts, decision, known, answer_of)
            if file is not None:
                return file
        return await _decide_locked(parts, decision, shard, order_id, answer_of)


async def _decide_unlocked(
    parts: Parts, decision: Decide, known: OrderFile, answer_of: AnswerOf | None
) -> OrderFile | None:
    change = decision(replace(known, read_time=parts.database_clock.now()))
    if change is None:
        return None
    made = _make(parts, change, answer_of)
    opened = parts.database.autocommit() if made.is_one_statement else parts.database.begin()
    try:
        async with opened as connection:
            await _store(parts, connection, made)
    except order_saving.ChangeLost:
        return None
    return made.file


async def _decide_locked(
    parts: Parts, decision: Decide, shard: int, order_id: str, answer_of: AnswerOf | None
) -> OrderFile:
    async with parts.database.begin() as connection:
        locked = await order_files.read_file(connection, shard, order_id, lock=True)
        if locked is None:
            raise order_not_found(order_id)
        parts.database_clock.observe(locked.read_time)
        change = decision(locked)
        if change is not None:
            return await store(parts, connection, change, answer_of)
        if answer_of is not None:
            await _answer_alone(connection, locked, answer_of)
    return locked


async def store(
    parts: Parts, connection: AsyncConnection, change: Change, answer_of: AnswerOf | None = None
) -> OrderFile:
    """Writes a change, its events, its notification and the command's answer; returns the file after it.

    Raises ChangeLost when the order has another version by now; then nothing was written.
    """
    made = _make(parts, change, answer_of)
    await _store(parts, connection, made)
    return made.file


async def _store(parts: Parts, connection: AsyncConnection, made: order_saving.Decision) -> None:
    await order_saving.save(connection, made)
    change = made.change
    for event in made.events:
        metrics.order_events.labels(event.event_type).inc()
    after_commit(connection, parts.outbox.nudge.set)
    if made.notification is not None:
        after_commit(connection, parts.nudges.notification.set)
    if any(attempt.state is AttemptState.CLOSING for attempt in change.attempts):
        after_commit(connection, parts.nudges.attempt.set)
    if any(refund.automatic for refund in change.new_refunds) or any(
        refund.legs for refund in change.refunds
    ):
        after_commit(connection, parts.nudges.refund.set)


async def answer_alone(parts: Parts, file: OrderFile, answer_of: AnswerOf | None) -> OrderFile:
    """Stores the answer of a command whose last step changed nothing."""
    if answer_of is not None:
        async with parts.database.autocommit() as connection:
            await _answer_alone(connection, file, answer_of)
    return file


async def _answer_alone(connection: AsyncConnection, file: OrderFile, answer_of: AnswerOf) -> None:
    answer = answer_of(file)
    if answer is not None:
        await idempotency.complete_if_open(connection, shard=file.order.shard, answer=answer)


def _make(parts: Parts, change: Change, answer_of: AnswerOf | None) -> order_saving.Decision:
    """Puts together everything that is written with a change; its instant is the database's, later than the last."""
    file = change.after(max(parts.database_clock.now(), change.before.order.update_time + SHORTEST_STEP))
    with with_business_id(file.order.business_id) as scope:
        origin = (scope.trace.format(), encode_platform(scope.platform))
        shown = resources.order_to_proto(file)
        return order_saving.Decision(
            change=change,
            file=file,
            events=events_of(parts, file, shown, change.happenings),
            notification=_notification(file, shown, change.happenings, origin),
            answer=answer_of(file) if answer_of is not None else None,
            traceparent=origin[0],
            platform=origin[1],
        )


def events_of(
    parts: Parts, file: OrderFile, shown: resources.Order, happenings: tuple[Happening, ...]
) -> list[order_saving.Event]:
    """Returns the events of a change; each shows the order as it is after it."""
    order = file.order
    events = []
    for happening in happenings:
        event_id = new_number(NumberKind.EVENT, shard=order.shard)
        payload = resources.event_payload(
            event_id=event_id,
            event_type=happening.event_type,
            event_time=order.update_time,
            order=shown,
            changed_number=happening.changed_number,
        )
        name = happening.event_type.value
        subject = f"{SUBJECT_ROOT}.{parts.outbox.service}.{order.shard}.{name.lower()}"
        events.append(
            order_saving.Event(event_id=event_id, subject=subject, event_type=name, payload=payload)
        )
    return events


def _notification(
    file: OrderFile, shown: resources.Order, happenings: tuple[Happening, ...], origin: tuple[str, bytes]
) -> Notification | None:
    """Returns what the business system is told; a change has one outcome at most."""
    order = file.order
    told = [happening.event_type for happening in happenings if happening.event_type in NOTIFIED_EVENTS]
    if not order.notify_url or not told:
        return None
    [event_type] = told
    number = new_number(NumberKind.NOTIFICATION, shard=order.shard)
    return Notification(
        shard=order.shard,
        business_id=order.business_id,
        traceparent=origin[0],
        platform=origin[1],
        create_time=order.update_time,
        update_time=order.update_time,
        notification_id=number,
        order_id=order.order_id,
        tenant_id=order.tenant_id,
        event_type=event_type,
        url=order.notify_url,
        host=urlsplit(order.notify_url).netloc.rpartition("@")[2].lower(),
        body=resources.callback_body(notification_id=number, event_type=event_type, order=shown),
        state=NotificationState.DUE,
        next_attempt_time=order.update_time,
    )


def order_not_found(order_id: str) -> PaycenterError:
    """Returns the refusal for a number that names no order."""
    return PaycenterError(
        Reason.ORDER_NOT_FOUND,
        "No order has this number.",
        metadata={"orderId": order_id},
        resource=("order", order_id),
    )
