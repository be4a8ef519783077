"""Transfer: moves money between balances of the ledger, at once. Invariant: the parts of the receivers sum to the
amount; the outcome is in the answer, save when the ledger is silent."""

from __future__ import annotations

from dataclasses import dataclass, replace

from core.payment.domain.accounts import Owner, OwnerKind, balance_account_id, transit_account_id
from core.payment.domain.payment import Payment, PaymentKind, PaymentState, StepKind, StepState, tried
from core.payment.domain.shares import Share, divide
from core.payment.draft import Origin, check_currency, draft_payment
from core.payment.outcome import Outcomes
from core.payment.records import Call, PaymentRecords, Recorded
from core.payment.routing import Routing
from core.payment.store import payments as store
from runtime.clock import Clock
from runtime.context import current_scope, with_business_id
from runtime.errors import PaycenterError, Reason
from runtime.ids import shard_of_owner
from runtime.telemetry import span


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferCommand:
    """What the caller asks for; `source` is None when the money comes from the merchant's transit account."""

    origin: Origin
    source: Owner | None
    receivers: tuple[tuple[Owner, Share], ...]


class Transfers:
    """Creates transfers and carries them out, at first and again after a crash."""

    def __init__(
        self,
        *,
        records: PaymentRecords,
        routing: Routing,
        outcomes: Outcomes,
        clock: Clock,
        submitting_lease_seconds: float,
    ) -> None:
        self._records = records
        self._routing = routing
        self._outcomes = outcomes
        self._clock = clock
        self._submitting_lease_seconds = submitting_lease_seconds

    async def create(self, command: TransferCommand, call: Call) -> bytes:
        """Takes a transfer from the request to its outcome; returns the stored answer.

        Too little money is an outcome: the payment is FAILED with INSUFFICIENT_FUNDS. Raises PaycenterError for input
        that is refused: FIELD_INVALID, CURRENCY_UNSUPPORTED, CURRENCY_MISMATCH, MERCHANT_MISMATCH, MERCHANT_NOT_FOUND,
        TENANT_FORBIDDEN, PAYMENT_STATE_INVALID when what the purchase brought in is not there to be taken. Idempotent
        by the call's request id.
        """
        try:
            with span("validate"):
                draft = await self._validate(command, call)
        except PaycenterError as refusal:
            shard = shard_of_owner(command.origin.merchant_id)
            return await self._records.replay_or_refuse(call, shard=shard, refusal=refusal)
        with span("generate_order"):
            recorded = await self._generate_order(draft, call)
        if isinstance(recorded, bytes):
            return recorded
        with with_business_id(recorded.payment.business_id):
            payment = await self.carry_out(recorded.payment)
            return await self._records.answer_to(call, payment)

    async def carry_out(self, payment: Payment) -> Payment:
        """Books the transfer and records the outcome; while the ledger is silent it stays open and is repeated."""
        try:
            return await self._outcomes.succeed(payment)
        except PaycenterError as error:
            return await self._outcomes.leave_open(payment, error)

    async def _validate(self, command: TransferCommand, call: Call) -> Payment:
        origin = command.origin
        check_currency(origin.amount)
        source = command.source
        if source is not None and source.kind is OwnerKind.MERCHANT and source.owner_id != origin.merchant_id:
            raise PaycenterError(
                Reason.MERCHANT_MISMATCH,
                "A merchant's balance is moved on behalf of that merchant.",
                field="source_owner.owner_id",
            )
        await self._routing.check_merchant(origin.merchant_id)
        for position, (owner, _) in enumerate(command.receivers):
            if owner.kind is OwnerKind.MERCHANT:
                await self._routing.check_merchant(
                    owner.owner_id, field=f"receivers[{position}].receiver.owner_id"
                )
        currency_code = origin.amount.currency_code
        source_account_id = (
            transit_account_id(origin.merchant_id, currency_code)
            if source is None
            else balance_account_id(source, currency_code)
        )
        lines = divide(
            origin.amount,
            [(balance_account_id(owner, currency_code), share) for owner, share in command.receivers],
        )
        if any(line.account_id == source_account_id for line in lines):
            raise PaycenterError(
                Reason.FIELD_INVALID, "The source is not among its own receivers.", field="receivers"
            )
        if source is None and origin.transaction_number:
            await self._check_purchase(origin)
        draft = draft_payment(PaymentKind.TRANSFER, origin, call, clock=self._clock)
        return replace(
            tried(draft, StepKind.POST_JOURNAL, StepState.RUNNING, now=self._clock.now()),
            source_account_id=source_account_id,
            destination_account_id=lines[0].account_id if len(lines) == 1 else "",
            posting_lines=lines if len(lines) > 1 else (),
        )

    async def _check_purchase(self, origin: Origin) -> None:
        """Refuses to take money for a purchase whose recharge did not succeed or goes back to its payer.

        The decision to give back is stored before the recharge succeeds, so that reading it beforehand is enough. A
        transaction number without any recharge here is the caller's own business.
        """
        async with self._records.database.read() as connection:
            found = await store.recharges_of_transaction(
                connection,
                shard=shard_of_owner(origin.merchant_id),
                tenant_id=current_scope().platform.tenant_id,
                transaction_number=origin.transaction_number,
            )
        if not found or any(
            recharge.state is PaymentState.SUCCEEDED and not recharge.is_given_back for recharge in found
        ):
            return
        recharge = found[0]
        raise PaycenterError(
            Reason.PAYMENT_STATE_INVALID,
            "What was paid for this transaction is given back."
            if recharge.is_given_back
            else "What is to be paid for this transaction has not arrived.",
            field="transaction_number",
            metadata={
                "current": "GIVEN_BACK" if recharge.is_given_back else recharge.state.value,
                "allowed": PaymentState.SUCCEEDED.value,
            },
            resource=("payment", recharge.payment_id),
        )

    async def _generate_order(self, draft: Payment, call: Call) -> Recorded | bytes:
        return await self._records.record(call, draft, delay_seconds=self._submitting_lease_seconds)
