"""Events reach their consumers at least once, in the scope that they were made in, whatever happens to
NATS."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.trace import SpanKind

from runtime import bus_consumer
from runtime.bus import Bus, BusMessage, BusUnavailableError, Consumer, stream_of, subject_filter
from runtime.clock import SystemClock
from runtime.context import current_scope
from runtime.embedded.parts import Parts
from runtime.errors import PaycenterError, Reason
from runtime.outbox import StoredEvent
from runtime.relay import Relay
from runtime.settings import RuntimeSettings
from runtime.telemetry import setup_telemetry, shutdown_telemetry
from runtime.workers import run_workers
from tests.runtime.support import SHOP, Shop, calling_as, eventually, order_event, outbox_event


class Warehouse:
    """A consumer of the shop's events that remembers what it was told."""

    def __init__(self) -> None:
        self.messages: list[BusMessage] = []
        self.business_ids: list[str] = []
        self.refuse: Callable[[BusMessage], Awaitable[None]] | None = None

    async def handle(self, message: BusMessage) -> None:
        if self.refuse is not None:
            await self.refuse(message)
        self.messages.append(message)
        self.business_ids.append(current_scope().platform.business_id)

    @property
    def order_ids(self) -> list[str]:
        return [message.resource_id for message in self.messages]

    def consumer(self, bus: Bus, *, durable: str = "warehouse", concurrency: int = 16) -> Consumer:
        return Consumer(
            bus,
            SHOP,
            durable,
            [subject_filter(SHOP)],
            self.handle,
            SystemClock(),
            concurrency=concurrency,
            wait_seconds=0.2,
            dead_letter_deliveries=3,
        )


@pytest.fixture
def warehouse() -> Warehouse:
    return Warehouse()


@asynccontextmanager
async def running(*workers: Relay | Consumer) -> AsyncIterator[None]:
    stop = asyncio.Event()
    task = asyncio.create_task(run_workers(workers, SystemClock(), stop))
    try:
        yield
    finally:
        stop.set()
        await task


def _stored(number: int, *, subject: str = "paycenter.shop.7.order_created") -> StoredEvent:
    with calling_as() as scope:
        traceparent = scope.trace.format()
    return StoredEvent(
        revision=number,
        shard=7,
        event_id=f"E-{number}",
        subject=subject,
        event_type="ORDER_CREATED",
        resource_id=f"O-{number}",
        resource_version=1,
        business_id="B-1",
        payload=b"\x00payload",
        traceparent=traceparent,
        platform=b"",
        created_time=datetime.now(UTC),
        published_time=None,
    )


async def _stored_count(bus: Bus) -> int:
    info = await bus.state.jetstream.stream_info(stream_of(SHOP))
    return int(info.state.messages)


async def _unpublished(shop: Shop) -> int:
    async with shop.database.read() as connection:
        waiting = outbox_event.c.published_time.is_(None)
        return int(await connection.scalar(sa.select(sa.func.count()).where(waiting)) or 0)


class TestPublishing:
    async def test_what_is_acknowledged_is_stored_and_what_comes_again_is_stored_once(self, bus: Bus) -> None:
        await bus.ensure_stream(SHOP)
        await bus.ensure_stream(SHOP)
        events = [_stored(number) for number in range(1, 301)]
        assert await bus.publish(events) == 300
        assert await bus.publish(events[:10]) == 10
        assert await _stored_count(bus) == 300
        message = await bus.state.jetstream.get_msg(stream_of(SHOP), seq=1)
        assert message.headers is not None
        assert message.headers["Nats-Msg-Id"] == "E-1"
        assert message.headers["paycenter-resource-id"] == "O-1"

    async def test_only_an_unbroken_beginning_counts_as_stored(self, bus: Bus) -> None:
        await bus.ensure_stream(SHOP)
        events = [_stored(1), _stored(2), _stored(3, subject="elsewhere.x"), _stored(4)]
        assert await bus.publish(events) == 2
        with pytest.raises(BusUnavailableError):
            await bus.publish(events[2:])

    async def test_without_a_stream_nothing_is_stored(self, bus: Bus) -> None:
        with pytest.raises(BusUnavailableError) as refusal:
            await bus.publish([_stored(1)])
        assert refusal.value.reason is Reason.DEPENDENCY_UNAVAILABLE

    async def test_settings_of_an_older_release_are_brought_up_to_date(self, bus: Bus) -> None:
        await bus.state.jetstream.add_stream(name=stream_of(SHOP), subjects=["paycenter.shop.>"], max_age=60)
        await bus.ensure_stream(SHOP)
        info = await bus.state.jetstream.stream_info(stream_of(SHOP))
        assert info.config.max_age == 7 * 24 * 3600

    async def test_a_server_starts_without_nats(self) -> None:
        bus = await Bus.connect("nats://127.0.0.1:1", wait_seconds=0.1)
        assert not bus.is_connected
        with pytest.raises(BusUnavailableError):
            await bus.publish([_stored(1)])
        with pytest.raises(BusUnavailableError):
            await bus.ensure_stream(SHOP)
        await bus.close()
        await bus.close()

    async def test_leaving_while_the_connection_is_being_made_ends_it(self) -> None:
        for attempt in range(20):
            bus = await Bus.connect("nats://127.0.0.1:1", wait_seconds=0)
            await asyncio.sleep(0.0005 * attempt)
            async with asyncio.timeout(5):
                await bus.close()


class TestDelivery:
    async def test_an_event_reaches_the_consumer_in_the_scope_it_was_made_in(
        self, shop: Shop, bus: Bus, warehouse: Warehouse
    ) -> None:
        scopes = []

        async def note_scope(_message: BusMessage) -> None:
            scopes.append(current_scope())

        warehouse.refuse = note_scope
        with calling_as("web-shop", business_id="订单-1") as made_in:
            await shop.create_order("O-1")
        async with running(shop.relay(bus), warehouse.consumer(bus)):
            await eventually(lambda: len(warehouse.messages) == 1)
        (message,) = warehouse.messages
        assert (message.event_type, message.resource_id, message.resource_version) == (
            "ORDER_CREATED",
            "O-1",
            1,
        )
        assert (message.payload, message.revision, message.delivery_count) == (b"O-1/1", 1, 1)
        assert message.business_id == "订单-1"
        (scope,) = scopes
        assert scope.platform == made_in.platform
        assert scope.trace.trace_id == made_in.trace.trace_id
        await eventually(lambda: _is_zero(_unpublished(shop)))

    async def test_the_consumers_span_continues_the_trace_and_is_linked_to_the_maker(
        self, shop: Shop, bus: Bus, warehouse: Warehouse
    ) -> None:
        spans = _Spans()
        setup_telemetry("warehouse", RuntimeSettings(), processor=spans)
        try:
            with calling_as() as made_in:
                await shop.create_order("O-1")
            async with running(shop.relay(bus), warehouse.consumer(bus)):
                await eventually(lambda: len(warehouse.messages) == 1)
        finally:
            await shutdown_telemetry(1)
        (consumed,) = [span for span in spans.ended if span.kind is SpanKind.CONSUMER]
        assert consumed.name == "process shop ORDER_CREATED"
        assert f"{consumed.context.trace_id:032x}" == made_in.trace.trace_id
        assert [f"{link.context.span_id:016x}" for link in consumed.links] == [made_in.trace.span_id]

    async def test_events_of_one_order_are_handled_one_after_another_and_orders_side_by_side(
        self, shop: Shop, bus: Bus, warehouse: Warehouse
    ) -> None:
        busy: Counter[str] = Counter()
        most_at_once = 0

        async def take_time(message: BusMessage) -> None:
            nonlocal most_at_once
            busy[message.resource_id] += 1
            assert busy[message.resource_id] == 1
            most_at_once = max(most_at_once, sum(busy.values()))
            await asyncio.sleep(0.005)
            busy[message.resource_id] -= 1

        warehouse.refuse = take_time
        with calling_as():
            for order_number in range(6):
                async with shop.database.begin() as connection:
                    versions = (order_event(f"O-{order_number}", version=version) for version in range(1, 21))
                    await shop.outbox.append(connection, *versions)
        async with running(shop.relay(bus), warehouse.consumer(bus, concurrency=4)):
            await eventually(lambda: len(warehouse.messages) == 120)
        by_order: dict[str, list[int]] = defaultdict(list)
        for message in warehouse.messages:
            by_order[message.resource_id].append(message.resource_version)
        assert all(versions == list(range(1, 21)) for versions in by_order.values())
        assert 2 <= most_at_once <= 4

    async def test_a_consumer_hears_only_what_it_asked_for(
        self, shop: Shop, bus: Bus, warehouse: Warehouse
    ) -> None:
        with calling_as():
            await shop.create_order("O-1")
            await shop.change_order("O-1", "PAID")
        paid_only = Consumer(
            bus, SHOP, "paid-only", [subject_filter(SHOP, "ORDER_PAID")], warehouse.handle, SystemClock()
        )
        async with running(shop.relay(bus), paid_only):
            await eventually(lambda: len(warehouse.messages) == 1)
            await asyncio.sleep(0.1)
        assert [message.event_type for message in warehouse.messages] == ["ORDER_PAID"]

    async def test_two_processes_with_one_name_share_the_work(
        self, shop: Shop, bus: Bus, warehouse: Warehouse, parts: Parts
    ) -> None:
        other_bus = await Bus.connect(parts.nats_url)
        other = Warehouse()

        async def take_time(_message: BusMessage) -> None:
            await asyncio.sleep(0.01)

        warehouse.refuse = other.refuse = take_time
        async with running(shop.relay(bus), warehouse.consumer(bus), other.consumer(other_bus)):
            with calling_as():
                for number in range(200):
                    await shop.create_order(f"O-{number}")
            await eventually(lambda: len(warehouse.messages) + len(other.messages) == 200)
        assert sorted(warehouse.order_ids + other.order_ids) == sorted(f"O-{number}" for number in range(200))
        assert warehouse.messages
        assert other.messages
        await other_bus.close()

    async def test_a_commit_reaches_the_bus_within_milliseconds(
        self, shop: Shop, bus: Bus, warehouse: Warehouse
    ) -> None:
        clock = SystemClock()
        arrived: dict[str, float] = {}

        async def note_time(message: BusMessage) -> None:
            arrived[message.resource_id] = clock.monotonic_seconds()

        warehouse.refuse = note_time
        latencies = []
        async with running(shop.relay(bus), warehouse.consumer(bus)):
            for number in range(30):
                order_id = f"O-{number}"
                with calling_as():
                    await shop.create_order(order_id)
                committed = clock.monotonic_seconds()
                await eventually(lambda order_id=order_id: order_id in arrived)
                latencies.append(arrived[order_id] - committed)
        assert sorted(latencies)[15] < 0.1, "the nudge is far quicker than the poll of 200 ms"

    async def test_stopping_gives_back_what_was_not_begun(
        self, shop: Shop, bus: Bus, warehouse: Warehouse
    ) -> None:
        begun: list[str] = []

        async def take_time(message: BusMessage) -> None:
            begun.append(message.resource_id)
            await asyncio.sleep(0.3)

        warehouse.refuse = take_time
        with calling_as():
            for number in range(20):
                await shop.create_order(f"O-{number}")
        async with running(shop.relay(bus), warehouse.consumer(bus, concurrency=2)):
            await eventually(lambda: len(begun) == 2)
        assert sorted(warehouse.order_ids) == sorted(begun), "what was begun was brought to its end"
        successor = Warehouse()
        async with running(successor.consumer(bus)):
            await eventually(
                lambda: len(successor.messages) + len(warehouse.messages) >= 20, timeout_seconds=5
            )
        assert Counter(warehouse.order_ids + successor.order_ids) == Counter(
            f"O-{number}" for number in range(20)
        )


class TestFailure:
    async def test_a_handler_that_fails_gets_the_message_again(
        self, shop: Shop, bus: Bus, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(bus_consumer, "_FIRST_RETRY_SECONDS", 0.02)
        failed: list[int] = []

        async def fail_twice(message: BusMessage) -> None:
            if message.resource_id == "O-1" and message.delivery_count < 3:
                failed.append(message.delivery_count)
                raise KeyError

        warehouse.refuse = fail_twice
        with calling_as():
            await shop.create_order("O-1")
            await shop.create_order("O-2")
        async with running(shop.relay(bus), warehouse.consumer(bus)):
            await eventually(lambda: len(warehouse.messages) == 2)
        assert warehouse.order_ids == ["O-2", "O-1"]
        assert failed == [1, 2]

    async def test_a_dead_letter_is_told_and_tried_on_at_a_long_interval(
        self,
        shop: Shop,
        bus: Bus,
        warehouse: Warehouse,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.setattr(bus_consumer, "_FIRST_RETRY_SECONDS", 0.02)
        monkeypatch.setattr(bus_consumer, "DEAD_LETTER_RETRY_SECONDS", 0.5)
        deliveries: list[float] = []
        clock = SystemClock()

        async def fail_until_mended(message: BusMessage) -> None:
            deliveries.append(clock.monotonic_seconds())
            if len(deliveries) < 5:
                raise PaycenterError(Reason.ACCOUNT_NOT_FOUND, "The account is not there.")

        warehouse.refuse = fail_until_mended
        before = _dead_letters("warehouse")
        with calling_as():
            await shop.create_order("O-1")
        async with running(shop.relay(bus), warehouse.consumer(bus)):
            await eventually(lambda: len(warehouse.messages) == 1)
        waits = [later - earlier for earlier, later in itertools.pairwise(deliveries)]
        assert max(waits[:2]) < 0.4
        assert min(waits[2:]) >= 0.4
        assert _dead_letters("warehouse") == before + 2
        captured = capsys.readouterr()
        assert "dead letter" in captured.out + captured.err

    async def test_a_message_that_cannot_be_read_does_not_stop_the_others(
        self, shop: Shop, bus: Bus, warehouse: Warehouse
    ) -> None:
        await bus.ensure_stream(SHOP)
        await bus.state.jetstream.publish("paycenter.shop.1.forged", b"", headers={"x": "y"})
        await bus.state.jetstream.publish("paycenter.shop.1.bare", b"")
        with calling_as():
            await shop.create_order("O-1")
        async with running(shop.relay(bus), warehouse.consumer(bus)):
            await eventually(lambda: len(warehouse.messages) == 1)

    async def test_a_durable_that_was_deleted_is_made_again(
        self, shop: Shop, bus: Bus, warehouse: Warehouse
    ) -> None:
        async with running(shop.relay(bus), warehouse.consumer(bus)):
            with calling_as():
                await shop.create_order("O-1")
            await eventually(lambda: len(warehouse.messages) == 1)
            await bus.state.jetstream.delete_consumer(stream_of(SHOP), "warehouse")
            with calling_as():
                await shop.create_order("O-2")
            await eventually(lambda: "O-2" in warehouse.order_ids)


class TestNatsFails:
    async def _write_during(
        self, shop: Shop, bus: Bus, warehouse: Warehouse, accident: Callable[[], Awaitable[None]]
    ) -> set[str]:
        """Orders are written all the time while the accident happens; returns them when all were
        published."""
        written: set[str] = set()
        stop = asyncio.Event()

        async def write() -> None:
            while not stop.is_set():
                order_id = f"O-{len(written)}"
                with calling_as():
                    await shop.create_order(order_id)
                written.add(order_id)
                await asyncio.sleep(0.005)

        writing = asyncio.create_task(write())
        async with running(shop.relay(bus), warehouse.consumer(bus)):
            await eventually(lambda: len(warehouse.messages) >= 20)
            await accident()
            before = len(written)
            await eventually(lambda: len(written) >= before + 20)
            stop.set()
            await writing
            await eventually(lambda: _is_zero(_unpublished(shop)), timeout_seconds=40)
            last = f"O-{len(written) - 1}"
            await eventually(lambda: last in warehouse.order_ids)
            await asyncio.sleep(0.3)
        return written

    async def test_kill_9_of_nats_loses_nothing(
        self, shop: Shop, bus: Bus, warehouse: Warehouse, parts: Parts
    ) -> None:
        async def accident() -> None:
            await asyncio.to_thread(parts.kill, "nats")
            await eventually(lambda: not bus.is_connected)
            await asyncio.sleep(0.5)
            assert shop.outbox.revisions.newest > 0
            seen = shop.outbox.revisions.newest
            assert await shop.outbox.revisions.wait_beyond(seen, timeout_seconds=5), "watching goes on"
            await asyncio.to_thread(parts.start_process, "nats")
            await eventually(lambda: bus.is_connected)
            heard = len(warehouse.messages)
            await eventually(lambda: len(warehouse.messages) > heard, timeout_seconds=8)

        written = await self._write_during(shop, bus, warehouse, accident)
        assert set(warehouse.order_ids) == written

    async def test_a_wiped_nats_is_set_up_again_and_what_was_not_published_arrives(
        self, shop: Shop, bus: Bus, warehouse: Warehouse, parts: Parts
    ) -> None:
        async def accident() -> None:
            await asyncio.to_thread(parts.wipe_nats)

        written = await self._write_during(shop, bus, warehouse, accident)
        lost = written - set(warehouse.order_ids)
        async with shop.database.read() as connection:
            events = await shop.outbox.read_events(connection, after_revision=0, limit=100_000)
        assert {event.resource_id for event in events} == written
        assert all(event.published_time for event in events), (
            "lost ones are not sent again: repair finds them"
        )
        assert len(lost) < 64


class _Spans(SpanProcessor):
    def __init__(self) -> None:
        self.ended: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.ended.append(span)


async def _is_zero(count: Awaitable[int]) -> bool:
    return await count == 0


def _dead_letters(durable: str) -> float:
    return float(bus_consumer._dead_letters.labels(durable)._value.get())
