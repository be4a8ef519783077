"""Writes a payment with all that belongs to the change. Invariant: row, event and answer are one statement: all
of them or none, and none of them when the payment is at another version.

Round trips are what a payment costs most; each shape of the statement is built and compiled once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert as pg_insert
from sqlalchemy.ext.asyncio import AsyncConnection

from core.payment.domain.payment import Payment
from core.payment.store.rows import CHANGING, changing_columns, fixed_columns, steps_column
from core.payment.store.tables import idempotency_record, outbox_event, payment


class LostRaceError(Exception):
    """The payment has changed since it was read; read it again and decide anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """The event of a change as the log keeps it, with the trace and context of the step that made it."""

    event_id: str
    subject: str
    event_type: str
    payload: bytes
    traceparent: str
    platform: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The request id that a command is known by."""

    caller: str
    method: str
    request_id: str


def _bind(name: str, type_: sa.types.TypeEngine[Any]) -> sa.BindParameter[Any]:
    return sa.bindparam(name, type_=type_)


def after_delay() -> sa.ColumnElement[Any]:
    """The database's clock plus `delay_seconds`; NULL when that is NULL."""
    return sa.func.now() + sa.func.make_interval(0, 0, 0, 0, 0, 0, _bind("delay_seconds", sa.Double()))


def _tell(of: sa.CTE) -> sa.CTE:
    """The part that appends the event for the row in `of` (shard, payment_id, version)."""
    columns = ("event_id", "subject", "event_type", "business_id", "payload", "traceparent", "platform")
    source = sa.select(
        of.c.shard,
        of.c.payment_id,
        of.c.version,
        *(_bind(f"e_{name}", outbox_event.c[name].type) for name in columns),
    )
    appended = sa.insert(outbox_event).from_select(
        ["shard", "resource_id", "resource_version", *columns], source
    )
    return appended.returning(outbox_event.c.shard).cte("told")


_AT_FIRST: Final[Mapping[str, str | int | bool]] = {
    "version": 1,
    "channel_order_id": "",
    "channel_order_version": 0,
    "channel_transaction_id": "",
    "refunded_minor_units": 0,
    "refunding_minor_units": 0,
    "journal_id": "",
    "hold_id": "",
    "posting_round": 0,
    "give_back_payment_id": "",
    "step_try_count": 0,
    "answered": False,
}
"""What every payment begins with; what is not named here, and not given, begins as NULL."""

_GIVEN_AT_FIRST: Final = (
    "tenant_id",
    "kind",
    "state",
    "merchant_id",
    "order_id",
    "transaction_number",
    "amount_minor_units",
    "currency_code",
    "source_account_id",
    "destination_account_id",
    "payment_account_id",
    "invoke_method",
    "refunded_payment_id",
    "channel_command",
    "posting_lines",
    "steps",
    "request_id",
    "expire_time",
    "business_id",
    "traceparent",
    "platform",
    "create_time",
    "update_time",
)


def _as_sql(constant: str | int | bool) -> str:
    return f"'{constant}'" if isinstance(constant, str) else str(constant).lower()


def _recording() -> sa.Select[Any]:
    record = idempotency_record
    lease = sa.func.make_interval(0, 0, 0, 0, 0, 0, _bind("lease_seconds", sa.Double()))
    asked = (
        pg_insert(record)
        .values(
            shard=_bind("p_shard", record.c.shard.type),
            caller=_bind("q_caller", record.c.caller.type),
            method=_bind("q_method", record.c.method.type),
            request_id=_bind("p_request_id", record.c.request_id.type),
            fingerprint=_bind("q_fingerprint", record.c.fingerprint.type),
            resource_id=_bind("p_payment_id", record.c.resource_id.type),
            claimed_by=sa.func.pg_backend_pid(),
            claimed_time=sa.func.clock_timestamp(),
            locked_until=sa.func.clock_timestamp() + lease,
        )
        .on_conflict_do_nothing()
        .returning(record.c.shard, record.c.resource_id.label("payment_id"))
        .cte("asked")
    )
    source = sa.select(
        asked.c.shard,
        asked.c.payment_id,
        after_delay(),
        *(sa.literal_column(_as_sql(value)) for value in _AT_FIRST.values()),
        *(_bind(f"p_{name}", payment.c[name].type) for name in _GIVEN_AT_FIRST),
    )
    made = (
        sa.insert(payment)
        .from_select(["shard", "payment_id", "next_step_time", *_AT_FIRST, *_GIVEN_AT_FIRST], source)
        .returning(payment.c.shard, payment.c.payment_id, payment.c.version)
        .cte("made")
    )
    return sa.select(sa.func.count()).select_from(asked).add_cte(made, _tell(made))


_RECORD: Final = _recording()


@cache
def _changing(*, answered: bool) -> sa.Select[Any]:
    changed = (
        sa.update(payment)
        .where(
            payment.c.shard == _bind("k_shard", payment.c.shard.type),
            payment.c.payment_id == _bind("k_payment_id", payment.c.payment_id.type),
            payment.c.version == _bind("k_version", payment.c.version.type),
        )
        .values(
            {
                **{name: _bind(f"p_{name}", payment.c[name].type) for name in CHANGING},
                "version": payment.c.version + 1,
                "update_time": _bind("p_update_time", payment.c.update_time.type),
                "next_step_time": after_delay(),
            }
        )
        .returning(payment.c.shard, payment.c.payment_id, payment.c.version)
        .cte("changed")
    )
    beside = [_tell(changed)]
    if answered:
        beside.append(_answer(changed))
    return sa.select(sa.func.count()).select_from(changed).add_cte(*beside)


def _answer(of: sa.CTE) -> sa.CTE:
    record = idempotency_record
    completed = (
        sa.update(record)
        .where(
            record.c.shard == of.c.shard,
            record.c.caller == _bind("q_caller", record.c.caller.type),
            record.c.method == _bind("q_method", record.c.method.type),
            record.c.request_id == _bind("q_request_id", record.c.request_id.type),
            record.c.response.is_(None),
        )
        .values(
            response=_bind("q_response", record.c.response.type),
            locked_until=sa.func.clock_timestamp(),
        )
    )
    return completed.returning(record.c.shard).cte("answered")


async def record_payment(
    connection: AsyncConnection,
    recorded: Payment,
    *,
    request: Request,
    fingerprint: bytes,
    lease_seconds: float,
    told: Told,
    delay_seconds: float,
) -> bool:
    """Claims the request id and writes payment and event at version 1; False when it was used before."""
    columns = {
        **fixed_columns(recorded),
        "state": recorded.state.value,
        "channel_command": recorded.channel_command,
        "steps": steps_column(recorded),
        "create_time": recorded.create_time,
        "update_time": recorded.update_time,
    }
    values = {
        "p_shard": recorded.shard,
        "p_payment_id": recorded.payment_id,
        **{f"p_{name}": columns[name] for name in _GIVEN_AT_FIRST},
        "q_caller": request.caller,
        "q_method": request.method,
        "q_fingerprint": fingerprint,
        "lease_seconds": lease_seconds,
        "delay_seconds": delay_seconds,
        **_told_values(recorded, told),
    }
    asked: int = (await connection.execute(_RECORD, values)).scalar_one()
    return asked == 1


async def save_change(
    connection: AsyncConnection,
    before: Payment,
    after: Payment,
    *,
    told: Told,
    delay_seconds: float | None,
    answers: Request | None = None,
) -> None:
    """Writes `after` over `before`, one version up, with its event and, for a request that waits, `after.answer`.

    None as delay means that nothing is left to do. Raises LostRaceError, with nothing written, when the payment is no
    longer at `before.version`.
    """
    values: dict[str, Any] = {
        **{f"p_{name}": value for name, value in changing_columns(after).items()},
        "p_update_time": after.update_time,
        "k_shard": before.shard,
        "k_payment_id": before.payment_id,
        "k_version": before.version,
        "delay_seconds": delay_seconds,
        **_told_values(after, told),
    }
    if answers is not None:
        values |= {
            "q_caller": answers.caller,
            "q_method": answers.method,
            "q_request_id": answers.request_id,
            "q_response": after.answer,
        }
    statement = _changing(answered=answers is not None)
    changed: int = (await connection.execute(statement, values)).scalar_one()
    if changed != 1:
        raise LostRaceError(before.payment_id)


def _told_values(about: Payment, told: Told) -> dict[str, Any]:
    return {
        "e_event_id": told.event_id,
        "e_subject": told.subject,
        "e_event_type": told.event_type,
        "e_business_id": about.business_id,
        "e_payload": told.payload,
        "e_traceparent": told.traceparent,
        "e_platform": told.platform,
    }


_CLOCK: Final = sa.select(sa.func.clock_timestamp())


async def read_clock(connection: AsyncConnection) -> datetime:
    """Reads the database's clock."""
    now: datetime = (await connection.execute(_CLOCK)).scalar_one()
    return now
