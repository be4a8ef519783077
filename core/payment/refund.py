"""Refund: gives money of a succeeded recharge back to its payer through the same channel. Invariant: what is
refunded and being refunded never exceeds the recharge, decided under its row; the money is held until the outcome."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncConnection

from core.payment.channel_steps import ChannelSteps
from core.payment.domain.accounts import Owner, OwnerKind, balance_account_id, transit_account_id
from core.payment.domain.channel import ChannelWord
from core.payment.domain.payment import Payment, PaymentKind, PaymentState, StepKind, StepState, tried
from core.payment.draft import Origin, draft_payment
from core.payment.funds import Funds
from core.payment.records import Call, PaymentRecords, Recorded
from core.payment.store import payments as store
from runtime.clock import Clock
from runtime.context import with_business_id
from runtime.errors import PaycenterError, Reason
from runtime.ids import shard_of_owner
from runtime.telemetry import span


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundCommand:
    """What the caller asks for; `owner` is None when the money is taken from the merchant's transit account."""

    origin: Origin
    refunded_payment_id: str
    owner: Owner | None
    reason: str


class MoneyReturner(Protocol):
    """What a refund asks of the channel gateway."""

    def compose_refund(self, refund: Payment, *, channel_order_id: str, reason: str) -> bytes:
        """Returns the command that asks the channel to give the money back."""
        ...

    async def create_refund(self, command: bytes) -> ChannelWord:
        """Sends the command; repeating it is harmless."""
        ...


class Refunds:
    """Creates refunds and carries them out, at first and again after a crash."""

    def __init__(
        self,
        *,
        records: PaymentRecords,
        funds: Funds,
        gateway: MoneyReturner,
        steps: ChannelSteps,
        clock: Clock,
        submitting_lease_seconds: float,
    ) -> None:
        self._records = records
        self._funds = funds
        self._gateway = gateway
        self._steps = steps
        self._clock = clock
        self._submitting_lease_seconds = submitting_lease_seconds

    async def create(self, command: RefundCommand, call: Call) -> bytes:
        """Takes a refund from the request to its first outcome; returns the stored answer.

        The route is the recharge's own. Too little money is an outcome: the payment is FAILED with
        INSUFFICIENT_FUNDS. Raises PaycenterError for input that is refused: PAYMENT_NOT_FOUND, TENANT_FORBIDDEN,
        MERCHANT_MISMATCH, PAYMENT_STATE_INVALID, CURRENCY_MISMATCH, AMOUNT_EXCEEDS_REFUNDABLE. Idempotent by the
        call's request id.
        """
        try:
            with span("validate"):
                recharge = await self._validate(command)
        except PaycenterError as refusal:
            shard = shard_of_owner(command.origin.merchant_id)
            return await self._records.replay_or_refuse(call, shard=shard, refusal=refusal)
        with span("generate_order"):
            recorded = await self._generate_order(command, recharge, call)
        if isinstance(recorded, bytes):
            return recorded
        with with_business_id(recorded.payment.business_id):
            payment = await self.carry_out(recorded.payment, first_try=not recorded.begun_before)
            return await self._records.answer_to(call, payment)

    async def carry_out(self, payment: Payment, *, first_try: bool) -> Payment:
        """Holds the money, asks the channel and records what it said; repeating it asks for the same again."""
        assert payment.channel_command is not None, "kept until the channel order is known"
        try:
            held = await self._funds.reserve(payment)
        except PaycenterError as error:
            return await self._funds.not_reserved(payment, error)
        try:
            with span("invoke_channel"):
                word = await self._gateway.create_refund(payment.channel_command)
        except PaycenterError as error:
            return await self._steps.not_invoked(held, error, first_try=first_try)
        return await self._steps.update_order(held, word)

    async def _validate(self, command: RefundCommand) -> Payment:
        recharge = await self._records.get(command.refunded_payment_id, field="refunded_payment_id")
        origin = command.origin
        if recharge.merchant_id != origin.merchant_id:
            raise PaycenterError(
                Reason.MERCHANT_MISMATCH, "The recharge belongs to another merchant.", field="merchant_id"
            )
        owner = command.owner
        if owner is not None and owner.kind is OwnerKind.MERCHANT and owner.owner_id != origin.merchant_id:
            raise PaycenterError(
                Reason.MERCHANT_MISMATCH,
                "A merchant's balance pays refunds of that merchant only.",
                field="balance_owner.owner_id",
            )
        if recharge.kind is not PaymentKind.RECHARGE or recharge.state is not PaymentState.SUCCEEDED:
            raise PaycenterError(
                Reason.PAYMENT_STATE_INVALID,
                "Only a succeeded recharge can be refunded.",
                field="refunded_payment_id",
                metadata={
                    "kind": recharge.kind.value,
                    "current": recharge.state.value,
                    "allowed": PaymentState.SUCCEEDED.value,
                },
                resource=("payment", recharge.payment_id),
            )
        if recharge.amount.currency_code != origin.amount.currency_code:
            raise PaycenterError(
                Reason.CURRENCY_MISMATCH,
                "The refund is in the currency of the recharge.",
                field="amount.currency_code",
                metadata={
                    "expected": recharge.amount.currency_code,
                    "actual": origin.amount.currency_code,
                },
            )
        return recharge

    async def _generate_order(
        self, command: RefundCommand, recharge: Payment, call: Call
    ) -> Recorded | bytes:
        currency_code = recharge.amount.currency_code
        draft = replace(
            tried(
                draft_payment(PaymentKind.REFUND, command.origin, call, clock=self._clock),
                StepKind.RESERVE_FUNDS,
                StepState.RUNNING,
                now=self._clock.now(),
            ),
            source_account_id=(
                transit_account_id(recharge.merchant_id, currency_code)
                if command.owner is None
                else balance_account_id(command.owner, currency_code)
            ),
            payment_account_id=recharge.payment_account_id,
            refunded_payment_id=recharge.payment_id,
        )
        channel_command = self._gateway.compose_refund(
            draft, channel_order_id=recharge.channel_order_id, reason=command.reason
        )

        async def reserve_on_recharge(connection: AsyncConnection) -> None:
            minor_units = draft.amount.minor_units
            if await store.reserve_refund(connection, recharge, minor_units=minor_units):
                return
            latest = await store.get_payment(connection, shard=recharge.shard, payment_id=recharge.payment_id)
            raise _exceeds_refundable(latest or recharge)

        return await self._records.record(
            call,
            replace(draft, channel_command=channel_command),
            first=reserve_on_recharge,
            delay_seconds=self._submitting_lease_seconds,
        )


def _exceeds_refundable(recharge: Payment) -> PaycenterError:
    return PaycenterError(
        Reason.AMOUNT_EXCEEDS_REFUNDABLE,
        "The refund is above what the recharge still holds.",
        field="amount",
        metadata={
            "refundableMinorUnits": str(recharge.refundable_minor_units),
            "currencyCode": recharge.amount.currency_code,
        },
        resource=("payment", recharge.payment_id),
    )
