"""Recharge: takes money from a payer through a channel into a balance, or into the payer's transit account of a
purchase. Invariant: bad input changes nothing; once recorded, the outcome is the payment's state and never an error."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncConnection

from core.payment.channel_steps import ChannelSteps
from core.payment.domain.accounts import Owner, OwnerKind, balance_account_id, transit_account_id
from core.payment.domain.channel import ChannelWord, PayerDetails
from core.payment.domain.payment import InvokeMethod, Payment, PaymentKind, StepKind, StepState, tried
from core.payment.domain.route import PAY, PaymentAccount
from core.payment.draft import Origin, check_currency, draft_payment
from core.payment.posting import Posting
from core.payment.records import Call, PaymentRecords, Recorded
from core.payment.risk import RiskAssessment, RiskSubject
from core.payment.routing import Routing
from runtime.clock import Clock
from runtime.context import with_business_id
from runtime.errors import PaycenterError, Reason
from runtime.ids import shard_of_owner
from runtime.money import Money
from runtime.telemetry import span


@dataclass(frozen=True, slots=True, kw_only=True)
class RechargeCommand:
    """What the caller asks for; `beneficiary` is None for a purchase, `payer` a serialized Payer."""

    origin: Origin
    beneficiary: Owner | None
    payment_account_id: str
    invoke_method: InvokeMethod
    subject: str
    payer: bytes
    payer_name: str
    expire_time: datetime | None
    return_url: str
    authorization_code: str
    agreement_id: str
    channel_tool_amounts: tuple[Money, ...]
    other_tool_count: int


class PaymentTaker(Protocol):
    """What a recharge asks of the channel gateway."""

    def compose_payment(self, payment: Payment, details: PayerDetails) -> bytes:
        """Returns the command that asks the channel to take the money."""
        ...

    async def create_payment(self, command: bytes) -> ChannelWord:
        """Sends the command; repeating it is harmless."""
        ...


class Recharges:
    """Creates recharges and carries them out, at first and again after a crash."""

    def __init__(
        self,
        *,
        records: PaymentRecords,
        routing: Routing,
        risk: RiskAssessment,
        posting: Posting,
        gateway: PaymentTaker,
        steps: ChannelSteps,
        clock: Clock,
        expire_seconds: float,
        submitting_lease_seconds: float,
    ) -> None:
        self._records = records
        self._routing = routing
        self._risk = risk
        self._posting = posting
        self._gateway = gateway
        self._steps = steps
        self._clock = clock
        self._expire_seconds = expire_seconds
        self._submitting_lease_seconds = submitting_lease_seconds

    async def create(self, command: RechargeCommand, call: Call) -> bytes:
        """Takes a recharge from the request to its first outcome; returns the stored answer.

        Raises PaycenterError for input that is refused: FIELD_INVALID, CURRENCY_UNSUPPORTED, AGREEMENT_NOT_FOUND,
        MERCHANT_MISMATCH, RISK_BLOCKED, TENANT_FORBIDDEN for another tenant's balance, DEPENDENCY_UNAVAILABLE while the
        ledger cannot tell whose it is, and what `Routing.choose` raises. Idempotent by the call's request id.
        """
        try:
            with span("validate"):
                self._validate(command)
            with span("route"):
                account = await self._route(command)
            with span("assess_risk"):
                subject = self._assess_risk(command)
            if command.beneficiary is not None:
                await self._posting.open_account(
                    balance_account_id(command.beneficiary, command.origin.amount.currency_code)
                )
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
        """Asks the channel and records what it said; repeating it sends the same request again."""
        assert payment.channel_command is not None, "kept until the channel order is known"
        try:
            with span("invoke_channel"):
                word = await self._gateway.create_payment(payment.channel_command)
        except PaycenterError as error:
            return await self._steps.not_invoked(payment, error, first_try=first_try)
        return await self._steps.update_order(payment, word)

    def _validate(self, command: RechargeCommand) -> None:
        check_currency(command.origin.amount)
        if not command.subject.strip():
            raise PaycenterError(Reason.FIELD_INVALID, "What is paid for is required.", field="subject")
        if command.expire_time is not None and command.expire_time <= self._clock.now():
            raise PaycenterError(Reason.FIELD_INVALID, "The expiry lies in the past.", field="expire_time")
        if command.agreement_id:
            raise PaycenterError(
                Reason.AGREEMENT_NOT_FOUND,
                "No agreement has this number.",
                field="agreement_id",
                resource=("agreement", command.agreement_id),
            )
        beneficiary = command.beneficiary
        if (
            beneficiary is not None
            and beneficiary.kind is OwnerKind.MERCHANT
            and beneficiary.owner_id != command.origin.merchant_id
        ):
            raise PaycenterError(
                Reason.MERCHANT_MISMATCH,
                "A recharge of a merchant's balance is made on behalf of that merchant.",
                field="balance_owner.owner_id",
            )
        _check_tools(command)

    async def _route(self, command: RechargeCommand) -> PaymentAccount:
        if command.invoke_method is InvokeMethod.BALANCE:
            raise PaycenterError(
                Reason.INVOKE_METHOD_UNSUPPORTED,
                "A recharge takes money through a channel; the center's own balance is none.",
                field="invoke_method",
            )
        return await self._routing.choose(
            merchant_id=command.origin.merchant_id,
            payment_account_id=command.payment_account_id,
            operation=PAY,
            invoke_method=command.invoke_method,
            currency_code=command.origin.amount.currency_code,
        )

    def _assess_risk(self, command: RechargeCommand) -> RiskSubject:
        subject = RiskSubject(
            kind=PaymentKind.RECHARGE,
            shard=shard_of_owner(command.origin.merchant_id),
            merchant_id=command.origin.merchant_id,
            amount=command.origin.amount,
            actor=command.payer_name,
        )
        self._risk.assess_amount(subject)
        return subject

    async def _generate_order(
        self, command: RechargeCommand, account: PaymentAccount, subject: RiskSubject, call: Call
    ) -> Recorded | bytes:
        now = self._clock.now()
        expire_time = command.expire_time or now + timedelta(seconds=self._expire_seconds)
        currency_code = command.origin.amount.currency_code
        draft = replace(
            tried(
                draft_payment(PaymentKind.RECHARGE, command.origin, call, clock=self._clock),
                StepKind.INVOKE_CHANNEL,
                StepState.RUNNING,
                now=now,
            ),
            destination_account_id=(
                transit_account_id(command.origin.merchant_id, currency_code)
                if command.beneficiary is None
                else balance_account_id(command.beneficiary, currency_code)
            ),
            payment_account_id=account.payment_account_id,
            invoke_method=command.invoke_method,
            expire_time=expire_time,
        )
        channel_command = self._gateway.compose_payment(
            draft,
            PayerDetails(
                subject=command.subject,
                payer=command.payer,
                expire_time=expire_time,
                return_url=command.return_url,
                authorization_code=command.authorization_code,
            ),
        )

        async def assess_velocity(connection: AsyncConnection) -> None:
            await self._risk.assess_velocity(connection, subject)

        return await self._records.record(
            call,
            replace(draft, channel_command=channel_command),
            first=assess_velocity if self._risk.counts(subject) else None,
            delay_seconds=self._submitting_lease_seconds,
        )


def _check_tools(command: RechargeCommand) -> None:
    """Channel money alone pays in this release: one tool of the whole amount, or none."""
    amounts = command.channel_tool_amounts
    if command.other_tool_count or len(amounts) > 1 or (amounts and amounts[0] != command.origin.amount):
        raise PaycenterError(
            Reason.FIELD_INVALID, "Only channel money over the whole amount can pay.", field="tools"
        )
