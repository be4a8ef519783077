"""Closes an unpaid payment at its channel. Invariant: CLOSED rests on the channel's own word; when the payer
was faster the order succeeds, and what got no answer stays open until a worker has closed it."""

from __future__ import annotations

from channel_gateway.asking import ask_channel
from channel_gateway.commands import Command
from channel_gateway.directory import OpenedAccount
from channel_gateway.domain.answer import Standing
from channel_gateway.domain.decision import Question, decide_absence
from channel_gateway.domain.order import ChannelOrder
from channel_gateway.domain.states import SETTLED_STATES
from channel_gateway.domain.vocabulary import ChannelOrderKind, Operation
from channel_gateway.finding import find_order
from channel_gateway.parts import GatewayParts
from channel_gateway.progress import record, record_answer, reread
from channel_gateway.querying import ask_where_it_stands
from channel_gateway.store import orders as store
from runtime.context import with_business_id
from runtime.errors import PaycenterError, Reason
from runtime.idempotency import Replay

_MOST_RACES = 5


async def close_order(
    parts: GatewayParts, channel_order_id: str, command: Command[ChannelOrder]
) -> ChannelOrder | bytes:
    """Closes an order; returns it CLOSED, SUCCEEDED when it was paid before, or UNKNOWN while the channel is silent.

    Raises PaycenterError: CHANNEL_ORDER_NOT_FOUND, TENANT_FORBIDDEN, CHANNEL_ORDER_STATE_INVALID for refunds and
    payouts. Idempotent; only a settled outcome is kept as the command's response, so that asking again goes on.
    """
    order = await find_order(parts, channel_order_id)
    if order.kind is not ChannelOrderKind.PAY:
        raise PaycenterError(
            Reason.CHANNEL_ORDER_STATE_INVALID,
            "Only a channel payment can be closed.",
            field="channel_order_id",
            metadata={"kind": order.kind.value},
            resource=("ChannelOrder", channel_order_id),
        )
    with with_business_id(order.business_id):
        begun = await _begin(parts, order, command)
        if isinstance(begun, bytes):
            return begun
        if begun.state in SETTLED_STATES:
            return begun
        account = await parts.accounts.get(begun.payment_account_id)
        closed = await carry_out_close(parts, account, begun)
        async with parts.database.begin() as connection:
            if closed.state in SETTLED_STATES:
                await command.complete(connection, parts.idempotency, shard=closed.shard, result=closed)
            else:
                await command.let_go(connection, shard=closed.shard)
        return closed


async def carry_out_close(parts: GatewayParts, account: OpenedAccount, order: ChannelOrder) -> ChannelOrder:
    """Asks the channel to close and writes what came of it; a refusal is looked into by a query.

    Repeatable at any time.
    """
    answer = await ask_channel(
        account, Operation.CLOSE, lambda: account.channel.close_payment(order.channel_order_id)
    )
    if answer.standing is Standing.NOT_FOUND:
        proven = parts.clock.now() >= parts.watched_until(account, order)
        appears_when_opened = account.appears_when_opened(order)
        return await record(
            parts,
            account,
            order,
            lambda current: decide_absence(current, appears_when_opened=appears_when_opened, proven=proven),
        )
    if answer.standing in (Standing.CLOSED, Standing.UNKNOWN, Standing.NOT_SENT):
        return await record_answer(parts, account, order, Question.CLOSE, answer)
    told = await ask_where_it_stands(parts, account, order)
    return await record_answer(parts, account, order, Question.QUERY, told)


async def _begin(
    parts: GatewayParts, order: ChannelOrder, command: Command[ChannelOrder]
) -> ChannelOrder | bytes:
    """Claims the command and notes that the order is to be closed, so that a worker closes it if we do not."""
    for _ in range(_MOST_RACES):
        async with parts.database.begin() as connection:
            claim = await command.claim(
                connection,
                parts.idempotency,
                shard=order.shard,
                resource_id=order.channel_order_id,
                lease_seconds=parts.settings.step_lease.total_seconds(),
            )
            if isinstance(claim, Replay):
                return claim.response
            if order.state in SETTLED_STATES:
                await command.complete(connection, parts.idempotency, shard=order.shard, result=order)
                return order
            lease = parts.settings.step_lease
            marked = await store.request_close(connection, order, delay=lease)
            if marked is not None:
                return marked
            await command.let_go(connection, shard=order.shard)
        order = await reread(parts, order)
    raise PaycenterError(
        Reason.LOCK_CONFLICT, "The channel order changes too quickly.", retry_after_seconds=0.1
    )
