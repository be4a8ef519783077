"""The short way of a statement gives what SQLAlchemy's own way gives: rows, row counts, types and errors."""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from runtime import prepared_statements
from runtime.database import Database, new_metadata
from runtime.prepared_statements import StatementResult


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Shouting(sa.TypeDecorator[str]):
    """Is upper case in the program and lower case in the database."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        return None if value is None else value.lower()

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> str | None:
        return None if value is None else value.upper()


metadata = new_metadata()
thing = sa.Table(
    "thing",
    metadata,
    sa.Column("shard", sa.SmallInteger, primary_key=True),
    sa.Column("thing_id", sa.Text, primary_key=True),
    sa.Column("amount", sa.BigInteger),
    sa.Column("ratio", sa.Numeric(20, 8)),
    sa.Column("speed", sa.Double),
    sa.Column("payload", sa.LargeBinary),
    sa.Column("happened", sa.DateTime(timezone=True)),
    sa.Column("is_open", sa.Boolean),
    sa.Column("document", JSONB),
    sa.Column("tags", ARRAY(sa.Text)),
    sa.Column("colour", sa.Enum(Colour, native_enum=False)),
    sa.Column("shout", Shouting),
    sa.Column("made", sa.DateTime(timezone=True), server_default=sa.func.now()),
)
counter = sa.Table(
    "counter", metadata, sa.Column("counter_id", sa.Integer, primary_key=True), sa.Column("name", sa.Text)
)
ticket = sa.Table(
    "ticket",
    metadata,
    sa.Column("code", sa.Text, primary_key=True),
    sa.Column("seat", sa.Integer, default=lambda: 7),
)

FULL: dict[str, Any] = {
    "shard": 3,
    "thing_id": "T-1",
    "amount": 2**60,
    "ratio": Decimal("1.50000000"),
    "speed": 2.5,
    "payload": b"\x00\xff%",
    "happened": datetime(2026, 11, 21, 8, 30, 0, 123456, tzinfo=UTC),
    "is_open": True,
    "document": {"a": [1, None, "二"]},
    "tags": ["x", "y,z"],
    "colour": Colour.BLUE,
    "shout": "LOUD",
}
EMPTY: dict[str, Any] = dict.fromkeys(FULL) | {"shard": 3, "thing_id": "T-2"}

_every = sa.select(*(thing.c[name] for name in FULL)).order_by(thing.c.thing_id)
_of_shard = sa.select(thing.c.thing_id, thing.c.amount).where(thing.c.shard == sa.bindparam("of_shard"))
_twin = thing.alias("twin")

QUERIES: dict[str, tuple[Any, dict[str, Any]]] = {
    "every type": (_every, {}),
    "one parameter": (_of_shard, {"of_shard": 3}),
    "no row": (_of_shard, {"of_shard": 99}),
    "a parameter with a default": (
        sa.select(thing.c.thing_id).where(thing.c.shard == sa.bindparam("s", 3)).order_by(thing.c.thing_id),
        {},
    ),
    "a default that is overruled": (
        sa.select(thing.c.thing_id).where(thing.c.shard == sa.bindparam("s", 3)).order_by(thing.c.thing_id),
        {"s": 4},
    ),
    "constants inside": (sa.select(thing.c.thing_id).where(thing.c.thing_id.like("T%")).limit(1), {}),
    "a limit that is a parameter": (
        sa.select(thing.c.thing_id).order_by(thing.c.thing_id).limit(sa.bindparam("n", type_=sa.Integer)),
        {"n": 1},
    ),
    "columns of one name": (sa.select(thing, _twin).join(_twin, thing.c.thing_id == _twin.c.thing_id), {}),
    "labels and functions": (sa.select(sa.func.count().label("n"), sa.func.max(thing.c.amount)), {}),
    "a converted parameter": (
        sa.select(thing.c.thing_id).where(thing.c.shout == sa.bindparam("word", type_=Shouting)),
        {"word": "LOUD"},
    ),
    "an enum": (sa.select(thing.c.colour).where(thing.c.colour == Colour.BLUE), {}),
    "text": (sa.text("SELECT thing_id, amount, document FROM thing WHERE shard = :s ORDER BY 1"), {"s": 3}),
    "text with signs": (
        sa.text("SELECT '100%' AS share, 5 % 3 AS rest, '1'::int AS one, :x AS x"),
        {"x": "a%sb"},
    ),
    "typed text": (
        sa.text("SELECT shout, amount FROM thing ORDER BY thing_id").columns(
            shout=Shouting, amount=sa.BigInteger
        ),
        {},
    ),
    "a list that expands": (
        sa.select(thing.c.thing_id).where(thing.c.thing_id.in_(sa.bindparam("ids", expanding=True))),
        {"ids": ["T-1", "T-9"]},
    ),
    "an array": (
        sa.select(thing.c.thing_id).where(thing.c.thing_id == sa.any_(sa.bindparam("ids"))),
        {"ids": ["T-1"]},
    ),
    "a union": (
        sa.union_all(sa.select(thing.c.thing_id), sa.select(counter.c.name)).order_by("thing_id"),
        {},
    ),
    "exists": (sa.select(sa.exists().where(thing.c.shard == sa.bindparam("s"))), {"s": 3}),
}

_due = (
    sa.select(thing.c.shard, thing.c.thing_id).order_by(thing.c.thing_id).limit(sa.bindparam("n")).cte("due")
)
CHANGES: dict[str, tuple[Any, dict[str, Any]]] = {
    "update": (sa.update(thing).where(thing.c.shard == sa.bindparam("s")).values(amount=1), {"s": 3}),
    "update of nothing": (
        sa.update(thing).where(thing.c.shard == sa.bindparam("s")).values(amount=1),
        {"s": 99},
    ),
    "update by parameter": (
        sa.update(thing).where(thing.c.shard == sa.bindparam("s")),
        {"s": 3, "shout": "NEW"},
    ),
    "update returning": (
        sa.update(thing)
        .where(thing.c.thing_id == sa.bindparam("id"))
        .values(amount=thing.c.amount + sa.bindparam("more"))
        .returning(thing.c.amount, thing.c.shout, thing.c.colour),
        {"id": "T-1", "more": 5},
    ),
    "update of what is due": (
        sa.update(thing)
        .where(thing.c.shard == _due.c.shard, thing.c.thing_id == _due.c.thing_id)
        .values(is_open=False)
        .returning(thing.c.thing_id),
        {"n": 1},
    ),
    "delete": (sa.delete(thing).where(thing.c.thing_id == sa.bindparam("id")), {"id": "T-1"}),
    "insert of what is there": (
        insert(thing).on_conflict_do_nothing().execution_options(preserve_rowcount=True),
        FULL,
    ),
    "upsert": (
        insert(thing)
        .on_conflict_do_update(index_elements=["shard", "thing_id"], set_={"amount": 0})
        .returning(thing.c.amount, thing.c.document),
        FULL,
    ),
    "insert with a made key": (counter.insert(), {"name": "x"}),
    "insert with a default of the program": (ticket.insert().returning(ticket.c.seat), {"code": "X"}),
    "insert returning what the server made": (
        sa.insert(thing).values(amount=8).returning(thing.c.made.is_not(None), thing.c.amount),
        {"shard": 1, "thing_id": "new"},
    ),
    "text": (sa.text("UPDATE thing SET amount = 4 WHERE shard = :s"), {"s": 3}),
}

MISTAKES: dict[str, tuple[Any, dict[str, Any]]] = {
    "a key that is taken": (thing.insert(), FULL),
    "a column that is not there": (sa.text("SELECT nothing FROM thing WHERE shard = :s"), {"s": 3}),
    "a number that is none": (sa.text("SELECT CAST(:x AS integer)"), {"x": "abc"}),
    "a value that is missing": (counter.insert(), {"counter_id": None, "name": "x"}),
}


@pytest.fixture(autouse=True)
async def things(empty_database_url: str) -> None:
    engine = sa.create_engine(empty_database_url, poolclass=sa.NullPool)
    metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(thing.insert(), [FULL, EMPTY, EMPTY | {"shard": 4, "thing_id": "T-3"}])
        connection.execute(counter.insert(), {"name": "first"})


@pytest.fixture
async def short(empty_database_url: str) -> AsyncIterator[Database]:
    database = Database(empty_database_url, pool_size=1)
    yield database
    await database.close()


@pytest.fixture
async def usual(short: Database) -> AsyncIterator[AsyncConnection]:
    """SQLAlchemy's own connection, every change undone at the end."""
    async with short.engine.connect() as connection:
        yield connection
        await connection.rollback()


class _Undo(Exception):
    """Ends a transaction without a trace."""


async def _changed(short: Database, statement: Any, parameters: dict[str, Any]) -> tuple[Any, int, bool]:
    """Runs a change and undoes it; returns its rows, its row count, and whether it went the short way."""
    found: list[tuple[Any, int, bool]] = []

    async def attempt() -> None:
        async with short.begin() as connection:
            result = await connection.execute(statement, parameters)
            went_short = isinstance(result, StatementResult)
            rows = [tuple(row) for row in result] if went_short or result.returns_rows else []
            found.append((rows, result.rowcount, went_short))
            raise _Undo

    with pytest.raises(_Undo):
        await attempt()
    return found[0]


USUAL_WAY = {
    "typed text",
    "a list that expands",
    "insert with a made key",
    "insert with a default of the program",
}


@pytest.mark.parametrize("name", QUERIES)
async def test_a_query_gives_the_same_rows_on_either_way(
    name: str, short: Database, usual: AsyncConnection
) -> None:
    statement, parameters = QUERIES[name]
    expected = await usual.execute(statement, parameters)
    keys, rows = list(expected.keys()), expected.all()
    for turn in range(3):
        async with short.read() as connection:
            result = await connection.execute(statement, parameters)
            assert isinstance(result, StatementResult) is (name not in USUAL_WAY) or turn == 0
            assert list(result.keys()) == keys
            found = result.all()
        assert found == rows
        assert [[type(value) for value in row] for row in found] == [
            [type(value) for value in row] for row in rows
        ]


@pytest.mark.parametrize("name", CHANGES)
async def test_a_change_touches_and_returns_the_same_on_either_way(
    name: str, short: Database, usual: AsyncConnection
) -> None:
    statement, parameters = CHANGES[name]
    result = await usual.execute(statement, parameters, execution_options={"preserve_rowcount": True})
    expected = ([tuple(row) for row in result] if result.returns_rows else [], result.rowcount)
    await usual.rollback()
    for turn in range(3):
        rows, rowcount, went_short = await _changed(short, statement, parameters)
        assert went_short is (name not in USUAL_WAY) or turn == 0
        assert rows == expected[0]
        if went_short:
            assert rowcount == expected[1]


@pytest.mark.parametrize("name", MISTAKES)
async def test_a_mistake_is_the_same_error_on_either_way(
    name: str, short: Database, usual: AsyncConnection
) -> None:
    statement, parameters = MISTAKES[name]
    with pytest.raises(sa.exc.DBAPIError) as expected:
        await usual.execute(statement, parameters)
    for _ in range(3):

        async def attempt() -> None:
            async with short.begin() as connection:
                await connection.execute(statement, parameters)

        with pytest.raises(sa.exc.DBAPIError) as found:
            await attempt()
        assert type(found.value) is type(expected.value)
        assert type(found.value.orig) is type(expected.value.orig)
        assert "abc" not in str(found.value).split("[SQL")[1]


async def test_a_parameter_that_is_missing_is_an_error(short: Database) -> None:
    async with short.read() as connection:
        for _ in range(3):
            with pytest.raises(sa.exc.StatementError):
                await connection.execute(_of_shard, {})


async def test_rows_are_asked_by_name_by_column_and_as_mappings(short: Database) -> None:
    for _ in range(3):
        async with short.read() as connection:
            row = (await connection.execute(_every)).first()
            assert row is not None
            assert row.amount == row._mapping["amount"] == row._mapping[thing.c.amount] == FULL["amount"]
            assert dict((await connection.execute(_every)).mappings().first() or {}) == FULL
            assert list(await connection.scalars(_of_shard, {"of_shard": 4})) == ["T-3"]
            assert await connection.scalar(_of_shard, {"of_shard": 4}) == "T-3"
            assert (await connection.execute(_of_shard, {"of_shard": 4})).one() == ("T-3", None)
            with pytest.raises(sa.exc.MultipleResultsFound):
                (await connection.execute(_every)).one_or_none()


async def test_many_sets_of_parameters_take_the_usual_way(short: Database) -> None:
    statement = counter.insert()
    for _ in range(3):
        async with short.begin() as connection:
            await connection.execute(statement, [{"name": "a"}, {"name": "b"}])
    async with short.read() as connection:
        assert await connection.scalar(sa.select(sa.func.count()).select_from(counter)) == 7


async def test_a_statement_made_anew_is_not_kept(short: Database) -> None:
    before = len(prepared_statements._seen)
    async with short.read() as connection:
        for number in range(50):
            await connection.execute(sa.select(thing.c.amount).where(thing.c.shard == number))
    assert len(prepared_statements._seen) <= before + 1


async def test_a_savepoint_holds_on_either_way(short: Database) -> None:
    taken, free = thing.insert(), sa.update(thing).where(thing.c.shard == 3)
    for turn in range(3):
        async with short.begin() as connection:
            await connection.execute(free, {"amount": turn})
            with pytest.raises(sa.exc.IntegrityError):
                async with connection.begin_nested():
                    await connection.execute(taken, FULL)
        async with short.read() as connection:
            assert (
                await connection.scalar(_of_shard.with_only_columns(thing.c.amount), {"of_shard": 3}) == turn
            )
