"""Schema changes by Alembic, safe to start from several servers at once. Invariant: one process at a time
changes a database's schema, and each change is committed as a whole or not at all.

A service's `migrations/` folder holds `versions/` and an `env.py` of these lines:

    from accounting.tables import metadata
    from runtime.migrations import run_environment

    run_environment(metadata)
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, MetaData, create_engine, text
from sqlalchemy.pool import NullPool

VERSION_TABLE: Final = "schema_version"
"""Table in which a database remembers its last change."""

_LOCK_KEY: Final = 0x7061_7963_656E_7465
_in_process = threading.Lock()


def run_migrations(url: str, script_location: str | Path) -> None:
    """Brings the database at `url` to the newest schema of `script_location`.

    `script_location` is a folder or `package:folder` (`accounting:migrations`). Whoever comes second waits
    for the first and then finds nothing to do. Blocks: call it before the event loop starts or in a thread.
    Raises SQLAlchemy's OperationalError when the database does not answer. Idempotent.
    """
    from alembic import command
    from alembic.config import Config

    engine = create_engine(
        url, poolclass=NullPool, connect_args={"options": "-c lock_timeout=0 -c statement_timeout=0"}
    )
    with _in_process, engine.connect() as connection:
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _LOCK_KEY})
        connection.commit()
        try:
            config = Config()
            config.set_main_option("script_location", str(script_location).replace("%", "%%"))
            config.set_main_option("path_separator", "os")
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
        finally:
            connection.rollback()
            connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _LOCK_KEY})
            connection.commit()


def run_environment(metadata: MetaData) -> None:
    """Does what Alembic expects of an `env.py`: applies the versions on the connection that
    `run_migrations` opened.

    `metadata` holds the service's tables. From Alembic's own command line the URL comes from `-x url=...`.
    """
    from alembic import context

    connection = context.config.attributes.get("connection")
    if isinstance(connection, Connection):
        _apply(connection, metadata)
        return
    url = context.get_x_argument(as_dictionary=True).get("url")
    if not url:
        raise ValueError("Name the database: alembic -x url=postgresql+psycopg://...")
    with create_engine(url, poolclass=NullPool).connect() as own_connection:
        _apply(own_connection, metadata)


def _apply(connection: Connection, metadata: MetaData) -> None:
    from alembic import context

    context.configure(
        connection=connection,
        target_metadata=metadata,
        version_table=VERSION_TABLE,
        transaction_per_migration=True,
        compare_type=True,
        compare_server_default=True,
    )
    with context.begin_transaction():
        context.run_migrations()


def schema_differences(url: str, metadata: MetaData) -> list[str]:
    """Returns how the database at `url` differs from `metadata`, one line each; empty when the migrations
    are whole.

    For the test that each service has beside its migrations.
    """
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with create_engine(url, poolclass=NullPool).connect() as connection:
        migration_context = MigrationContext.configure(
            connection, opts={"version_table": VERSION_TABLE, "compare_type": True}
        )
        return [repr(difference) for difference in compare_metadata(migration_context, metadata)]
