"""The event log: an event for every change that was kept, none for one that was not, in an order that never
changes."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
import sqlalchemy as sa

from runtime.context import decode_platform
from runtime.database import Database
from runtime.embedded.parts import Parts
from runtime.errors import PaycenterError, Reason
from runtime.ids import NumberKind, number_kind, shard_of_number
from runtime.outbox import OutboxEvent, StoredEvent
from runtime.relay import Relay
from runtime.revisions import Revisions
from tests.runtime.support import Shop, calling_as, order_event, outbox_event


async def _assign_all(shop: Shop, relay: Relay) -> None:
    while await relay.step():
        pass


async def _read(shop: Shop, *, after_revision: int = 0, limit: int = 1000) -> list[StoredEvent]:
    async with shop.database.read() as connection:
        return await shop.outbox.read_events(connection, after_revision=after_revision, limit=limit)


async def test_an_event_carries_who_acted_in_which_trace(shop: Shop, offline_relay: Relay) -> None:
    with calling_as("web-shop", business_id="B-77") as scope:
        await shop.create_order("O-1")
    await _assign_all(shop, offline_relay)
    (event,) = await _read(shop)
    assert (event.revision, event.shard, event.resource_id, event.resource_version) == (1, 7, "O-1", 1)
    assert event.subject == "paycenter.shop.7.order_created"
    assert (event.business_id, event.traceparent) == ("B-77", scope.trace.format())
    assert decode_platform(event.platform) == scope.platform
    assert (number_kind(event.event_id), shard_of_number(event.event_id)) == (NumberKind.EVENT, 7)
    assert event.payload == b"O-1/1"
    assert event.published_time is None


async def test_a_change_that_is_rolled_back_tells_nothing(shop: Shop) -> None:
    async def attempt() -> None:
        async with shop.database.begin() as connection:
            await shop.outbox.append(connection, order_event("O-1"))
            raise KeyError

    with calling_as(), pytest.raises(KeyError):
        await attempt()
    assert await shop.count(outbox_event) == 0
    assert not shop.outbox.nudge.is_set()


async def test_many_events_are_one_statement_and_keep_their_order(shop: Shop, offline_relay: Relay) -> None:
    statements: list[str] = []
    sa.event.listen(
        shop.database.engine.sync_engine,
        "before_cursor_execute",
        lambda _connection, _cursor, statement, *_: statements.append(statement),
    )
    with calling_as():
        async with shop.database.begin() as connection:
            await shop.outbox.append(connection, *(order_event("O-1", version=n) for n in range(1, 31)))
            await shop.outbox.append(connection)
    assert len(statements) == 1
    assert shop.outbox.nudge.is_set()
    await _assign_all(shop, offline_relay)
    assert [event.resource_version for event in await _read(shop)] == list(range(1, 31))


async def test_an_event_without_business_id_takes_that_of_the_scope_or_its_resource(
    shop: Shop, offline_relay: Relay
) -> None:
    own = OutboxEvent(
        shard=1, event_type="X", resource_id="O-1", resource_version=1, payload=b"", business_id="OWN"
    )
    with calling_as(business_id=""):
        async with shop.database.begin() as connection:
            await shop.outbox.append(connection, own, order_event("O-2"))
    await _assign_all(shop, offline_relay)
    assert [event.business_id for event in await _read(shop)] == ["OWN", "O-2"]


async def test_revisions_are_gapless_and_follow_each_orders_versions_under_load(
    shop: Shop, offline_relay: Relay
) -> None:
    """Writers on many connections commit in any order; a reader that follows the log misses nothing."""
    read: list[StoredEvent] = []
    writing_is_over = asyncio.Event()

    async def write(number: int) -> None:
        with calling_as(business_id=f"B-{number}"):
            await shop.create_order(f"O-{number}")
            for state in ("PAYING", "PAID", "REFUNDED"):
                await asyncio.sleep(0.001 * (number % 3))
                await shop.change_order(f"O-{number}", state)

    async def relay_events() -> None:
        while await offline_relay.step() or not writing_is_over.is_set():
            await asyncio.sleep(0)

    async def follow() -> None:
        while len(read) < 160:
            events = await _read(shop, after_revision=read[-1].revision if read else 0, limit=7)
            read.extend(events)
            if not events:
                await shop.outbox.revisions.wait_beyond(len(read), timeout_seconds=5)

    following, relaying = asyncio.create_task(follow()), asyncio.create_task(relay_events())
    await asyncio.gather(*(write(number) for number in range(40)))
    writing_is_over.set()
    async with asyncio.timeout(20):
        await asyncio.gather(following, relaying)
    assert [event.revision for event in read] == list(range(1, 161))
    for number in range(40):
        versions = [event.resource_version for event in read if event.resource_id == f"O-{number}"]
        assert versions == [1, 2, 3, 4]


class TestCompaction:
    @pytest.fixture
    async def log_of_ten(self, shop: Shop, offline_relay: Relay) -> None:
        with calling_as():
            for number in range(10):
                await shop.create_order(f"O-{number}")
        await _assign_all(shop, offline_relay)

    async def _age(self, shop: Shop, *, up_to: int, published_up_to: int) -> None:
        old = sa.func.now() - sa.text("interval '30 days'")
        async with shop.database.begin() as connection:
            for column, last in (("created_time", up_to), ("published_time", published_up_to)):
                await connection.execute(
                    sa.update(outbox_event).where(outbox_event.c.revision <= last).values({column: old})
                )

    async def _compact(self, shop: Shop, *, limit: int = 5000) -> int:
        async with shop.database.begin() as connection:
            before = datetime.now(UTC) - timedelta(days=7)
            return await shop.outbox.compact(connection, before=before, limit=limit)

    @pytest.mark.usefixtures("log_of_ten")
    async def test_who_comes_too_late_is_told_where_to_begin_again(self, shop: Shop) -> None:
        await self._age(shop, up_to=4, published_up_to=10)
        assert await self._compact(shop) == 4
        with pytest.raises(PaycenterError) as refusal:
            await _read(shop, after_revision=3)
        assert refusal.value.reason is Reason.REVISION_COMPACTED
        assert refusal.value.metadata == {"compactRevision": "4"}
        assert [event.revision for event in await _read(shop, after_revision=4)] == [5, 6, 7, 8, 9, 10]
        async with shop.database.read() as connection:
            assert await shop.outbox.edges(connection) == (4, 10)

    @pytest.mark.usefixtures("log_of_ten")
    async def test_what_the_bus_has_not_got_stays(self, shop: Shop) -> None:
        await self._age(shop, up_to=10, published_up_to=2)
        assert await self._compact(shop) == 2
        assert await self._compact(shop) == 0

    @pytest.mark.usefixtures("log_of_ten")
    async def test_the_newest_event_stays_so_that_revisions_go_on(
        self, shop: Shop, offline_relay: Relay
    ) -> None:
        await self._age(shop, up_to=10, published_up_to=10)
        assert await self._compact(shop, limit=4) == 4
        assert await self._compact(shop) == 5
        await offline_relay.close()
        with calling_as():
            await shop.create_order("O-11")
        successor = Relay(shop.database, shop.outbox, offline_relay._bus, offline_relay._clock)
        await _assign_all(shop, successor)
        assert [event.revision for event in await _read(shop, after_revision=9)] == [10, 11]
        await successor.close()

    async def test_an_empty_log_has_nothing_to_compact(self, shop: Shop) -> None:
        assert await self._compact(shop) == 0
        async with shop.database.read() as connection:
            assert await shop.outbox.edges(connection) == (0, 0)


class TestRevisions:
    async def test_a_stream_wakes_when_the_log_has_grown(self) -> None:
        revisions = Revisions()
        waiting = asyncio.create_task(revisions.wait_beyond(3, timeout_seconds=5))
        await asyncio.sleep(0)
        assert revisions.waiter_count == 1
        revisions.advance(3)
        await asyncio.sleep(0.01)
        assert not waiting.done()
        revisions.advance(4)
        assert await waiting
        assert revisions.waiter_count == 0

    async def test_a_stream_that_waits_in_vain_can_send_its_heartbeat(self) -> None:
        assert not await Revisions().wait_beyond(0, timeout_seconds=0.01)

    async def test_the_newest_revision_never_goes_back(self) -> None:
        revisions = Revisions()
        revisions.advance(9)
        revisions.advance(8)
        assert revisions.newest == 9
        assert await revisions.wait_beyond(8, timeout_seconds=0)


async def test_a_process_without_the_role_hears_of_new_events_too(
    shop: Shop, offline_relay: Relay, database_url: str
) -> None:
    other_database = Database(database_url, pool_size=2)
    other = Shop(other_database, type(shop.outbox)(outbox_event, service="shop"), shop.idempotency)
    other_relay = other.relay(offline_relay._bus)
    await _assign_all(shop, offline_relay)
    assert await other_relay.step() == 0
    assert (offline_relay.is_active, other_relay.is_active) == (True, False)
    waiting = asyncio.create_task(other.outbox.revisions.wait_beyond(0, timeout_seconds=5))
    with calling_as():
        await shop.create_order("O-1")
    await _assign_all(shop, offline_relay)
    await other_relay.step()
    assert await waiting
    await other_relay.close()
    await other_database.close()


async def test_kill_9_of_postgresql_leaves_no_gap_and_no_double(
    shop: Shop, offline_relay: Relay, parts: Parts
) -> None:
    kept: set[str] = set()
    refusals: set[Reason] = set()
    stop = asyncio.Event()

    async def write(lane: int) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            order_id = f"O-{lane}-{number}"
            with calling_as():
                try:
                    await shop.create_order(order_id)
                    kept.add(order_id)
                except PaycenterError as refusal:
                    refusals.add(refusal.reason)
                    await asyncio.sleep(0.05)

    async def relay_events() -> None:
        while not stop.is_set():
            try:
                await offline_relay.step()
            except PaycenterError as refusal:
                refusals.add(refusal.reason)
            await asyncio.sleep(0.01)

    tasks = [asyncio.create_task(work) for work in (write(1), write(2), write(3), relay_events())]
    await asyncio.sleep(0.5)
    await asyncio.to_thread(parts.kill, "postgres")
    await asyncio.sleep(0.2)
    await asyncio.to_thread(parts.start_process, "postgres")
    await asyncio.sleep(1.0)
    stop.set()
    await asyncio.gather(*tasks)
    await asyncio.sleep(1.0)
    await _assign_all(shop, offline_relay)
    events = await _read(shop, limit=100_000)
    assert [event.revision for event in events] == list(range(1, len(events) + 1))
    assert refusals == {Reason.DATABASE_UNAVAILABLE}
    told = [event.resource_id for event in events]
    assert kept <= set(told)
    assert len(told) == len(set(told)) > 20


async def test_a_relay_that_is_cut_off_cannot_write_beside_its_successor(
    shop: Shop, offline_relay: Relay, database_url: str
) -> None:
    with calling_as():
        await shop.create_order("O-1")
    await _assign_all(shop, offline_relay)
    session = offline_relay._session
    assert isinstance(session, psycopg.AsyncConnection)
    async with shop.database.read() as connection:
        await connection.execute(
            sa.text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": session.info.backend_pid}
        )
    successor = shop.relay(offline_relay._bus)
    with calling_as():
        await shop.create_order("O-2")
    await successor.step()
    assert successor.is_active
    with pytest.raises(PaycenterError) as refusal:
        await offline_relay.step()
    assert refusal.value.reason is Reason.DATABASE_UNAVAILABLE
    assert not offline_relay.is_active
    assert [event.revision for event in await _read(shop)] == [1, 2]
    await successor.close()
