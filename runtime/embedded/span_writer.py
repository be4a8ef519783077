"""Writes spans to a SQLite file. Invariant: the file never holds many more rows than its cap, oldest go first."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Self

from runtime.embedded.trace_store import COLUMNS, Span

DEFAULT_ROWS_CAP = 500_000
_TRIM_AFTER_ROWS = 1_000
_SCHEMA = """
CREATE TABLE IF NOT EXISTS span (
    trace_id TEXT NOT NULL,
    span_id TEXT NOT NULL,
    parent_span_id TEXT NOT NULL,
    service TEXT NOT NULL,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    start_nanoseconds INTEGER NOT NULL,
    end_nanoseconds INTEGER NOT NULL,
    status TEXT NOT NULL,
    status_message TEXT NOT NULL,
    attributes TEXT NOT NULL,
    links TEXT NOT NULL,
    business_id TEXT NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS span_by_trace ON span (trace_id, span_id);
CREATE INDEX IF NOT EXISTS span_by_business_id ON span (business_id) WHERE business_id <> '';
"""
_INSERT = f"INSERT OR IGNORE INTO span ({COLUMNS}, business_id) VALUES ({', '.join('?' * 13)})"


class SpanWriter:
    """The one writer of a file; its methods may be called from any thread."""

    def __init__(self, file: Path, *, rows_cap: int = DEFAULT_ROWS_CAP) -> None:
        self._rows_cap = rows_cap
        self._rows_since_trim = 0
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(file, check_same_thread=False, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.executescript(_SCHEMA)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._connection.close()

    def write(self, spans: Sequence[Span]) -> None:
        """Store spans in one transaction; those that are stored already are left alone. Idempotent."""
        rows = [_row(span) for span in spans]
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                self._connection.executemany(_INSERT, rows)
                self._rows_since_trim += len(rows)
                if self._rows_since_trim >= min(_TRIM_AFTER_ROWS, self._rows_cap):
                    self._trim()
                self._connection.execute("COMMIT")
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise

    def _trim(self) -> None:
        self._rows_since_trim = 0
        self._connection.execute(
            "DELETE FROM span WHERE rowid <= (SELECT max(rowid) FROM span) - ?", (self._rows_cap,)
        )


def _row(span: Span) -> tuple[str | int, ...]:
    return (
        span.trace_id,
        span.span_id,
        span.parent_span_id,
        span.service,
        span.name,
        span.kind,
        span.start_nanoseconds,
        span.end_nanoseconds,
        span.status,
        span.status_message,
        json.dumps(span.attributes),
        json.dumps([asdict(link) for link in span.links]),
        span.business_id,
    )
