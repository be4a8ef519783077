"""What a payment's outcome means for its order: winner, loser, paid after close. Invariant: whoever tells it (answer,
event, query, repair), however often and in whatever order, the order is carried out by one attempt and no money is
lost."""

from __future__ import annotations

from core.transaction import metrics, order_changes
from core.transaction.access import shard_of_kind
from core.transaction.domain import attempts
from core.transaction.domain.change import Change
from core.transaction.domain.records import Attempt, OrderFile, PaymentReport
from core.transaction.domain.states import SETTLED_BY_TRANSFER_KINDS, AttemptState, PaymentKind
from core.transaction.order_changes import AnswerOf
from core.transaction.parts import Parts
from core.transaction.remote import is_refusal
from core.transaction.store import order_files
from runtime.context import with_business_id
from runtime.errors import PaycenterError
from runtime.ids import NumberKind, new_number, shard_of_number
from runtime.logs import get_logger


async def apply(
    parts: Parts, report: PaymentReport, *, known: OrderFile | None = None, answer_of: AnswerOf | None = None
) -> OrderFile:
    """Records what PaymentCore says of an attempt's payment and does what follows from it at once.

    The winner's money is moved on to the receivers; a loser's is refunded by the worker. The command's answer is
    written with the last step. Idempotent. Raises PaycenterError(ORDER_NOT_FOUND) when the report belongs to no order.
    """
    attempt_id = report.transaction_number
    file = await order_changes.decide(
        parts,
        lambda seen: _meaning(parts, seen, report),
        shard=shard_of_number(attempt_id),
        order_id=report.order_id or await _order_of(parts, attempt_id),
        known=known,
        answer_of=_unless_unsettled(attempt_id, answer_of),
    )
    if _is_unsettled(file, attempt_id):
        return await settle(parts, file, attempt_id, answer_of=answer_of)
    return file


def _meaning(parts: Parts, file: OrderFile, report: PaymentReport) -> Change | None:
    attempt = file.attempt(report.transaction_number)
    if attempt is None:
        get_logger().error(
            "payment names an attempt that its order does not have",
            payment_id=report.payment_id,
            attempt_id=report.transaction_number,
        )
        return None
    if attempts.contradicts(attempt, report):
        metrics.contradictions.inc()
        get_logger().error(
            "money arrived for a payment that had failed",
            payment_id=report.payment_id,
            attempt_id=attempt.attempt_id,
        )
    if report.kind is PaymentKind.TRANSFER and file.order.kind in SETTLED_BY_TRANSFER_KINDS:
        return attempts.settle(file, attempt, report, plan=parts.plan)
    refund_id = new_number(NumberKind.REFUND, shard=file.order.shard)
    return attempts.record_report(file, attempt, report, plan=parts.plan, new_refund_id=refund_id)


async def settle(
    parts: Parts,
    file: OrderFile,
    attempt_id: str,
    *,
    answer_of: AnswerOf | None = None,
    is_due: bool = False,
) -> OrderFile:
    """Moves the winner's money to the receivers and makes the order PAID; harmless to repeat.

    Without an answer of PaymentCore everything stays as it is and the worker asks again. A transfer after one that
    failed is begun by the worker alone, when it `is_due`.
    """
    attempt = _attempt_of(file, attempt_id)
    if not attempt.transfer_payment_id and not attempts.may_begin_transfer(attempt, is_due=is_due):
        return await order_changes.answer_alone(parts, file, answer_of)
    with with_business_id(file.order.business_id):
        try:
            report = await _transfer(parts, file, attempt)
        except PaycenterError as error:
            if not is_refusal(error):
                get_logger().warning(
                    "transfer got no answer", attempt_id=attempt_id, reason=error.reason.value
                )
                return await order_changes.answer_alone(parts, file, answer_of)
            reason = error.reason.value
            get_logger().error("transfer refused", attempt_id=attempt_id, reason=reason)
            return await _decide_on_winner(
                parts,
                file,
                lambda seen: attempts.settle_refused(
                    seen,
                    _attempt_of(seen, attempt_id),
                    reason,
                    plan=parts.plan,
                    transfer_round=attempt.transfer_round,
                ),
                answer_of,
            )
        return await _decide_on_winner(
            parts,
            file,
            lambda seen: attempts.settle(
                seen,
                _attempt_of(seen, attempt_id),
                report,
                plan=parts.plan,
                transfer_round=attempt.transfer_round,
            ),
            answer_of,
        )


async def _transfer(parts: Parts, file: OrderFile, attempt: Attempt) -> PaymentReport:
    """Begins the transfer, or asks after the one that was begun and not decided.

    From the second round on events are heard meanwhile: they may be of the transfer before.
    """
    if attempt.transfer_payment_id:
        return await parts.payment_core.query(attempt.transfer_payment_id)
    if attempt.transfer_round > 1:
        return await parts.payment_core.settle(file.order, attempt)
    with parts.calling_for(attempt.attempt_id):
        return await parts.payment_core.settle(file.order, attempt)


async def _decide_on_winner(
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


def _is_unsettled(file: OrderFile, attempt_id: str) -> bool:
    """Whether the attempt has won and its money is not with the receivers yet."""
    attempt = file.attempt(attempt_id)
    return attempt is not None and attempt.state is AttemptState.PAID and not attempt.transfer_payment_id


def _unless_unsettled(attempt_id: str, answer_of: AnswerOf | None) -> AnswerOf | None:
    if answer_of is None:
        return None
    return lambda file: None if _is_unsettled(file, attempt_id) else answer_of(file)


def _attempt_of(file: OrderFile, attempt_id: str) -> Attempt:
    attempt = file.attempt(attempt_id)
    if attempt is None:
        raise ValueError("the order has no such attempt")
    return attempt


async def _order_of(parts: Parts, attempt_id: str) -> str:
    shard = shard_of_kind(attempt_id, NumberKind.ATTEMPT)
    async with parts.database.read() as connection:
        found = (
            await order_files.order_of_attempt(connection, shard=shard, attempt_id=attempt_id)
            if shard is not None
            else None
        )
    if found is None:
        raise order_changes.order_not_found(attempt_id)
    return found
