"""Schema changes: several servers start at once, one of them changes the schema, and none sees half of it."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa

from runtime.database import new_metadata, run_migrations
from runtime.idempotency import idempotency_table
from runtime.migrations import VERSION_TABLE, schema_differences
from runtime.outbox import outbox_table

ENVIRONMENT = """
from runtime.database import new_metadata
from runtime.idempotency import idempotency_table
from runtime.migrations import run_environment
from runtime.outbox import outbox_table

metadata = new_metadata()
idempotency_table(metadata)
outbox_table(metadata)
run_environment(metadata)
"""

FIRST = """
from alembic import op
from runtime.shared_schema import create_shared_tables_v1, drop_shared_tables_v1

revision = "0001"
down_revision = None


def upgrade() -> None:
    create_shared_tables_v1()
    op.execute("CREATE TABLE trail (step text)")
    op.execute("SELECT pg_sleep(0.3)")
    op.execute("INSERT INTO trail VALUES ('first')")


def downgrade() -> None:
    drop_shared_tables_v1()
"""

SECOND = """
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.execute("INSERT INTO trail VALUES ('second')")
    op.execute({last_statement!r})
"""


@pytest.fixture
def migrations(tmp_path: Path) -> Path:
    folder = tmp_path / "migrations %"
    (folder / "versions").mkdir(parents=True)
    (folder / "env.py").write_text(ENVIRONMENT)
    (folder / "versions" / "0001_shared_tables.py").write_text(FIRST)
    return folder


def _add_second(migrations: Path, last_statement: str) -> None:
    (migrations / "versions" / "0002_more.py").write_text(SECOND.format(last_statement=last_statement))


def _trail(url: str) -> list[str]:
    with sa.create_engine(url, poolclass=sa.NullPool).connect() as connection:
        return list(connection.execute(sa.text("SELECT step FROM trail")).scalars())


def _version(url: str) -> str:
    with sa.create_engine(url, poolclass=sa.NullPool).connect() as connection:
        return str(connection.scalar(sa.text(f"SELECT version_num FROM {VERSION_TABLE}")))


def test_the_shared_tables_of_a_migration_equal_those_in_the_code(
    empty_database_url: str, migrations: Path
) -> None:
    run_migrations(empty_database_url, migrations)
    metadata = new_metadata()
    idempotency_table(metadata)
    outbox_table(metadata)
    sa.Table("trail", metadata, sa.Column("step", sa.Text))
    assert schema_differences(empty_database_url, metadata) == []
    sa.Table("forgotten", metadata, sa.Column("step", sa.Text))
    assert "forgotten" in str(schema_differences(empty_database_url, metadata))


def test_servers_that_start_at_once_change_the_schema_once(empty_database_url: str, migrations: Path) -> None:
    command = (
        "import sys; import alembic.command; from runtime.database import run_migrations\n"
        "sys.stdout.write('ready\\n'); sys.stdout.flush(); sys.stdin.readline(); run_migrations(*sys.argv[1:])"
    )
    starting = [
        subprocess.Popen(
            [sys.executable, "-c", command, empty_database_url, str(migrations)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for server in starting:
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
    for server in starting:
        assert server.stdin is not None
        server.stdin.write("go\n")
        server.stdin.flush()
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda _: run_migrations(empty_database_url, migrations), range(2)))
    for server in starting:
        server.communicate(timeout=60)
    assert [server.returncode for server in starting] == [0, 0, 0]
    assert _trail(empty_database_url) == ["first"]


def test_a_change_that_fails_leaves_the_schema_as_it_was_before_it(
    empty_database_url: str, migrations: Path
) -> None:
    _add_second(migrations, "SELECT 1 / 0")
    with pytest.raises(sa.exc.DataError):
        run_migrations(empty_database_url, migrations)
    assert (_version(empty_database_url), _trail(empty_database_url)) == ("0001", ["first"])
    _add_second(migrations, "SELECT 1")
    run_migrations(empty_database_url, migrations)
    assert (_version(empty_database_url), _trail(empty_database_url)) == ("0002", ["first", "second"])


def test_a_schema_that_is_new_enough_is_left_alone(empty_database_url: str, migrations: Path) -> None:
    run_migrations(empty_database_url, migrations)
    run_migrations(empty_database_url, str(migrations))
    assert _trail(empty_database_url) == ["first"]
