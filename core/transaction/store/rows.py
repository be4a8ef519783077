"""Conversion between records and rows. Invariant: what is written is read back equal (tested); sensitive text lives
in `attempt.instruction` only and leaves it with the first answer of PaymentCore."""

from __future__ import annotations

from typing import Any

from core.transaction.domain.records import Attempt, Instruction, Notification, Order, Refund
from core.transaction.domain.states import (
    AttemptState,
    EventType,
    NotificationState,
    OrderKind,
    OrderState,
    RefundState,
)
from core.transaction.store import json_columns
from runtime.money import Money

Row = Any
Values = dict[str, Any]

ORDER_CHANGES = (
    "state",
    "paid_minor_units",
    "refunded_minor_units",
    "refunding_minor_units",
    "winning_attempt_id",
    "closing_to",
    "attempt_count",
    "refund_count",
    "pay_time",
    "step_try_count",
    "next_step_time",
)
"""Columns of an order that a decision may change, beside version and time."""
ATTEMPT_CHANGES = (
    "state",
    "instruction",
    "payment_account_id",
    "payment_id",
    "payment_version",
    "transfer_payment_id",
    "transfer_round",
    "channel_order_id",
    "channel_transaction_id",
    "credential",
    "failure_reason",
    "channel_code",
    "refusal",
    "step_try_count",
    "next_step_time",
)
"""Columns of an attempt that a decision may change, beside version and time."""
REFUND_CHANGES = (
    "state",
    "payment_id",
    "payment_version",
    "round_number",
    "legs",
    "failure_reason",
    "channel_code",
    "succeed_time",
    "step_try_count",
    "next_step_time",
)
"""Columns of a refund that a decision may change, beside version and time."""


def order_values(order: Order) -> Values:
    """Returns the columns of a new order; the database sets its times."""
    return {
        "shard": order.shard,
        "order_id": order.order_id,
        "tenant_id": order.tenant_id,
        "merchant_id": order.merchant_id,
        "merchant_order_id": order.merchant_order_id,
        "merchant_serial_number": order.merchant_serial_number,
        "kind": order.kind.value,
        "amount_minor_units": order.amount.minor_units,
        "currency_code": order.amount.currency_code,
        "subject": order.subject,
        "purpose": json_columns.purpose_to_json(order.purpose),
        "notify_url": order.notify_url,
        "annotations": dict(order.annotations),
        "expire_time": order.expire_time,
        "business_id": order.business_id,
        "traceparent": order.traceparent,
        "platform": order.platform,
        "version": order.version,
        **order_changes(order),
    }


def order_changes(order: Order) -> Values:
    """Returns the columns of an order that a change may touch, without version and times."""
    return {
        "state": order.state.value,
        "paid_minor_units": order.paid_minor_units,
        "refunded_minor_units": order.refunded_minor_units,
        "refunding_minor_units": order.refunding_minor_units,
        "winning_attempt_id": order.winning_attempt_id,
        "closing_to": order.closing_to.value if order.closing_to is not None else None,
        "attempt_count": order.attempt_count,
        "refund_count": order.refund_count,
        "pay_time": order.pay_time,
        "step_try_count": order.step_try_count,
        "next_step_time": order.next_step_time,
    }


def order_from_row(row: Row) -> Order:
    """Reads an order."""
    return Order(
        shard=row.shard,
        order_id=row.order_id,
        tenant_id=row.tenant_id,
        merchant_id=row.merchant_id,
        merchant_order_id=row.merchant_order_id,
        merchant_serial_number=row.merchant_serial_number,
        kind=OrderKind(row.kind),
        state=OrderState(row.state),
        amount=Money(row.amount_minor_units, row.currency_code),
        paid_minor_units=row.paid_minor_units,
        refunded_minor_units=row.refunded_minor_units,
        refunding_minor_units=row.refunding_minor_units,
        subject=row.subject,
        purpose=json_columns.purpose_from_json(row.purpose),
        notify_url=row.notify_url,
        annotations=row.annotations,
        winning_attempt_id=row.winning_attempt_id,
        closing_to=OrderState(row.closing_to) if row.closing_to is not None else None,
        attempt_count=row.attempt_count,
        refund_count=row.refund_count,
        expire_time=row.expire_time,
        pay_time=row.pay_time,
        step_try_count=row.step_try_count,
        next_step_time=row.next_step_time,
        version=row.version,
        business_id=row.business_id,
        traceparent=row.traceparent,
        platform=row.platform,
        create_time=row.create_time,
        update_time=row.update_time,
    )


def attempt_values(attempt: Attempt) -> Values:
    """Returns the columns of a new attempt; the database sets its times."""
    return {
        "shard": attempt.shard,
        "attempt_id": attempt.attempt_id,
        "order_id": attempt.order_id,
        "request_id": attempt.request_id,
        "business_id": attempt.business_id,
        "traceparent": attempt.traceparent,
        "platform": attempt.platform,
        "version": 1,
        **attempt_changes(attempt),
    }


def attempt_changes(attempt: Attempt) -> Values:
    """Returns the columns of an attempt that a change may touch, without version and times."""
    return {
        "state": attempt.state.value,
        "instruction": json_columns.instruction_to_json(attempt.instruction),
        "payment_account_id": attempt.payment_account_id,
        "payment_id": attempt.payment_id,
        "payment_version": attempt.payment_version,
        "transfer_payment_id": attempt.transfer_payment_id,
        "transfer_round": attempt.transfer_round,
        "channel_order_id": attempt.channel_order_id,
        "channel_transaction_id": attempt.channel_transaction_id,
        "credential": attempt.credential,
        "failure_reason": attempt.failure_reason,
        "channel_code": attempt.channel_code,
        "refusal": json_columns.refusal_to_json(attempt.refusal),
        "step_try_count": attempt.step_try_count,
        "next_step_time": attempt.next_step_time,
    }


def attempt_from_row(row: Row) -> Attempt:
    """Reads an attempt."""
    return Attempt(
        shard=row.shard,
        attempt_id=row.attempt_id,
        order_id=row.order_id,
        state=AttemptState(row.state),
        instruction=Instruction(**row.instruction),
        request_id=row.request_id,
        payment_account_id=row.payment_account_id,
        payment_id=row.payment_id,
        payment_version=row.payment_version,
        transfer_payment_id=row.transfer_payment_id,
        transfer_round=row.transfer_round,
        channel_order_id=row.channel_order_id,
        channel_transaction_id=row.channel_transaction_id,
        credential=row.credential,
        failure_reason=row.failure_reason,
        channel_code=row.channel_code,
        refusal=json_columns.refusal_from_json(row.refusal),
        step_try_count=row.step_try_count,
        next_step_time=row.next_step_time,
        business_id=row.business_id,
        traceparent=row.traceparent,
        platform=row.platform,
        create_time=row.create_time,
        update_time=row.update_time,
    )


def refund_values(refund: Refund) -> Values:
    """Returns the columns of a new refund; the database sets its times."""
    return {
        "shard": refund.shard,
        "refund_id": refund.refund_id,
        "order_id": refund.order_id,
        "tenant_id": refund.tenant_id,
        "merchant_id": refund.merchant_id,
        "merchant_refund_id": refund.merchant_refund_id,
        "attempt_id": refund.attempt_id,
        "amount_minor_units": refund.amount.minor_units,
        "currency_code": refund.amount.currency_code,
        "reason": refund.reason,
        "automatic": refund.automatic,
        "request_id": refund.request_id,
        "business_id": refund.business_id,
        "traceparent": refund.traceparent,
        "platform": refund.platform,
        "version": 1,
        **refund_changes(refund),
    }


def refund_changes(refund: Refund) -> Values:
    """Returns the columns of a refund that a change may touch, without version and times."""
    return {
        "state": refund.state.value,
        "payment_id": refund.payment_id,
        "payment_version": refund.payment_version,
        "round_number": refund.round_number,
        "legs": [json_columns.leg_to_json(leg) for leg in refund.legs],
        "failure_reason": refund.failure_reason,
        "channel_code": refund.channel_code,
        "succeed_time": refund.succeed_time,
        "step_try_count": refund.step_try_count,
        "next_step_time": refund.next_step_time,
    }


def refund_from_row(row: Row) -> Refund:
    """Reads a refund."""
    return Refund(
        shard=row.shard,
        refund_id=row.refund_id,
        order_id=row.order_id,
        tenant_id=row.tenant_id,
        merchant_id=row.merchant_id,
        merchant_refund_id=row.merchant_refund_id,
        attempt_id=row.attempt_id,
        amount=Money(row.amount_minor_units, row.currency_code),
        reason=row.reason,
        state=RefundState(row.state),
        automatic=row.automatic,
        request_id=row.request_id,
        payment_id=row.payment_id,
        payment_version=row.payment_version,
        round_number=row.round_number,
        legs=tuple(json_columns.leg_from_json(leg) for leg in row.legs),
        failure_reason=row.failure_reason,
        channel_code=row.channel_code,
        succeed_time=row.succeed_time,
        step_try_count=row.step_try_count,
        next_step_time=row.next_step_time,
        business_id=row.business_id,
        traceparent=row.traceparent,
        platform=row.platform,
        create_time=row.create_time,
        update_time=row.update_time,
    )


def notification_values(one: Notification) -> Values:
    """Returns the columns of a new notification, without its times."""
    return {
        "shard": one.shard,
        "notification_id": one.notification_id,
        "order_id": one.order_id,
        "tenant_id": one.tenant_id,
        "event_type": one.event_type.value,
        "url": one.url,
        "host": one.host,
        "body": one.body,
        "state": one.state.value,
        "attempts": one.try_count,
        "schedule_position": one.schedule_position,
        "last_status": one.last_status,
        "next_attempt_time": one.next_attempt_time,
        "deliver_time": one.deliver_time,
        "version": one.version,
        "business_id": one.business_id,
        "traceparent": one.traceparent,
        "platform": one.platform,
    }


def notification_from_row(row: Row) -> Notification:
    """Reads a notification."""
    return Notification(
        shard=row.shard,
        notification_id=row.notification_id,
        order_id=row.order_id,
        tenant_id=row.tenant_id,
        event_type=EventType(row.event_type),
        url=row.url,
        host=row.host,
        body=row.body,
        state=NotificationState(row.state),
        try_count=row.attempts,
        schedule_position=row.schedule_position,
        last_status=row.last_status,
        next_attempt_time=row.next_attempt_time,
        deliver_time=row.deliver_time,
        version=row.version,
        business_id=row.business_id,
        traceparent=row.traceparent,
        platform=row.platform,
        create_time=row.create_time,
        update_time=row.update_time,
    )
