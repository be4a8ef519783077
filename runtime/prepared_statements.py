"""Runs statements that are made once and used often without SQLAlchemy's machinery for each run. Invariant: a
statement gives the same rows, row count and errors on either way.

SQLAlchemy builds, checks and compiles every statement. A statement object that comes a second time is a
constant of its module: it is compiled once, and from then on its parameters go straight to psycopg and the
rows come back as SQLAlchemy's own rows. That halves the cost of a statement. What is made anew for each
call, and whatever needs more than plain parameters (lists that expand, many parameter sets, Python-side
defaults, streams), takes SQLAlchemy's usual way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from weakref import WeakKeyDictionary

import psycopg
import sqlalchemy as sa
from sqlalchemy.engine import Dialect, IteratorResult
from sqlalchemy.engine.result import SimpleResultMetaData
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.sql.compiler import SQLCompiler

_PLAIN_OPTIONS: Final = frozenset({"preserve_rowcount"})

_Processor = Callable[[Any], Any]


class StatementResult(IteratorResult[Any]):
    """The rows of a statement, with all that SQLAlchemy's `Result` offers, and how many rows it touched."""

    def __init__(
        self, metadata: SimpleResultMetaData, rows: Iterable[Sequence[Any]], *, rowcount: int
    ) -> None:
        super().__init__(metadata, iter(rows))
        self.rowcount = rowcount


@dataclass(slots=True)
class _Prepared:
    """A compiled statement: its text, how its parameters are made, and what its rows look like."""

    sql: str
    constants: Mapping[str, Any]
    parameter_processors: Sequence[tuple[str, _Processor]]
    columns: Sequence[Any]
    dialect: Dialect
    metadata: SimpleResultMetaData | None = None
    row_processors: Sequence[tuple[int, _Processor]] = ()

    def parameters(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Fills in what the statement carries itself and converts what its types convert."""
        values = {**self.constants, **given} if self.constants else dict(given)
        for name, process in self.parameter_processors:
            if name in values:
                values[name] = process(values[name])
        return values

    def result(self, cursor: psycopg.AsyncCursor[Any], rows: list[Any]) -> StatementResult:
        """Turns psycopg's rows into SQLAlchemy's."""
        metadata = self.metadata or self._describe(cursor)
        if self.row_processors:
            rows = [self._process(row) for row in rows]
        return StatementResult(metadata, rows, rowcount=cursor.rowcount)

    def _describe(self, cursor: psycopg.AsyncCursor[Any]) -> SimpleResultMetaData:
        names = [column.name for column in cursor.description or ()]
        if not self.columns:
            self.metadata = SimpleResultMetaData(names)
        else:
            self.metadata = SimpleResultMetaData(
                [column.keyname for column in self.columns],
                extra=[
                    tuple(key for key in column.objects if not isinstance(key, str))
                    for column in self.columns
                ],
            )
            codes = [column.type_code for column in cursor.description or ()]
            processors = (
                (
                    position,
                    column.type.dialect_impl(self.dialect).result_processor(self.dialect, codes[position]),
                )
                for position, column in enumerate(self.columns)
            )
            self.row_processors = [
                (position, process) for position, process in processors if process is not None
            ]
        return self.metadata

    def _process(self, row: Sequence[Any]) -> tuple[Any, ...]:
        values = list(row)
        for position, process in self.row_processors:
            values[position] = process(values[position])
        return tuple(values)


_NO_ROWS: Final = SimpleResultMetaData(())
_seen: WeakKeyDictionary[Any, dict[tuple[str, ...], _Prepared | None]] = WeakKeyDictionary()


class PreparedConnection(AsyncConnection):
    """SQLAlchemy's connection with the short way for statements that are constants."""

    driver: psycopg.AsyncConnection[Any]

    async def start(self, is_ctxmanager: bool = False) -> AsyncConnection:
        """Opens the connection and keeps psycopg's at hand."""
        await super().start(is_ctxmanager)
        driver = (await self.get_raw_connection()).driver_connection
        assert isinstance(driver, psycopg.AsyncConnection), "the database URL names the driver psycopg"
        self.driver = driver
        return self

    async def execute(self, statement: Any, parameters: Any = None, *, execution_options: Any = None) -> Any:
        """Runs a statement; see SQLAlchemy's `AsyncConnection.execute`."""
        given: Any = parameters if parameters is not None else {}
        if execution_options is None and type(given) is dict:
            prepared = _prepared(statement, given, self.engine)
            if prepared is not None:
                return await self._run(prepared, given)
        return await super().execute(statement, parameters, execution_options=execution_options)

    async def _run(self, prepared: _Prepared, given: Mapping[str, Any]) -> StatementResult:
        cursor = self.driver.cursor()
        try:
            values = prepared.parameters(given)
            await cursor.execute(prepared.sql, values)
            if cursor.description is None:
                return StatementResult(_NO_ROWS, (), rowcount=cursor.rowcount)
            return prepared.result(cursor, await cursor.fetchall())
        except psycopg.Error as error:
            raise sa.exc.DBAPIError.instance(
                prepared.sql,
                None,
                error,
                psycopg.Error,
                hide_parameters=True,
                connection_invalidated=self.driver.closed,
                dialect=prepared.dialect,
            ) from error


def _prepared(statement: Any, given: Mapping[str, Any], engine: AsyncEngine) -> _Prepared | None:
    """Returns the compiled form of a statement that came before with the same parameter names, if it is
    plain."""
    names = tuple(given)
    try:
        forms = _seen[statement]
    except KeyError:
        _seen[statement] = {}
        return None
    except TypeError:
        return None
    try:
        prepared = forms[names]
    except KeyError:
        prepared = forms[names] = _compile(statement, names, engine.dialect)
    if prepared is not None and engine.sync_engine.dispatch.before_cursor_execute:
        return None
    return prepared


def _compile(statement: Any, names: Sequence[str], dialect: Dialect) -> _Prepared | None:
    """Compiles a statement, or returns None when it needs SQLAlchemy's usual way."""
    if not isinstance(statement, sa.sql.ClauseElement) or not _PLAIN_OPTIONS.issuperset(
        getattr(statement, "_execution_options", {})
    ):
        return None
    compiled = statement.compile(dialect=dialect, column_keys=list(names))
    if not isinstance(compiled, SQLCompiler) or _needs_the_usual_way(compiled):
        return None
    processors = compiled._bind_processors  # noqa: SLF001 - SQLAlchemy has no public name for them
    return _Prepared(
        sql=compiled.string,
        constants={
            name: bind.effective_value for bind, name in compiled.bind_names.items() if not bind.required
        },
        parameter_processors=[(name, process) for name, process in processors.items() if callable(process)],
        columns=compiled._result_columns,  # noqa: SLF001 - as above
        dialect=dialect,
    )


def _needs_the_usual_way(compiled: SQLCompiler) -> bool:
    columns, are_ordered = compiled._result_columns, compiled._ordered_columns  # noqa: SLF001 - as above
    return bool(
        compiled.literal_execute_params
        or compiled.post_compile_params
        or compiled.insert_prefetch
        or compiled.update_prefetch
        or compiled.implicit_returning
        or compiled.escaped_bind_names
        or compiled.positional
        or compiled.schema_translate_map
        or (columns and not are_ordered)
        or any(
            bind.callable is not None or (bind.required and bind.key != name)
            for bind, name in compiled.bind_names.items()
        )
    )
