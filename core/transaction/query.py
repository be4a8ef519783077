"""Reads orders and notifications, and asks below what became of them. Invariant: asking moves no money; what is heard
is stored by the same rules as an event."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from core.transaction import commands, outcome, paging, refund
from core.transaction.access import require_merchant, require_order_number, require_own, shard_of_kind
from core.transaction.domain.legs import are_ready
from core.transaction.domain.records import Notification, Order, OrderFile
from core.transaction.order_changes import order_not_found
from core.transaction.parts import Parts
from core.transaction.store import listing, order_files
from runtime.context import current_scope, with_business_id
from runtime.errors import PaycenterError, Reason
from runtime.ids import NumberKind, shard_of_owner
from runtime.logs import get_logger

ORDERS_LIST = "orders"
NOTIFICATIONS_LIST = "notifications"


async def get_order(parts: Parts, *, order_id: str, merchant_id: str, merchant_order_id: str) -> OrderFile:
    """Reads an order by its number or by the merchant's.

    Raises PaycenterError: FIELD_INVALID when neither is given, ORDER_NOT_FOUND, TENANT_FORBIDDEN, MERCHANT_MISMATCH.
    """
    if not order_id:
        order_id = await _find_by_merchant(parts, merchant_id, merchant_order_id)
    file = require_own(await read_file(parts, order_id), order_id)
    with with_business_id(file.order.business_id):
        return require_merchant(file, order_id, merchant_id) if merchant_id else file


async def _find_by_merchant(parts: Parts, merchant_id: str, merchant_order_id: str) -> str:
    if not merchant_order_id:
        raise PaycenterError(
            Reason.FIELD_INVALID, "Give order_id, or merchant_id and merchant_order_id.", field="order_id"
        )
    if not merchant_id:
        raise PaycenterError(Reason.FIELD_INVALID, "Say whose order number it is.", field="merchant_id")
    async with parts.database.read() as connection:
        found = await order_files.find_by_merchant_order(
            connection,
            shard=shard_of_owner(merchant_id),
            tenant_id=current_scope().platform.tenant_id,
            merchant_id=merchant_id,
            merchant_order_id=merchant_order_id,
        )
    if found is None:
        raise order_not_found(merchant_order_id)
    return found


async def read_file(parts: Parts, order_id: str) -> OrderFile | None:
    """Reads an order with attempts and refunds of one and the same version."""
    shard = require_order_number(order_id)
    async with parts.database.read() as connection:
        file = await order_files.read_file(connection, shard, order_id)
        while file is not None and _is_torn(file):
            file = await order_files.read_file(connection, shard, order_id)
    return file


def _is_torn(file: OrderFile) -> bool:
    """Whether a change came in between the order and its attempts or refunds being read."""
    order = file.order
    return any(part.update_time > order.update_time for part in (*file.attempts, *file.refunds))


async def query_order(parts: Parts, order_id: str) -> OrderFile:
    """Asks PaymentCore about open attempts and refunds, all at once, stores what it says and reads the order.

    What PaymentCore does not answer stays as it is. Raises PaycenterError: ORDER_NOT_FOUND, TENANT_FORBIDDEN.
    """
    file = require_own(await read_file(parts, order_id), order_id)
    with with_business_id(file.order.business_id):
        questions = [
            *(_ask_about_attempt(parts, file, attempt.attempt_id) for attempt in file.open_attempts),
            *(
                _ask_about_refund(parts, one.payment_id)
                for one in file.refunds
                if one.is_open and are_ready(one)
            ),
        ]
        if not questions:
            return file
        await asyncio.gather(*questions)
    return require_own(await read_file(parts, order_id), order_id)


async def _ask_about_attempt(parts: Parts, file: OrderFile, attempt_id: str) -> None:
    attempt = file.attempt(attempt_id)
    if attempt is None or not attempt.payment_id:
        return
    if file.order.winning_attempt_id == attempt_id:
        await _quietly(outcome.settle(parts, file, attempt_id))
        return

    async def ask() -> None:
        await outcome.apply(parts, await parts.payment_core.query(attempt.payment_id), known=file)

    await _quietly(ask())


async def _ask_about_refund(parts: Parts, payment_id: str) -> None:
    if not payment_id:
        return

    async def ask() -> None:
        await refund.apply(parts, await parts.payment_core.query(payment_id))

    await _quietly(ask())


async def _quietly(work: Awaitable[object]) -> None:
    try:
        await work
    except PaycenterError as error:
        get_logger().warning("question got no answer", reason=error.reason.value)


async def list_orders(parts: Parts, wanted: commands.ListOrders) -> tuple[list[Order], str]:
    """Returns a page of the tenant's orders, newest first, and the token of the next one (empty at the end)."""
    before = paging.read_token(ORDERS_LIST, wanted.page.token)
    async with parts.database.read() as connection:
        found = await listing.list_orders(
            connection,
            tenant_id=current_scope().platform.tenant_id,
            merchant_id=wanted.merchant_id,
            state=wanted.state.value if wanted.state is not None else "",
            before=before,
            most=wanted.page.size + 1,
        )
    page = found[: wanted.page.size]
    return page, paging.make_token(ORDERS_LIST, page[-1].order_id) if len(found) > len(page) else ""


async def list_notifications(
    parts: Parts, wanted: commands.ListNotifications
) -> tuple[list[Notification], str]:
    """Returns a page of the tenant's notifications, newest first, and the token of the next one."""
    before = paging.read_token(NOTIFICATIONS_LIST, wanted.page.token)
    shard = shard_of_kind(wanted.order_id, NumberKind.ORDER) if wanted.order_id else None
    if wanted.order_id and shard is None:
        return [], ""
    async with parts.database.read() as connection:
        found = await listing.list_notifications(
            connection,
            tenant_id=current_scope().platform.tenant_id,
            shard=shard,
            order_id=wanted.order_id,
            state=wanted.state.value if wanted.state is not None else "",
            before=before,
            most=wanted.page.size + 1,
        )
    page = found[: wanted.page.size]
    last = page[-1].notification_id if len(found) > len(page) else ""
    return page, paging.make_token(NOTIFICATIONS_LIST, last) if last else ""
