"""Creates the four databases and their roles. Invariant: a role connects to its own database and no other,
except `paycenter_readonly`, which reads all four and writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import psycopg
from psycopg import sql

DATABASES = ("transaction", "payment", "channel", "accounting")
READONLY_ROLE = "paycenter_readonly"


def owner_of(database: str) -> str:
    """The role that owns a database."""
    return f"paycenter_{database}"


def create_databases(
    administrator_url: str, *, password_of: Callable[[str], str], databases: Sequence[str] = DATABASES
) -> None:
    """Create what is missing and set every role's password. Idempotent.

    `administrator_url` is libpq's URL of a superuser on the database `postgres`.
    """
    with psycopg.connect(administrator_url, autocommit=True) as connection:
        _ensure_role(connection, READONLY_ROLE, password_of(READONLY_ROLE))
        _run(connection, "GRANT pg_read_all_data TO {}", sql.Identifier(READONLY_ROLE))
        _run(
            connection, "ALTER ROLE {} SET default_transaction_read_only = on", sql.Identifier(READONLY_ROLE)
        )
        existing = {name for (name,) in connection.execute("SELECT datname FROM pg_database").fetchall()}
        for database in databases:
            _ensure_role(connection, owner_of(database), password_of(owner_of(database)))
            if database not in existing:
                _run(connection, "CREATE DATABASE {} OWNER {}", *_name_and_owner(database))
            _restrict(connection, database)


def recreate_database(administrator_url: str, database: str) -> None:
    """Drop a database with everything in it, connections included, and create it empty."""
    with psycopg.connect(administrator_url, autocommit=True) as connection:
        _run(connection, "DROP DATABASE IF EXISTS {} WITH (FORCE)", sql.Identifier(database))
        _run(connection, "CREATE DATABASE {} OWNER {}", *_name_and_owner(database))
        _restrict(connection, database)


def _ensure_role(connection: psycopg.Connection[Any], role: str, password: str) -> None:
    found = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,)).fetchone()
    verb = "ALTER" if found else "CREATE"
    _run(connection, verb + " ROLE {} LOGIN PASSWORD {}", sql.Identifier(role), sql.Literal(password))


def _name_and_owner(database: str) -> tuple[sql.Identifier, sql.Identifier]:
    return sql.Identifier(database), sql.Identifier(owner_of(database))


def _restrict(connection: psycopg.Connection[Any], database: str) -> None:
    name = sql.Identifier(database)
    _run(connection, "REVOKE ALL ON DATABASE {} FROM PUBLIC", name)
    _run(connection, "GRANT CONNECT ON DATABASE {} TO {}", name, sql.Identifier(READONLY_ROLE))


def _run(connection: psycopg.Connection[Any], statement: str, *parts: sql.Composable) -> None:
    connection.execute(sql.SQL(statement).format(*parts))
