"""The sandbox's records on disk: one SQLite table, written through before any answer leaves.

Invariant: a record that was put before an answer was given is there again after kill -9.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from channel_gateway.sandbox.records import Stored

RecordType = TypeVar("RecordType", bound=Stored)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS record (
    kind TEXT NOT NULL, key TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (kind, key)
) WITHOUT ROWID
"""
_PUT = """
INSERT INTO record (kind, key, body) VALUES (?, ?, ?)
ON CONFLICT (kind, key) DO UPDATE SET body = excluded.body
"""


class Store:
    """A key and value table per kind of record; the kind is the record's class name."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.execute(_SCHEMA)
        path.chmod(0o600)
        self._batch_depth = 0

    def put(self, *records: Stored) -> None:
        """Writes the records in one transaction; an existing record of the same key is replaced."""
        with self.batch():
            for record in records:
                self.put_json(type(record).__name__, record.key, record.to_json())

    def put_json(self, kind: str, key: str, body: dict[str, Any]) -> None:
        """Writes one body of JSON values under a kind and a key."""
        text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
        self._connection.execute(_PUT, (kind, key, text))

    def load(self, record_type: type[RecordType]) -> list[RecordType]:
        """Returns every stored record of a type, oldest first where it carries its time of creation."""
        bodies = [body for _, body in self.load_json(record_type.__name__)]
        bodies.sort(key=lambda body: int(body.get("create_milliseconds", 0)))
        return [record_type.from_json(body) for body in bodies]

    def load_json(self, kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yields key and body of every record of a kind."""
        for key, text in self._connection.execute("SELECT key, body FROM record WHERE kind = ?", (kind,)):
            yield key, json.loads(text)

    def delete_kinds(self, *kinds: str) -> None:
        """Deletes every record of the named kinds."""
        with self.batch():
            for kind in kinds:
                self._connection.execute("DELETE FROM record WHERE kind = ?", (kind,))

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Makes what is put inside one transaction; may be nested, the outermost one commits."""
        if self._batch_depth == 0:
            self._connection.execute("BEGIN")
        self._batch_depth += 1
        try:
            yield
        except BaseException:
            self._batch_depth -= 1
            if self._batch_depth == 0:
                self._connection.execute("ROLLBACK")
            raise
        self._batch_depth -= 1
        if self._batch_depth == 0:
            self._connection.execute("COMMIT")

    def close(self) -> None:
        """Closes the database file."""
        self._connection.close()
