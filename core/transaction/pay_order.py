"""Begins an attempt to carry an order out. Invariant: the attempt is recorded before PaymentCore is called, and no
withdrawal or transfer is ever tried while an earlier try is undecided."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from core.transaction import commands, order_changes, outcome
from core.transaction.access import require_merchant, require_order_number
from core.transaction.domain.attempts import begin_attempt, refuse_attempt
from core.transaction.domain.plan import later
from core.transaction.domain.records import Attempt, Instruction, OrderFile
from core.transaction.domain.states import PAYABLE_ORDER_STATES, PAYER_PAYS_KINDS, AttemptState
from core.transaction.mapping import answers
from core.transaction.order_changes import AnswerOf
from core.transaction.parts import Parts
from core.transaction.remote import error_of, is_refusal, refusal_of
from core.transaction.store import order_files
from core.transaction.store.order_saving import Answer
from runtime.context import current_scope, decode_platform, encode_platform, with_business_id
from runtime.errors import PaycenterError, Reason
from runtime.idempotency import Replay, Resume
from runtime.ids import NumberKind, new_number
from runtime.logs import get_logger
from runtime.telemetry import span

METHOD = "PayOrder"
_REFUSED = b""
"""Stands for a refusal of PaymentCore among the stored answers; the attempt keeps what it said."""


async def pay_order(parts: Parts, command: commands.PayOrder) -> answers.PayOrderResponse:
    """Begins an attempt and answers whether it was sent. Idempotent by request id.

    Raises PaycenterError: ORDER_NOT_FOUND, TENANT_FORBIDDEN, MERCHANT_MISMATCH, ORDER_STATE_INVALID, FIELD_INVALID,
    ATTEMPT_IN_PROGRESS (metadata attemptId), and what PaymentCore refuses with. When PaymentCore cannot be reached
    the attempt stays CREATED and is sent later.
    """
    begun = await _record(parts, command)
    if isinstance(begun, answers.PayOrderResponse):
        return begun
    file, attempt_id = begun
    with with_business_id(file.order.business_id):
        file = await send(parts, file, attempt_id)
    return answers.order_being_paid(file, attempt_id)


async def _record(
    parts: Parts, command: commands.PayOrder
) -> answers.PayOrderResponse | tuple[OrderFile, str]:
    shard = require_order_number(command.order_id)
    attempt_id = new_number(NumberKind.ATTEMPT, shard=shard)
    async with parts.database.begin() as connection:
        claim = await parts.idempotency.claim(
            connection,
            shard=shard,
            method=METHOD,
            request_id=command.key.request_id,
            fingerprint=command.key.fingerprint,
            resource_id=attempt_id,
            lease_seconds=parts.plan.call_lease_seconds,
        )
        file = await order_files.read_file(
            connection, shard, command.order_id, lock=not isinstance(claim, Replay)
        )
        file = require_merchant(file, command.order_id, command.merchant_id)
        if isinstance(claim, Replay):
            return _replayed(file, claim)
        with with_business_id(file.order.business_id):
            if isinstance(claim, Resume):
                return file, claim.resource_id or ""
            with span("validate"):
                _require_payable(parts, file, command.instruction)
            attempt = _new_attempt(parts, file, command, attempt_id)
            return await order_changes.store(parts, connection, begin_attempt(file, attempt)), attempt_id


def _replayed(file: OrderFile, claim: Replay) -> answers.PayOrderResponse:
    if claim.response != _REFUSED:
        return answers.unpack(answers.PayOrderResponse, claim.response)
    attempt = file.attempt(claim.resource_id or "")
    if attempt is None or attempt.refusal is None:
        raise ValueError("a refused attempt keeps its refusal")
    raise error_of(attempt.refusal)


def _require_payable(parts: Parts, file: OrderFile, instruction: Instruction) -> None:
    order = file.order
    if order.state not in PAYABLE_ORDER_STATES or order.expire_time <= file.read_time:
        raise PaycenterError(
            Reason.ORDER_STATE_INVALID,
            f"An order in {order.state.value} cannot be paid."
            if order.state not in PAYABLE_ORDER_STATES
            else "The order's time is over.",
            metadata={
                "current": order.state.value,
                "allowed": ",".join(state.value for state in PAYABLE_ORDER_STATES),
                "expireTime": order.expire_time.isoformat(),
            },
            resource=("order", order.order_id),
        )
    if order.kind in PAYER_PAYS_KINDS and not instruction.invoke_method:
        raise PaycenterError(
            Reason.FIELD_INVALID, "Say how the payer meets the channel.", field="invoke_method"
        )
    standing = _attempt_in_the_way(parts, file, instruction)
    if standing is not None:
        raise PaycenterError(
            Reason.ATTEMPT_IN_PROGRESS,
            "An attempt of this order is under way.",
            metadata={"attemptId": standing.attempt_id, "state": standing.state.value},
            resource=("attempt", standing.attempt_id),
        )


def _attempt_in_the_way(parts: Parts, file: OrderFile, instruction: Instruction) -> Attempt | None:
    """Returns the attempt that a new one would compete with, or None.

    A payer may have several attempts open, by different accounts or methods; the same one again only when the first
    gave no credential in time. Money that goes out is never tried twice at once.
    """
    order = file.order
    if order.kind not in PAYER_PAYS_KINDS:
        return next(iter(file.open_attempts), None)
    if order.winning_attempt_id:
        return file.attempt(order.winning_attempt_id)
    for attempt in file.open_attempts:
        if _same_way(attempt, instruction) and (
            attempt.credential or not _is_stale(parts, attempt, file.read_time)
        ):
            return attempt
    return None


def _same_way(attempt: Attempt, instruction: Instruction) -> bool:
    accounts = (attempt.payment_account_id, attempt.instruction.payment_account_id)
    return (
        attempt.instruction.invoke_method == instruction.invoke_method
        and instruction.payment_account_id in accounts
    )


def _is_stale(parts: Parts, attempt: Attempt, now: datetime) -> bool:
    return later(attempt.create_time, parts.plan.attempt_retry_seconds) <= now


def _new_attempt(parts: Parts, file: OrderFile, command: commands.PayOrder, attempt_id: str) -> Attempt:
    order = file.order
    scope = current_scope()
    return Attempt(
        shard=order.shard,
        business_id=order.business_id,
        traceparent=scope.trace.format(),
        platform=encode_platform(scope.platform),
        create_time=file.read_time,
        update_time=file.read_time,
        attempt_id=attempt_id,
        order_id=order.order_id,
        state=AttemptState.CREATED,
        instruction=command.instruction
        if order.kind in PAYER_PAYS_KINDS
        else replace(command.instruction, invoke_method="", authorization_code=""),
        request_id=command.key.request_id,
        next_step_time=later(file.read_time, parts.plan.call_lease_seconds),
    )


async def send(parts: Parts, file: OrderFile, attempt_id: str) -> OrderFile:
    """Begins the attempt's payment in PaymentCore, records what it answers and answers the command; harmless to repeat.

    A refusal fails the attempt and is raised. No answer leaves everything as it is: the worker asks again.
    """
    attempt = _attempt_of(file, attempt_id)
    answer_of = answer_of_attempt(attempt)
    if attempt.refusal is not None:
        await order_changes.answer_alone(parts, file, lambda seen: _refused(_attempt_of(seen, attempt_id)))
        raise error_of(attempt.refusal)
    if not attempt.is_open or attempt.payment_id:
        return await order_changes.answer_alone(parts, file, answer_of)
    try:
        with parts.calling_for(attempt_id):
            report = await parts.payment_core.begin(file.order, attempt)
    except PaycenterError as error:
        if not is_refusal(error):
            get_logger().warning(
                "payment core gave no answer", attempt_id=attempt_id, reason=error.reason.value
            )
            return await order_changes.answer_alone(parts, file, answer_of)
        await _refuse(parts, file, attempt_id, error)
        raise
    return await outcome.apply(parts, report, known=file, answer_of=answer_of)


async def _refuse(parts: Parts, file: OrderFile, attempt_id: str, error: PaycenterError) -> None:
    refusal = refusal_of(error)
    await order_changes.decide(
        parts,
        lambda seen: refuse_attempt(seen, _attempt_of(seen, attempt_id), refusal),
        shard=file.order.shard,
        order_id=file.order.order_id,
        known=file,
        answer_of=lambda seen: _refused(_attempt_of(seen, attempt_id)),
    )


def _refused(attempt: Attempt) -> Answer:
    return _answer(attempt, decode_platform(attempt.platform).caller_service, _REFUSED)


def answer_of_attempt(attempt: Attempt) -> AnswerOf:
    """Returns how the attempt's command is answered by whoever finishes it, its caller or the repair worker."""

    def answer(file: OrderFile) -> Answer:
        packed = answers.pack(answers.order_being_paid(file, attempt.attempt_id))
        return _answer(attempt, decode_platform(attempt.platform).caller_service, packed)

    return answer


def _answer(attempt: Attempt, caller: str, response: bytes) -> Answer:
    return Answer(caller=caller, method=METHOD, request_id=attempt.request_id, response=response)


def _attempt_of(file: OrderFile, attempt_id: str) -> Attempt:
    attempt = file.attempt(attempt_id)
    if attempt is None:
        raise ValueError("the order has no such attempt")
    return attempt
