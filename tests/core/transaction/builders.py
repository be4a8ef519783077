"""Orders, attempts and refunds as the domain sees them, with what a test does not care about filled in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from core.transaction.domain.plan import Plan
from core.transaction.domain.records import (
    Attempt,
    Instruction,
    Order,
    OrderFile,
    Owner,
    PaymentReport,
    Purpose,
    Refund,
    Share,
)
from core.transaction.domain.states import (
    AttemptState,
    OrderKind,
    OrderState,
    PaymentKind,
    PaymentState,
    RefundState,
)
from runtime.money import Money

NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
PLAN = Plan()
ORDER_ID = "O0000000000000000000007007"
_STORED: dict[str, Any] = {
    "shard": 7,
    "business_id": ORDER_ID,
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "platform": b"platform",
    "create_time": NOW - timedelta(minutes=1),
    "update_time": NOW - timedelta(seconds=30),
}


def order(minor_units: int = 1000, **fields: Any) -> Order:
    values: dict[str, Any] = {
        **_STORED,
        "order_id": ORDER_ID,
        "tenant_id": "t",
        "merchant_id": "M1",
        "merchant_order_id": "shop-1",
        "merchant_serial_number": "",
        "kind": OrderKind.PURCHASE,
        "state": OrderState.PAYING,
        "amount": Money(minor_units, "CNY"),
        "subject": "a book",
        "purpose": Purpose(),
        "notify_url": "",
        "annotations": {},
        "expire_time": NOW + timedelta(minutes=10),
        "next_step_time": NOW + timedelta(minutes=10),
        "version": 3,
    }
    return Order(**(values | fields))


def attempt(attempt_id: str = "A1", state: AttemptState = AttemptState.PENDING, **fields: Any) -> Attempt:
    values: dict[str, Any] = {
        **_STORED,
        "attempt_id": attempt_id,
        "order_id": ORDER_ID,
        "state": state,
        "instruction": Instruction(
            payment_account_id="K1", invoke_method="BARCODE", authorization_code="28763443825664394"
        ),
        "request_id": "",
        "payment_id": f"P-{attempt_id}",
        "payment_version": 2,
        "next_step_time": NOW,
    }
    return Attempt(**(values | fields))


def refund(refund_id: str = "R1", minor_units: int = 100, **fields: Any) -> Refund:
    values: dict[str, Any] = {
        **_STORED,
        "refund_id": refund_id,
        "order_id": ORDER_ID,
        "tenant_id": "t",
        "merchant_id": "M1",
        "merchant_refund_id": "",
        "attempt_id": "A1",
        "amount": Money(minor_units, "CNY"),
        "reason": "",
        "state": RefundState.PENDING,
        "automatic": False,
        "payment_id": f"P-{refund_id}",
        "payment_version": 2,
        "next_step_time": NOW,
    }
    return Refund(**(values | fields))


def file(own: Order | None = None, *attempts: Attempt, refunds: tuple[Refund, ...] = ()) -> OrderFile:
    return OrderFile(read_time=NOW, order=own or order(), attempts=attempts, refunds=refunds)


def report(
    state: PaymentState,
    number: str = "A1",
    *,
    version: int = 3,
    kind: PaymentKind = PaymentKind.RECHARGE,
    **fields: Any,
) -> PaymentReport:
    return PaymentReport(
        **{
            "payment_id": f"P-{number}",
            "kind": kind,
            "state": state,
            "order_id": ORDER_ID,
            "transaction_number": number,
            "version": version,
            **fields,
        }
    )


def shares(*parts: int) -> Purpose:
    return Purpose(
        shares=tuple(
            Share(receiver=Owner(kind="MERCHANT", owner_id=f"M{index}"), minor_units=part)
            for index, part in enumerate(parts, start=1)
        )
    )
