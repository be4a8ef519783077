"""Resolve: a person decides a payment in review, with the evidence. Invariant: the decision and its audit row are
written before anything is done; what follows is the same as on the channel's word."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sqlalchemy.ext.asyncio import AsyncConnection

from core.payment.domain.payment import (
    Failure,
    FailureAdvice,
    OutcomeSafety,
    Payment,
    PaymentKind,
    PaymentState,
    Resolution,
)
from core.payment.domain.schedule import Schedule
from core.payment.outcome import Outcomes
from core.payment.records import Call, PaymentRecords
from core.payment.store import payments as store
from core.payment.store.saving import LostRaceError
from runtime.context import current_scope, with_business_id
from runtime.errors import PaycenterError, Reason
from runtime.ids import NumberKind, new_number
from runtime.logs import get_logger
from runtime.telemetry import span

RESOLVED_BY_HAND = "RESOLVED_BY_HAND"
"""Reason of a payment that a person failed where nobody below had given one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolveCommand:
    """What a person decides, and on which evidence."""

    payment_id: str
    resolution: Resolution
    evidence: str


class Resolutions:
    """Decides payments in review by hand, at first and again after a crash."""

    def __init__(self, *, records: PaymentRecords, outcomes: Outcomes, schedule: Schedule) -> None:
        self._records = records
        self._outcomes = outcomes
        self._schedule = schedule

    async def resolve(self, command: ResolveCommand, call: Call) -> bytes:
        """Records the decision, carries it out and returns the stored answer.

        While the ledger is silent the answer is still IN_REVIEW and the repair worker goes on. Raises PaycenterError:
        PAYMENT_NOT_FOUND, TENANT_FORBIDDEN, PAYMENT_STATE_INVALID unless IN_REVIEW, FIELD_INVALID for REFUND of what is
        no recharge. Idempotent by the call's request id.
        """
        with span("validate"):
            payment = await self._records.get(command.payment_id)
        with with_business_id(payment.business_id):
            refusal = _refusal_of(payment, command)
            if refusal is not None:
                return await self._records.replay_or_refuse(call, shard=payment.shard, refusal=refusal)
            decided = await self._decide(payment, command, call)
            if isinstance(decided, bytes):
                return decided
            try:
                decided = await self.carry_out(decided)
            except PaycenterError as error:
                get_logger().warning(
                    "the resolution goes on later", payment_id=payment.payment_id, reason=error.reason.value
                )
                decided = await self._records.reload(decided)
            return await self._records.finish_command(call, decided)

    async def carry_out(self, payment: Payment) -> Payment:
        """Does what was decided. Raises PaycenterError when the ledger does not answer."""
        if payment.resolution is Resolution.FAILED:
            return await self._outcomes.fail(payment, _failed_by_hand(payment))
        return await self._outcomes.succeed(payment)

    async def _decide(self, payment: Payment, command: ResolveCommand, call: Call) -> Payment | bytes:
        give_back = command.resolution is Resolution.REFUND
        decided = replace(
            payment,
            resolution=command.resolution,
            give_back_payment_id=new_number(NumberKind.PAYMENT, shard=payment.shard) if give_back else "",
            step_try_count=0,
        )
        scope = current_scope()

        async def write_audit_row(connection: AsyncConnection) -> None:
            await store.insert_resolution(
                connection,
                payment,
                resolution=command.resolution,
                evidence=command.evidence,
                operator=scope.platform.operator,
                caller=scope.platform.caller_service,
                traceparent=scope.trace.format(),
            )

        try:
            return await self._records.begin_command(
                call,
                payment,
                decided,
                delay_seconds=self._schedule.first_delay(decided),
                also=write_audit_row,
            )
        except LostRaceError:
            raise PaycenterError(
                Reason.LOCK_CONFLICT, "The payment changed at this moment; read it and decide anew."
            ) from None


def _refusal_of(payment: Payment, command: ResolveCommand) -> PaycenterError | None:
    if payment.state is not PaymentState.IN_REVIEW:
        return PaycenterError(
            Reason.PAYMENT_STATE_INVALID,
            "Only a payment in review is decided by hand.",
            field="payment_id",
            metadata={"current": payment.state.value, "allowed": PaymentState.IN_REVIEW.value},
            resource=("payment", payment.payment_id),
        )
    if command.resolution is Resolution.REFUND and (
        payment.kind is not PaymentKind.RECHARGE or not payment.channel_order_id
    ):
        return PaycenterError(
            Reason.FIELD_INVALID,
            "Only a recharge that a channel knows can be given back.",
            field="resolution",
        )
    return None


def _failed_by_hand(payment: Payment) -> Failure:
    present = payment.failure
    return Failure(
        reason=present.reason if present else RESOLVED_BY_HAND,
        channel_code=present.channel_code if present else "",
        outcome_safety=OutcomeSafety.DECLINED,
        advice=FailureAdvice.NONE,
    )
