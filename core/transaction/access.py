"""Who may see or change an order. Invariant: another tenant's record is refused before anything of it is told."""

from __future__ import annotations

from core.transaction.domain.records import OrderFile
from core.transaction.order_changes import order_not_found
from runtime.context import current_scope
from runtime.errors import PaycenterError, Reason
from runtime.ids import NumberKind, number_kind, shard_of_number


def require_order_number(number: str) -> int:
    """Returns the shard of an order's number; raises ORDER_NOT_FOUND for what is no such number."""
    shard = shard_of_kind(number, NumberKind.ORDER)
    if shard is None:
        raise order_not_found(number)
    return shard


def shard_of_kind(number: str, kind: NumberKind) -> int | None:
    """Returns the shard of a number of that kind, or None for anything else."""
    try:
        return shard_of_number(number) if number_kind(number) is kind else None
    except ValueError:
        return None


def require_tenant(tenant_id: str) -> None:
    """Raises TENANT_FORBIDDEN unless the current call acts for `tenant_id`."""
    if current_scope().platform.tenant_id != tenant_id:
        raise PaycenterError(Reason.TENANT_FORBIDDEN, "The record belongs to another tenant.")


def require_own(file: OrderFile | None, order_id: str) -> OrderFile:
    """Returns the file; raises ORDER_NOT_FOUND or TENANT_FORBIDDEN."""
    if file is None:
        raise order_not_found(order_id)
    require_tenant(file.order.tenant_id)
    return file


def require_merchant(file: OrderFile | None, order_id: str, merchant_id: str) -> OrderFile:
    """Returns the file; raises ORDER_NOT_FOUND, TENANT_FORBIDDEN or MERCHANT_MISMATCH (field merchant_id)."""
    found = require_own(file, order_id)
    if found.order.merchant_id != merchant_id:
        raise PaycenterError(
            Reason.MERCHANT_MISMATCH, "The order belongs to another merchant.", field="merchant_id"
        )
    return found
