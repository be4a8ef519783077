"""The statements of the hot path are short enough to be parsed once."""

from __future__ import annotations

import pytest
from psycopg._queries import MAX_CACHED_STATEMENT_LENGTH
from sqlalchemy import ClauseElement
from sqlalchemy.dialects.postgresql.psycopg import dialect

from core.payment.store import payments, saving


@pytest.mark.parametrize(
    "statement",
    [saving._RECORD, saving._changing(answered=True), saving._changing(answered=False), payments._GET],
)
def test_a_statement_of_the_hot_path_is_kept_parsed_by_the_driver(statement: ClauseElement) -> None:
    text = str(statement.compile(dialect=dialect()))  # type: ignore[no-untyped-call]
    assert len(text) <= MAX_CACHED_STATEMENT_LENGTH
