"""Conversion between records and rows. Invariant: what is written is read back equal (tested); sensitive text lives
in `attempt.instruction` only and leaves it with the first answer of PaymentCore."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.transaction.domain.records import (
    Attempt,
    Instruction,
    Leg,
    Notification,
    Order,
    Owner,
    Payee,
    Purpose,
    Refund,
    Refusal,
    Share,
)
from core.transaction.domain.states import (
    AttemptState,
    EventType,
    LegState,
    NotificationState,
    OrderKind,
    OrderState,
    RefundState,
)
from runtime.errors import FieldViolation
from runtime.money import Money

Row = Any
Values = dict[str, Any]


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
        "purpose": _purpose_to_json(order.purpose),
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
        purpose=_purpose_from_json(row.purpose),
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
        "instruction": _instruction_to_json(attempt.instruction),
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
        "refusal": _refusal_to_json(attempt.refusal),
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
        refusal=_refusal_from_json(row.refusal),
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
        "legs": [_leg_to_json(leg) for leg in refund.legs],
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
        legs=tuple(_leg_from_json(leg) for leg in row.legs),
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


def _owner_to_json(owner: Owner | None) -> Values | None:
    return None if owner is None else {"kind": owner.kind, "owner_id": owner.owner_id}


def _owner_from_json(value: Mapping[str, str] | None) -> Owner | None:
    return None if value is None else Owner(kind=value["kind"], owner_id=value["owner_id"])


def _purpose_to_json(purpose: Purpose) -> Values:
    found: Values = {}
    for name in ("balance_owner", "source_owner", "destination_owner"):
        owner = _owner_to_json(getattr(purpose, name))
        if owner is not None:
            found[name] = owner
    if purpose.payee is not None:
        payee = purpose.payee
        found["payee"] = {
            "channel_payee_id": payee.channel_payee_id,
            "id_kind": payee.id_kind,
            "real_name": payee.real_name,
        }
    if purpose.shares:
        found["shares"] = [
            {"receiver": _owner_to_json(share.receiver), "minor_units": share.minor_units}
            for share in purpose.shares
        ]
    return found


def _purpose_from_json(value: Mapping[str, Any]) -> Purpose:
    if not value:
        return _NO_PURPOSE
    payee = value.get("payee")
    return Purpose(
        balance_owner=_owner_from_json(value.get("balance_owner")),
        source_owner=_owner_from_json(value.get("source_owner")),
        destination_owner=_owner_from_json(value.get("destination_owner")),
        payee=Payee(**payee) if payee is not None else None,
        shares=tuple(
            Share(receiver=Owner(**share["receiver"]), minor_units=share["minor_units"])
            for share in value.get("shares", ())
        ),
    )


_NO_PURPOSE = Purpose()
_INSTRUCTION_FIELDS = (
    "payment_account_id",
    "invoke_method",
    "payer_user_id",
    "payer_channel_id",
    "payer_client_ip",
    "return_url",
    "authorization_code",
    "agreement_id",
)


def _instruction_to_json(instruction: Instruction) -> Values:
    return {name: value for name in _INSTRUCTION_FIELDS if (value := getattr(instruction, name))}


def _leg_to_json(leg: Leg) -> Values:
    return {
        "receiver": _owner_to_json(leg.receiver),
        "minor_units": leg.minor_units,
        "state": leg.state.value,
        "payment_id": leg.payment_id,
        "round_number": leg.round_number,
    }


def _leg_from_json(value: Mapping[str, Any]) -> Leg:
    return Leg(
        receiver=Owner(**value["receiver"]),
        minor_units=value["minor_units"],
        state=LegState(value["state"]),
        payment_id=value["payment_id"],
        round_number=value["round_number"],
    )


def _refusal_to_json(refusal: Refusal | None) -> Values | None:
    if refusal is None:
        return None
    return {
        "reason": refusal.reason,
        "message": refusal.message,
        "violations": [[v.field, v.description, v.rule] for v in refusal.violations],
        "metadata": dict(refusal.metadata),
    }


def _refusal_from_json(value: Mapping[str, Any] | None) -> Refusal | None:
    if value is None:
        return None
    return Refusal(
        reason=value["reason"],
        message=value["message"],
        violations=tuple(FieldViolation(*parts) for parts in value["violations"]),
        metadata=value["metadata"],
    )
