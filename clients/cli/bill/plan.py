"""Turns the rows of a bill into the orders, payments and refunds that are to be made here.

Invariant: every row has exactly one order or refund; an order that no row pays for is marked as of an earlier day.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from paycenter.type.v1 import credential_pb2

from clients.cli.bill.bill_file import Bill, BillInvalid, BillRow, RowKind

INVOKE_METHOD_OF_TRADE_TYPE: Mapping[str, credential_pb2.InvokeMethod.ValueType] = {
    "JSAPI": credential_pb2.INVOKE_METHOD_MINI_PROGRAM,
    "NATIVE": credential_pb2.INVOKE_METHOD_QR,
    "APP": credential_pb2.INVOKE_METHOD_APP,
    "MWEB": credential_pb2.INVOKE_METHOD_WAP,
}
DAY_ANNOTATION = "bill_day"
THIS_DAY, EARLIER_DAY = "this", "earlier"
VOUCHER_ANNOTATION = "bill_voucher_minor_units"
UNSETTLED_ANNOTATION = "bill_unsettled_minor_units"
VOUCHER_REFUND_ANNOTATION = "bill_voucher_refund_minor_units"
UNSETTLED_REFUND_ANNOTATION = "bill_unsettled_refund_minor_units"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRefund:
    """Money that goes back, in fen."""

    merchant_refund_id: str
    amount_minor_units: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedBillOrder:
    """One order with its refunds; what the money of the center does not show stands in the annotations."""

    merchant_order_id: str
    subject: str
    amount_minor_units: int
    fee_ratio: Decimal
    invoke_method: credential_pb2.InvokeMethod.ValueType
    payer_id: str
    refunds: tuple[PlannedRefund, ...]
    annotations: Mapping[str, str]


def plan_bill(bill: Bill) -> list[PlannedBillOrder]:
    """Plans every row of a bill, in the bill's order. Raises BillInvalid for a row that cannot be replayed."""
    payments = {row.merchant_order_id: row for row in bill.rows if row.kind is RowKind.SUCCESS}
    refunds: dict[str, list[BillRow]] = {}
    for row in bill.rows:
        if row.kind is not RowKind.SUCCESS:
            refunds.setdefault(row.merchant_order_id, []).append(row)
    numbers = dict.fromkeys(row.merchant_order_id for row in bill.rows)
    return [_planned(payments.get(number), refunds.get(number, [])) for number in numbers]


def _planned(payment: BillRow | None, refunds: list[BillRow]) -> PlannedBillOrder:
    row = payment or refunds[0]
    refunded = sum(each.refund_minor_units for each in refunds)
    annotations = {DAY_ANNOTATION: THIS_DAY if payment else EARLIER_DAY}
    amounts = {
        VOUCHER_ANNOTATION: payment.voucher_minor_units if payment else 0,
        UNSETTLED_ANNOTATION: payment.order_minor_units - payment.settled_minor_units if payment else 0,
        VOUCHER_REFUND_ANNOTATION: sum(each.voucher_refund_minor_units for each in refunds),
        UNSETTLED_REFUND_ANNOTATION: sum(each.applied_refund_minor_units for each in refunds) - refunded,
    }
    annotations |= {name: str(amount) for name, amount in amounts.items() if amount}
    return PlannedBillOrder(
        merchant_order_id=row.merchant_order_id,
        subject=row.subject or row.merchant_order_id,
        amount_minor_units=payment.settled_minor_units if payment else refunded,
        fee_ratio=row.fee_ratio,
        invoke_method=_invoke_method(row),
        payer_id=row.payer_id,
        refunds=tuple(
            PlannedRefund(
                merchant_refund_id=each.merchant_refund_id, amount_minor_units=each.refund_minor_units
            )
            for each in refunds
        ),
        annotations=annotations,
    )


def _invoke_method(row: BillRow) -> credential_pb2.InvokeMethod.ValueType:
    try:
        return INVOKE_METHOD_OF_TRADE_TYPE[row.trade_type]
    except KeyError:
        raise BillInvalid(f"line {row.line_number}: unknown trade type {row.trade_type!r}") from None
