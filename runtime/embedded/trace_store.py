"""Reads the spans that the telemetry receiver has stored. Invariant: reading never blocks the receiver."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BUSINESS_ID_ATTRIBUTE = "paycenter.business_id"
COLUMNS = (
    "trace_id, span_id, parent_span_id, service, name, kind, start_nanoseconds, end_nanoseconds, "
    "status, status_message, attributes, links"
)
_BUSY_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanLink:
    """A pointer to a span of this or another trace."""

    trace_id: str
    span_id: str
    attributes: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One span; ids are lower-case hexadecimal, times are nanoseconds since 1970 UTC.

    `parent_span_id` is empty for a root. `kind` is one of internal, server, client, producer, consumer,
    unspecified; `status` one of unset, ok, error.
    """

    trace_id: str
    span_id: str
    parent_span_id: str
    service: str
    name: str
    kind: str
    start_nanoseconds: int
    end_nanoseconds: int
    status: str
    status_message: str
    attributes: Mapping[str, Any]
    links: tuple[SpanLink, ...]

    @property
    def business_id(self) -> str:
        """The business id that the span carries; empty when it carries none."""
        return str(self.attributes.get(BUSINESS_ID_ATTRIBUTE, ""))

    @property
    def duration_nanoseconds(self) -> int:
        """How long it took."""
        return self.end_nanoseconds - self.start_nanoseconds


class TraceStore:
    """Queries over one file of spans; a file that does not exist yet holds none."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def spans_of_trace(self, trace_id: str) -> list[Span]:
        """Every span of a trace, by start time."""
        return self._select("trace_id = ?", trace_id)

    def spans_of_business_id(self, business_id: str) -> list[Span]:
        """Every span that carries this business id, of whatever trace, by start time."""
        return self._select("business_id = ? AND business_id <> ''", business_id)

    def span_count(self) -> int:
        """How many spans are kept now."""
        return int(self._rows("SELECT count(*) FROM span")[0][0]) if self._file.exists() else 0

    def _select(self, condition: str, value: str) -> list[Span]:
        statement = f"SELECT {COLUMNS} FROM span WHERE {condition} ORDER BY start_nanoseconds, rowid"
        return [_span(row) for row in self._rows(statement, value)] if self._file.exists() else []

    def _rows(self, statement: str, *values: str) -> list[tuple[Any, ...]]:
        uri = f"{self._file.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=_BUSY_TIMEOUT_SECONDS)) as connection:
            return connection.execute(statement, values).fetchall()


def _span(row: tuple[Any, ...]) -> Span:
    return Span(
        trace_id=row[0],
        span_id=row[1],
        parent_span_id=row[2],
        service=row[3],
        name=row[4],
        kind=row[5],
        start_nanoseconds=row[6],
        end_nanoseconds=row[7],
        status=row[8],
        status_message=row[9],
        attributes=json.loads(row[10]),
        links=tuple(SpanLink(**link) for link in json.loads(row[11])),
    )
