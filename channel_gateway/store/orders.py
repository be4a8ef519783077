"""The statements about channel orders. Invariant: every change of state carries the version it was decided
on; a lost race changes nothing and is told by None."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from sqlalchemy import Interval, RowMapping, and_, bindparam, func, insert, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from channel_gateway.domain.answer import Failure
from channel_gateway.domain.credential import credential_from_json, credential_to_json
from channel_gateway.domain.order import ChannelOrder
from channel_gateway.domain.vocabulary import (
    ChannelOrderKind,
    ChannelOrderState,
    FailureReason,
    InvokeMethod,
    OutcomeSafety,
)
from channel_gateway.store.tables import channel_order as t
from runtime.ids import shard_of_number
from runtime.money import Money

_NOW = func.now()
_DELAY = bindparam("delay", type_=Interval)

_INSERT = insert(t).values(next_step_time=_NOW + _DELAY).returning(t.c.create_time, t.c.update_time)
_BY_NUMBER = select(t).where(t.c.shard == bindparam("b_shard"), t.c.channel_order_id == bindparam("b_number"))
_BY_ACCOUNT = _BY_NUMBER.where(t.c.payment_account_id == bindparam("b_account"))
_BY_PAYMENT = (
    select(t)
    .where(t.c.shard == bindparam("b_shard"), t.c.payment_id == bindparam("b_payment"))
    .order_by(t.c.channel_order_id.desc())
    .limit(1)
)
_SAME_VERSION = and_(
    t.c.shard == bindparam("b_shard"),
    t.c.channel_order_id == bindparam("b_number"),
    t.c.version == bindparam("b_version"),
)
_ADVANCE = (
    update(t)
    .where(_SAME_VERSION)
    .values(version=t.c.version + 1, update_time=_NOW, step_count=0, next_step_time=_NOW + _DELAY)
    .returning(t.c.update_time)
)
_RESCHEDULE = update(t).where(_SAME_VERSION).values(next_step_time=_NOW + _DELAY)
_REQUEST_CLOSE = (
    update(t)
    .where(_SAME_VERSION)
    .values(close_requested=True, next_step_time=_NOW + _DELAY)
    .returning(t.c.version)
)
_RESERVE_REFUND = (
    update(t)
    .where(
        t.c.shard == bindparam("b_shard"),
        t.c.channel_order_id == bindparam("b_number"),
        t.c.kind == ChannelOrderKind.PAY.value,
        t.c.state == ChannelOrderState.SUCCEEDED.value,
        t.c.reserved_refund_minor_units + bindparam("b_amount") <= t.c.amount_minor_units,
    )
    .values(reserved_refund_minor_units=t.c.reserved_refund_minor_units + bindparam("b_amount"))
    .returning(t)
)
_RELEASE_REFUND = (
    update(t)
    .where(t.c.shard == bindparam("b_shard"), t.c.channel_order_id == bindparam("b_number"))
    .values(reserved_refund_minor_units=t.c.reserved_refund_minor_units - bindparam("b_amount"))
)
_DUE = (
    select(t.c.shard, t.c.channel_order_id)
    .where(t.c.next_step_time <= _NOW)
    .order_by(t.c.next_step_time)
    .limit(bindparam("b_limit"))
    .with_for_update(skip_locked=True)
)
_TAKE_DUE = (
    update(t)
    .where(tuple_(t.c.shard, t.c.channel_order_id).in_(_DUE))
    .values(next_step_time=_NOW + _DELAY, step_count=t.c.step_count + 1)
    .returning(t)
)


async def insert_order(
    connection: AsyncConnection, order: ChannelOrder, *, delay: timedelta | None
) -> ChannelOrder:
    """Writes a new order, to be looked at after `delay`; returns it with the database's times."""
    row = (await connection.execute(_INSERT, _values(order) | {"delay": delay})).one()
    return replace(order, create_time=row.create_time, update_time=row.update_time)


async def get_order(connection: AsyncConnection, channel_order_id: str) -> ChannelOrder | None:
    """Reads an order by its number; None when there is none or the number is malformed."""
    shard = _shard(channel_order_id)
    if shard is None:
        return None
    parameters = {"b_shard": shard, "b_number": channel_order_id}
    return _one((await connection.execute(_BY_NUMBER, parameters)).mappings().one_or_none())


async def get_order_of_account(
    connection: AsyncConnection, channel_order_id: str, payment_account_id: str
) -> ChannelOrder | None:
    """Reads an order by its number inside one payment account only."""
    shard = _shard(channel_order_id)
    if shard is None:
        return None
    parameters = {"b_shard": shard, "b_number": channel_order_id, "b_account": payment_account_id}
    return _one((await connection.execute(_BY_ACCOUNT, parameters)).mappings().one_or_none())


async def get_order_of_payment(connection: AsyncConnection, payment_id: str) -> ChannelOrder | None:
    """Reads the newest order that serves a payment."""
    shard = _shard(payment_id)
    if shard is None:
        return None
    parameters = {"b_shard": shard, "b_payment": payment_id}
    return _one((await connection.execute(_BY_PAYMENT, parameters)).mappings().one_or_none())


async def advance_order(
    connection: AsyncConnection, before: ChannelOrder, after: ChannelOrder, *, delay: timedelta | None
) -> ChannelOrder | None:
    """Writes `after` over `before`; None when somebody else changed the order meanwhile."""
    parameters = _same_version(before) | _changeable(after) | {"delay": delay}
    row = (await connection.execute(_ADVANCE, parameters)).one_or_none()
    if row is None:
        return None
    return replace(after, version=before.version + 1, step_count=0, update_time=row.update_time)


async def reschedule_order(
    connection: AsyncConnection, order: ChannelOrder, *, delay: timedelta | None
) -> None:
    """Sets when the order is looked at again, unless it changed meanwhile."""
    await connection.execute(_RESCHEDULE, _same_version(order) | {"delay": delay})


async def request_close(
    connection: AsyncConnection, order: ChannelOrder, *, delay: timedelta
) -> ChannelOrder | None:
    """Notes that the order is to be closed, to be taken up after `delay`; None when it changed meanwhile."""
    row = (await connection.execute(_REQUEST_CLOSE, _same_version(order) | {"delay": delay})).one_or_none()
    return None if row is None else replace(order, close_requested=True)


async def reserve_refund(
    connection: AsyncConnection, channel_order_id: str, amount_minor_units: int
) -> ChannelOrder | None:
    """Sets an amount of a succeeded payment aside for a refund; None when state or amount do not allow it."""
    shard = _shard(channel_order_id)
    if shard is None:
        return None
    parameters = {"b_shard": shard, "b_number": channel_order_id, "b_amount": amount_minor_units}
    return _one((await connection.execute(_RESERVE_REFUND, parameters)).mappings().one_or_none())


async def release_refund(connection: AsyncConnection, refund: ChannelOrder) -> None:
    """Gives back what a failed refund had set aside."""
    await connection.execute(
        _RELEASE_REFUND,
        {
            "b_shard": shard_of_number(refund.refunded_channel_order_id),
            "b_number": refund.refunded_channel_order_id,
            "b_amount": refund.amount.minor_units,
        },
    )


async def take_due_orders(
    connection: AsyncConnection, *, limit: int, lease: timedelta
) -> Sequence[ChannelOrder]:
    """Takes orders whose time has come; nobody else gets them before the lease ends."""
    rows = (await connection.execute(_TAKE_DUE, {"b_limit": limit, "delay": lease})).mappings().all()
    return [order_of(row) for row in rows]


def order_of(row: RowMapping) -> ChannelOrder:
    """Returns the order that a row of the table holds."""
    currency_code = row["currency_code"]
    failure = None
    if row["failure_reason"] is not None:
        failure = Failure(
            FailureReason(row["failure_reason"]),
            row["channel_code"] or "",
            row["channel_message"] or "",
            OutcomeSafety(row["outcome_safety"]),
        )
    return ChannelOrder(
        shard=row["shard"],
        channel_order_id=row["channel_order_id"],
        tenant_id=row["tenant_id"],
        payment_id=row["payment_id"],
        kind=ChannelOrderKind(row["kind"]),
        merchant_id=row["merchant_id"],
        payment_account_id=row["payment_account_id"],
        channel=row["channel"],
        invoke_method=None if row["invoke_method"] is None else InvokeMethod(row["invoke_method"]),
        amount=Money(row["amount_minor_units"], currency_code),
        channel_fee=Money(row["channel_fee_minor_units"], currency_code),
        state=ChannelOrderState(row["state"]),
        channel_transaction_id=row["channel_transaction_id"],
        refunded_channel_order_id=row["refunded_channel_order_id"],
        reserved_refund_minor_units=row["reserved_refund_minor_units"],
        failure=failure,
        credential=credential_from_json(row["credential"]),
        asked=row["asked"],
        sealed_asked=row["sealed_asked"],
        expire_time=row["expire_time"],
        succeed_time=row["succeed_time"],
        close_requested=row["close_requested"],
        step_count=row["step_count"],
        business_id=row["business_id"],
        traceparent=row["traceparent"],
        platform=row["platform"],
        version=row["version"],
        create_time=row["create_time"],
        update_time=row["update_time"],
    )


def _one(row: RowMapping | None) -> ChannelOrder | None:
    return None if row is None else order_of(row)


def _shard(number: str) -> int | None:
    try:
        return shard_of_number(number)
    except ValueError:
        return None


def _same_version(order: ChannelOrder) -> dict[str, Any]:
    return {"b_shard": order.shard, "b_number": order.channel_order_id, "b_version": order.version}


def _changeable(order: ChannelOrder) -> dict[str, Any]:
    failure = order.failure
    return {
        "state": order.state.value,
        "channel_transaction_id": order.channel_transaction_id,
        "failure_reason": None if failure is None else failure.reason.value,
        "channel_code": None if failure is None else failure.channel_code,
        "channel_message": None if failure is None else failure.channel_message,
        "outcome_safety": None if failure is None else failure.outcome_safety.value,
        "credential": credential_to_json(order.credential),
        "succeed_time": order.succeed_time,
    }


def _values(order: ChannelOrder) -> dict[str, Any]:
    return _changeable(order) | {
        "shard": order.shard,
        "channel_order_id": order.channel_order_id,
        "tenant_id": order.tenant_id,
        "payment_id": order.payment_id,
        "kind": order.kind.value,
        "merchant_id": order.merchant_id,
        "payment_account_id": order.payment_account_id,
        "channel": order.channel,
        "invoke_method": None if order.invoke_method is None else order.invoke_method.value,
        "amount_minor_units": order.amount.minor_units,
        "currency_code": order.amount.currency_code,
        "channel_fee_minor_units": order.channel_fee.minor_units,
        "refunded_channel_order_id": order.refunded_channel_order_id,
        "asked": dict(order.asked),
        "sealed_asked": order.sealed_asked,
        "expire_time": order.expire_time,
        "business_id": order.business_id,
        "traceparent": order.traceparent,
        "platform": order.platform,
        "version": order.version,
    }
