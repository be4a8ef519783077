"""What is to become of each order of a run: who pays, twice or not at all, and what goes back."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from paycenter.transaction.v1 import transaction_core_pb2 as tc
from paycenter.type.v1 import credential_pb2

from tests.e2e.center import MINI_PROGRAM, PC, QR


class Story(StrEnum):
    """What happens to an order besides being taken in."""

    PAID = "PAID"
    PARTLY_REFUNDED = "PARTLY_REFUNDED"
    REFUNDED_IN_PARTS = "REFUNDED_IN_PARTS"
    CLOSED = "CLOSED"
    CLOSED_WHILE_PAID = "CLOSED_WHILE_PAID"
    PAID_ON_BOTH_CHANNELS = "PAID_ON_BOTH_CHANNELS"


_STORIES = (
    Story.PAID,
    Story.PARTLY_REFUNDED,
    Story.CLOSED,
    Story.PAID,
    Story.PAID_ON_BOTH_CHANNELS,
    Story.REFUNDED_IN_PARTS,
    Story.CLOSED_WHILE_PAID,
    Story.PARTLY_REFUNDED,
)
_METHODS: dict[str, tuple[credential_pb2.InvokeMethod.ValueType, ...]] = {
    "alipay": (QR, PC),
    "wechat_pay": (QR, MINI_PROGRAM),
}
CHANNELS = ("alipay", "wechat_pay")


@dataclass(slots=True)
class PlannedOrder:
    """One order of a run with its story; `order` is what the center answered first."""

    position: int
    story: Story
    channel: str
    amount_minor_units: int
    refunds_minor_units: tuple[int, ...] = ()
    order: tc.Order = field(default_factory=tc.Order)
    step: str = "not begun"

    @property
    def name(self) -> str:
        """How failures call it."""
        return (
            f"order {self.position} {self.order.order_id} ({self.story.value}, {self.channel}, {self.step})"
        )

    def method(self, channel: str) -> credential_pb2.InvokeMethod.ValueType:
        """How its payer meets a channel."""
        methods = _METHODS[channel]
        return methods[self.position // len(_STORIES) % len(methods)]

    def other_channel(self, channel: str) -> str:
        """The channel that is tried when this one gave the payer nothing to pay with."""
        return CHANNELS[1 - CHANNELS.index(channel)]


def planned_orders(count: int) -> list[PlannedOrder]:
    """Plans a run in which every story comes on both channels."""
    plans = []
    for position in range(count):
        story = _STORIES[position % len(_STORIES)]
        amount = 1000 + 37 * position
        refunds: tuple[int, ...] = ()
        if story is Story.PARTLY_REFUNDED:
            refunds = (300 + position,)
        elif story is Story.REFUNDED_IN_PARTS:
            refunds = (amount // 3, amount - amount // 3)
        channel = CHANNELS[(position + position // len(_STORIES)) % len(CHANNELS)]
        plans.append(
            PlannedOrder(
                position=position,
                story=story,
                channel=channel,
                amount_minor_units=amount,
                refunds_minor_units=refunds,
            )
        )
    return plans
