"""Finds the whole family of any number. Invariant: everything that carries the same business identifier, in all four
services, whichever of its numbers one starts from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection

from core.transaction.access import require_tenant
from core.transaction.domain.records import Notification, OrderFile
from core.transaction.mapping import resources
from core.transaction.parts import Parts
from core.transaction.store import listing, order_files
from runtime.context import current_scope, with_business_id
from runtime.errors import PaycenterError, Reason
from runtime.ids import NumberKind, number_kind, shard_of_number

MOST_ORDERS = 50
_OWN_KINDS = frozenset({NumberKind.ORDER, NumberKind.ATTEMPT, NumberKind.REFUND, NumberKind.NOTIFICATION})


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Everything of one business case; `file` is the order that the number led to, None when there is none."""

    business_id: str
    file: OrderFile | None
    members: Sequence[resources.FamilyMember]


async def get_order_family(parts: Parts, number: str) -> Family:
    """Finds the family of an order's, merchant's, attempt's, payment's, channel's, refund's, journal's or
    notification's number, or of a business identifier.

    Raises PaycenterError: NUMBER_NOT_FOUND, TENANT_FORBIDDEN, DEPENDENCY_UNAVAILABLE when PaymentCore is silent: half
    a family would pass for a whole one.
    """
    async with parts.database.read() as connection:
        found = await _find(connection, number)
    below: list[resources.FamilyMember] = []
    if found:
        business_id = found[0].business_id
    else:
        business_id, below = await parts.payment_core.family(number)
        async with parts.database.read() as connection:
            found = await listing.find_by_business_id(connection, business_id=business_id, most=MOST_ORDERS)
    start = _own(found)[0] if found else None
    with with_business_id(business_id):
        if not below:
            below = await _members_below(parts, business_id)
        return await _assemble(parts, business_id, start, below)


def _own(found: Sequence[listing.Match]) -> Sequence[listing.Match]:
    """Returns the caller's own orders among those found; raises TENANT_FORBIDDEN when all are of other tenants."""
    tenant_id = current_scope().platform.tenant_id
    own = [match for match in found if match.tenant_id == tenant_id]
    if found and not own:
        require_tenant(found[0].tenant_id)
    return own


async def _find(connection: AsyncConnection, number: str) -> Sequence[listing.Match]:
    try:
        kind = number_kind(number)
    except ValueError:
        return await listing.find_by_any_number(connection, number=number, most=MOST_ORDERS)
    if kind not in _OWN_KINDS:
        return await listing.find_by_any_number(connection, number=number, most=MOST_ORDERS)
    found = await listing.find_by_own_number(
        connection, kind=kind.value, shard=shard_of_number(number), number=number
    )
    return found or await listing.find_by_any_number(connection, number=number, most=MOST_ORDERS)


async def _members_below(parts: Parts, business_id: str) -> list[resources.FamilyMember]:
    try:
        _, members = await parts.payment_core.family(business_id)
    except PaycenterError as error:
        if error.reason is Reason.NUMBER_NOT_FOUND:
            return []
        raise
    return members


async def _assemble(
    parts: Parts, business_id: str, start: listing.Match | None, below: list[resources.FamilyMember]
) -> Family:
    members: list[resources.FamilyMember] = []
    chosen: OrderFile | None = None
    async with parts.database.read() as connection:
        found = await listing.find_by_business_id(connection, business_id=business_id, most=MOST_ORDERS)
        for match in _own(found):
            file = await order_files.read_file(connection, match.shard, match.order_id)
            if file is None:
                continue
            notifications: list[Notification] = await listing.notifications_of(
                connection, shard=match.shard, order_id=match.order_id
            )
            members.extend(resources.order_members(file))
            members.extend(resources.notification_member(one) for one in notifications)
            if start is not None and match.order_id == start.order_id:
                chosen = file
    return Family(business_id=business_id, file=chosen, members=[*members, *below])
