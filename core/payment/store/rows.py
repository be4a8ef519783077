"""Between table rows and payments. Invariant: total in both directions; what was stored is read back equal."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from core.payment.domain.payment import (
    Failure,
    FailureAdvice,
    InvokeMethod,
    OutcomeSafety,
    Payment,
    PaymentKind,
    PaymentState,
    PostingLine,
    Resolution,
    Step,
    StepKind,
    StepState,
)
from runtime.money import Money


def fixed_columns(payment: Payment) -> dict[str, Any]:
    """Returns the columns that are written once, when the payment is recorded."""
    return {
        "shard": payment.shard,
        "payment_id": payment.payment_id,
        "tenant_id": payment.tenant_id,
        "kind": payment.kind.value,
        "merchant_id": payment.merchant_id,
        "order_id": payment.order_id,
        "transaction_number": payment.transaction_number,
        "amount_minor_units": payment.amount.minor_units,
        "currency_code": payment.amount.currency_code,
        "source_account_id": payment.source_account_id,
        "destination_account_id": payment.destination_account_id,
        "payment_account_id": payment.payment_account_id,
        "invoke_method": payment.invoke_method.value if payment.invoke_method else None,
        "refunded_payment_id": payment.refunded_payment_id,
        "refunded_minor_units": payment.refunded_minor_units,
        "posting_lines": [[line.account_id, line.minor_units] for line in payment.posting_lines] or None,
        "request_id": payment.request_id,
        "expire_time": payment.expire_time,
        "business_id": payment.business_id,
        "traceparent": payment.traceparent,
        "platform": payment.platform,
    }


def changing_columns(payment: Payment) -> dict[str, Any]:
    """Returns the columns that every change writes; instants of the row itself come from the database's clock."""
    failure = payment.failure
    return {
        "state": payment.state.value,
        "channel_fee_minor_units": payment.channel_fee_minor_units,
        "channel_order_id": payment.channel_order_id,
        "channel_order_version": payment.channel_order_version,
        "channel_transaction_id": payment.channel_transaction_id,
        "refunding_minor_units": payment.refunding_minor_units,
        "journal_id": payment.journal_id,
        "hold_id": payment.hold_id,
        "failure_reason": failure.reason if failure else None,
        "failure_channel_code": failure.channel_code if failure else None,
        "failure_outcome_safety": failure.outcome_safety.value if failure else None,
        "failure_advice": failure.advice.value if failure else None,
        "credential": payment.credential,
        "channel_command": payment.channel_command,
        "posting_round": payment.posting_round,
        "resolution": payment.resolution.value if payment.resolution else None,
        "give_back_payment_id": payment.give_back_payment_id,
        "steps": steps_column(payment),
        "step_try_count": payment.step_try_count,
        "answered": payment.answered,
        "succeed_time": payment.succeed_time,
    }


CHANGING: Final = (
    "state",
    "channel_fee_minor_units",
    "channel_order_id",
    "channel_order_version",
    "channel_transaction_id",
    "refunding_minor_units",
    "journal_id",
    "hold_id",
    "failure_reason",
    "failure_channel_code",
    "failure_outcome_safety",
    "failure_advice",
    "credential",
    "channel_command",
    "posting_round",
    "resolution",
    "give_back_payment_id",
    "steps",
    "step_try_count",
    "answered",
    "succeed_time",
)
"""Names of the columns that `changing_columns` gives."""


def steps_column(payment: Payment) -> list[list[Any]]:
    """Returns the steps as they are stored: kind, state, tries, instant."""
    return [
        [step.kind.value, step.state.value, step.try_count, step.update_time.isoformat()]
        for step in payment.steps
    ]


def payment_of(columns: Mapping[Any, Any]) -> Payment:
    """Returns the payment that a whole row holds, by column name."""
    return Payment(
        shard=columns["shard"],
        payment_id=columns["payment_id"],
        tenant_id=columns["tenant_id"],
        kind=PaymentKind(columns["kind"]),
        state=PaymentState(columns["state"]),
        merchant_id=columns["merchant_id"],
        amount=Money(columns["amount_minor_units"], columns["currency_code"]),
        business_id=columns["business_id"],
        traceparent=columns["traceparent"],
        platform=bytes(columns["platform"]),
        order_id=columns["order_id"],
        transaction_number=columns["transaction_number"],
        channel_fee_minor_units=columns["channel_fee_minor_units"],
        source_account_id=columns["source_account_id"],
        destination_account_id=columns["destination_account_id"],
        payment_account_id=columns["payment_account_id"],
        invoke_method=InvokeMethod(columns["invoke_method"]) if columns["invoke_method"] else None,
        channel_order_id=columns["channel_order_id"],
        channel_order_version=columns["channel_order_version"],
        channel_transaction_id=columns["channel_transaction_id"],
        refunded_payment_id=columns["refunded_payment_id"],
        refunded_minor_units=columns["refunded_minor_units"],
        refunding_minor_units=columns["refunding_minor_units"],
        journal_id=columns["journal_id"],
        hold_id=columns["hold_id"],
        failure=_failure_of(columns),
        credential=_bytes_or_none(columns["credential"]),
        channel_command=_bytes_or_none(columns["channel_command"]),
        posting_lines=tuple(PostingLine(line[0], line[1]) for line in columns["posting_lines"] or ()),
        posting_round=columns["posting_round"],
        resolution=Resolution(columns["resolution"]) if columns["resolution"] else None,
        give_back_payment_id=columns["give_back_payment_id"],
        steps=tuple(_step_of(step) for step in columns["steps"]),
        step_try_count=columns["step_try_count"],
        next_step_time=columns["next_step_time"],
        request_id=columns["request_id"],
        answered=columns["answered"],
        expire_time=columns["expire_time"],
        succeed_time=columns["succeed_time"],
        create_time=columns["create_time"],
        update_time=columns["update_time"],
        version=columns["version"],
    )


def _failure_of(columns: Mapping[str, Any]) -> Failure | None:
    if columns["failure_reason"] is None:
        return None
    return Failure(
        reason=columns["failure_reason"],
        channel_code=columns["failure_channel_code"],
        outcome_safety=OutcomeSafety(columns["failure_outcome_safety"]),
        advice=FailureAdvice(columns["failure_advice"]),
    )


def _step_of(stored: list[Any]) -> Step:
    kind, state, try_count, instant = stored
    return Step(StepKind(kind), StepState(state), try_count, datetime.fromisoformat(instant))


def _bytes_or_none(stored: Any) -> bytes | None:
    return None if stored is None else bytes(stored)
