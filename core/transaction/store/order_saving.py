"""Writes a decision about an order with all that belongs to it. Invariant: the order's version is compared and raised
by one, and attempts, refunds, events, notification and answer are written exactly when that comparison holds.

One statement writes it all, since round trips and statements are what a payment costs most; it is built once for each
shape (what changes beside the order) and compiled once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import insert as pg_insert
from sqlalchemy.ext.asyncio import AsyncConnection

from core.transaction.domain.change import Change
from core.transaction.domain.records import Attempt, Notification, OrderFile
from core.transaction.store import rows
from core.transaction.store.tables import (
    attempt,
    idempotency_record,
    notification,
    number_index,
    orders,
    outbox_event,
    refund,
)

_TEXTS: Final = ARRAY(sa.Text)
_TIMES: Final = ("create_time", "update_time")


class ChangeLost(Exception):
    """Another decision about the order was stored first; read it again and decide anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event as the log keeps it; shard, order, version and origin are those of the whole decision."""

    event_id: str
    subject: str
    event_type: str
    payload: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a command answered; it is stored for its request id unless an answer is there already."""

    caller: str
    method: str
    request_id: str
    response: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A change, the file after it, and what is told of it; `traceparent` and `platform` are those of the step."""

    change: Change
    file: OrderFile
    events: Sequence[Event]
    notification: Notification | None
    answer: Answer | None
    traceparent: str
    platform: bytes

    @property
    def is_one_statement(self) -> bool:
        """Whether `save` needs no transaction around it."""
        change = self.change
        return len(change.attempts) <= 1 and not (
            change.refunds and (change.attempts or len(change.refunds) > 1)
        )


async def save(connection: AsyncConnection, decision: Decision) -> None:
    """Writes a decision; raises ChangeLost, with nothing written, when the order has another version by now."""
    change = decision.change
    numbers = _new_numbers(change)
    shape = _Shape(
        attempt="change" if change.attempts else "add" if change.new_attempts else "",
        refund="change" if _refund_stands_alone(change) else "add" if change.new_refunds else "",
        numbers=bool(numbers),
        notified=decision.notification is not None,
        answered=decision.answer is not None,
    )
    saved = await connection.execute(_statement(shape), _parameters(decision, numbers))
    if saved.scalar_one() == 0:
        raise ChangeLost
    for statement, values in _further_statements(decision):
        await connection.execute(statement, values)


@dataclass(frozen=True, slots=True)
class _Shape:
    attempt: str
    refund: str
    numbers: bool
    notified: bool
    answered: bool


def _refund_stands_alone(change: Change) -> bool:
    return bool(change.refunds) and not change.attempts and not change.new_attempts


def _bind(table: sa.Table, name: str, prefix: str) -> sa.BindParameter[Any]:
    return sa.bindparam(f"{prefix}{name}", type_=table.c[name].type)


def _columns(table: sa.Table, *without: str) -> list[str]:
    return [column.name for column in table.c if column.name not in without]


_UPDATE_TIME: Final = sa.bindparam("k_update_time", type_=orders.c.update_time.type)


def _set(table: sa.Table, names: Sequence[str], prefix: str) -> dict[str, Any]:
    changed: dict[str, Any] = {name: _bind(table, name, prefix) for name in names}
    return changed | {"version": table.c.version + 1, "update_time": _UPDATE_TIME}


_CHANGED: Final = (
    sa.update(orders)
    .where(
        orders.c.shard == sa.bindparam("k_shard"),
        orders.c.order_id == sa.bindparam("k_order_id"),
        orders.c.version == sa.bindparam("k_version"),
    )
    .values(_set(orders, rows.ORDER_CHANGES, "o_"))
    .returning(orders.c.shard, orders.c.order_id)
    .cte("changed")
)


def _change(table: sa.Table, key: str, names: Sequence[str], prefix: str) -> sa.CTE:
    return (
        sa.update(table)
        .where(table.c.shard == _CHANGED.c.shard, table.c[key] == sa.bindparam(f"k_{key}"))
        .values(_set(table, names, prefix))
        .returning(table.c.shard)
        .cte(f"{table.name}_changed")
    )


def _add(table: sa.Table, prefix: str) -> sa.CTE:
    names = _columns(table, "shard", "order_id", *_TIMES)
    source = sa.select(
        _CHANGED.c.shard,
        _CHANGED.c.order_id,
        _UPDATE_TIME.label("create_time"),
        _UPDATE_TIME.label("update_time"),
        *(_bind(table, name, prefix).label(name) for name in names),
    )
    added = sa.insert(table).from_select(["shard", "order_id", *_TIMES, *names], source)
    return added.returning(table.c.shard).cte(f"{table.name}_added")


def _add_numbers() -> sa.CTE:
    number, kind = (sa.bindparam(f"n_{name}", type_=_TEXTS) for name in ("numbers", "kinds"))
    known = sa.func.unnest(number, kind).table_valued("number", "kind").render_derived("known")
    source = sa.select(
        _CHANGED.c.shard,
        known.c.number,
        known.c.kind,
        _CHANGED.c.order_id,
        sa.bindparam("e_business_id", type_=sa.Text),
        sa.bindparam("e_traceparent", type_=sa.Text),
    ).select_from(_CHANGED.join(known, sa.true()))
    columns = ["shard", "number", "kind", "order_id", "business_id", "traceparent"]
    added = pg_insert(number_index).from_select(columns, source).on_conflict_do_nothing()
    return added.returning(number_index.c.shard).cte("numbers_added")


def add_events(of: Any) -> sa.CTE:
    """Returns the part of a statement that appends events for each row of `of` (shard, order_id)."""
    names = ("event_id", "subject", "event_type")
    arrays = [sa.bindparam(f"e_{name}s", type_=_TEXTS) for name in names]
    payloads = sa.bindparam("e_payloads", type_=ARRAY(sa.LargeBinary))
    told = sa.func.unnest(*arrays, payloads).table_valued(*names, "payload").render_derived("told")
    source = sa.select(
        of.c.shard,
        told.c.event_id,
        told.c.subject,
        told.c.event_type,
        of.c.order_id,
        sa.bindparam("e_version", type_=sa.BigInteger),
        sa.bindparam("e_business_id", type_=sa.Text),
        told.c.payload,
        sa.bindparam("e_traceparent", type_=sa.Text),
        sa.bindparam("e_platform", type_=sa.LargeBinary),
    ).select_from(of.join(told, sa.true()))
    columns = [
        "shard",
        *names,
        "resource_id",
        "resource_version",
        "business_id",
        "payload",
        "traceparent",
        "platform",
    ]
    return (
        sa.insert(outbox_event)
        .from_select(columns, source)
        .returning(outbox_event.c.shard)
        .cte("told_events")
    )


def _answer() -> sa.CTE:
    record = idempotency_record
    return (
        sa.update(record)
        .where(
            record.c.shard == _CHANGED.c.shard,
            record.c.caller == sa.bindparam("q_caller"),
            record.c.method == sa.bindparam("q_method"),
            record.c.request_id == sa.bindparam("q_request_id"),
            record.c.response.is_(None),
        )
        .values(response=sa.bindparam("q_response"), locked_until=sa.func.now())
        .returning(record.c.shard)
        .cte("answered")
    )


@lru_cache(maxsize=64)
def _statement(shape: _Shape) -> sa.Select[Any]:
    beside = [add_events(_CHANGED)]
    if shape.attempt == "change":
        beside.append(_change(attempt, "attempt_id", rows.ATTEMPT_CHANGES, "a_"))
    elif shape.attempt:
        beside.append(_add(attempt, "a_"))
    if shape.refund == "change":
        beside.append(_change(refund, "refund_id", rows.REFUND_CHANGES, "r_"))
    elif shape.refund:
        beside.append(_add(refund, "r_"))
    if shape.numbers:
        beside.append(_add_numbers())
    if shape.notified:
        beside.append(_add(notification, "m_"))
    if shape.answered:
        beside.append(_answer())
    return sa.select(sa.func.count()).select_from(_CHANGED).add_cte(*beside)


def _prefixed(prefix: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{prefix}{name}": value for name, value in values.items()}


def event_parameters(
    decision_events: Sequence[Event], file: OrderFile, origin: tuple[str, bytes]
) -> dict[str, Any]:
    """Returns the parameters of `add_events`; `origin` is (traceparent, platform) of the step."""
    return {
        "e_event_ids": [event.event_id for event in decision_events],
        "e_subjects": [event.subject for event in decision_events],
        "e_event_types": [event.event_type for event in decision_events],
        "e_payloads": [event.payload for event in decision_events],
        "e_version": file.order.version,
        "e_business_id": file.order.business_id,
        "e_traceparent": origin[0],
        "e_platform": origin[1],
    }


def _parameters(decision: Decision, numbers: Mapping[str, str]) -> dict[str, Any]:
    change, order = decision.change, decision.change.before.order
    found = {
        "k_shard": order.shard,
        "k_order_id": order.order_id,
        "k_version": order.version,
        "k_update_time": decision.file.order.update_time,
        **_prefixed("o_", rows.order_changes(change.order)),
        **event_parameters(decision.events, decision.file, (decision.traceparent, decision.platform)),
    }
    if change.attempts:
        first = change.attempts[0]
        found |= {"k_attempt_id": first.attempt_id, **_prefixed("a_", rows.attempt_changes(first))}
    elif change.new_attempts:
        found |= _prefixed("a_", rows.attempt_values(change.new_attempts[0]))
    if _refund_stands_alone(change):
        changed = change.refunds[0]
        found |= {"k_refund_id": changed.refund_id, **_prefixed("r_", rows.refund_changes(changed))}
    elif change.new_refunds:
        found |= _prefixed("r_", rows.refund_values(change.new_refunds[0]))
    if numbers:
        found |= {"n_numbers": list(numbers), "n_kinds": list(numbers.values())}
    if decision.notification is not None:
        found |= _prefixed("m_", rows.notification_values(decision.notification))
    if decision.answer is not None:
        found |= answer_parameters(decision.answer)
    return found


def answer_parameters(answer: Answer) -> dict[str, Any]:
    """Returns the parameters by which an answer is stored."""
    return {
        "q_caller": answer.caller,
        "q_method": answer.method,
        "q_request_id": answer.request_id,
        "q_response": answer.response,
    }


def _alone(table: sa.Table, key: str, names: Sequence[str], prefix: str) -> sa.Update:
    own = sa.and_(table.c.shard == sa.bindparam("k_shard"), table.c[key] == sa.bindparam(f"k_{key}"))
    return sa.update(table).where(own).values(_set(table, names, prefix))


_CHANGE_ATTEMPT: Final = _alone(attempt, "attempt_id", rows.ATTEMPT_CHANGES, "a_")
_CHANGE_REFUND: Final = _alone(refund, "refund_id", rows.REFUND_CHANGES, "r_")


def _further_statements(decision: Decision) -> list[tuple[sa.Update, dict[str, Any]]]:
    """Returns the statements for attempts and refunds beyond the first; most decisions have none."""
    change = decision.change
    key = {"k_shard": change.order.shard, "k_update_time": decision.file.order.update_time}
    more_refunds = change.refunds[1:] if _refund_stands_alone(change) else change.refunds
    return [
        *(
            (
                _CHANGE_ATTEMPT,
                {**key, "k_attempt_id": more.attempt_id, **_prefixed("a_", rows.attempt_changes(more))},
            )
            for more in change.attempts[1:]
        ),
        *(
            (
                _CHANGE_REFUND,
                {**key, "k_refund_id": more.refund_id, **_prefixed("r_", rows.refund_changes(more))},
            )
            for more in more_refunds
        ),
    ]


def _new_numbers(change: Change) -> dict[str, str]:
    """Returns the numbers of others that this change makes known, each with its kind."""
    found = {changed.payment_id: "payment" for changed in change.refunds if changed.payment_id}
    for after in change.attempts:
        known = _numbers(change.before.attempt(after.attempt_id))
        found |= {number: kind for number, kind in _numbers(after) if (number, kind) not in known}
    return found


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
