"""Statements on payments. Invariant: a change names the version that it is based on, so that of two at the same moment
one is lost and told so; amounts being refunded change under a guard on the row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from core.payment.domain.payment import Payment, PaymentKind, PaymentState, Resolution
from core.payment.store.rows import changing_columns, fixed_columns, payment_of, steps_column
from core.payment.store.saving import LostRaceError, after_delay
from core.payment.store.tables import payment, payment_resolution

_IS_THE_PAYMENT: Final = sa.and_(
    payment.c.shard == sa.bindparam("of_shard", type_=sa.SmallInteger()),
    payment.c.payment_id == sa.bindparam("of_payment_id", type_=sa.Text()),
)
_AT_VERSION: Final = payment.c.version == sa.bindparam("of_version", type_=sa.BigInteger())
_PART: Final = sa.bindparam("part", type_=sa.BigInteger())

_GET: Final = sa.select(payment).where(_IS_THE_PAYMENT)
_INSERT: Final = (
    sa.insert(payment)
    .values(version=1, next_step_time=after_delay())
    .returning(payment.c.create_time, payment.c.update_time, payment.c.next_step_time)
)
_RESCHEDULE: Final = (
    sa.update(payment)
    .where(_IS_THE_PAYMENT, _AT_VERSION)
    .values(next_step_time=after_delay())
    .returning(payment.c.next_step_time)
)
_RESERVE_REFUND: Final = (
    sa.update(payment)
    .where(
        _IS_THE_PAYMENT,
        payment.c.state == PaymentState.SUCCEEDED.value,
        payment.c.refunded_minor_units + payment.c.refunding_minor_units + _PART
        <= payment.c.amount_minor_units,
    )
    .values(refunding_minor_units=payment.c.refunding_minor_units + _PART)
    .returning(payment.c.payment_id)
)
_COMPLETE_REFUND: Final = (
    sa.update(payment)
    .where(_IS_THE_PAYMENT)
    .values(
        refunding_minor_units=payment.c.refunding_minor_units - _PART,
        refunded_minor_units=payment.c.refunded_minor_units + _PART,
        version=payment.c.version + 1,
        update_time=sa.func.now(),
    )
    .returning(payment)
)
_RELEASE_REFUND: Final = (
    sa.update(payment)
    .where(_IS_THE_PAYMENT)
    .values(refunding_minor_units=payment.c.refunding_minor_units - _PART)
)
_DUE: Final = (
    sa.select(payment.c.shard, payment.c.payment_id)
    .where(payment.c.next_step_time <= sa.func.now())
    .order_by(payment.c.next_step_time)
    .limit(sa.bindparam("batch_size", type_=sa.Integer()))
    .with_for_update(skip_locked=True)
    .cte("due")
)
_CLAIM_DUE: Final = (
    sa.update(payment)
    .where(payment.c.shard == _DUE.c.shard, payment.c.payment_id == _DUE.c.payment_id)
    .values(next_step_time=after_delay())
    .returning(payment)
)
_FAMILY: Final = (
    sa.select(payment)
    .where(
        sa.or_(payment.c.business_id == sa.bindparam("number"), payment.c.order_id == sa.bindparam("number"))
    )
    .order_by(payment.c.payment_id)
    .limit(sa.bindparam("row_limit", type_=sa.Integer()))
)
_OF_TRANSACTION: Final = sa.and_(
    payment.c.shard == sa.bindparam("of_shard", type_=sa.SmallInteger()),
    payment.c.tenant_id == sa.bindparam("of_tenant_id", type_=sa.Text()),
    payment.c.kind == sa.bindparam("of_kind", type_=sa.Text()),
    payment.c.transaction_number == sa.bindparam("of_transaction_number", type_=sa.Text()),
    payment.c.transaction_number != "",
    payment.c.request_id != "",
)
_RECHARGES_OF_TRANSACTION: Final = (
    sa.select(payment.c.payment_id, payment.c.state, payment.c.give_back_payment_id)
    .where(_OF_TRANSACTION)
    .order_by(payment.c.payment_id)
)
_STEP: Final = sa.select(payment).where(
    _OF_TRANSACTION, payment.c.request_id == sa.bindparam("of_request_id", type_=sa.Text())
)
_INSERT_RESOLUTION: Final = sa.insert(payment_resolution)
_COUNT_PAYMENT: Final = sa.text(
    """
    INSERT INTO risk_counter AS counter (shard, subject, window_start, payment_count)
    VALUES (:shard, :subject, now(), 1)
    ON CONFLICT (shard, subject) DO UPDATE SET
        payment_count = CASE
            WHEN counter.window_start + make_interval(secs => :window_seconds) <= now() THEN 1
            ELSE counter.payment_count + 1 END,
        window_start = CASE
            WHEN counter.window_start + make_interval(secs => :window_seconds) <= now() THEN now()
            ELSE counter.window_start END
    RETURNING payment_count
    """
).bindparams(
    sa.bindparam("shard", type_=sa.SmallInteger()), sa.bindparam("window_seconds", type_=sa.Double())
)


def _of(target: Payment) -> dict[str, Any]:
    return {"of_shard": target.shard, "of_payment_id": target.payment_id}


async def get_payment(connection: AsyncConnection, *, shard: int, payment_id: str) -> Payment | None:
    """Reads a payment by its key; None when there is none."""
    found = await connection.execute(_GET, {"of_shard": shard, "of_payment_id": payment_id})
    row = found.mappings().one_or_none()
    return None if row is None else payment_of(row)


@dataclass(frozen=True, slots=True, kw_only=True)
class RechargeOfTransaction:
    """What a transfer has to know of the recharge that brought its money in."""

    payment_id: str
    state: PaymentState
    is_given_back: bool


async def recharges_of_transaction(
    connection: AsyncConnection, *, shard: int, tenant_id: str, transaction_number: str
) -> list[RechargeOfTransaction]:
    """Reads the recharges that were asked for under a transaction number, the oldest first; by index."""
    values = {
        "of_shard": shard,
        "of_tenant_id": tenant_id,
        "of_kind": PaymentKind.RECHARGE.value,
        "of_transaction_number": transaction_number,
    }
    return [
        RechargeOfTransaction(
            payment_id=row.payment_id,
            state=PaymentState(row.state),
            is_given_back=bool(row.give_back_payment_id),
        )
        for row in await connection.execute(_RECHARGES_OF_TRANSACTION, values)
    ]


async def find_step(connection: AsyncConnection, step: Payment) -> Payment | None:
    """Finds the payment that was recorded before for the same step of a transaction; None when there is none."""
    if not step.transaction_number:
        return None
    values = {
        "of_shard": step.shard,
        "of_tenant_id": step.tenant_id,
        "of_kind": step.kind.value,
        "of_transaction_number": step.transaction_number,
        "of_request_id": step.request_id,
    }
    row = (await connection.execute(_STEP, values)).mappings().one_or_none()
    return None if row is None else payment_of(row)


async def insert_payment(connection: AsyncConnection, recorded: Payment, *, delay_seconds: float) -> Payment:
    """Records a payment at version 1, to be taken up after `delay_seconds` unless it went on by then."""
    values = {**fixed_columns(recorded), **changing_columns(recorded), "delay_seconds": delay_seconds}
    row = (await connection.execute(_INSERT, values)).one()
    return replace(
        recorded,
        create_time=row.create_time,
        update_time=row.update_time,
        next_step_time=row.next_step_time,
        version=1,
    )


async def reschedule_payment(
    connection: AsyncConnection, before: Payment, after: Payment, *, delay_seconds: float | None
) -> Payment:
    """Writes when to go on, the tries so far and whether its call was answered; the version stays, no event is due.

    Raises LostRaceError when the payment is no longer at `before.version`.
    """
    values = {
        **_of(before),
        "of_version": before.version,
        "delay_seconds": delay_seconds,
        "step_try_count": after.step_try_count,
        "posting_round": after.posting_round,
        "answered": after.answered,
        "steps": steps_column(after),
    }
    row = (await connection.execute(_RESCHEDULE, values)).one_or_none()
    if row is None:
        raise LostRaceError(before.payment_id)
    return replace(after, next_step_time=row.next_step_time)


async def reserve_refund(connection: AsyncConnection, recharge: Payment, *, minor_units: int) -> bool:
    """Adds to what is being refunded of a succeeded recharge; False when that would be more than its amount."""
    row = (await connection.execute(_RESERVE_REFUND, {**_of(recharge), "part": minor_units})).one_or_none()
    return row is not None


async def complete_refund(
    connection: AsyncConnection, *, shard: int, payment_id: str, minor_units: int
) -> Payment:
    """Moves a part from being refunded to refunded; returns the recharge after the change, one version up."""
    values = {"of_shard": shard, "of_payment_id": payment_id, "part": minor_units}
    return payment_of((await connection.execute(_COMPLETE_REFUND, values)).mappings().one())


async def release_refund(
    connection: AsyncConnection, *, shard: int, payment_id: str, minor_units: int
) -> None:
    """Takes a part back from what is being refunded; nothing of it is visible outside, so the version stays."""
    await connection.execute(
        _RELEASE_REFUND, {"of_shard": shard, "of_payment_id": payment_id, "part": minor_units}
    )


async def claim_due_payments(
    connection: AsyncConnection, *, batch_size: int, lease_seconds: float
) -> list[Payment]:
    """Takes payments whose time has come, the longest due first; nobody else gets them within the lease."""
    found = await connection.execute(_CLAIM_DUE, {"batch_size": batch_size, "delay_seconds": lease_seconds})
    return [payment_of(row) for row in found.mappings()]


async def find_family(connection: AsyncConnection, number: str, *, row_limit: int = 500) -> list[Payment]:
    """Finds the payments of a business identifier or order, the oldest first; of any tenant."""
    found = await connection.execute(_FAMILY, {"number": number, "row_limit": row_limit})
    return [payment_of(row) for row in found.mappings()]


async def list_payments(
    connection: AsyncConnection,
    *,
    tenant_id: str,
    business_id: str,
    order_id: str,
    state: PaymentState | None,
    before_payment_id: str,
    row_limit: int,
) -> list[Payment]:
    """Lists a tenant's payments by payment_id, descending (newest first), those before `before_payment_id`."""
    statement = sa.select(payment).where(payment.c.tenant_id == tenant_id)
    if business_id:
        statement = statement.where(payment.c.business_id == business_id)
    if order_id:
        statement = statement.where(payment.c.order_id == order_id)
    if state is not None:
        statement = statement.where(payment.c.state == state.value)
    if before_payment_id:
        statement = statement.where(payment.c.payment_id < before_payment_id)
    found = await connection.execute(statement.order_by(payment.c.payment_id.desc()).limit(row_limit))
    return [payment_of(row) for row in found.mappings()]


async def insert_resolution(
    connection: AsyncConnection,
    decided: Payment,
    *,
    resolution: Resolution,
    evidence: str,
    operator: str,
    caller: str,
    traceparent: str,
) -> None:
    """Writes the audit row of a decision by hand."""
    await connection.execute(
        _INSERT_RESOLUTION,
        {
            "shard": decided.shard,
            "payment_id": decided.payment_id,
            "version": decided.version,
            "resolution": resolution.value,
            "evidence": evidence,
            "operator": operator,
            "caller": caller,
            "business_id": decided.business_id,
            "traceparent": traceparent,
        },
    )


class StoredRiskCounters:
    """Counts payments in the table `risk_counter`; a refused transaction takes its count back."""

    async def count_payment(
        self, connection: AsyncConnection, *, shard: int, subject: str, window_seconds: int
    ) -> int:
        """Counts one payment of `subject` and returns how many there are in the window, this one included."""
        values: Mapping[str, Any] = {"shard": shard, "subject": subject, "window_seconds": window_seconds}
        count: int = (await connection.execute(_COUNT_PAYMENT, values)).scalar_one()
        return count
