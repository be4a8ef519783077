"""Withdrawal: pays money of a balance out to a payee through a channel. Invariant: the money is held before the
channel is asked, and taken or freed only by the outcome."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncConnection

from core.payment.channel_steps import ChannelSteps
from core.payment.domain.accounts import Owner, OwnerKind, balance_account_id
from core.payment.domain.channel import ChannelWord, PayeeDetails
from core.payment.domain.payment import Payment, PaymentKind, StepKind, StepState, tried
from core.payment.domain.route import PAYOUT, PaymentAccount
from core.payment.draft import Origin, check_currency, draft_payment
from core.payment.funds import Funds
from core.payment.records import Call, PaymentRecords, Recorded
from core.payment.risk import RiskAssessment, RiskSubject
from core.payment.routing import Routing
from runtime.clock import Clock
from runtime.context import with_business_id
from runtime.errors import PaycenterError, Reason
from runtime.ids import shard_of_owner
from runtime.telemetry import span


@dataclass(frozen=True, slots=True, kw_only=True)
class WithdrawalCommand:
    """What the caller asks for; `payee` is a serialized Payee."""

    origin: Origin
    owner: Owner
    payment_account_id: str
    payee: bytes
    remark: str


class MoneyPayer(Protocol):
    """What a withdrawal asks of the channel gateway."""

    def compose_payout(self, payment: Payment, details: PayeeDetails) -> bytes:
        """Returns the command that asks the channel to pay the money out."""
        ...

    async def create_payout(self, command: bytes) -> ChannelWord:
        """Sends the command; repeating it is harmless."""
        ...


class Withdrawals:
    """Creates withdrawals and carries them out, at first and again after a crash."""

    def __init__(
        self,
        *,
        records: PaymentRecords,
        routing: Routing,
        risk: RiskAssessment,
        funds: Funds,
        gateway: MoneyPayer,
        steps: ChannelSteps,
        clock: Clock,
        submitting_lease_seconds: float,
    ) -> None:
        self._records = records
        self._routing = routing
        self._risk = risk
        self._funds = funds
        self._gateway = gateway
        self._steps = steps
        self._clock = clock
        self._submitting_lease_seconds = submitting_lease_seconds

    async def create(self, command: WithdrawalCommand, call: Call) -> bytes:
        """Takes a withdrawal from the request to its first outcome; returns the stored answer.

        Too little money is an outcome: the payment is FAILED with INSUFFICIENT_FUNDS. Raises PaycenterError for input
        that is refused: CURRENCY_UNSUPPORTED, MERCHANT_MISMATCH, RISK_BLOCKED and what `Routing.choose` raises.
        Idempotent by the call's request id.
        """
        try:
            with span("validate"):
                self._validate(command)
            with span("route"):
                account = await self._route(command)
            with span("assess_risk"):
                subject = self._assess_risk(command)
        except PaycenterError as refusal:
            shard = shard_of_owner(command.origin.merchant_id)
            return await self._records.replay_or_refuse(call, shard=shard, refusal=refusal)
        with span("generate_order"):
            recorded = await self._generate_order(command, account, subject, call)
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
                word = await self._gateway.create_payout(payment.channel_command)
        except PaycenterError as error:
            return await self._steps.not_invoked(held, error, first_try=first_try)
        return await self._steps.update_order(held, word)

    def _validate(self, command: WithdrawalCommand) -> None:
        check_currency(command.origin.amount)
        owner = command.owner
        if owner.kind is OwnerKind.MERCHANT and owner.owner_id != command.origin.merchant_id:
            raise PaycenterError(
                Reason.MERCHANT_MISMATCH,
                "A merchant's balance is paid out on behalf of that merchant.",
                field="balance_owner.owner_id",
            )

    async def _route(self, command: WithdrawalCommand) -> PaymentAccount:
        return await self._routing.choose(
            merchant_id=command.origin.merchant_id,
            payment_account_id=command.payment_account_id,
            operation=PAYOUT,
            invoke_method=None,
            currency_code=command.origin.amount.currency_code,
        )

    def _assess_risk(self, command: WithdrawalCommand) -> RiskSubject:
        subject = RiskSubject(
            kind=PaymentKind.WITHDRAWAL,
            shard=shard_of_owner(command.origin.merchant_id),
            merchant_id=command.origin.merchant_id,
            amount=command.origin.amount,
            actor=command.owner.owner_id,
        )
        self._risk.assess_amount(subject)
        return subject

    async def _generate_order(
        self, command: WithdrawalCommand, account: PaymentAccount, subject: RiskSubject, call: Call
    ) -> Recorded | bytes:
        draft = replace(
            tried(
                draft_payment(PaymentKind.WITHDRAWAL, command.origin, call, clock=self._clock),
                StepKind.RESERVE_FUNDS,
                StepState.RUNNING,
                now=self._clock.now(),
            ),
            source_account_id=balance_account_id(command.owner, command.origin.amount.currency_code),
            payment_account_id=account.payment_account_id,
        )
        channel_command = self._gateway.compose_payout(
            draft, PayeeDetails(payee=command.payee, remark=command.remark)
        )

        async def assess_velocity(connection: AsyncConnection) -> None:
            await self._risk.assess_velocity(connection, subject)

        return await self._records.record(
            call,
            replace(draft, channel_command=channel_command),
            first=assess_velocity if self._risk.counts(subject) else None,
            delay_seconds=self._submitting_lease_seconds,
        )
