"""Merchants of a tenant. Invariant: the tenant's own number names one merchant for good."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from channel_gateway.commands import Command
from channel_gateway.domain.account import Merchant
from channel_gateway.domain.vocabulary import MerchantState
from channel_gateway.parts import GatewayParts
from channel_gateway.store import accounts as store
from channel_gateway.store.origin import origin_of_scope
from runtime.context import current_scope
from runtime.errors import PaycenterError, Reason
from runtime.idempotency import Replay
from runtime.ids import NumberKind, new_number, number_kind, shard_of_number, shard_of_owner

_NOT_YET = datetime.fromtimestamp(0, UTC)


async def create_merchant(
    parts: GatewayParts, *, tenant_merchant_number: str, display_name: str, command: Command[Merchant]
) -> Merchant | bytes:
    """Creates a merchant of the scope's tenant.

    Raises PaycenterError(FIELD_INVALID, metadata merchantId) when the tenant used the number before. Idempotent by
    the command's request id.
    """
    tenant_id = current_scope().platform.tenant_id
    shard = _shard_of(tenant_id, tenant_merchant_number)
    merchant_id = new_number(NumberKind.MERCHANT, shard=shard)
    made = Merchant(
        shard=shard,
        merchant_id=merchant_id,
        tenant_id=tenant_id,
        tenant_merchant_number=tenant_merchant_number,
        display_name=display_name,
        state=MerchantState.ACTIVE,
        version=1,
        create_time=_NOT_YET,
        update_time=_NOT_YET,
    )
    async with parts.database.begin() as connection:
        claim = await command.claim(connection, parts.idempotency, shard=shard, resource_id=merchant_id)
        if isinstance(claim, Replay):
            return claim.response
        written = await store.insert_merchant(connection, made, origin_of_scope(merchant_id))
        if written is None:
            existing = await store.get_merchant_by_tenant_number(
                connection, shard, tenant_id, tenant_merchant_number
            )
            raise PaycenterError(
                Reason.FIELD_INVALID,
                "The tenant has a merchant with this number already.",
                field="tenant_merchant_number",
                metadata={"merchantId": "" if existing is None else existing.merchant_id},
            )
        await command.complete(connection, parts.idempotency, shard=shard, result=written)
        return written


async def get_merchant(parts: GatewayParts, merchant_id: str) -> Merchant:
    """Returns a merchant of the scope's tenant.

    Raises PaycenterError: MERCHANT_NOT_FOUND, TENANT_FORBIDDEN.
    """
    shard = _shard_of_merchant(merchant_id)
    merchant = None
    if shard is not None:
        async with parts.database.read() as connection:
            merchant = await store.get_merchant(connection, shard, merchant_id)
    if merchant is None:
        raise PaycenterError(
            Reason.MERCHANT_NOT_FOUND,
            "No merchant has this number.",
            field="merchant_id",
            resource=("Merchant", merchant_id[:64]),
        )
    if merchant.tenant_id != current_scope().platform.tenant_id:
        raise PaycenterError(Reason.TENANT_FORBIDDEN, "The merchant belongs to another tenant.")
    return merchant


async def list_merchants(
    parts: GatewayParts, *, tenant_merchant_number: str, after: str, limit: int
) -> Sequence[Merchant]:
    """Returns merchants of the scope's tenant by number, ascending, or the one with the tenant's own number."""
    tenant_id = current_scope().platform.tenant_id
    async with parts.database.read() as connection:
        if not tenant_merchant_number:
            return await store.list_merchants(connection, tenant_id, after=after, limit=limit)
        shard = _shard_of(tenant_id, tenant_merchant_number)
        found = await store.get_merchant_by_tenant_number(
            connection, shard, tenant_id, tenant_merchant_number
        )
    return [] if found is None or found.merchant_id <= after else [found]


def _shard_of(tenant_id: str, tenant_merchant_number: str) -> int:
    return shard_of_owner(f"{tenant_id}:{tenant_merchant_number}")


def _shard_of_merchant(merchant_id: str) -> int | None:
    try:
        if number_kind(merchant_id) is NumberKind.MERCHANT:
            return shard_of_number(merchant_id)
    except ValueError:
        pass
    return None
