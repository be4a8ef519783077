"""The queries behind the service's invariants. Invariant: written with left joins, since an inner join does not see
what is missing."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

_LONGEST_SECONDS = 55


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One invariant: `count_query` counts what is looked at, `violation_query` gives (number, what is wrong)."""

    name: str
    description: str
    count_query: str
    violation_query: str


async def run(connection: AsyncConnection, check: Check) -> tuple[int, list[tuple[str, str]]]:
    """Returns how many records were looked at and which break the invariant, in one snapshot."""
    await connection.execute(sa.text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"))
    await connection.execute(sa.text(f"SET LOCAL statement_timeout = '{_LONGEST_SECONDS}s'"))
    checked_count: int = (await connection.execute(sa.text(check.count_query))).scalar_one()
    broken = (await connection.execute(sa.text(check.violation_query))).all()
    return checked_count, [(str(number), str(what)) for number, what in broken]


CHECKS: tuple[Check, ...] = (
    Check(
        name="order_refunds_within_paid",
        description="Refunded and refunding together never exceed what was paid, per order.",
        count_query="SELECT count(*) FROM orders",
        violation_query="""
            SELECT order_id, refunded_minor_units || ' + ' || refunding_minor_units || ' of ' || paid_minor_units
            FROM orders WHERE refunded_minor_units + refunding_minor_units > paid_minor_units ORDER BY order_id
        """,
    ),
    Check(
        name="order_refund_counters_match_refunds",
        description="An order's counters equal the sums of its refunds by state; automatic refunds count for none.",
        count_query="SELECT count(*) FROM orders",
        violation_query="""
            SELECT o.order_id, 'refunded ' || o.refunded_minor_units || ' but ' || coalesce(r.refunded, 0)
                   || ', refunding ' || o.refunding_minor_units || ' but ' || coalesce(r.refunding, 0)
                   || ', refunds ' || o.refund_count || ' but ' || coalesce(r.found, 0)
            FROM orders o LEFT JOIN (
                SELECT shard, order_id, count(*) AS found,
                       sum(amount_minor_units) FILTER (WHERE state = 'SUCCEEDED' AND NOT automatic) AS refunded,
                       sum(amount_minor_units) FILTER (WHERE state NOT IN ('SUCCEEDED', 'FAILED') AND NOT automatic)
                           AS refunding
                FROM refund GROUP BY shard, order_id
            ) r ON r.shard = o.shard AND r.order_id = o.order_id
            WHERE o.refunded_minor_units <> coalesce(r.refunded, 0)
               OR o.refunding_minor_units <> coalesce(r.refunding, 0) OR o.refund_count <> coalesce(r.found, 0)
            ORDER BY o.order_id
        """,
    ),
    Check(
        name="paid_order_has_one_winner",
        description="A paid order has exactly one succeeded attempt, its winner; an unpaid one has none.",
        count_query="SELECT count(*) FROM orders",
        violation_query="""
            SELECT o.order_id, o.state || ' with winner "' || o.winning_attempt_id || '" and succeeded attempts '
                   || coalesce(a.succeeded, '{}')::text
            FROM orders o LEFT JOIN (
                SELECT shard, order_id, array_agg(attempt_id ORDER BY attempt_id) AS succeeded
                FROM attempt WHERE state = 'SUCCEEDED' GROUP BY shard, order_id
            ) a ON a.shard = o.shard AND a.order_id = o.order_id
            WHERE coalesce(a.succeeded, '{}') <> CASE WHEN o.state IN ('PAID', 'PARTLY_REFUNDED', 'REFUNDED')
                                                      THEN ARRAY[o.winning_attempt_id] ELSE '{}' END
            ORDER BY o.order_id
        """,
    ),
    Check(
        name="superseded_attempt_is_refunded",
        description="Money that an order needed no more has exactly one automatic refund over the order's amount.",
        count_query="SELECT count(*) FROM attempt WHERE state = 'SUPERSEDED'",
        violation_query="""
            SELECT a.attempt_id, count(r.refund_id) || ' automatic refunds over '
                   || coalesce(sum(r.amount_minor_units), 0)
            FROM attempt a JOIN orders o ON o.shard = a.shard AND o.order_id = a.order_id
            LEFT JOIN refund r ON r.shard = a.shard AND r.attempt_id = a.attempt_id AND r.automatic
            WHERE a.state = 'SUPERSEDED'
            GROUP BY a.shard, a.attempt_id, o.amount_minor_units
            HAVING count(r.refund_id) <> 1 OR sum(r.amount_minor_units) <> o.amount_minor_units
            ORDER BY a.attempt_id
        """,
    ),
    Check(
        name="order_version_has_event",
        description="Every version of an order has its event.",
        count_query="SELECT coalesce(sum(version), 0)::bigint FROM orders",
        violation_query="""
            SELECT o.order_id, 'version ' || o.version || ', events of ' || coalesce(e.versions, 0)
                   || ' versions up to ' || coalesce(e.newest, 0)
            FROM orders o LEFT JOIN (
                SELECT shard, resource_id, count(DISTINCT resource_version) AS versions, max(resource_version) AS newest
                FROM outbox_event GROUP BY shard, resource_id
            ) e ON e.shard = o.shard AND e.resource_id = o.order_id
            WHERE o.version <> coalesce(e.versions, 0) OR o.version <> coalesce(e.newest, 0) ORDER BY o.order_id
        """,
    ),
    Check(
        name="outcome_is_notified",
        description="Every outcome of an order that names a notify_url has its notification.",
        count_query="SELECT count(*) FROM orders WHERE notify_url <> ''",
        violation_query="""
            SELECT o.order_id, coalesce(e.told, 0) || ' outcomes, ' || coalesce(n.found, 0) || ' notifications'
            FROM orders o LEFT JOIN (
                SELECT shard, resource_id, count(*) AS told FROM outbox_event
                WHERE event_type IN ('ORDER_PAID', 'ORDER_CLOSED', 'ORDER_EXPIRED', 'ORDER_FAILED',
                                     'REFUND_SUCCEEDED', 'REFUND_FAILED') GROUP BY shard, resource_id
            ) e ON e.shard = o.shard AND e.resource_id = o.order_id
            LEFT JOIN (SELECT shard, order_id, count(*) AS found FROM notification GROUP BY shard, order_id) n
              ON n.shard = o.shard AND n.order_id = o.order_id
            WHERE o.notify_url <> '' AND coalesce(e.told, 0) <> coalesce(n.found, 0) ORDER BY o.order_id
        """,
    ),
    Check(
        name="open_record_has_next_step",
        description="Every order, attempt and refund that is not final is looked at again at a known instant.",
        count_query="""
            SELECT (SELECT count(*) FROM orders) + (SELECT count(*) FROM attempt) + (SELECT count(*) FROM refund)
        """,
        violation_query="""
            SELECT order_id, 'order ' || state FROM orders
            WHERE state IN ('CREATED', 'PAYING', 'CLOSING') AND next_step_time IS NULL
            UNION ALL SELECT attempt_id, 'attempt ' || state FROM attempt
            WHERE state NOT IN ('SUCCEEDED', 'FAILED', 'CLOSED', 'SUPERSEDED') AND next_step_time IS NULL
            UNION ALL SELECT refund_id, 'refund ' || state FROM refund
            WHERE state NOT IN ('SUCCEEDED', 'FAILED') AND next_step_time IS NULL
        """,
    ),
    Check(
        name="waiting_notification_has_next_attempt",
        description="Every notification that was not taken or given up is sent again at a known instant.",
        count_query="SELECT count(*) FROM notification",
        violation_query="""
            SELECT notification_id, state FROM notification
            WHERE state IN ('DUE', 'RETRYING') AND next_attempt_time IS NULL ORDER BY notification_id
        """,
    ),
    Check(
        name="business_id_is_one",
        description="Attempts, refunds, notifications and events carry the business identifier of their order.",
        count_query="""
            SELECT (SELECT count(*) FROM attempt) + (SELECT count(*) FROM refund) + (SELECT count(*) FROM notification)
                   + (SELECT count(*) FROM outbox_event)
        """,
        violation_query="""
            SELECT part.number, 'carries "' || part.business_id || '", its order "'
                   || coalesce(o.business_id, '') || '"'
            FROM (
                SELECT shard, order_id, attempt_id AS number, business_id FROM attempt
                UNION ALL SELECT shard, order_id, refund_id, business_id FROM refund
                UNION ALL SELECT shard, order_id, notification_id, business_id FROM notification
                UNION ALL SELECT shard, resource_id, event_id, business_id FROM outbox_event
            ) part LEFT JOIN orders o ON o.shard = part.shard AND o.order_id = part.order_id
            WHERE o.business_id IS DISTINCT FROM part.business_id ORDER BY part.number
        """,
    ),
)
