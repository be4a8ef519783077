"""The gateway's own invariants as queries that look for what breaks them. Invariant: each says how many
records it looked at, since a check of nothing proves nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import text

from runtime.database import Database

_EXAMPLES = 20


@dataclass(frozen=True, slots=True)
class Invariant:
    """One check: `count_query` counts what is looked at, `violation_query` gives (number, what is wrong)."""

    name: str
    description: str
    count_query: str
    violation_query: str


@dataclass(frozen=True, slots=True)
class InvariantResult:
    """What one check found; at most 20 examples."""

    invariant: Invariant
    checked_count: int
    violation_count: int
    examples: Sequence[str]


INVARIANTS: tuple[Invariant, ...] = (
    Invariant(
        "channel_order_events",
        "Every change of a channel order has its event: versions 1 to the present one, each once.",
        "SELECT count(*) FROM channel_order",
        """
        SELECT o.channel_order_id, 'version ' || o.version || ', ' || count(e.event_id) || ' events'
        FROM channel_order o
        LEFT JOIN outbox_event e ON e.resource_id = o.channel_order_id
        GROUP BY o.shard, o.channel_order_id, o.version
        HAVING count(e.event_id) <> o.version OR count(DISTINCT e.resource_version) <> o.version
            OR max(e.resource_version) <> o.version
        """,
    ),
    Invariant(
        "channel_refunds_within_payment",
        "The refunds of a channel payment that did not fail add up to what is set aside on it, at most its amount.",
        "SELECT count(*) FROM channel_order WHERE kind = 'PAY'",
        """
        SELECT p.channel_order_id, 'set aside ' || p.reserved_refund_minor_units || ', refunds '
               || coalesce(r.total, 0) || ', paid ' || p.amount_minor_units
        FROM channel_order p
        LEFT JOIN (
            SELECT refunded_channel_order_id, sum(amount_minor_units) AS total FROM channel_order
            WHERE kind = 'REFUND' AND state NOT IN ('DECLINED', 'NOT_SENT', 'CLOSED')
            GROUP BY refunded_channel_order_id
        ) r ON r.refunded_channel_order_id = p.channel_order_id
        WHERE p.kind = 'PAY' AND (coalesce(r.total, 0) <> p.reserved_refund_minor_units
            OR p.reserved_refund_minor_units > p.amount_minor_units
            OR (p.reserved_refund_minor_units > 0 AND p.state <> 'SUCCEEDED'))
        """,
    ),
    Invariant(
        "channel_refund_has_payment",
        "Every channel refund gives back from a succeeded payment of the same account and currency.",
        "SELECT count(*) FROM channel_order WHERE kind = 'REFUND'",
        """
        SELECT r.channel_order_id, 'payment ' || r.refunded_channel_order_id || ' ' || coalesce(p.state, 'is missing')
        FROM channel_order r
        LEFT JOIN channel_order p ON p.channel_order_id = r.refunded_channel_order_id AND p.kind = 'PAY'
        WHERE r.kind = 'REFUND' AND (p.state IS DISTINCT FROM 'SUCCEEDED'
            OR p.payment_account_id <> r.payment_account_id OR p.currency_code <> r.currency_code)
        """,
    ),
    Invariant(
        "channel_order_state_is_explained",
        "A succeeded channel order has the channel's number and time and no failure; a failed or unknown one says why.",
        "SELECT count(*) FROM channel_order",
        """
        SELECT channel_order_id, state || ' ' || coalesce(failure_reason, 'without reason') FROM channel_order
        WHERE (state = 'SUCCEEDED' AND (channel_transaction_id = '' OR succeed_time IS NULL
                   OR failure_reason IS NOT NULL OR credential IS NOT NULL))
           OR (state IN ('DECLINED', 'NOT_SENT', 'CLOSED', 'UNKNOWN') AND failure_reason IS NULL)
        """,
    ),
    Invariant(
        "channel_order_goes_on",
        "Every channel order that is not settled has a time at which it is looked at again.",
        "SELECT count(*) FROM channel_order",
        """
        SELECT channel_order_id, state || ' without a next look' FROM channel_order
        WHERE state IN ('PREPARED', 'SENT', 'ACCEPTED', 'UNKNOWN') AND next_step_time IS NULL
        """,
    ),
    Invariant(
        "notice_agrees_with_order",
        "Every applied notice speaks of a channel order of the very account to whose address it came.",
        "SELECT count(*) FROM notice",
        """
        SELECT n.notice_id, 'order ' || n.channel_order_id || ' is not of account ' || n.payment_account_id
        FROM notice n LEFT JOIN channel_order o ON o.channel_order_id = n.channel_order_id
        WHERE n.state IN ('APPLIED', 'REPEATED') AND o.payment_account_id IS DISTINCT FROM n.payment_account_id
        """,
    ),
    Invariant(
        "channel_order_has_account",
        "Every channel order belongs to a payment account of its own merchant, tenant and channel.",
        "SELECT count(*) FROM channel_order",
        """
        SELECT o.channel_order_id, 'account ' || o.payment_account_id
        FROM channel_order o LEFT JOIN payment_account a ON a.payment_account_id = o.payment_account_id
        WHERE (a.merchant_id, a.tenant_id, a.channel) IS DISTINCT FROM (o.merchant_id, o.tenant_id, o.channel)
        """,
    ),
)


async def check(database: Database) -> Sequence[InvariantResult]:
    """Carries every check out over the whole database, each on its own snapshot."""
    results = []
    for invariant in INVARIANTS:
        async with database.read() as connection:
            checked = (await connection.execute(text(invariant.count_query))).scalar_one()
            rows = (await connection.execute(text(invariant.violation_query))).all()
        examples = [f"{number}: {what}" for number, what in rows[:_EXAMPLES]]
        results.append(InvariantResult(invariant, checked, len(rows), examples))
    return results
