"""Ends orders whose time is over, at their channels too. Invariant: an expired order was proven unpaid; one that is
being paid out or has a winner is left to its outcome."""

from __future__ import annotations

from core.transaction import close_order, order_changes
from core.transaction.domain.attempts import begin_closing
from core.transaction.domain.change import Change
from core.transaction.domain.records import OrderFile
from core.transaction.domain.states import PAYER_PAYS_KINDS, OrderState
from core.transaction.parts import Parts
from core.transaction.store.due_work import DueWork


async def take_up(parts: Parts, work: DueWork) -> None:
    """Expires a due order and closes its attempts; harmless to repeat.

    Attempts of an order that is being closed already have waits of their own.
    """
    file = await order_changes.decide(
        parts, lambda seen: _expire(parts, seen), shard=work.shard, order_id=work.order_id
    )
    if file.order.state is OrderState.CLOSING and work.state != OrderState.CLOSING:
        await close_order.close_attempts(parts, file)


def _expire(parts: Parts, file: OrderFile) -> Change | None:
    order = file.order
    if order.state not in (OrderState.CREATED, OrderState.PAYING) or order.winning_attempt_id:
        return None
    if order.expire_time > file.read_time:
        return None
    if order.kind not in PAYER_PAYS_KINDS and file.open_attempts:
        return None
    return begin_closing(file, OrderState.EXPIRED, plan=parts.plan)
