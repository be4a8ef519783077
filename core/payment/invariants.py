"""The service's own invariants as queries over its whole database. Invariant: each check says how many records it
looked at and names some that break it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from runtime.database import Database

_EXAMPLES: Final = 20


@dataclass(frozen=True, slots=True)
class Check:
    """One invariant: `checked_sql` counts what is looked at, `broken_sql` gives (number, what is wrong)."""

    name: str
    description: str
    checked_sql: str
    broken_sql: str


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What one check found."""

    name: str
    description: str
    checked_count: int
    violation_count: int
    examples: tuple[str, ...]


_OPEN_STATES: Final = "('ACCEPTED', 'CHALLENGED', 'SUBMITTING', 'PENDING', 'UNKNOWN', 'CLOSING', 'IN_REVIEW')"

CHECKS: Final[tuple[Check, ...]] = (
    Check(
        name="succeeded_payment_is_booked",
        description="Every succeeded payment names the journal that books it, and no failed or closed one does.",
        checked_sql="SELECT count(*) FROM payment WHERE state IN ('SUCCEEDED', 'FAILED', 'CLOSED')",
        broken_sql="""
            SELECT payment_id, state || ' with journal ' || quote_literal(journal_id) FROM payment
            WHERE (state = 'SUCCEEDED' AND journal_id = '') OR (state IN ('FAILED', 'CLOSED') AND journal_id <> '')
        """,
    ),
    Check(
        name="refunds_within_payment",
        description="What is refunded and being refunded of a recharge equals its refunds and is at most its amount.",
        checked_sql="SELECT count(*) FROM payment WHERE kind = 'RECHARGE'",
        broken_sql=f"""
            SELECT recharge.payment_id, 'amount ' || recharge.amount_minor_units || ', refunded '
                || recharge.refunded_minor_units || ' of ' || coalesce(refunds.refunded, 0) || ', refunding '
                || recharge.refunding_minor_units || ' of ' || coalesce(refunds.refunding, 0)
            FROM payment AS recharge
            LEFT JOIN (
                SELECT shard, refunded_payment_id,
                    coalesce(sum(amount_minor_units) FILTER (WHERE state = 'SUCCEEDED'), 0) AS refunded,
                    coalesce(sum(amount_minor_units) FILTER (WHERE state IN {_OPEN_STATES}), 0) AS refunding
                FROM payment WHERE kind = 'REFUND' GROUP BY shard, refunded_payment_id
            ) AS refunds
                ON refunds.shard = recharge.shard AND refunds.refunded_payment_id = recharge.payment_id
            WHERE recharge.kind = 'RECHARGE' AND (
                recharge.refunded_minor_units <> coalesce(refunds.refunded, 0)
                OR recharge.refunding_minor_units <> coalesce(refunds.refunding, 0)
                OR recharge.refunded_minor_units + recharge.refunding_minor_units > recharge.amount_minor_units)
        """,
    ),
    Check(
        name="change_has_its_event",
        description="Every version of a payment has exactly one event, and the events begin at version 1.",
        checked_sql="SELECT coalesce(sum(version), 0) FROM payment",
        broken_sql="""
            SELECT payment.payment_id, 'version ' || payment.version || ' with '
                || coalesce(told.events, 0) || ' events of ' || coalesce(told.versions, 0) || ' versions'
            FROM payment
            LEFT JOIN (
                SELECT shard, resource_id, count(*) AS events, count(DISTINCT resource_version) AS versions,
                    min(resource_version) AS first, max(resource_version) AS last
                FROM outbox_event GROUP BY shard, resource_id
            ) AS told ON told.shard = payment.shard AND told.resource_id = payment.payment_id
            WHERE told.events IS DISTINCT FROM payment.version OR told.versions IS DISTINCT FROM payment.version
                OR told.first IS DISTINCT FROM 1 OR told.last IS DISTINCT FROM payment.version
        """,
    ),
    Check(
        name="open_payment_has_next_step",
        description="Every payment that is not final has a time at which it is taken up again.",
        checked_sql=f"SELECT count(*) FROM payment WHERE state IN {_OPEN_STATES}",
        broken_sql=f"""
            SELECT payment_id, state || ' without a next step' FROM payment
            WHERE state IN {_OPEN_STATES} AND next_step_time IS NULL
        """,
    ),
    Check(
        name="paid_out_money_was_held",
        description="Every succeeded withdrawal or refund took its money from a hold.",
        checked_sql="SELECT count(*) FROM payment WHERE kind IN ('WITHDRAWAL', 'REFUND') AND state = 'SUCCEEDED'",
        broken_sql="""
            SELECT payment_id, kind || ' without a hold' FROM payment
            WHERE kind IN ('WITHDRAWAL', 'REFUND') AND state = 'SUCCEEDED' AND hold_id = ''
        """,
    ),
    Check(
        name="channel_payment_names_its_order",
        description="Every succeeded payment through a channel names its channel order, and no transfer has one.",
        checked_sql="SELECT count(*) FROM payment WHERE state = 'SUCCEEDED'",
        broken_sql="""
            SELECT payment_id, kind || ' with channel order ' || quote_literal(channel_order_id) FROM payment
            WHERE state = 'SUCCEEDED' AND (kind = 'TRANSFER') <> (channel_order_id = '')
                AND resolution IS DISTINCT FROM 'SUCCEEDED'
        """,
    ),
)


async def check_invariants(database: Database) -> list[CheckResult]:
    """Runs every check on its own snapshot; reads only."""
    return [await _run(database, check) for check in CHECKS]


async def _run(database: Database, check: Check) -> CheckResult:
    counted = sa.text(check.checked_sql)
    broken = sa.text(
        f"SELECT number, fault, count(*) OVER () FROM ({check.broken_sql}) AS broken (number, fault)"
        f" ORDER BY number LIMIT {_EXAMPLES}"
    )
    async with database.begin() as connection:
        await connection.execute(sa.text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"))
        await connection.execute(sa.text("SET LOCAL statement_timeout = '55s'"))
        checked_count: int = (await connection.execute(counted)).scalar_one()
        rows = (await connection.execute(broken)).all()
    return CheckResult(
        name=check.name,
        description=check.description,
        checked_count=int(checked_count),
        violation_count=rows[0][2] if rows else 0,
        examples=tuple(f"{number}: {fault}" for number, fault, _ in rows),
    )
