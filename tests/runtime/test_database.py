"""A transaction is kept as a whole or not at all, whatever happens to its caller, its connection or the
server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from runtime import database as database_module
from runtime.connection_pool import ConnectionPool
from runtime.context import CallRecord, use_scope
from runtime.database import Database, after_commit
from runtime.embedded.parts import Parts
from runtime.errors import PaycenterError, Reason
from tests.runtime.support import Shop, calling_as, eventually, orders

SLOW_COMMIT = """ CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.5);
RETURN NULL; END $$; CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON orders DEFERRABLE INITIALLY DEFERRED FOR
EACH ROW EXECUTE FUNCTION slow();
"""


async def _insert(connection: AsyncConnection, order_id: str) -> None:
    await connection.execute(orders.insert(), {"order_id": order_id, "state": "CREATED"})


async def _order_ids(database: Database) -> set[str]:
    async with database.read() as connection:
        return set((await connection.execute(sa.select(orders.c.order_id))).scalars())


async def _backend_count(database: Database) -> int:
    count = sa.text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
    async with database.read() as connection:
        return int(await connection.scalar(count) or 0)


async def test_a_block_that_ends_is_kept_and_one_that_fails_leaves_nothing(database: Database) -> None:
    async with database.begin() as connection:
        await _insert(connection, "kept")

    async def attempt() -> None:
        async with database.begin() as connection:
            await _insert(connection, "dropped")
            raise KeyError

    with pytest.raises(KeyError):
        await attempt()
    assert await _order_ids(database) == {"kept"}


async def test_a_broken_constraint_stays_an_integrity_error(database: Database) -> None:
    async def attempt() -> None:
        async with database.begin() as connection:
            await _insert(connection, "O-1")
            await _insert(connection, "O-1")

    with pytest.raises(IntegrityError):
        await attempt()
    assert await _order_ids(database) == set()


async def test_an_error_that_was_swallowed_cannot_pass_for_a_commit(database: Database) -> None:
    async def attempt() -> None:
        async with database.begin() as connection:
            await _insert(connection, "O-1")
            with pytest.raises(IntegrityError):
                await _insert(connection, "O-1")

    with pytest.raises(RuntimeError, match="nothing is committed"):
        await attempt()
    assert await _order_ids(database) == set()


async def test_a_savepoint_lets_the_rest_go_on(database: Database) -> None:
    async with database.begin() as connection:
        await _insert(connection, "O-1")
        with pytest.raises(IntegrityError):
            async with connection.begin_nested():
                await _insert(connection, "O-1")
        await _insert(connection, "O-2")
    assert await _order_ids(database) == {"O-1", "O-2"}


async def test_every_statement_of_autocommit_stands_for_itself(database: Database) -> None:
    async def attempt() -> None:
        async with database.autocommit() as connection:
            await _insert(connection, "O-1")
            raise KeyError

    with pytest.raises(KeyError):
        await attempt()
    assert await _order_ids(database) == {"O-1"}


async def test_connections_carry_the_limits_and_the_time_zone(database: Database) -> None:
    names = ("TimeZone", "statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
    async with database.begin() as connection:
        found = [await connection.scalar(sa.text(f"SHOW {name}")) for name in names]
        isolation = await connection.scalar(sa.text("SHOW transaction_isolation"))
        application = await connection.scalar(sa.text("SHOW application_name"))
    assert found == ["UTC", "5s", "3s", "10s"]
    assert isolation == "read committed"
    assert application == "shop-test"


async def test_a_transaction_is_two_round_trips_more_than_its_statements(database: Database) -> None:
    """BEGIN and COMMIT, and nothing else: no ping, no rollback on return, no reset."""
    async with database.begin() as connection:
        await _insert(connection, "warm")
    seen: list[bytes] = []
    async with database.begin() as connection:
        driver = (await connection.get_raw_connection()).driver_connection
        assert isinstance(driver, psycopg.AsyncConnection)
        exec_command = driver._exec_command

        def counting(command: bytes, *arguments: object) -> object:
            seen.append(command)
            return exec_command(command, *arguments)  # type: ignore[arg-type]

        driver._exec_command = counting  # type: ignore[method-assign,assignment]
        await _insert(connection, "O-1")
    async with database.read() as connection:
        await connection.execute(sa.select(orders))
    assert seen == [b"BEGIN", b"COMMIT"]


async def test_what_waits_for_the_commit_runs_after_it_and_only_then(database: Database) -> None:
    told: list[str] = []
    async with database.begin() as connection:
        await _insert(connection, "O-1")
        after_commit(connection, lambda: told.append("kept"))
        assert told == []
    assert told == ["kept"]

    async def attempt() -> None:
        async with database.begin() as connection:
            await _insert(connection, "O-2")
            after_commit(connection, lambda: told.append("dropped"))
            raise KeyError

    with pytest.raises(KeyError):
        await attempt()
    async with database.begin() as connection:
        await _insert(connection, "O-3")
    assert told == ["kept"]


async def test_time_in_the_database_is_told_in_the_canonical_line(database: Database) -> None:
    record = CallRecord(method="/shop/CreateOrder")
    with calling_as() as scope, use_scope(type(scope)(scope.platform, scope.trace, None, record)):
        async with database.begin() as connection:
            await connection.execute(sa.text("SELECT pg_sleep(0.05)"))
        async with database.read() as connection:
            await connection.execute(sa.text("SELECT pg_sleep(0.05)"))
    spent = record.fields["db_ms"]
    assert isinstance(spent, float)
    assert 100 <= spent < 5000


class TestCancellation:
    @pytest.fixture
    async def slow_commit(self, database: Database) -> None:
        async with database.begin() as connection:
            await connection.exec_driver_sql(SLOW_COMMIT)

    @pytest.mark.usefixtures("slow_commit")
    async def test_a_caller_that_leaves_during_commit_cancels_nothing(self, database: Database) -> None:
        inserted = asyncio.Event()
        told: list[str] = []

        async def create_order() -> None:
            async with database.begin() as connection:
                await _insert(connection, "O-1")
                after_commit(connection, lambda: told.append("committed"))
                inserted.set()

        task = asyncio.create_task(create_order())
        await inserted.wait()
        await asyncio.sleep(0.1)
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0.05)
        assert not task.done()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await _order_ids(database) == {"O-1"}

    async def test_a_caller_that_leaves_before_commit_leaves_nothing(self, database: Database) -> None:
        async def create_order() -> None:
            async with database.begin() as connection:
                await _insert(connection, "O-1")
                await connection.execute(sa.text("SELECT pg_sleep(5)"))

        task = asyncio.create_task(create_order())
        await asyncio.sleep(0.2)
        task.cancel()
        started = time.monotonic()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert time.monotonic() - started < 2
        assert await _order_ids(database) == set()
        async with asyncio.timeout(5):
            await asyncio.gather(*(database.check() for _ in range(8)))

    async def test_a_thousand_callers_that_leave_at_any_moment_leak_no_connection(
        self, database: Database
    ) -> None:
        async def create_order(number: int) -> None:
            async with database.begin() as connection:
                await _insert(connection, f"O-{number}")

        tasks = []
        for number in range(300):
            tasks.append(asyncio.create_task(create_order(number)))
            await asyncio.sleep(0.0005 * (number % 4))
            tasks[-(number % 5) - 1 :][0].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert await _backend_count(database) <= 4
        assert database._pool.in_use_count == 0
        kept = {
            f"O-{number}"
            for number, task in enumerate(tasks)
            if not task.cancelled() and not task.exception()
        }
        assert kept <= await _order_ids(database)


class TestReasons:
    async def test_a_lock_that_comes_too_late_is_a_lock_conflict(self, database_url: str) -> None:
        impatient = Database(database_url, pool_size=2, lock_timeout_seconds=0.1)
        async with impatient.begin() as connection:
            await _insert(connection, "O-1")
        lock = sa.select(orders).with_for_update()

        async def attempt() -> None:
            async with impatient.begin() as first:
                await first.execute(lock)
                async with impatient.begin() as second:
                    await second.execute(lock)

        with pytest.raises(PaycenterError) as refusal:
            await attempt()
        assert refusal.value.reason is Reason.LOCK_CONFLICT
        assert refusal.value.retry_after_seconds
        await impatient.close()

    async def test_of_two_in_a_deadlock_one_goes_on_and_one_is_told(self, shop: Shop) -> None:
        await asyncio.gather(*(_create(shop.database, order_id) for order_id in ("A", "B")))
        both_hold_one = asyncio.Barrier(2)

        async def change(first: str, second: str) -> None:
            async with shop.database.begin() as connection:
                await connection.execute(orders.update().where(orders.c.order_id == first).values(state="X"))
                await both_hold_one.wait()
                await connection.execute(orders.update().where(orders.c.order_id == second).values(state="X"))

        outcomes = await asyncio.gather(change("A", "B"), change("B", "A"), return_exceptions=True)
        refused = [outcome for outcome in outcomes if outcome is not None]
        assert len(refused) == 1
        assert isinstance(refused[0], PaycenterError)
        assert refused[0].reason is Reason.LOCK_CONFLICT

    async def test_of_two_serializable_transactions_one_is_told_to_try_again(self, shop: Shop) -> None:
        await _create(shop.database, "A")
        both_have_read = asyncio.Barrier(2)

        async def change() -> None:
            async with shop.database.begin() as connection:
                await connection.execute(sa.text("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"))
                await connection.execute(sa.select(orders))
                await both_have_read.wait()
                await connection.execute(orders.update().values(state="X"))

        outcomes = await asyncio.gather(change(), change(), return_exceptions=True)
        reasons = [outcome.reason for outcome in outcomes if isinstance(outcome, PaycenterError)]
        assert reasons == [Reason.LOCK_CONFLICT]

    async def test_a_statement_without_end_is_stopped(self, database_url: str) -> None:
        strict = Database(database_url, pool_size=1, statement_timeout_seconds=0.1)
        with pytest.raises(PaycenterError) as refusal:
            async with strict.begin() as connection:
                await connection.execute(sa.text("SELECT pg_sleep(10)"))
        assert refusal.value.reason is Reason.DATABASE_UNAVAILABLE
        await strict.check()
        await strict.close()

    async def test_when_no_connection_comes_free_the_caller_is_told(self, database_url: str) -> None:
        small = Database(database_url, pool_size=1, checkout_timeout_seconds=0.1)
        async with small.begin() as connection:
            await connection.execute(sa.text("SELECT 1"))
            with pytest.raises(PaycenterError) as refusal:
                await small.check()
        assert refusal.value.reason is Reason.DATABASE_UNAVAILABLE
        await small.check()
        await small.close()

    async def test_a_server_that_is_not_there_is_unavailable(self) -> None:
        nowhere = Database("postgresql+psycopg://nobody:x@127.0.0.1:1/none")
        with pytest.raises(PaycenterError) as refusal:
            await nowhere.check()
        assert refusal.value.reason is Reason.DATABASE_UNAVAILABLE
        with pytest.raises(PaycenterError):
            await nowhere.open_session()
        await nowhere.close()

    async def test_after_closing_nothing_is_lent(self, database: Database) -> None:
        await database.check()
        await database.close()
        await database.close()
        with pytest.raises(PaycenterError) as refusal:
            await database.check()
        assert refusal.value.reason is Reason.DATABASE_UNAVAILABLE


class TestPool:
    async def test_a_transaction_that_failed_costs_no_connection(self, database_url: str) -> None:
        single = Database(database_url, pool_size=1)
        own_process = sa.text("SELECT pg_backend_pid()")

        async def attempt() -> None:
            async with single.begin() as connection:
                processes.append(await connection.scalar(own_process))
                raise KeyError

        processes: list[object] = []
        with pytest.raises(KeyError):
            await attempt()
        async with single.read() as connection:
            processes.append(await connection.scalar(own_process))
        assert processes[0] == processes[1]
        await single.close()

    async def test_waiting_callers_are_served_in_the_order_they_came(self, database_url: str) -> None:
        single = Database(database_url, pool_size=1)
        served: list[int] = []

        async def take(number: int) -> None:
            async with single.begin() as connection:
                await connection.execute(sa.text("SELECT 1"))
                served.append(number)

        async with single.begin() as connection:
            await connection.execute(sa.text("SELECT 1"))
            tasks = []
            for number in range(5):
                tasks.append(asyncio.create_task(take(number)))
                await asyncio.sleep(0.01)
            tasks[1].cancel()
            await asyncio.sleep(0.01)
        await asyncio.gather(*tasks, return_exceptions=True)
        assert served == [0, 2, 3, 4]
        await single.close()

    async def test_a_connection_handed_to_a_caller_that_leaves_goes_to_the_next(
        self, database_url: str
    ) -> None:
        single = Database(database_url, pool_size=1)
        pool: ConnectionPool = single._pool
        lent = await pool.checkout()
        leaving, staying = asyncio.create_task(pool.checkout()), asyncio.create_task(pool.checkout())
        await asyncio.sleep(0)
        await pool.give_back(lent)
        leaving.cancel()
        async with asyncio.timeout(2):
            with pytest.raises(asyncio.CancelledError):
                await leaving
            assert await staying is lent
        await pool.give_back(lent)
        await single.close()


class TestLostConnection:
    @pytest.fixture
    async def other(self, database_url: str) -> AsyncIterator[Database]:
        other = Database(database_url, pool_size=1)
        yield other
        await other.close()

    async def _end_all_backends(self, other: Database) -> None:
        end = sa.text(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        async with other.read() as connection:
            await connection.execute(end)

    async def test_connections_that_the_server_closed_are_replaced_without_an_error(
        self, database: Database, other: Database
    ) -> None:
        await asyncio.gather(*(_create(database, f"before-{number}") for number in range(8)))
        await self._end_all_backends(other)
        await asyncio.gather(*(_create(database, f"after-{number}") for number in range(8)))
        assert len(await _order_ids(database)) == 16

    async def test_a_transaction_whose_connection_is_lost_is_unavailable_and_leaves_nothing(
        self, database: Database, other: Database
    ) -> None:
        async def attempt() -> None:
            async with database.begin() as connection:
                await _insert(connection, "O-1")
                await self._end_all_backends(other)
                await _insert(connection, "O-2")

        with pytest.raises(PaycenterError) as refusal:
            await attempt()
        assert refusal.value.reason is Reason.DATABASE_UNAVAILABLE
        assert not refusal.value.may_have_begun
        assert await _order_ids(database) == set()

    async def test_a_connection_lost_during_commit_is_told_apart(
        self, database: Database, other: Database, capsys: pytest.CaptureFixture[str]
    ) -> None:
        async with database.begin() as connection:
            await connection.exec_driver_sql(SLOW_COMMIT.replace("0.5", "3"))
        unknown_before = _unknown_commits()

        async def end_backends_during_commit() -> None:
            await asyncio.sleep(0.3)
            await self._end_all_backends(other)

        ending = asyncio.create_task(end_backends_during_commit())
        with pytest.raises(PaycenterError) as refusal:
            await _create(database, "O-1")
        await ending
        assert refusal.value.reason is Reason.DATABASE_UNAVAILABLE
        assert refusal.value.may_have_begun
        assert _unknown_commits() == unknown_before + 1
        captured = capsys.readouterr()
        assert "commit outcome unknown" in captured.out + captured.err

    async def test_kill_9_of_postgresql_is_survived(self, database: Database, parts: Parts) -> None:
        await asyncio.gather(*(_create(database, f"before-{number}") for number in range(4)))
        await asyncio.to_thread(parts.kill, "postgres")
        with pytest.raises(PaycenterError) as refusal:
            await database.check()
        assert refusal.value.reason is Reason.DATABASE_UNAVAILABLE
        assert refusal.value.retry_after_seconds
        await asyncio.to_thread(parts.start_process, "postgres")
        await asyncio.gather(*(_create(database, f"after-{number}") for number in range(4)))
        assert len(await _order_ids(database)) == 8
        await eventually(lambda: database._pool.in_use_count == 0)


async def _create(database: Database, order_id: str) -> None:
    async with database.begin() as connection:
        await _insert(connection, order_id)


def _unknown_commits() -> float:
    return sum(sample.value for sample in next(iter(database_module._unknown_commits.collect())).samples[:1])
