"""Writes a change of an order's file. Invariant: every write compares the order's version and raises it by one, so
two decisions about one order never overwrite each other; all rows of a change carry one instant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import insert as pg_insert
from sqlalchemy.ext.asyncio import AsyncConnection

from core.transaction.domain.change import Change
from core.transaction.domain.records import Attempt, Order, OrderFile
from core.transaction.store import rows
from core.transaction.store.tables import attempt, number_index, orders, refund

_NOW = sa.func.clock_timestamp()
_BY_KEY = sa.and_(orders.c.shard == sa.bindparam("k_shard"), orders.c.order_id == sa.bindparam("k_order_id"))


def _bind(table: sa.Table, name: str, prefix: str) -> sa.BindParameter[Any]:
    return sa.bindparam(f"{prefix}{name}", type_=table.c[name].type)


def _set(table: sa.Table, names: Sequence[str], prefix: str, update_time: Any) -> dict[str, Any]:
    values: dict[str, Any] = {name: _bind(table, name, prefix) for name in names}
    values["version"] = table.c.version + 1
    values["update_time"] = update_time
    return values


def _prefixed(prefix: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{prefix}{name}": value for name, value in values.items()}


_ORDER_CHANGES = (
    "state",
    "paid_minor_units",
    "refunded_minor_units",
    "refunding_minor_units",
    "winning_attempt_id",
    "closing_to",
    "attempt_count",
    "refund_count",
    "pay_time",
    "step_try_count",
    "next_step_time",
)
_ATTEMPT_CHANGES = (
    "state",
    "instruction",
    "payment_account_id",
    "payment_id",
    "payment_version",
    "transfer_payment_id",
    "transfer_round",
    "channel_order_id",
    "channel_transaction_id",
    "credential",
    "failure_reason",
    "channel_code",
    "refusal",
    "step_try_count",
    "next_step_time",
)
_REFUND_CHANGES = (
    "state",
    "payment_id",
    "payment_version",
    "round_number",
    "legs",
    "failure_reason",
    "channel_code",
    "succeed_time",
    "step_try_count",
    "next_step_time",
)

_CHANGE_ORDER = (
    sa.update(orders)
    .where(_BY_KEY, orders.c.version == sa.bindparam("k_version"))
    .values(_set(orders, _ORDER_CHANGES, "o_", _NOW))
    .returning(orders.c.shard, orders.c.update_time)
)
_CHANGED = _CHANGE_ORDER.cte("changed")


_TEXTS = ARRAY(sa.Text)
_NUMBER_COLUMNS = ["shard", "number", "kind", "order_id", "business_id", "traceparent"]


def _add_numbers(shard: Any, *beside: sa.CTE) -> Any:
    source = sa.select(
        shard,
        sa.func.unnest(sa.bindparam("n_numbers", type_=_TEXTS)),
        sa.func.unnest(sa.bindparam("n_kinds", type_=_TEXTS)),
        sa.bindparam("n_order_id", type_=sa.Text),
        sa.bindparam("n_business_id", type_=sa.Text),
        sa.bindparam("n_traceparent", type_=sa.Text),
    ).select_from(*beside)
    return pg_insert(number_index).from_select(_NUMBER_COLUMNS, source).on_conflict_do_nothing()


def _update_beside_order(
    table: sa.Table, key: str, names: Sequence[str], prefix: str, *, with_numbers: bool = False
) -> sa.Select[Any]:
    touched = (
        sa.update(table)
        .where(table.c.shard == _CHANGED.c.shard, table.c[key] == sa.bindparam(f"k_{key}"))
        .values(_set(table, names, prefix, _CHANGED.c.update_time))
        .returning(table.c[key])
        .cte("touched")
    )
    done = sa.select(_CHANGED.c.update_time).add_cte(touched)
    if not with_numbers:
        return done
    numbered = _add_numbers(_CHANGED.c.shard, _CHANGED).returning(number_index.c.number).cte("numbered")
    return done.add_cte(numbered)


def _insert_beside_order(table: sa.Table, prefix: str) -> sa.Select[Any]:
    names = [column.name for column in table.c if column.name not in ("shard", "create_time", "update_time")]
    source = sa.select(
        _CHANGED.c.shard,
        _CHANGED.c.update_time.label("create_time"),
        _CHANGED.c.update_time,
        *(_bind(table, name, prefix).label(name) for name in names),
    )
    columns = ["shard", "create_time", "update_time", *names]
    added = sa.insert(table).from_select(columns, source).returning(table.c[names[0]]).cte("added")
    return sa.select(_CHANGED.c.update_time).add_cte(added)


_CHANGE_ORDER_AND_ATTEMPT = _update_beside_order(attempt, "attempt_id", _ATTEMPT_CHANGES, "a_")
_CHANGE_ORDER_AND_ATTEMPT_WITH_NUMBERS = _update_beside_order(
    attempt, "attempt_id", _ATTEMPT_CHANGES, "a_", with_numbers=True
)
_CHANGE_ORDER_ADD_ATTEMPT = _insert_beside_order(attempt, "a_")
_CHANGE_ORDER_AND_REFUND = _update_beside_order(refund, "refund_id", _REFUND_CHANGES, "r_")
_CHANGE_ORDER_ADD_REFUND = _insert_beside_order(refund, "r_")


def _update_alone(table: sa.Table, key: str, names: Sequence[str], prefix: str) -> sa.Update:
    return (
        sa.update(table)
        .where(table.c.shard == sa.bindparam("k_shard"), table.c[key] == sa.bindparam(f"k_{key}"))
        .values(_set(table, names, prefix, sa.bindparam("k_update_time", type_=table.c.update_time.type)))
    )


_CHANGE_ATTEMPT = _update_alone(attempt, "attempt_id", _ATTEMPT_CHANGES, "a_")
_CHANGE_REFUND = _update_alone(refund, "refund_id", _REFUND_CHANGES, "r_")
_ADD_REFUND = sa.insert(refund).values(
    {
        **{
            column.name: _bind(refund, column.name, "r_")
            for column in refund.c
            if column.name not in ("create_time", "update_time")
        },
        "create_time": sa.bindparam("k_update_time", type_=refund.c.create_time.type),
        "update_time": sa.bindparam("k_update_time", type_=refund.c.update_time.type),
    }
)
_ADD_NUMBERS = _add_numbers(sa.bindparam("k_shard", type_=sa.SmallInteger))


class ChangeLost(Exception):
    """Another decision about the order was stored first; read it again and decide anew."""


async def save(connection: AsyncConnection, change: Change) -> OrderFile:
    """Stores a change and returns the file after it; raises ChangeLost when the order has another version by now.

    A change of one attempt or one refund is a single statement.
    """
    order = change.before.order
    key: dict[str, Any] = {"k_shard": order.shard, "k_order_id": order.order_id, "k_version": order.version}
    statement, parameters = _first_statement(change)
    row = (
        await connection.execute(
            statement, {**key, **_prefixed("o_", rows.order_changes(change.order)), **parameters}
        )
    ).one_or_none()
    if row is None:
        raise ChangeLost
    for more, values in _further_statements(change):
        await connection.execute(more, {**values, "k_shard": order.shard, "k_update_time": row.update_time})
    return change.after(row.update_time)


def _first_statement(change: Change) -> tuple[Any, dict[str, Any]]:
    """Returns the statement that changes the order together with the first attempt or refund of the change."""
    if change.attempts:
        first = change.attempts[0]
        parameters = {"k_attempt_id": first.attempt_id, **_prefixed("a_", rows.attempt_changes(first))}
        numbers = _new_numbers(change, first)
        if not numbers:
            return _CHANGE_ORDER_AND_ATTEMPT, parameters
        return _CHANGE_ORDER_AND_ATTEMPT_WITH_NUMBERS, parameters | _number_parameters(change.order, numbers)
    if change.new_attempts:
        return _CHANGE_ORDER_ADD_ATTEMPT, _prefixed("a_", rows.attempt_values(change.new_attempts[0]))
    if change.refunds:
        changed = change.refunds[0]
        return _CHANGE_ORDER_AND_REFUND, {
            "k_refund_id": changed.refund_id,
            **_prefixed("r_", rows.refund_changes(changed)),
        }
    if change.new_refunds:
        return _CHANGE_ORDER_ADD_REFUND, _prefixed("r_", rows.refund_values(change.new_refunds[0]))
    return _CHANGE_ORDER, {}


def _further_statements(change: Change) -> list[tuple[Any, dict[str, Any]]]:
    """Returns the statements for what the first one does not hold; most changes have none."""
    found: list[tuple[Any, dict[str, Any]]] = [
        (_CHANGE_ATTEMPT, {"k_attempt_id": more.attempt_id, **_prefixed("a_", rows.attempt_changes(more))})
        for more in change.attempts[1:]
    ]
    if change.attempts:
        found.extend(
            (_ADD_REFUND, _prefixed("r_", rows.refund_values(added))) for added in change.new_refunds
        )
    payment_ids = {changed.payment_id: "payment" for changed in change.refunds if changed.payment_id}
    if payment_ids:
        found.append((_ADD_NUMBERS, _number_parameters(change.order, payment_ids)))
    return found


def _new_numbers(change: Change, after: Attempt) -> dict[str, str]:
    before = change.before.attempt(after.attempt_id)
    return {number: kind for number, kind in _numbers(after) if (number, kind) not in _numbers(before)}


def _number_parameters(order: Order, numbers: Mapping[str, str]) -> dict[str, Any]:
    return {
        "n_numbers": list(numbers),
        "n_kinds": list(numbers.values()),
        "n_order_id": order.order_id,
        "n_business_id": order.business_id,
        "n_traceparent": order.traceparent,
    }


def _numbers(found: Attempt | None) -> list[tuple[str, str]]:
    if found is None:
        return []
    numbers = (
        (found.payment_id, "payment"),
        (found.transfer_payment_id, "payment"),
        (found.channel_order_id, "channel_order"),
        (found.channel_transaction_id, "channel_transaction"),
    )
    return [(number, kind) for number, kind in numbers if number]
