"""Turns a channel, or one operation of it, off or on by hand. Invariant: every turn leaves an audit row with
which person and why."""

from __future__ import annotations

from channel_gateway.channels.protocol import ChannelPlugin
from channel_gateway.commands import Command
from channel_gateway.domain.vocabulary import Operation
from channel_gateway.parts import GatewayParts
from channel_gateway.payment_accounts import require_plugin
from channel_gateway.store import accounts as store
from channel_gateway.store.origin import origin_of_scope
from runtime.context import current_scope
from runtime.errors import PaycenterError, Reason
from runtime.idempotency import Replay

_SWITCHABLE = (Operation.PAY, Operation.REFUND, Operation.PAYOUT)


async def set_switch(
    parts: GatewayParts,
    *,
    channel: str,
    operation: str,
    enabled: bool,
    reason: str,
    command: Command[tuple[ChannelPlugin, bool]],
) -> tuple[ChannelPlugin, bool] | bytes:
    """Sets the switch and returns the channel and whether it is on as a whole.

    Raises PaycenterError: CHANNEL_SETTINGS_INVALID for an unknown channel, FIELD_INVALID for an operation that cannot
    be switched, CONTEXT_INVALID when the platform context names no operator. Idempotent by the command's request id.
    """
    plugin = require_plugin(parts, channel)
    if operation and operation not in {each.value for each in _SWITCHABLE}:
        raise PaycenterError(
            Reason.FIELD_INVALID,
            "Only pay, refund and payout can be switched.",
            field="operation",
        )
    platform = current_scope().platform
    if not platform.operator.strip():
        raise PaycenterError(
            Reason.CONTEXT_INVALID,
            "A switch is turned by a person: the platform context has to name its operator.",
            field="operator",
        )
    async with parts.database.begin() as connection:
        claim = await command.claim(
            connection, parts.idempotency, shard=store.SWITCH_SHARD, resource_id=channel
        )
        if isinstance(claim, Replay):
            return claim.response
        await store.set_switch(
            connection,
            channel=channel,
            operation=operation,
            enabled=enabled,
            reason=reason,
            operator=platform.operator,
            caller_service=platform.caller_service,
            origin=origin_of_scope(channel),
        )
        known = await store.list_switches(connection)
        result = (plugin, known.get((channel, ""), True))
        await command.complete(connection, parts.idempotency, shard=store.SWITCH_SHARD, result=result)
    parts.switches.forget()
    return result
