"""Brings the parts of a split purchase's receivers together before the payer is refunded. Invariant: either every
receiver gives its part or each gets back what it gave; a transfer without an answer is asked again under its own id."""

from __future__ import annotations

import asyncio
from functools import partial

from core.transaction import order_changes
from core.transaction.domain import legs, refunds
from core.transaction.domain.change import Change
from core.transaction.domain.records import Leg, OrderFile, Refund
from core.transaction.domain.states import PaymentState
from core.transaction.parts import Parts
from core.transaction.remote import is_refusal
from runtime.errors import PaycenterError
from runtime.logs import get_logger
from runtime.money import Money

MOST_ROUNDS = 2
"""How often legs are moved in one go: taken, and given back when one was refused."""


def legs_of(file: OrderFile, amount: Money) -> tuple[Leg, ...]:
    """Returns what the receivers have to give back for a refund of `amount`; empty unless the order was split."""
    return legs.legs_for(file, amount)


def is_ready(refund: Refund) -> bool:
    """Whether the payer can be refunded."""
    return legs.are_ready(refund)


async def move_legs(parts: Parts, file: OrderFile, refund_id: str) -> OrderFile:
    """Moves what is to be moved and records it; harmless to repeat."""
    for _ in range(MOST_ROUNDS):
        refund = file.refund(refund_id)
        waiting = legs.to_move(refund) if refund is not None else []
        if refund is None or not waiting:
            break
        moves = await asyncio.gather(*(_move(parts, file, refund, leg, back=back) for leg, back in waiting))
        file = await order_changes.decide(
            parts,
            partial(_record, parts, refund_id, moves),
            shard=file.order.shard,
            order_id=file.order.order_id,
            known=file,
        )
    return file


def _record(parts: Parts, refund_id: str, moves: list[legs.Move], file: OrderFile) -> Change | None:
    refund = file.refund(refund_id)
    return refunds.record_moves(file, refund, moves, plan=parts.plan) if refund is not None else None


async def _move(parts: Parts, file: OrderFile, refund: Refund, leg: Leg, *, back: bool) -> legs.Move:
    try:
        if leg.payment_id:
            report = await parts.payment_core.query(leg.payment_id)
        else:
            report = await parts.payment_core.move_leg(file.order, refund, leg, back=back)
    except PaycenterError as error:
        reason = error.reason.value
        if is_refusal(error):
            return legs.Move(
                receiver=leg.receiver, back=back, outcome=legs.MoveOutcome.REFUSED, reason=reason
            )
        get_logger().warning(
            "transfer of a refund's part got no answer", refund_id=refund.refund_id, reason=reason
        )
        return legs.Move(receiver=leg.receiver, back=back, outcome=legs.MoveOutcome.UNKNOWN)
    outcome = legs.MoveOutcome.UNKNOWN
    if report.state is PaymentState.SUCCEEDED:
        outcome = legs.MoveOutcome.MOVED
    elif report.state in (PaymentState.FAILED, PaymentState.CLOSED):
        outcome = legs.MoveOutcome.REFUSED
    return legs.Move(
        receiver=leg.receiver,
        back=back,
        outcome=outcome,
        payment_id=report.payment_id,
        reason=report.failure_reason,
    )
