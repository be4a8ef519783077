"""Real PostgreSQL and NATS for the tests of the runtime: one pair for each test process, one database for
each test."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest
import sqlalchemy as sa

from runtime.bus import Bus
from runtime.database import Database
from runtime.embedded.databases import owner_of
from runtime.embedded.parts import Parts
from runtime.embedded.postgres import PostgresOptions
from runtime.relay import Relay
from tests.runtime.support import Shop, metadata, new_shop


@pytest.fixture(scope="session")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    """PostgreSQL and NATS of this test process."""
    folder = tmp_path_factory.mktemp("parts")
    survives_a_kill = PostgresOptions(
        shared_buffers_megabytes=64, is_durable=False, extra_settings={"synchronous_commit": "on"}
    )
    parts = Parts(folder, postgres=survives_a_kill)
    try:
        parts.start()
        yield parts
    finally:
        parts.remove()


@pytest.fixture
def empty_database_url(parts: Parts) -> Iterator[str]:
    """A database of its own for one test, without any table, owned by an ordinary role."""
    name = f"test_{secrets.token_hex(6)}"
    owner = owner_of("transaction")
    with psycopg.connect(parts._administrator_url("postgres"), autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" OWNER "{owner}"'.encode())
    yield parts._url(name, owner)
    with psycopg.connect(parts._administrator_url("postgres"), autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())


@pytest.fixture
def database_url(empty_database_url: str) -> str:
    """A database of its own for one test, with the shop's tables."""
    engine = sa.create_engine(empty_database_url, poolclass=sa.NullPool)
    metadata.create_all(engine)
    engine.dispose()
    return empty_database_url


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """The shop's database with a small pool."""
    database = Database(database_url, pool_size=4, application_name="shop-test")
    yield database
    await database.close()


@pytest.fixture
async def shop(database: Database) -> Shop:
    """The shop, open."""
    return new_shop(database)


@pytest.fixture
async def bus(parts: Parts) -> AsyncIterator[Bus]:
    """A connection to a NATS that holds nothing."""
    bus = await Bus.connect(parts.nats_url, name="shop-test", wait_seconds=10)
    jetstream = bus.state.jetstream
    for stream in await jetstream.streams_info():
        await jetstream.delete_stream(str(stream.config.name))
    yield bus
    await bus.close()


@pytest.fixture
async def offline_relay(shop: Shop) -> AsyncIterator[Relay]:
    """The relay of the shop's events while NATS cannot be reached."""
    bus = await Bus.connect("nats://127.0.0.1:1", wait_seconds=0)
    relay = shop.relay(bus)
    yield relay
    await relay.close()
    await bus.close()
