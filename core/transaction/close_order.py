"""Closes an order that is not paid, at its channels too. Invariant: an order is closed only when each of its attempts
is proven unpaid; when the payer was faster the order is paid."""

from __future__ import annotations

import asyncio

from core.transaction import commands, order_changes, outcome, pay_order
from core.transaction.access import require_merchant, require_order_number
from core.transaction.domain.attempts import begin_closing
from core.transaction.domain.records import Attempt, OrderFile
from core.transaction.domain.states import (
    CLOSABLE_ORDER_STATES,
    PAYER_PAYS_KINDS,
    OrderState,
)
from core.transaction.mapping import answers
from core.transaction.parts import Parts
from core.transaction.remote import is_refusal
from core.transaction.store import order_files
from runtime.context import with_business_id
from runtime.errors import PaycenterError, Reason
from runtime.idempotency import Replay, Resume
from runtime.logs import get_logger
from runtime.telemetry import span

METHOD = "CloseOrder"


async def close_order(parts: Parts, command: commands.CloseOrder) -> answers.CloseOrderResponse:
    """Closes the order and answers with what became of it: CLOSED, PAID, or CLOSING while a channel is silent.

    Idempotent by request id. Raises PaycenterError: ORDER_NOT_FOUND, TENANT_FORBIDDEN, MERCHANT_MISMATCH,
    ORDER_STATE_INVALID.
    """
    shard = require_order_number(command.order_id)
    async with parts.database.begin() as connection:
        claim = await parts.idempotency.claim(
            connection,
            shard=shard,
            method=METHOD,
            request_id=command.key.request_id,
            fingerprint=command.key.fingerprint,
            resource_id=command.order_id,
            lease_seconds=parts.plan.call_lease_seconds,
        )
        if isinstance(claim, Replay):
            return answers.unpack(answers.CloseOrderResponse, claim.response)
        file = require_merchant(
            await order_files.read_file(connection, shard, command.order_id, lock=True),
            command.order_id,
            command.merchant_id,
        )
        with with_business_id(file.order.business_id), span("validate"):
            if not isinstance(claim, Resume):
                require_closable(file)
            if _is_to_be_closed(file):
                change = begin_closing(file, OrderState.CLOSED, plan=parts.plan)
                file = await order_changes.store(parts, connection, change)
    with with_business_id(file.order.business_id):
        await close_attempts(parts, file)
        return await _answer(parts, command, shard)


def require_closable(file: OrderFile) -> None:
    """Raises ORDER_STATE_INVALID unless the order can be closed or is about to be paid after all."""
    order = file.order
    money_goes_out = order.kind not in PAYER_PAYS_KINDS and bool(file.open_attempts)
    if order.state in CLOSABLE_ORDER_STATES and not money_goes_out:
        return
    raise PaycenterError(
        Reason.ORDER_STATE_INVALID,
        "Money of this order is on its way out."
        if money_goes_out
        else f"An order in {order.state.value} is decided.",
        metadata={
            "current": order.state.value,
            "allowed": ",".join(state.value for state in CLOSABLE_ORDER_STATES),
        },
        resource=("order", order.order_id),
    )


def _is_to_be_closed(file: OrderFile) -> bool:
    return file.order.state in (OrderState.CREATED, OrderState.PAYING) and not file.order.winning_attempt_id


async def close_attempts(parts: Parts, file: OrderFile) -> None:
    """Closes every open attempt at its channel, all at once, and settles the one that was paid after all."""
    winner = file.order.winning_attempt_id
    waiting = [
        outcome.settle(parts, file, winner)
        if attempt.attempt_id == winner
        else close_attempt(parts, file, attempt)
        for attempt in file.open_attempts
    ]
    await asyncio.gather(*waiting)


async def close_attempt(parts: Parts, file: OrderFile, attempt: Attempt) -> OrderFile:
    """Closes one attempt at its channel and records what is said; harmless to repeat.

    An attempt of which it is not known whether it was sent is sent under its own id first, to learn its payment.
    Without an answer everything stays as it is and the worker asks again.
    """
    try:
        if not attempt.payment_id:
            file = await pay_order.send(parts, file, attempt.attempt_id)
            attempt = file.attempt(attempt.attempt_id) or attempt
        if not attempt.payment_id or not attempt.is_open:
            return file
        report = await parts.payment_core.close(attempt)
    except PaycenterError as error:
        if not is_refusal(error):
            get_logger().warning(
                "close got no answer", attempt_id=attempt.attempt_id, reason=error.reason.value
            )
        return file
    return await outcome.apply(parts, report, known=file)


async def _answer(parts: Parts, command: commands.CloseOrder, shard: int) -> answers.CloseOrderResponse:
    async with parts.database.begin() as connection:
        file = await order_files.read_file(connection, shard, command.order_id)
        if file is None:
            raise order_changes.order_not_found(command.order_id)
        answer = answers.order_closed(file)
        await parts.idempotency.complete(
            connection,
            shard=shard,
            method=METHOD,
            request_id=command.key.request_id,
            response=answers.pack(answer),
        )
    return answer
