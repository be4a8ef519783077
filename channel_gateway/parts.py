"""What every use case of the gateway works with. Invariant: built once at start, closed once at the end,
never global."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from channel_gateway.channels.protocol import ChannelPlugin
from channel_gateway.directory import AccountDirectory, OpenedAccount
from channel_gateway.domain.decision import absence_is_proof_from
from channel_gateway.domain.order import ChannelOrder
from channel_gateway.domain.schedule import Schedule
from channel_gateway.domain.vocabulary import ChannelOrderKind, Operation, OutcomeSafety
from channel_gateway.secret_box import SecretBox
from channel_gateway.settings import ChannelGatewaySettings
from channel_gateway.switches import Switches
from runtime.clock import Clock
from runtime.database import Database
from runtime.idempotency import Idempotency
from runtime.outbox import Outbox


@dataclass(frozen=True, slots=True)
class GatewayParts:
    """The gateway's dependencies."""

    settings: ChannelGatewaySettings
    clock: Clock
    database: Database
    idempotency: Idempotency
    outbox: Outbox
    plugins: Mapping[str, ChannelPlugin]
    accounts: AccountDirectory
    switches: Switches
    secret_box: SecretBox
    schedule: Schedule

    def watched_until(self, account: OpenedAccount, order: ChannelOrder) -> datetime:
        """Returns the instant from which the channel's "not found" proves that it never took the order."""
        own_seconds = self.settings.not_found_proof_seconds
        proof = timedelta(seconds=own_seconds) if own_seconds else _proof_of(account.plugin, order)
        appears_when_opened = account.appears_when_opened(order)
        return absence_is_proof_from(order, appears_when_opened=appears_when_opened, proof=proof)

    def next_delay(
        self, account: OpenedAccount, order: ChannelOrder, *, step_count: int = 0
    ) -> timedelta | None:
        """Returns the wait before the order is looked at again, None when it needs no further look."""
        watched_until = self.watched_until(account, order) if _may_still_appear(account, order) else None
        return self.schedule.delay(
            order, step_count=step_count, now=self.clock.now(), watched_until=watched_until
        )


def _may_still_appear(account: OpenedAccount, order: ChannelOrder) -> bool:
    """Whether the channel closed nothing because it did not know the payment, which its payer can still open."""
    never_seen = order.failure is not None and order.failure.outcome_safety is OutcomeSafety.NOT_SENT
    return never_seen and account.appears_when_opened(order)


_OPERATIONS = {
    ChannelOrderKind.PAY: Operation.PAY,
    ChannelOrderKind.REFUND: Operation.REFUND,
    ChannelOrderKind.PAYOUT: Operation.PAYOUT,
}
_LONGEST_PROOF = timedelta(days=1)


def _proof_of(plugin: ChannelPlugin, order: ChannelOrder) -> timedelta:
    operation = _OPERATIONS.get(order.kind)
    for capability in plugin.capabilities:
        if capability.operation is operation and capability.invoke_method is order.invoke_method:
            return capability.not_found_proof or _LONGEST_PROOF
    return _LONGEST_PROOF
