"""The course that payments, refunds and payouts share: generate the order, ask the channel, write what it
said. Invariant: the order is committed as SENT before anything leaves, and no transaction is open while
the channel is asked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from sqlalchemy.ext.asyncio import AsyncConnection

from channel_gateway.asking import ask_channel
from channel_gateway.commands import Command
from channel_gateway.directory import OpenedAccount
from channel_gateway.domain.answer import ChannelAnswer, not_sent
from channel_gateway.domain.decision import Change, Question
from channel_gateway.domain.order import ChannelOrder
from channel_gateway.domain.states import SETTLED_STATES, Fact, next_state
from channel_gateway.domain.vocabulary import FailureReason, Operation
from channel_gateway.events import tell
from channel_gateway.parts import GatewayParts
from channel_gateway.progress import changed, count, record_answer
from channel_gateway.querying import ask_where_it_stands
from channel_gateway.store import orders as store
from runtime.context import with_business_id
from runtime.idempotency import Replay, Resume
from runtime.telemetry import span

Prepare = Callable[[AsyncConnection], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Sending:
    """What is to be sent: the drafted order, how the channel is asked, what else its transaction does first."""

    account: OpenedAccount
    order: ChannelOrder
    operation: Operation
    ask: Callable[[], Awaitable[ChannelAnswer]]
    calls_channel: bool = True
    prepare: Prepare | None = None


async def send(parts: GatewayParts, sending: Sending, command: Command[ChannelOrder]) -> ChannelOrder | bytes:
    """Carries a command out; returns the order, or the stored response when it was carried out before."""
    order = sending.order
    with with_business_id(order.business_id):
        if not await parts.switches.lets_out(order.channel, sending.operation):
            answer = not_sent(FailureReason.SWITCHED_OFF, "The channel is switched off.")
            return await _write_at_once(parts, sending, command, answer, Fact.NOT_SENT)
        if not sending.calls_channel:
            answer = await ask_channel(sending.account, sending.operation, sending.ask)
            return await _write_at_once(parts, sending, command, answer, Fact.ACCEPTED)
        with span("generate_order"):
            begun = await _write_sent(parts, sending, command)
        if not isinstance(begun, ChannelOrder):
            return await _go_on(parts, begun, command)
        answer = await ask_channel(
            sending.account, sending.operation, sending.ask, attempts=parts.settings.channel_send_attempts
        )
        return await record_answer(parts, sending.account, begun, Question.SEND, answer, command=command)


async def _write_sent(
    parts: GatewayParts, sending: Sending, command: Command[ChannelOrder]
) -> ChannelOrder | Replay | Resume:
    target = next_state(sending.order.state, Fact.SENDING)
    assert target is not None
    async with parts.database.begin() as connection:
        claim = await _claim(parts, connection, sending, command)
        if isinstance(claim, Replay | Resume):
            return claim
        written = await store.insert_order(
            connection, replace(sending.order, state=target), delay=parts.settings.step_lease
        )
        await tell(connection, parts.outbox, written, created=True)
    count(written)
    return written


async def _write_at_once(
    parts: GatewayParts,
    sending: Sending,
    command: Command[ChannelOrder],
    answer: ChannelAnswer,
    fact: Fact,
) -> ChannelOrder | bytes:
    target = next_state(sending.order.state, fact)
    assert target is not None
    order = changed(sending.order, Change(target, answer), now=parts.clock.now())
    with span("generate_order"):
        async with parts.database.begin() as connection:
            claim = await _claim(parts, connection, sending, command)
            if not isinstance(claim, Replay | Resume):
                delay = parts.next_delay(sending.account, order)
                written = await store.insert_order(connection, order, delay=delay)
                await tell(connection, parts.outbox, written, created=True)
                await command.complete(connection, parts.idempotency, shard=written.shard, result=written)
    if isinstance(claim, Replay | Resume):
        return await _go_on(parts, claim, command)
    count(written)
    return written


async def _claim(
    parts: GatewayParts, connection: AsyncConnection, sending: Sending, command: Command[ChannelOrder]
) -> Replay | Resume | None:
    order = sending.order
    claim = await command.claim(
        connection,
        parts.idempotency,
        shard=order.shard,
        resource_id=order.channel_order_id,
        lease_seconds=parts.settings.step_lease.total_seconds(),
    )
    if isinstance(claim, Replay | Resume):
        return claim
    if sending.prepare is not None:
        await sending.prepare(connection)
    return None


async def _go_on(
    parts: GatewayParts, begun: Replay | Resume, command: Command[ChannelOrder]
) -> ChannelOrder | bytes:
    """Answers a repeated command: from the stored response, or from where its order stands now."""
    if isinstance(begun, Replay):
        return begun.response
    assert begun.resource_id is not None
    async with parts.database.read() as connection:
        order = await store.get_order(connection, begun.resource_id)
    assert order is not None
    account = await parts.accounts.get(order.payment_account_id)
    if order.state not in SETTLED_STATES:
        answer = await ask_where_it_stands(parts, account, order)
        return await record_answer(parts, account, order, Question.QUERY, answer, command=command)
    async with parts.database.begin() as connection:
        await command.complete(connection, parts.idempotency, shard=order.shard, result=order)
    return order
