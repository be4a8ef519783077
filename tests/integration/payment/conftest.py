"""PostgreSQL and NATS for PaymentCore's tests; each test begins with empty tables."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import psycopg
import pytest

from core.payment.server import MIGRATIONS
from core.payment.store.tables import metadata
from runtime.database import run_migrations
from runtime.embedded.parts import Parts
from runtime.embedded.postgres import PostgresOptions
from tests.integration.payment.desk import Desk, open_desk


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    """PostgreSQL and NATS of this test process, with the migrated database of PaymentCore."""
    parts = Parts(
        tmp_path_factory.mktemp("payment"),
        postgres=PostgresOptions(shared_buffers_megabytes=64, is_durable=False),
    )
    try:
        parts.start()
        run_migrations(parts.database_urls["payment"], MIGRATIONS)
        yield parts
    finally:
        parts.remove()


@pytest.fixture
def database_url(embedded: Parts) -> str:
    """The database without any row; its guards against deletion are set aside while it is emptied."""
    url = embedded._administrator_url("payment")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        for table in metadata.sorted_tables:
            connection.execute(f"DELETE FROM {table.name}".encode())
    return embedded.database_urls["payment"]


@pytest.fixture
async def desk(database_url: str) -> AsyncIterator[Desk]:
    """PaymentCore between its fakes; no worker runs by itself."""
    async with AsyncExitStack() as stack:
        yield await open_desk(database_url, stack)
