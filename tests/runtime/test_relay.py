"""The relay marks an event as published when the bus has it, and not before; it needs nobody to set the bus
up."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import pytest
import sqlalchemy as sa
from prometheus_client import REGISTRY

from runtime.bus import Bus, BusUnavailableError, stream_of
from runtime.embedded.parts import Parts
from runtime.outbox import StoredEvent
from runtime.relay import Relay
from tests.runtime.support import SHOP, Shop, calling_as, outbox_event


class StingyBus(Bus):
    """A real connection that takes only so many messages."""

    takes = 0

    async def publish(self, events: Sequence[StoredEvent]) -> int:
        window = events[: self.takes]
        if not window:
            raise BusUnavailableError("The bus takes nothing.")
        stored = await super().publish(window)
        self.takes -= stored
        return stored


@pytest.fixture
async def stingy_bus(bus: Bus, parts: Parts) -> AsyncIterator[StingyBus]:
    await bus.ensure_stream(SHOP)
    stingy = await StingyBus.connect(parts.nats_url)
    assert isinstance(stingy, StingyBus)
    yield stingy
    await stingy.close()


async def _published(shop: Shop) -> list[int]:
    done = sa.select(outbox_event.c.revision).where(outbox_event.c.published_time.is_not(None))
    async with shop.database.read() as connection:
        return sorted((await connection.execute(done)).scalars())


async def _create_orders(shop: Shop, first: int, last: int) -> None:
    with calling_as():
        for number in range(first, last + 1):
            await shop.create_order(f"O-{number}")


def _lag_rows() -> float | None:
    return REGISTRY.get_sample_value("paycenter_outbox_lag_rows", {"service": SHOP})


async def test_only_what_the_bus_has_is_marked_as_published(shop: Shop, stingy_bus: StingyBus) -> None:
    await _create_orders(shop, 1, 5)
    stingy_bus.takes = 3
    relay = shop.relay(stingy_bus)
    await relay.step()
    await relay.step()
    await relay.close()
    assert await _published(shop) == [1, 2, 3]


async def test_a_successor_goes_on_where_its_predecessor_stopped(
    shop: Shop, stingy_bus: StingyBus, bus: Bus
) -> None:
    await _create_orders(shop, 1, 5)
    stingy_bus.takes = 3
    predecessor = shop.relay(stingy_bus)
    await predecessor.step()
    await predecessor.close()
    await _create_orders(shop, 6, 8)
    successor = shop.relay(bus)
    while await successor.step():
        pass
    await successor.close()
    assert await _published(shop) == list(range(1, 9))
    info = await bus.state.jetstream.stream_info(stream_of(SHOP))
    assert info.state.messages == 8


async def test_a_crash_between_acknowledgement_and_mark_stores_nothing_twice(shop: Shop, bus: Bus) -> None:
    await bus.ensure_stream(SHOP)
    await _create_orders(shop, 1, 5)
    crashed = shop.relay(bus)
    crashed._marked_at_seconds = float("inf")
    await crashed.step()
    await crashed._give_up_role()
    assert await _published(shop) == []
    successor = shop.relay(bus)
    while await successor.step():
        pass
    await successor.step()
    assert await _published(shop) == [1, 2, 3, 4, 5]
    info = await bus.state.jetstream.stream_info(stream_of(SHOP))
    assert info.state.messages == 5
    await successor.close()


async def test_the_relay_makes_the_stream_where_nobody_has(
    shop: Shop, bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.relay._TRY_BUS_EVERY_SECONDS", 0)
    await _create_orders(shop, 1, 2)
    relay = shop.relay(bus)
    await relay.step()
    await relay.step()
    await relay.close()
    assert await _published(shop) == [1, 2]


async def test_the_lag_is_told_by_the_one_that_has_the_role(
    shop: Shop, offline_relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.relay._MEASURE_EVERY_SECONDS", 0)
    await _create_orders(shop, 1, 4)
    await offline_relay.step()
    assert _lag_rows() == 4
    oldest = REGISTRY.get_sample_value("paycenter_outbox_lag_seconds", {"service": SHOP})
    assert oldest is not None
    assert 0 < oldest < 60
    await offline_relay.close()
    assert _lag_rows() is None
