"""Family: everything that this service, the channel gateway and the ledger keep under one number. Invariant: the three
are asked at the same time, and whoever does not know the number is asked again by the business identifier."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from core.payment.domain.family import Family, FamilyMember, merge
from core.payment.domain.payment import Payment
from core.payment.records import PaymentRecords, check_tenant
from core.payment.store import payments as store
from runtime.context import current_scope
from runtime.errors import PaycenterError, Reason

Search = Callable[[str], Awaitable[Family | None]]


class FamilySource(Protocol):
    """A service below that knows a part of the family."""

    async def find_family(self, number: str) -> Family | None:
        """Finds the records of a number or business identifier; None when there are none."""
        ...


class Families:
    """Finds every record of a business case in this service and below."""

    def __init__(
        self,
        *,
        records: PaymentRecords,
        member_of: Callable[[Payment], FamilyMember],
        gateway: FamilySource,
        ledger: FamilySource,
    ) -> None:
        self._records = records
        self._member_of = member_of
        self._gateway = gateway
        self._ledger = ledger

    async def find(self, number: str) -> Family:
        """Finds a family by any number of the three services or by its business identifier.

        Raises PaycenterError: NUMBER_NOT_FOUND, TENANT_FORBIDDEN, DEPENDENCY_UNAVAILABLE.
        """
        searches = (self._find_own, self._gateway.find_family, self._ledger.find_family)
        found = await asyncio.gather(*(search(number) for search in searches))
        business_id = next((family.business_id for family in found if family is not None), "")
        if not business_id:
            raise PaycenterError(
                Reason.NUMBER_NOT_FOUND,
                "No record of any kind has this number.",
                field="number",
                resource=("number", number),
            )
        whole = await asyncio.gather(
            *(_complete(search, family, business_id) for search, family in zip(searches, found, strict=True))
        )
        return Family(business_id, merge(family for family in whole if family is not None))

    async def _find_own(self, number: str) -> Family | None:
        payment = await self._records.load(number)
        business_id = number if payment is None else payment.business_id
        async with self._records.database.read() as connection:
            payments = await store.find_family(connection, business_id)
        if not payments:
            return None
        tenant_id = current_scope().platform.tenant_id
        own = [each for each in payments if each.tenant_id == tenant_id]
        if not own:
            check_tenant(payments[0])
        return Family(own[0].business_id, tuple(self._member_of(each) for each in own))


async def _complete(search: Search, found: Family | None, business_id: str) -> Family | None:
    """The family by its business identifier, where the first question did not give it already."""
    if found is not None and found.business_id == business_id:
        return found
    return await search(business_id)
