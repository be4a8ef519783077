"""The migrations make what the code expects."""

from __future__ import annotations

from core.transaction.store.tables import metadata
from runtime.migrations import schema_differences


def test_the_migrations_make_the_tables_that_the_code_names(database_url: str) -> None:
    assert schema_differences(database_url, metadata) == []
