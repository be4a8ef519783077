"""Hears from the bus what became of channel orders. Invariant: handling an event twice, late or out of order changes
nothing more; whatever is never heard, the repair worker asks for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from core.payment.domain.channel import ChannelWord
from core.payment.outcome import Outcomes
from core.payment.records import PaymentRecords
from core.payment.scope import scope_of
from runtime.bus import Bus, BusMessage, Consumer, subject_filter
from runtime.clock import Clock
from runtime.context import use_scope
from runtime.logs import get_logger

HEARD_EVENTS: Final = ("CHANNEL_ORDER_SUCCEEDED", "CHANNEL_ORDER_FAILED")
"""Events that decide something; what lies between is answered to the call itself or asked for."""

_DURABLE: Final = "payment_channel_events"


class ChannelEvents:
    """Applies the channel gateway's events to payments."""

    def __init__(
        self, *, records: PaymentRecords, outcomes: Outcomes, read_word: Callable[[bytes], ChannelWord]
    ) -> None:
        self._records = records
        self._outcomes = outcomes
        self._read_word = read_word

    async def handle(self, message: BusMessage) -> None:
        """Applies one event; raises PaycenterError when the ledger is silent, so that the event comes again."""
        word = self._read_word(message.payload)
        payment = await self._records.load(word.payment_id)
        if payment is None:
            get_logger().warning("an event names no payment of ours", payment_id=word.payment_id[:64])
            return
        if payment.channel_order_id not in ("", word.channel_order_id):
            get_logger().error(
                "an event names another channel order than the payment's",
                payment_id=payment.payment_id,
                channel_order_id=word.channel_order_id,
            )
            return
        with use_scope(scope_of(payment)):
            await self._outcomes.apply(payment, word)


def channel_event_consumer(bus: Bus, events: ChannelEvents, clock: Clock, *, concurrency: int) -> Consumer:
    """Returns the worker that hands the gateway's events to `events`; processes share them."""
    return Consumer(
        bus,
        "channel",
        _DURABLE,
        [subject_filter("channel", event_type) for event_type in HEARD_EVENTS],
        events.handle,
        clock,
        concurrency=concurrency,
    )
