"""The statements about merchants, payment accounts and switches. Invariant: sealed secrets leave the database
only for whoever opens the account for use, never with a listing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import RowMapping, bindparam, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from channel_gateway.domain.account import Merchant, PaymentAccount
from channel_gateway.domain.vocabulary import MerchantState, PaymentAccountState
from channel_gateway.secret_box import SealedSecrets
from channel_gateway.store.origin import Origin
from channel_gateway.store.tables import (
    channel_switch,
    channel_switch_change,
    merchant,
    payment_account,
)

SWITCH_SHARD = 0
"""Switches belong to no merchant; they live in the first shard."""

_NOW = func.now()
_ACCOUNT_COLUMNS = [
    column
    for column in payment_account.c
    if column.name not in ("sealed_data_key", "sealed_secrets", "key_encryption_key_id")
]

_INSERT_MERCHANT = (
    upsert(merchant)
    .on_conflict_do_nothing(index_elements=["shard", "tenant_id", "tenant_merchant_number"])
    .returning(merchant)
)
_MERCHANT = select(merchant).where(
    merchant.c.shard == bindparam("b_shard"), merchant.c.merchant_id == bindparam("b_number")
)
_MERCHANT_BY_TENANT_NUMBER = select(merchant).where(
    merchant.c.shard == bindparam("b_shard"),
    merchant.c.tenant_id == bindparam("b_tenant"),
    merchant.c.tenant_merchant_number == bindparam("b_tenant_number"),
)
_MERCHANTS = (
    select(merchant)
    .where(merchant.c.tenant_id == bindparam("b_tenant"), merchant.c.merchant_id > bindparam("b_after"))
    .order_by(merchant.c.merchant_id)
    .limit(bindparam("b_limit"))
)
_INSERT_ACCOUNT = insert(payment_account).returning(*_ACCOUNT_COLUMNS)
_ACCOUNT = select(payment_account).where(
    payment_account.c.shard == bindparam("b_shard"),
    payment_account.c.payment_account_id == bindparam("b_number"),
)
_ACCOUNTS = (
    select(*_ACCOUNT_COLUMNS)
    .where(
        payment_account.c.shard == bindparam("b_shard"),
        payment_account.c.merchant_id == bindparam("b_merchant"),
        payment_account.c.payment_account_id > bindparam("b_after"),
    )
    .order_by(payment_account.c.payment_account_id)
    .limit(bindparam("b_limit"))
)
_UPDATE_ACCOUNT = (
    update(payment_account)
    .where(
        payment_account.c.shard == bindparam("b_shard"),
        payment_account.c.payment_account_id == bindparam("b_number"),
        payment_account.c.version == bindparam("b_version"),
    )
    .values(version=payment_account.c.version + 1, update_time=_NOW)
    .returning(*_ACCOUNT_COLUMNS)
)
_SWITCHES = select(channel_switch.c.channel, channel_switch.c.operation, channel_switch.c.enabled).where(
    channel_switch.c.shard == SWITCH_SHARD
)
_SET_SWITCH = upsert(channel_switch)
_SET_SWITCH = _SET_SWITCH.on_conflict_do_update(
    index_elements=["shard", "channel", "operation"],
    set_={
        "enabled": _SET_SWITCH.excluded.enabled,
        "version": channel_switch.c.version + 1,
        "update_time": _NOW,
    },
)
_ADD_SWITCH_CHANGE = insert(channel_switch_change)


@dataclass(frozen=True, slots=True)
class StoredAccount:
    """A payment account with its sealed secrets."""

    account: PaymentAccount
    sealed: SealedSecrets


async def insert_merchant(connection: AsyncConnection, made: Merchant, origin: Origin) -> Merchant | None:
    """Writes a new merchant; None when the tenant's number names one already."""
    values = {
        "shard": made.shard,
        "merchant_id": made.merchant_id,
        "tenant_id": made.tenant_id,
        "tenant_merchant_number": made.tenant_merchant_number,
        "display_name": made.display_name,
        "state": made.state.value,
        "version": made.version,
        **origin.values(),
    }
    row = (await connection.execute(_INSERT_MERCHANT, values)).mappings().one_or_none()
    return None if row is None else _merchant(row)


async def get_merchant(connection: AsyncConnection, shard: int, merchant_id: str) -> Merchant | None:
    """Reads a merchant by its number."""
    result = await connection.execute(_MERCHANT, {"b_shard": shard, "b_number": merchant_id})
    row = result.mappings().one_or_none()
    return None if row is None else _merchant(row)


async def get_merchant_by_tenant_number(
    connection: AsyncConnection, shard: int, tenant_id: str, tenant_merchant_number: str
) -> Merchant | None:
    """Reads a merchant by the number that its tenant gave it."""
    parameters = {"b_shard": shard, "b_tenant": tenant_id, "b_tenant_number": tenant_merchant_number}
    row = (await connection.execute(_MERCHANT_BY_TENANT_NUMBER, parameters)).mappings().one_or_none()
    return None if row is None else _merchant(row)


async def list_merchants(
    connection: AsyncConnection, tenant_id: str, *, after: str, limit: int
) -> Sequence[Merchant]:
    """Reads a tenant's merchants with numbers above `after`, ascending."""
    parameters = {"b_tenant": tenant_id, "b_after": after, "b_limit": limit}
    return [_merchant(row) for row in (await connection.execute(_MERCHANTS, parameters)).mappings()]


async def insert_account(
    connection: AsyncConnection, made: PaymentAccount, sealed: SealedSecrets, origin: Origin
) -> PaymentAccount:
    """Writes a new payment account; returns it with the database's times."""
    values = {
        "shard": made.shard,
        "payment_account_id": made.payment_account_id,
        "tenant_id": made.tenant_id,
        "merchant_id": made.merchant_id,
        "channel": made.channel,
        "display_name": made.display_name,
        "settings": dict(made.settings),
        "key_encryption_key_id": sealed.key_encryption_key_id,
        "sealed_data_key": sealed.sealed_data_key,
        "sealed_secrets": sealed.sealed_secrets,
        "fee_ratio_millionths": made.fee_ratio_millionths,
        "state": made.state.value,
        "version": made.version,
        **origin.values(),
    }
    return _account((await connection.execute(_INSERT_ACCOUNT, values)).mappings().one())


async def get_account(
    connection: AsyncConnection, shard: int, payment_account_id: str
) -> StoredAccount | None:
    """Reads a payment account with its sealed secrets."""
    result = await connection.execute(_ACCOUNT, {"b_shard": shard, "b_number": payment_account_id})
    row = result.mappings().one_or_none()
    if row is None:
        return None
    sealed = SealedSecrets(row["key_encryption_key_id"], row["sealed_data_key"], row["sealed_secrets"])
    return StoredAccount(_account(row), sealed)


async def list_accounts(
    connection: AsyncConnection, shard: int, merchant_id: str, *, after: str, limit: int
) -> Sequence[PaymentAccount]:
    """Reads a merchant's payment accounts with numbers above `after`, ascending, without secrets."""
    parameters = {"b_shard": shard, "b_merchant": merchant_id, "b_after": after, "b_limit": limit}
    return [_account(row) for row in (await connection.execute(_ACCOUNTS, parameters)).mappings()]


async def update_account(
    connection: AsyncConnection,
    account: PaymentAccount,
    *,
    state: PaymentAccountState,
    settings: Mapping[str, str],
) -> PaymentAccount | None:
    """Writes state and settings over the version that was read; None when it changed meanwhile."""
    parameters: dict[str, Any] = {
        "b_shard": account.shard,
        "b_number": account.payment_account_id,
        "b_version": account.version,
        "state": state.value,
        "settings": dict(settings),
    }
    row = (await connection.execute(_UPDATE_ACCOUNT, parameters)).mappings().one_or_none()
    return None if row is None else _account(row)


async def list_switches(connection: AsyncConnection) -> Mapping[tuple[str, str], bool]:
    """Reads every switch that was ever set: (channel, operation) to enabled; operation is empty for the channel."""
    return {(row.channel, row.operation): row.enabled for row in await connection.execute(_SWITCHES)}


async def set_switch(
    connection: AsyncConnection,
    *,
    channel: str,
    operation: str,
    enabled: bool,
    reason: str,
    operator: str,
    caller_service: str,
    origin: Origin,
) -> None:
    """Sets a switch and writes who did it and why."""
    where = {"shard": SWITCH_SHARD, "channel": channel, "operation": operation, "enabled": enabled}
    await connection.execute(_SET_SWITCH, {**where, "version": 1, **origin.values()})
    audit = {"reason": reason, "operator": operator, "caller_service": caller_service}
    await connection.execute(_ADD_SWITCH_CHANGE, {**where, **audit, **origin.values()})


def _merchant(row: RowMapping) -> Merchant:
    return Merchant(
        shard=row["shard"],
        merchant_id=row["merchant_id"],
        tenant_id=row["tenant_id"],
        tenant_merchant_number=row["tenant_merchant_number"],
        display_name=row["display_name"],
        state=MerchantState(row["state"]),
        version=row["version"],
        create_time=row["create_time"],
        update_time=row["update_time"],
    )


def _account(row: RowMapping) -> PaymentAccount:
    return PaymentAccount(
        shard=row["shard"],
        payment_account_id=row["payment_account_id"],
        tenant_id=row["tenant_id"],
        merchant_id=row["merchant_id"],
        channel=row["channel"],
        display_name=row["display_name"],
        settings=row["settings"],
        fee_ratio_millionths=row["fee_ratio_millionths"],
        state=PaymentAccountState(row["state"]),
        version=row["version"],
        create_time=row["create_time"],
        update_time=row["update_time"],
    )
