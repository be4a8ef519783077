"""One PostgreSQL and NATS for all tests of a process; each test has its own database, PaymentCore and shop."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest

from runtime.embedded.databases import owner_of
from runtime.embedded.parts import Parts
from runtime.embedded.postgres import PostgresOptions
from runtime.migrations import run_migrations
from tests.integration.transaction.desk import Desk, open_desk


@pytest.fixture(scope="session")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    parts = Parts(
        tmp_path_factory.mktemp("parts"),
        postgres=PostgresOptions(shared_buffers_megabytes=64, is_durable=False),
    )
    try:
        parts.start()
        yield parts
    finally:
        parts.remove()


@pytest.fixture(scope="session")
def template(parts: Parts) -> str:
    """A database with all tables, of which each test gets a copy."""
    run_migrations(parts.database_urls["transaction"], "core.transaction:migrations")
    return parts.database_urls["transaction"].rpartition("/")[2].partition("?")[0]


@pytest.fixture
def database_url(parts: Parts, template: str) -> Iterator[str]:
    name = f"test_{secrets.token_hex(6)}"
    owner = owner_of("transaction")
    with psycopg.connect(parts._administrator_url("postgres"), autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" OWNER "{owner}" TEMPLATE "{template}"'.encode())
    yield parts._url(name, owner)
    with psycopg.connect(parts._administrator_url("postgres"), autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())


@pytest.fixture
async def desk(parts: Parts, database_url: str, tmp_path: Path) -> AsyncIterator[Desk]:
    """TransactionCore with its background workers at work."""
    opened = await open_desk(database_url, parts.nats_url, working=True, data_directory=tmp_path)
    async with opened.resources:
        yield opened


@pytest.fixture
async def quiet_desk(parts: Parts, database_url: str, tmp_path: Path) -> AsyncIterator[Desk]:
    """TransactionCore whose background workers work only when a test steps them."""
    opened = await open_desk(database_url, parts.nats_url, working=False, data_directory=tmp_path)
    async with opened.resources:
        yield opened
