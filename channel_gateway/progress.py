"""Writes what a channel's answer changes. Invariant: decided on the state that is written over; who loses a
race decides anew on what the winner left; state, event, reservation and response are one transaction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from channel_gateway import metrics
from channel_gateway.commands import Command
from channel_gateway.directory import OpenedAccount
from channel_gateway.domain.answer import ChannelAnswer
from channel_gateway.domain.decision import Change, Question, decide
from channel_gateway.domain.order import ChannelOrder
from channel_gateway.domain.states import FAILED_STATES, SETTLED_STATES
from channel_gateway.domain.vocabulary import ChannelOrderKind, ChannelOrderState
from channel_gateway.events import tell
from channel_gateway.parts import GatewayParts
from channel_gateway.store import orders as store
from runtime.errors import PaycenterError, Reason
from runtime.telemetry import span

_MOST_RACES = 5

Decide = Callable[[ChannelOrder], Change | None]


async def record_answer(
    parts: GatewayParts,
    account: OpenedAccount,
    order: ChannelOrder,
    question: Question,
    answer: ChannelAnswer,
    *,
    command: Command[ChannelOrder] | None = None,
) -> ChannelOrder:
    """Writes what `answer` changes and completes `command`; returns the order as it is then."""
    return await record(
        parts, account, order, lambda current: decide(current, question, answer), command=command
    )


async def record(
    parts: GatewayParts,
    account: OpenedAccount,
    order: ChannelOrder,
    decide_on: Decide,
    *,
    command: Command[ChannelOrder] | None = None,
) -> ChannelOrder:
    """Writes what `decide_on` says of the order, again when somebody else was faster.

    Raises PaycenterError(LOCK_CONFLICT) when that happens too often.
    """
    with span("update_order") as current:
        for _ in range(_MOST_RACES):
            change = decide_on(order)
            if change is None and command is None:
                return order
            async with parts.database.begin() as connection:
                written = (
                    order if change is None else await write_change(parts, connection, account, order, change)
                )
                if written is not None and command is not None:
                    await command.complete(connection, parts.idempotency, shard=order.shard, result=written)
            if written is not None:
                current.set_attribute("paycenter.state", written.state.value)
                if change is not None:
                    count(written)
                return written
            order = await reread(parts, order)
    raise PaycenterError(
        Reason.LOCK_CONFLICT, "The channel order changes too quickly.", retry_after_seconds=0.1
    )


async def write_change(
    parts: GatewayParts,
    connection: AsyncConnection,
    account: OpenedAccount,
    order: ChannelOrder,
    change: Change,
) -> ChannelOrder | None:
    """Writes a change, its event and a failed refund's release; None when the order changed meanwhile."""
    after = changed(order, change, now=parts.clock.now())
    written = await store.advance_order(connection, order, after, delay=parts.next_delay(account, after))
    if written is None:
        return None
    if written.kind is ChannelOrderKind.REFUND and written.state in FAILED_STATES:
        await store.release_refund(connection, written)
    await tell(connection, parts.outbox, written)
    return written


def changed(order: ChannelOrder, change: Change, *, now: datetime) -> ChannelOrder:
    """Returns the order after a change; what the answer does not tell stays."""
    answer = change.answer
    succeeded = change.state is ChannelOrderState.SUCCEEDED
    settled = change.state in SETTLED_STATES
    return replace(
        order,
        state=change.state,
        channel_transaction_id=answer.channel_transaction_id or order.channel_transaction_id,
        failure=answer.failure,
        credential=None if settled else answer.credential or order.credential,
        succeed_time=(answer.succeed_time or now) if succeeded else order.succeed_time,
    )


def count(order: ChannelOrder) -> None:
    """Counts the state that an order came into."""
    metrics.order_entered(order.channel, order.kind.value, order.state.value)


async def reread(parts: GatewayParts, order: ChannelOrder) -> ChannelOrder:
    """Reads the order as it is now."""
    async with parts.database.read() as connection:
        current = await store.get_order(connection, order.channel_order_id)
    if current is None:
        raise RuntimeError("a channel order is never deleted")
    return current
