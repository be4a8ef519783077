"""Whether a run has come to its end everywhere. Invariant: what an order's end must be is read from the sandbox's own
books, never from the center's."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.e2e.center import Center, Shop
from tests.faults.merchant_books import ChannelBooks, MerchantBooks, Row
from tests.faults.plans import PlannedOrder, Story

_LOOK_EVERY_SECONDS = 0.3
_CLOSED_STATES = ("CLOSED", "EXPIRED")
_FINAL_ATTEMPTS = ("SUCCEEDED", "FAILED", "CLOSED", "SUPERSEDED")
_FINAL_REFUNDS = ("SUCCEEDED", "FAILED")
_FINAL_PAYMENTS = ("SUCCEEDED", "FAILED", "CLOSED")
_FINAL_CHANNEL_ORDERS = ("SUCCEEDED", "DECLINED", "NOT_SENT", "CLOSED")


@dataclass(frozen=True, slots=True)
class _Records:
    """The center's rows of one merchant, by business identifier, and the channel's books."""

    orders: dict[str, Row]
    attempts: defaultdict[str, list[Row]]
    refunds: defaultdict[str, list[Row]]
    payments: defaultdict[str, list[Row]]
    channel_orders: defaultdict[str, list[Row]]
    books: ChannelBooks


class Convergence:
    """Compares the center with the channel's books until nothing is on its way any more."""

    def __init__(self, center: Center, shop: Shop, plans: Sequence[PlannedOrder]) -> None:
        self._center = center
        self._shop = shop
        self._plans = plans
        self._merchant_books = MerchantBooks(center, shop.merchant_id)

    async def within(self, seconds: float) -> None:
        """Waits until nothing is open, then checks books, balances and invariants; fails with what is wrong."""
        pending: list[str] = ["nothing was read yet"]
        try:
            async with asyncio.timeout(seconds):
                while pending := await self._pending():
                    await asyncio.sleep(_LOOK_EVERY_SECONDS)
        except TimeoutError:
            raise AssertionError(f"after {seconds:g} s not converged:\n" + "\n".join(pending)) from None
        wrong = [*await self._merchant_books.disagreements(), *await self._balances()]
        wrong += await self._center.violations()
        assert wrong == [], "\n".join(wrong)

    async def _pending(self) -> list[str]:
        """What is open, or not as the channel's books imply; it is read without any lock, so one look proves
        nothing unless it finds nothing."""
        records = await self._read()
        pending = [line for plan in self._plans for line in _pending_of(plan, records)]
        known = {row["channel_order_id"] for rows in records.channel_orders.values() for row in rows}
        pending += [
            f"the center knows nothing of trade {number}" for number in records.books.trades.keys() - known
        ]
        return pending

    async def _balances(self) -> list[str]:
        row = self._center.rows(
            "transaction",
            "SELECT coalesce(sum(paid_minor_units - refunded_minor_units), 0)::bigint AS kept FROM orders"
            " WHERE merchant_id = %s",
            self._shop.merchant_id,
        )[0]
        balance, transit = await self._shop.balance(), await self._shop.transit()
        wrong = [] if balance == row["kept"] else [f"merchant's balance {balance}, orders kept {row['kept']}"]
        return wrong + ([] if transit == 0 else [f"{transit} are left in transit"])

    async def _read(self) -> _Records:
        books = await self._merchant_books.at_channel()
        orders = self._rows("transaction", "orders", "merchant_id = %s")
        return _Records(
            orders={row["order_id"]: row for row in orders},
            attempts=_by_business_id(
                self._rows(
                    "transaction",
                    "attempt",
                    "order_id IN (SELECT order_id FROM orders WHERE merchant_id = %s)",
                )
            ),
            refunds=_by_business_id(self._rows("transaction", "refund", "merchant_id = %s")),
            payments=_by_business_id(self._rows("payment", "payment", "merchant_id = %s")),
            channel_orders=_by_business_id(self._rows("channel", "channel_order", "merchant_id = %s")),
            books=books,
        )

    def _rows(self, database: str, table: str, condition: str) -> list[dict[str, Any]]:
        return self._center.rows(database, f"SELECT * FROM {table} WHERE {condition}", self._shop.merchant_id)


def _pending_of(plan: PlannedOrder, records: _Records) -> list[str]:
    order = records.orders.get(plan.order.order_id)
    if order is None:
        return [f"{plan.name}: is not there"]
    business_id = order["business_id"]
    pending = [
        *_open(records.attempts[business_id], "attempt", _FINAL_ATTEMPTS),
        *_open(records.refunds[business_id], "refund", _FINAL_REFUNDS),
        *_open(records.payments[business_id], "payment", _FINAL_PAYMENTS),
        *_open(records.channel_orders[business_id], "channel_order", _FINAL_CHANNEL_ORDERS),
        *_against_channel(plan, order, records),
    ]
    return [f"{plan.name}: {line}" for line in pending]


def _open(rows: Sequence[Row], kind: str, final_states: Sequence[str]) -> list[str]:
    return [
        f"{kind} {row[f'{kind}_id']} is {row['state']} ({row['failure_reason'] or 'no reason'}, next step"
        f" {row['next_step_time']})"
        for row in rows
        if row["state"] not in final_states
    ]


def _against_channel(plan: PlannedOrder, order: Row, records: _Records) -> list[str]:
    numbers = [
        row["channel_order_id"]
        for row in records.channel_orders[order["business_id"]]
        if row["kind"] == "PAY"
    ]
    kept = sum(records.books.charged(number) - records.books.refunded(number) for number in numbers)
    paid, refunded = order["paid_minor_units"], order["refunded_minor_units"]
    wanted_refunds = sum(plan.refunds_minor_units)
    pending = [
        f"the channel works on a refund of {number}"
        for number in numbers
        if records.books.has_open_refund(number)
    ]
    if kept != paid - refunded:
        pending.append(f"the channel keeps {kept}, the order {paid} - {refunded}")
    if refunded != wanted_refunds or order["refunding_minor_units"]:
        pending.append(
            f"refunded {refunded}, refunding {order['refunding_minor_units']}, asked for {wanted_refunds}"
        )
    if order["state"] not in _states_for(plan, paid, refunded):
        pending.append(f"is {order['state']} with {paid} paid and {refunded} refunded")
    return pending


def _states_for(plan: PlannedOrder, paid: int, refunded: int) -> tuple[str, ...]:
    """The states that an order may end in with what it kept: who was to pay has paid, who was to close may have been
    too late."""
    if paid == 0:
        return _CLOSED_STATES if plan.story in (Story.CLOSED, Story.CLOSED_WHILE_PAID) else ()
    if paid != plan.amount_minor_units or plan.story is Story.CLOSED:
        return ()
    if refunded == 0:
        return ("PAID",)
    return ("REFUNDED",) if refunded == paid else ("PARTLY_REFUNDED",)


def _by_business_id(rows: Sequence[Row]) -> defaultdict[str, list[Row]]:
    grouped: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        grouped[row["business_id"]].append(row)
    return grouped
