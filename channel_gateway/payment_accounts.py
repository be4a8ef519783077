"""A merchant's accounts at channels. Invariant: settings and keys are proven readable before they are stored,
secrets are stored sealed only, and a payment account never changes its merchant or channel."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from channel_gateway.channels.protocol import ChannelPlugin
from channel_gateway.commands import Command
from channel_gateway.domain.account import PaymentAccount, etag_of
from channel_gateway.domain.vocabulary import PaymentAccountState
from channel_gateway.merchants import get_merchant
from channel_gateway.parts import GatewayParts
from channel_gateway.store import accounts as store
from channel_gateway.store.origin import origin_of_scope
from runtime.errors import PaycenterError, Reason
from runtime.idempotency import Replay
from runtime.ids import NumberKind, new_number, shard_of_owner

_NOT_YET = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountRequest:
    """What an account is opened with; `secrets` are never logged."""

    merchant_id: str
    channel: str
    display_name: str
    settings: Mapping[str, str]
    secrets: Mapping[str, str]
    fee_ratio_millionths: int


async def open_account(
    parts: GatewayParts, request: AccountRequest, command: Command[PaymentAccount]
) -> PaymentAccount | bytes:
    """Opens an account and gives its payment identifier.

    Raises PaycenterError: MERCHANT_NOT_FOUND, TENANT_FORBIDDEN, CHANNEL_SETTINGS_INVALID with the fields. Idempotent
    by the command's request id.
    """
    merchant = await get_merchant(parts, request.merchant_id)
    plugin = require_plugin(parts, request.channel)
    await asyncio.to_thread(plugin.check, request.settings, request.secrets)
    shard = shard_of_owner(merchant.merchant_id)
    payment_account_id = new_number(NumberKind.PAYMENT_ACCOUNT, shard=shard)
    made = PaymentAccount(
        shard=shard,
        payment_account_id=payment_account_id,
        tenant_id=merchant.tenant_id,
        merchant_id=merchant.merchant_id,
        channel=request.channel,
        display_name=request.display_name,
        settings=dict(request.settings),
        fee_ratio_millionths=request.fee_ratio_millionths,
        state=PaymentAccountState.ENABLED,
        version=1,
        create_time=_NOT_YET,
        update_time=_NOT_YET,
    )
    sealed = parts.secret_box.seal_secrets(request.secrets, owner=payment_account_id)
    async with parts.database.begin() as connection:
        claim = await command.claim(
            connection, parts.idempotency, shard=shard, resource_id=payment_account_id
        )
        if isinstance(claim, Replay):
            return claim.response
        written = await store.insert_account(connection, made, sealed, origin_of_scope(payment_account_id))
        await command.complete(connection, parts.idempotency, shard=shard, result=written)
        return written


async def update_account(
    parts: GatewayParts,
    payment_account_id: str,
    *,
    etag: str,
    state: PaymentAccountState | None,
    settings: Mapping[str, str],
    command: Command[PaymentAccount],
) -> PaymentAccount | bytes:
    """Enables or disables an account, or puts settings over the stored ones.

    Raises PaycenterError: PAYMENT_ACCOUNT_NOT_FOUND, TENANT_FORBIDDEN, ETAG_MISMATCH, CHANNEL_SETTINGS_INVALID.
    Idempotent by the command's request id.
    """
    account = (await parts.accounts.of_tenant(payment_account_id)).record
    async with parts.database.begin() as connection:
        claim = await command.claim(
            connection, parts.idempotency, shard=account.shard, resource_id=payment_account_id
        )
        if isinstance(claim, Replay):
            return claim.response
        stored = await store.get_account(connection, account.shard, payment_account_id)
        assert stored is not None
        if etag_of(stored.account.version) != etag:
            raise _etag_mismatch(stored.account)
        merged = {**stored.account.settings, **settings}
        if settings:
            secrets, _ = parts.secret_box.open_secrets(stored.sealed, owner=payment_account_id)
            plugin = require_plugin(parts, stored.account.channel)
            await asyncio.to_thread(plugin.check, merged, secrets)
        written = await store.update_account(
            connection, stored.account, state=state or stored.account.state, settings=merged
        )
        if written is None:
            raise _etag_mismatch(stored.account)
        await command.complete(connection, parts.idempotency, shard=account.shard, result=written)
    parts.accounts.forget(payment_account_id)
    return written


async def list_accounts(
    parts: GatewayParts, merchant_id: str, *, after: str, limit: int
) -> Sequence[PaymentAccount]:
    """Returns a merchant's accounts by number, ascending; raises as `get_merchant`."""
    merchant = await get_merchant(parts, merchant_id)
    async with parts.database.read() as connection:
        shard = shard_of_owner(merchant.merchant_id)
        return await store.list_accounts(connection, shard, merchant_id, after=after, limit=limit)


def require_plugin(parts: GatewayParts, channel: str) -> ChannelPlugin:
    """Returns a channel by name; raises PaycenterError(CHANNEL_SETTINGS_INVALID, field channel)."""
    plugin = parts.plugins.get(channel)
    if plugin is None:
        raise PaycenterError(
            Reason.CHANNEL_SETTINGS_INVALID,
            "There is no channel of this name.",
            field="channel",
            metadata={"channel": channel, "channels": ",".join(parts.plugins)},
        )
    return plugin


def _etag_mismatch(account: PaymentAccount) -> PaycenterError:
    return PaycenterError(
        Reason.ETAG_MISMATCH,
        "The payment account changed since it was read.",
        field="etag",
        metadata={"etag": etag_of(account.version)},
        resource=("PaymentAccount", account.payment_account_id),
    )
