"""When a channel order is looked at again. Invariant: whatever is not settled always has a next time; what
stays unknown past its schedule is still asked about, slowly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from channel_gateway.domain.order import ChannelOrder
from channel_gateway.domain.states import FINAL_STATES
from channel_gateway.domain.vocabulary import ChannelOrderKind, ChannelOrderState


@dataclass(frozen=True, slots=True)
class Schedule:
    """Seconds between one look and the next, by what the order waits for; the last value repeats.

    `unknown` is for outcomes that are open, `working` for refunds and payouts that the channel works on, `waiting` for
    payments that wait for their payer.
    """

    unknown: Sequence[float]
    working: Sequence[float]
    waiting: Sequence[float]

    def delay(
        self, order: ChannelOrder, *, step_count: int, now: datetime, watched_until: datetime | None
    ) -> timedelta | None:
        """Returns the wait before the look after `step_count` others in this state, None when there is none.

        `watched_until` is the instant until which a payment closed unopened can still appear at the channel.
        """
        if order.state in FINAL_STATES:
            return None
        if order.state is ChannelOrderState.CLOSED:
            if watched_until is None or now >= watched_until:
                return None
            return min(_pick(self.waiting, step_count), max(watched_until - now, timedelta(seconds=1)))
        if order.state is ChannelOrderState.ACCEPTED:
            seconds = self.waiting if order.kind is ChannelOrderKind.PAY else self.working
            return _pick(seconds, step_count)
        return _pick(self.unknown, step_count)

    def is_past(self, order: ChannelOrder, *, step_count: int) -> bool:
        """Tells whether an unknown order has used up its schedule, so that a person has to look at it."""
        return order.state is ChannelOrderState.UNKNOWN and step_count >= len(self.unknown)


def _pick(seconds: Sequence[float], step_count: int) -> timedelta:
    return timedelta(seconds=seconds[min(step_count, len(seconds) - 1)])
