"""Finds a record by its number for the tenant that asks. Invariant: another tenant's record is never shown."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

from accounting.store import accounts
from accounting.store.accounts import Account
from runtime.context import current_scope
from runtime.errors import PaycenterError, Reason


async def find_account(connection: AsyncConnection, account_id: str) -> Account:
    """Reads an account of the scope's tenant.

    Raises:
        PaycenterError: ACCOUNT_NOT_FOUND or TENANT_FORBIDDEN.
    """
    account = await accounts.get_account(connection, account_id)
    if account is None:
        raise PaycenterError(
            Reason.ACCOUNT_NOT_FOUND,
            "the account is not open",
            field="account_id",
            resource=("account", account_id),
        )
    if account.position.tenant_id != current_scope().platform.tenant_id:
        raise PaycenterError(Reason.TENANT_FORBIDDEN, "the account belongs to another tenant")
    return account
