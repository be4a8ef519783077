"""Gives money of an order back. Invariant: whether it may go back is decided on the locked order row; what is on its
way counts as gone until it is proven not to be."""

from __future__ import annotations

from sqlalchemy.exc import IntegrityError

from core.transaction import commands, metrics, order_changes, split_refund
from core.transaction.access import require_merchant, require_order_number, require_tenant, shard_of_kind
from core.transaction.domain import refunds
from core.transaction.domain.change import Change
from core.transaction.domain.plan import later
from core.transaction.domain.records import Attempt, OrderFile, PaymentReport, Refund
from core.transaction.domain.states import PaymentKind, RefundState
from core.transaction.mapping import answers
from core.transaction.order_changes import AnswerOf
from core.transaction.parts import Parts
from core.transaction.remote import is_refusal
from core.transaction.store import order_files
from core.transaction.store.order_intake import broken_constraint
from core.transaction.store.order_saving import Answer
from runtime.context import current_scope, decode_platform, encode_platform, with_business_id
from runtime.errors import PaycenterError, Reason
from runtime.idempotency import Replay, Resume
from runtime.ids import NumberKind, new_number, shard_of_number
from runtime.logs import get_logger
from runtime.telemetry import span

METHOD = "CreateRefund"


async def create_refund(parts: Parts, command: commands.CreateRefund) -> answers.CreateRefundResponse:
    """Begins a refund and answers with its state. Idempotent by request id.

    Raises PaycenterError: ORDER_NOT_FOUND, TENANT_FORBIDDEN, MERCHANT_MISMATCH, ORDER_STATE_INVALID,
    CURRENCY_MISMATCH, REFUND_EXCEEDS_PAID (metadata refundableMinorUnits), MERCHANT_ORDER_EXISTS (field
    merchant_refund_id, metadata refundId). What PaymentCore refuses is the refund's outcome: it is FAILED then.
    """
    try:
        begun = await _record(parts, command)
    except IntegrityError as error:
        if broken_constraint(error) != order_files.MERCHANT_REFUND_UNIQUE:
            raise
        raise await _merchant_refund_exists(parts, command) from None
    if isinstance(begun, answers.CreateRefundResponse):
        return begun
    file, refund_id = begun
    with with_business_id(file.order.business_id):
        file = await carry_out(parts, file, refund_id)
    return answers.refund_begun(file, refund_id)


async def _record(
    parts: Parts, command: commands.CreateRefund
) -> answers.CreateRefundResponse | tuple[OrderFile, str]:
    shard = require_order_number(command.order_id)
    refund_id = new_number(NumberKind.REFUND, shard=shard)
    async with parts.database.begin() as connection:
        claim = await parts.idempotency.claim(
            connection,
            shard=shard,
            method=METHOD,
            request_id=command.key.request_id,
            fingerprint=command.key.fingerprint,
            resource_id=refund_id,
            lease_seconds=parts.plan.call_lease_seconds,
        )
        if isinstance(claim, Replay):
            return answers.unpack(answers.CreateRefundResponse, claim.response)
        file = require_merchant(
            await order_files.read_file(connection, shard, command.order_id, lock=True),
            command.order_id,
            command.merchant_id,
        )
        with with_business_id(file.order.business_id):
            if isinstance(claim, Resume):
                return file, claim.resource_id or ""
            with span("validate"):
                refunds.require_refundable(file.order, command.amount)
            refund = _new_refund(parts, file, command, refund_id)
            return await order_changes.store(parts, connection, refunds.begin_refund(file, refund)), refund_id


def _new_refund(parts: Parts, file: OrderFile, command: commands.CreateRefund, refund_id: str) -> Refund:
    order = file.order
    scope = current_scope()
    return Refund(
        shard=order.shard,
        business_id=order.business_id,
        traceparent=scope.trace.format(),
        platform=encode_platform(scope.platform),
        create_time=file.read_time,
        update_time=file.read_time,
        refund_id=refund_id,
        order_id=order.order_id,
        tenant_id=order.tenant_id,
        merchant_id=order.merchant_id,
        merchant_refund_id=command.merchant_refund_id,
        attempt_id=order.winning_attempt_id,
        amount=command.amount,
        reason=command.reason,
        state=RefundState.ACCEPTED,
        automatic=False,
        request_id=command.key.request_id,
        legs=split_refund.legs_of(file, command.amount),
        next_step_time=later(file.read_time, parts.plan.call_lease_seconds),
    )


async def carry_out(parts: Parts, file: OrderFile, refund_id: str) -> OrderFile:
    """Sends a refund that PaymentCore has not accepted yet, records the answer and answers the command; repeatable.

    No answer leaves everything as it is: the worker asks again.
    """
    refund = _refund_of(file, refund_id)
    answer_of = _answer_of_refund(refund)
    if refund.legs and refund.is_open:
        file = await split_refund.move_legs(parts, file, refund_id)
        refund = _refund_of(file, refund_id)
    if not refund.is_open or refund.payment_id or not split_refund.is_ready(refund):
        return await order_changes.answer_alone(parts, file, answer_of)
    try:
        report = await parts.payment_core.refund(file.order, _paid_attempt(file, refund), refund)
    except PaycenterError as error:
        if not is_refusal(error):
            get_logger().warning("refund got no answer", refund_id=refund_id, reason=error.reason.value)
            return await order_changes.answer_alone(parts, file, answer_of)
        reason = error.reason.value
        return await _decide(
            parts,
            file,
            lambda seen: refunds.refuse_refund(
                seen,
                _refund_of(seen, refund_id),
                reason,
                plan=parts.plan,
                round_number=refund.round_number,
            ),
            answer_of,
        )
    return await _decide(
        parts,
        file,
        lambda seen: _meaning(parts, seen, refund_id, report, round_number=refund.round_number),
        answer_of,
    )


async def apply(parts: Parts, report: PaymentReport) -> None:
    """Records what PaymentCore says of a refund's payment. Idempotent.

    Transfers of a refund's parts are left to whoever began them. Raises PaycenterError(REFUND_NOT_FOUND) when the
    report belongs to no refund.
    """
    if report.kind is not PaymentKind.REFUND:
        return
    refund_id = report.transaction_number
    shard = shard_of_number(refund_id)
    order_id = report.order_id
    if not order_id:
        async with parts.database.read() as connection:
            order_id = await order_files.order_of_refund(connection, shard=shard, refund_id=refund_id) or ""
    await order_changes.decide(
        parts,
        lambda seen: _meaning(parts, seen, refund_id, report),
        shard=shard,
        order_id=order_id,
    )


def _meaning(
    parts: Parts, file: OrderFile, refund_id: str, report: PaymentReport, *, round_number: int | None = None
) -> Change | None:
    refund = _refund_of(file, refund_id)
    if refunds.contradicts(refund, report):
        metrics.contradictions.inc()
        get_logger().error(
            "money went back for a refund that was decided otherwise",
            payment_id=report.payment_id,
            refund_id=refund_id,
            state=refund.state.value,
        )
    return refunds.record_report(file, refund, report, plan=parts.plan, round_number=round_number)


async def get_refund(parts: Parts, refund_id: str) -> Refund:
    """Reads a refund; raises PaycenterError: REFUND_NOT_FOUND, TENANT_FORBIDDEN."""
    shard = shard_of_kind(refund_id, NumberKind.REFUND)
    async with parts.database.read() as connection:
        found = (
            await order_files.read_refund(connection, shard=shard, refund_id=refund_id)
            if shard is not None
            else None
        )
    if found is None:
        raise refund_not_found(refund_id)
    require_tenant(found.tenant_id)
    return found


def _answer_of_refund(refund: Refund) -> AnswerOf | None:
    """Returns how the refund's command is answered by whoever finishes it, its caller or the repair worker."""
    if not refund.request_id:
        return None

    def answer(file: OrderFile) -> Answer:
        return Answer(
            caller=decode_platform(refund.platform).caller_service,
            method=METHOD,
            request_id=refund.request_id,
            response=answers.pack(answers.refund_begun(file, refund.refund_id)),
        )

    return answer


def refund_not_found(refund_id: str) -> PaycenterError:
    """Returns the refusal for a number that names no refund."""
    return PaycenterError(
        Reason.REFUND_NOT_FOUND,
        "No refund has this number.",
        metadata={"refundId": refund_id},
        resource=("refund", refund_id),
    )


async def _decide(
    parts: Parts, file: OrderFile, decision: order_changes.Decide, answer_of: AnswerOf | None
) -> OrderFile:
    return await order_changes.decide(
        parts,
        decision,
        shard=file.order.shard,
        order_id=file.order.order_id,
        known=file,
        answer_of=answer_of,
    )


def _refund_of(file: OrderFile, refund_id: str) -> Refund:
    found = file.refund(refund_id)
    if found is None:
        raise refund_not_found(refund_id)
    return found


def _paid_attempt(file: OrderFile, refund: Refund) -> Attempt:
    attempt = file.attempt(refund.attempt_id)
    if attempt is None:
        raise ValueError("a refund gives back what an attempt of its order took")
    return attempt


async def _merchant_refund_exists(parts: Parts, command: commands.CreateRefund) -> PaycenterError:
    async with parts.database.read() as connection:
        existing = await order_files.find_by_merchant_refund(
            connection,
            shard=shard_of_number(command.order_id),
            tenant_id=current_scope().platform.tenant_id,
            merchant_id=command.merchant_id,
            merchant_refund_id=command.merchant_refund_id,
        )
    return PaycenterError(
        Reason.MERCHANT_ORDER_EXISTS,
        "The merchant has a refund with this number already.",
        field="merchant_refund_id",
        metadata={"refundId": existing or ""},
        resource=("refund", existing or ""),
    )
