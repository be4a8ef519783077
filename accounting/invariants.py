"""The ledger's own invariants as queries that look for what breaks them. Invariant: written with full or left joins,
since an inner join does not see what is missing."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection


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

    name: str
    description: str
    checked_count: int
    violation_count: int
    examples: tuple[str, ...]


INVARIANTS: tuple[Invariant, ...] = (
    Invariant(
        "journal_balances",
        "Every journal's debits equal its credits in every currency.",
        "SELECT count(*) FROM journal",
        """
        SELECT j.journal_id, e.currency_code || ' differs by ' || coalesce(sum(
                   CASE e.side WHEN 'DEBIT' THEN e.amount_minor_units ELSE -e.amount_minor_units END), 0)
        FROM journal j LEFT JOIN entry e ON e.journal_id = j.journal_id GROUP BY j.journal_id, e.currency_code
        HAVING coalesce(sum(CASE e.side WHEN 'DEBIT' THEN e.amount_minor_units ELSE -e.amount_minor_units END), 1)
               <> 0
        """,
    ),
    Invariant(
        "journal_is_complete",
        "Every journal has the number of entries that it declares, and every entry has its journal.",
        "SELECT count(*) FROM journal",
        """
        SELECT coalesce(j.journal_id, e.journal_id), coalesce(j.line_count, 0) || ' declared, ' || coalesce(e.found, 0)
               || ' found'
        FROM journal j FULL JOIN (SELECT journal_id, count(*) AS found FROM entry GROUP BY journal_id) e
          ON e.journal_id = j.journal_id
        WHERE j.line_count IS DISTINCT FROM e.found
        """,
    ),
    Invariant(
        "balance_equals_entries",
        "Every balance equals the sums of its account's entries.",
        "SELECT count(*) FROM account_balance",
        """
        SELECT coalesce(b.account_id, e.account_id), 'balance ' || coalesce(b.debit_minor_units, 0) || '/'
               || coalesce(b.credit_minor_units, 0) || ', entries ' || coalesce(e.debit, 0) || '/'
               || coalesce(e.credit, 0)
        FROM account_balance b FULL JOIN (
            SELECT shard, account_id, max(account_sequence) AS last_sequence,
                   coalesce(sum(amount_minor_units) FILTER (WHERE side = 'DEBIT'), 0) AS debit,
                   coalesce(sum(amount_minor_units) FILTER (WHERE side = 'CREDIT'), 0) AS credit
            FROM entry GROUP BY shard, account_id
        ) e ON e.shard = b.shard AND e.account_id = b.account_id
        WHERE b.account_id IS NULL OR b.debit_minor_units <> coalesce(e.debit, 0)
           OR b.credit_minor_units <> coalesce(e.credit, 0) OR b.entry_sequence <> coalesce(e.last_sequence, 0)
        """,
    ),
    Invariant(
        "entry_sequence_is_unbroken",
        "An account's entries count from 1 without a gap and each running balance continues the one before.",
        "SELECT count(*) FROM entry",
        """
        SELECT e.account_id, 'entry ' || e.account_sequence || ' does not continue the one before'
        FROM (
            SELECT entry.shard, entry.account_id, account_sequence, balance_after_minor_units,
                   CASE entry.side WHEN a.normal_side THEN amount_minor_units ELSE -amount_minor_units END AS change,
                   lag(account_sequence, 1, 0::bigint) OVER w AS sequence_before,
                   lag(balance_after_minor_units, 1, 0::bigint) OVER w AS balance_before
            FROM entry LEFT JOIN account a ON a.shard = entry.shard AND a.account_id = entry.account_id
            WINDOW w AS (PARTITION BY entry.shard, entry.account_id ORDER BY account_sequence)
        ) e
        WHERE e.account_sequence <> e.sequence_before + 1 OR e.change IS NULL
           OR e.balance_after_minor_units <> e.balance_before + e.change
        """,
    ),
    Invariant(
        "held_equals_open_holds",
        "What a balance holds back equals what its open holds keep.",
        "SELECT count(*) FROM hold",
        """
        SELECT coalesce(b.account_id, h.account_id), 'held ' || coalesce(b.held_minor_units, 0) || ', holds keep '
               || coalesce(h.kept, 0)
        FROM account_balance b FULL JOIN (
            SELECT shard, account_id, sum(amount_minor_units - captured_minor_units - released_minor_units) AS kept
            FROM hold WHERE state = 'OPEN' GROUP BY shard, account_id
        ) h ON h.shard = b.shard AND h.account_id = b.account_id
        WHERE coalesce(b.held_minor_units, 0) <> coalesce(h.kept, 0)
        """,
    ),
    Invariant(
        "hold_equals_its_history",
        "A hold's captured and released sums equal its history, and a hold that is not open keeps nothing.",
        "SELECT count(*) FROM hold",
        """
        SELECT coalesce(h.hold_id, e.hold_id), 'captured ' || coalesce(h.captured_minor_units, 0) || '/'
               || coalesce(e.captured, 0) || ', released ' || coalesce(h.released_minor_units, 0) || '/'
               || coalesce(e.released, 0)
        FROM hold h FULL JOIN (
            SELECT shard, hold_id, count(*) AS changes,
                   coalesce(sum(amount_minor_units) FILTER (WHERE action = 'PLACE'), 0) AS placed,
                   coalesce(sum(amount_minor_units) FILTER (WHERE action = 'CAPTURE'), 0) AS captured,
                   coalesce(sum(CASE WHEN action IN ('RELEASE', 'EXPIRE') THEN amount_minor_units
                                     ELSE released_minor_units END), 0) AS released
            FROM hold_event GROUP BY shard, hold_id
        ) e ON e.shard = h.shard AND e.hold_id = h.hold_id
        WHERE h.hold_id IS NULL OR e.hold_id IS NULL OR h.amount_minor_units <> e.placed
           OR h.captured_minor_units <> e.captured OR h.released_minor_units <> e.released OR h.version <> e.changes
           OR (h.state <> 'OPEN'
               AND h.amount_minor_units <> h.captured_minor_units + h.released_minor_units)
        """,
    ),
    Invariant(
        "account_currency_is_kept",
        "Every entry is in its account's currency.",
        "SELECT count(*) FROM entry",
        """
        SELECT e.account_id, 'entry ' || e.account_sequence || ' is in ' || e.currency_code
        FROM entry e LEFT JOIN account a ON a.shard = e.shard AND a.account_id = e.account_id
        WHERE a.account_id IS NULL OR a.currency_code <> e.currency_code
        """,
    ),
    Invariant(
        "books_are_apart",
        "No journal touches shadow and real accounts at once.",
        "SELECT count(*) FROM journal",
        """
        SELECT e.journal_id, 'mixes shadow and real accounts' FROM entry e
        JOIN account a ON a.shard = e.shard AND a.account_id = e.account_id
        GROUP BY e.journal_id HAVING count(DISTINCT a.shadow) > 1
        """,
    ),
    Invariant(
        "floor_is_kept",
        "No account is below its floor, holds included.",
        "SELECT count(*) FROM account_balance",
        """
        SELECT account_id, 'available ' || available || ', floor ' || lowest_minor_units FROM (
            SELECT account_id, lowest_minor_units, held_minor_units,
                   CASE normal_side WHEN 'DEBIT' THEN debit_minor_units - credit_minor_units
                                    ELSE credit_minor_units - debit_minor_units END - held_minor_units AS available
            FROM account_balance) b WHERE available < lowest_minor_units
        """,
    ),
    Invariant(
        "account_has_one_balance",
        "Every account has its balance row and every balance row its account.",
        "SELECT count(*) FROM account",
        """
        SELECT coalesce(a.account_id, b.account_id), 'account or balance row is missing'
        FROM account a FULL JOIN account_balance b ON b.shard = a.shard AND b.account_id = a.account_id
        WHERE a.account_id IS NULL OR b.account_id IS NULL
        """,
    ),
    Invariant(
        "reversal_mirrors",
        "A reversal has its original's entries on the opposite sides.",
        "SELECT count(*) FROM journal WHERE kind = 'REVERSAL'",
        """
        SELECT r.journal_id, 'does not mirror ' || r.reversed_journal_id FROM journal r WHERE r.kind = 'REVERSAL'
        AND EXISTS (
            (SELECT account_id, CASE side WHEN 'DEBIT' THEN 'CREDIT' ELSE 'DEBIT' END, amount_minor_units, line_number
             FROM entry WHERE journal_id = r.reversed_journal_id
             EXCEPT ALL
             SELECT account_id, side, amount_minor_units, line_number FROM entry WHERE journal_id = r.journal_id)
            UNION ALL
            (SELECT account_id, side, amount_minor_units, line_number FROM entry WHERE journal_id = r.journal_id
             EXCEPT ALL
             SELECT account_id, CASE side WHEN 'DEBIT' THEN 'CREDIT' ELSE 'DEBIT' END, amount_minor_units, line_number
             FROM entry WHERE journal_id = r.reversed_journal_id))
        """,
    ),
    Invariant(
        "journal_has_its_event",
        "Every journal has exactly one event.",
        "SELECT count(*) FROM journal",
        """
        SELECT coalesce(j.journal_id, o.resource_id), coalesce(o.found, 0) || ' events'
        FROM journal j FULL JOIN (
            SELECT resource_id, count(*) AS found FROM outbox_event WHERE event_type = 'JOURNAL_POSTED'
            GROUP BY resource_id
        ) o ON o.resource_id = j.journal_id
        WHERE j.journal_id IS NULL OR o.found IS DISTINCT FROM 1
        """,
    ),
)


async def check(connection: AsyncConnection, invariant: Invariant) -> InvariantResult:
    """Runs one check over the whole database."""
    checked = (await connection.execute(text(invariant.count_query))).scalar_one()
    breaches = (await connection.execute(text(invariant.violation_query))).all()
    return InvariantResult(
        name=invariant.name,
        description=invariant.description,
        checked_count=checked,
        violation_count=len(breaches),
        examples=tuple(f"{number}: {what}" for number, what in breaches[:20]),
    )
