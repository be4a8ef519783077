"""Close: ends an unpaid recharge, at the channel too. Invariant: a payment is closed only when the channel says so;
when the payer was faster, the money is booked and the answer is the succeeded payment."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from core.payment.domain.channel import ChannelWord
from core.payment.domain.payment import Payment, PaymentKind, PaymentState
from core.payment.domain.refusal import is_decided
from core.payment.domain.schedule import Schedule
from core.payment.domain.states import Trigger, sources_of, target_of
from core.payment.outcome import Outcomes
from core.payment.recharge import Recharges
from core.payment.records import Call, PaymentRecords
from core.payment.store.saving import LostRaceError
from runtime.context import with_business_id
from runtime.errors import PaycenterError, Reason
from runtime.logs import get_logger
from runtime.telemetry import span

_RACES_AT_MOST = 6
_CLOSED_ALREADY = frozenset(
    {PaymentState.CLOSING, PaymentState.CLOSED, PaymentState.SUCCEEDED, PaymentState.FAILED}
)


class OrderCloser(Protocol):
    """What closing asks of the channel gateway."""

    async def close_order(self, payment: Payment, *, try_number: int) -> ChannelWord:
        """Closes the payment's channel order; closing again is harmless."""
        ...

    async def query_order(self, payment: Payment) -> ChannelWord | None:
        """Returns what the channel says; None when the gateway has no order for the payment."""
        ...


class Closing:
    """Closes recharges, at first and again after a crash."""

    def __init__(
        self,
        *,
        records: PaymentRecords,
        recharges: Recharges,
        outcomes: Outcomes,
        gateway: OrderCloser,
        schedule: Schedule,
    ) -> None:
        self._records = records
        self._recharges = recharges
        self._outcomes = outcomes
        self._gateway = gateway
        self._schedule = schedule

    async def close(self, payment_id: str, call: Call) -> bytes:
        """Closes a recharge and returns the stored answer: CLOSED, SUCCEEDED when it was paid, else still CLOSING.

        Raises PaycenterError: PAYMENT_NOT_FOUND, TENANT_FORBIDDEN, PAYMENT_STATE_INVALID (not a recharge, or a person
        decides). Idempotent by the call's request id.
        """
        with span("validate"):
            payment = await self._records.get(payment_id)
        with with_business_id(payment.business_id):
            begun = await self._begin(payment, call)
            if isinstance(begun, bytes):
                return begun
            if begun.state is PaymentState.CLOSING:
                begun = await self._try_to_close(begun)
            return await self._records.finish_command(call, begun)

    async def carry_out(self, payment: Payment, *, try_number: int) -> Payment:
        """Closes at the channel what is CLOSING; an order that never reached the gateway is created first.

        Each `try_number` is a request of its own: an earlier one would only be answered as it was then.

        Raises PaycenterError when gateway or ledger do not answer.
        """
        if not payment.channel_order_id:
            payment = await self._recharges.carry_out(payment, first_try=False)
            if not payment.channel_order_id or payment.state is not PaymentState.CLOSING:
                return payment
        with span("invoke_channel"):
            word = await self._close_at_channel(payment, try_number=try_number)
        return payment if word is None else await self._outcomes.apply(payment, word)

    async def _begin(self, payment: Payment, call: Call) -> Payment | bytes:
        """Moves the payment to CLOSING together with the claim; the stored answer when the command was done before."""
        latest = payment
        for _ in range(_RACES_AT_MOST):
            target = target_of(latest, Trigger.CLOSE_ASKED)
            if latest.kind is not PaymentKind.RECHARGE or (
                target is None and latest.state not in _CLOSED_ALREADY
            ):
                return await self._records.replay_or_refuse(
                    call, shard=latest.shard, refusal=_not_closable(latest)
                )
            closing = latest if target is None else replace(latest, state=target, step_try_count=0)
            try:
                return await self._records.begin_command(
                    call, latest, closing, delay_seconds=self._schedule.first_delay(closing)
                )
            except LostRaceError:
                latest = await self._records.reload(payment)
        raise PaycenterError(Reason.LOCK_CONFLICT, "The payment is being changed by others at this moment.")

    async def _try_to_close(self, payment: Payment) -> Payment:
        try:
            return await self.carry_out(payment, try_number=0)
        except PaycenterError as error:
            get_logger().warning(
                "the close goes on later", payment_id=payment.payment_id, reason=error.reason.value
            )
            return await self._records.reload(payment)

    async def _close_at_channel(self, payment: Payment, *, try_number: int) -> ChannelWord | None:
        try:
            return await self._gateway.close_order(payment, try_number=try_number)
        except PaycenterError as error:
            if not is_decided(error):
                raise
            return await self._gateway.query_order(payment)


def _not_closable(payment: Payment) -> PaycenterError:
    allowed = {*sources_of(Trigger.CLOSE_ASKED), *_CLOSED_ALREADY}
    return PaycenterError(
        Reason.PAYMENT_STATE_INVALID,
        "Only a recharge that no person has to decide can be closed.",
        field="payment_id",
        metadata={
            "kind": payment.kind.value,
            "current": payment.state.value,
            "allowed": ",".join(sorted(state.value for state in allowed)),
        },
        resource=("payment", payment.payment_id),
    )
