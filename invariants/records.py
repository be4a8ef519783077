"""The rows that the checks compare, read from the four databases. Invariant: reading takes no locks and changes
nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import psycopg
from psycopg.rows import DictRow, dict_row

SERVICES: Final = ("transaction", "payment", "channel", "accounting")

_QUERIES: Final[Mapping[str, tuple[str, str]]] = {
    "orders": (
        "transaction",
        """
        SELECT order_id, kind, state, amount_minor_units, currency_code, paid_minor_units, refunded_minor_units,
               refunding_minor_units, winning_attempt_id, business_id, next_step_time IS NOT NULL AS is_scheduled
        FROM orders WHERE shard BETWEEN %(first)s AND %(last)s
        """,
    ),
    "attempts": (
        "transaction",
        """
        SELECT attempt_id, order_id, state, payment_id, transfer_payment_id, business_id,
               next_step_time IS NOT NULL AS is_scheduled
        FROM attempt WHERE shard BETWEEN %(first)s AND %(last)s
        """,
    ),
    "refunds": (
        "transaction",
        """
        SELECT refund_id, order_id, attempt_id, state, automatic, payment_id, amount_minor_units, currency_code,
               business_id, next_step_time IS NOT NULL AS is_scheduled
        FROM refund WHERE shard BETWEEN %(first)s AND %(last)s
        """,
    ),
    "payments": (
        "payment",
        """
        SELECT payment_id, kind, state, order_id, transaction_number, amount_minor_units, currency_code,
               channel_order_id, refunded_payment_id, journal_id, business_id,
               next_step_time IS NOT NULL AS is_scheduled
        FROM payment WHERE shard BETWEEN %(first)s AND %(last)s
        """,
    ),
    "channel_orders": (
        "channel",
        """
        SELECT channel_order_id, kind, state, payment_id, amount_minor_units, currency_code,
               refunded_channel_order_id, business_id, next_step_time IS NOT NULL AS is_scheduled
        FROM channel_order WHERE shard BETWEEN %(first)s AND %(last)s
        """,
    ),
    "journals": (
        "accounting",
        """
        SELECT j.journal_id, j.event_code, j.business_number, j.business_id, e.currency_code,
               sum(e.amount_minor_units) FILTER (WHERE e.side = 'DEBIT') AS amount_minor_units
        FROM journal j LEFT JOIN entry e ON e.journal_id = j.journal_id
        WHERE j.shard BETWEEN %(first)s AND %(last)s AND j.kind = 'NORMAL'
        GROUP BY j.journal_id, j.event_code, j.business_number, j.business_id, e.currency_code
        """,
    ),
}
_UPPER_FIRST: Final = ("orders", "attempts", "refunds", "payments", "channel_orders", "journals")


@dataclass(slots=True)
class Records:
    """The rows of some shards, by kind and number."""

    orders: dict[str, DictRow] = field(default_factory=dict)
    attempts: dict[str, DictRow] = field(default_factory=dict)
    refunds: dict[str, DictRow] = field(default_factory=dict)
    payments: dict[str, DictRow] = field(default_factory=dict)
    channel_orders: dict[str, DictRow] = field(default_factory=dict)
    journals: dict[str, DictRow] = field(default_factory=dict)


_NUMBER_COLUMN: Final = {
    "orders": "order_id",
    "attempts": "attempt_id",
    "refunds": "refund_id",
    "payments": "payment_id",
    "channel_orders": "channel_order_id",
    "journals": "journal_id",
}


class Center:
    """Read-only connections to the four databases; use as a context manager."""

    def __init__(self, database_urls: Mapping[str, str]) -> None:
        self._urls = {name: database_urls[name].replace("+psycopg", "") for name in SERVICES}
        self._connections: dict[str, psycopg.Connection[DictRow]] = {}

    def __enter__(self) -> Center:
        for name, url in self._urls.items():
            self._connections[name] = psycopg.connect(
                url, autocommit=True, row_factory=dict_row, options="-c default_transaction_read_only=on"
            )
        return self

    def __exit__(self, *_error: object) -> None:
        for connection in self._connections.values():
            connection.close()

    def read(self, first_shard: int, last_shard: int, *, upper_first: bool) -> Records:
        """Reads the rows of a range of shards, from the order down to the ledger or the other way round.

        Traffic goes on meanwhile. What a record above claims must be found below when the upper one is read first;
        what happened below must be known above, or be on its way, when the lower one is read first.
        """
        records = Records()
        for kind in _UPPER_FIRST if upper_first else reversed(_UPPER_FIRST):
            database, query = _QUERIES[kind]
            rows: list[dict[str, Any]] = (
                self._connections[database]
                .execute(query.encode(), {"first": first_shard, "last": last_shard})
                .fetchall()
            )
            setattr(records, kind, {row[_NUMBER_COLUMN[kind]]: row for row in rows})
        return records

    def count(self, database: str, query: str) -> int:
        """Counts by a query that gives one number."""
        row = self._connections[database].execute(query.encode()).fetchone()
        assert row is not None
        return int(next(iter(row.values())))
