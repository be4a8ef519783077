"""Reads a trade bill of WeChat Pay. Invariant: what is returned adds up; a bill whose footer disagrees is refused.

Source: WeChat Pay v3, "download trade bill" (bill_type ALL): UTF-8, a header, rows whose cells each begin with a
backtick, the header of the footer, and one row of totals.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from enum import StrEnum
from pathlib import Path

HEADER = (
    "交易时间,公众账号ID,商户号,特约商户号,设备号,微信订单号,商户订单号,用户标识,交易类型,交易状态,付款银行,货币种类,"
    "应结订单金额,代金券金额,微信退款单号,商户退款单号,退款金额,充值券退款金额,退款类型,退款状态,商品名称,商户数据包,"
    "手续费,费率,订单金额,申请退款金额,费率备注"
)
FOOTER_HEADER = "总交易单数,应结订单总金额,退款总金额,充值券退款总金额,手续费总金额,订单总金额,申请退款总金额"
_BEIJING = timezone(timedelta(hours=8))
_NUMBER = re.compile(r"-?[0-9]{1,12}(\.[0-9]{1,8})?")
_PERCENTAGE = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,4})?)%")
_CURRENCY_DECIMALS = 2
_REFUND_SUCCEEDED = "SUCCESS"


class BillInvalid(ValueError):
    """The file is not a bill that adds up; the message names the line."""


class RowKind(StrEnum):
    """What happened, by the bill's word for the trade's state."""

    SUCCESS = "SUCCESS"
    REFUND = "REFUND"
    REVOKED = "REVOKED"


@dataclass(frozen=True, slots=True, kw_only=True)
class BillRow:
    """One row: a payment, or a refund of one. Amounts are in fen."""

    line_number: int
    trade_time: datetime
    app_id: str
    merchant_number: str
    transaction_id: str
    merchant_order_id: str
    payer_id: str
    trade_type: str
    kind: RowKind
    settled_minor_units: int
    voucher_minor_units: int
    merchant_refund_id: str
    refund_minor_units: int
    voucher_refund_minor_units: int
    subject: str
    fee_minor_units: int
    fee_ratio: Decimal
    order_minor_units: int
    applied_refund_minor_units: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BillTotals:
    """The footer's figures, in its own order; amounts are in fen."""

    record_count: int
    settled_minor_units: int
    refund_minor_units: int
    voucher_refund_minor_units: int
    fee_minor_units: int
    order_minor_units: int
    applied_refund_minor_units: int


TOTAL_LABELS = dict(
    zip(
        (field.name for field in fields(BillTotals)),
        zip(
            FOOTER_HEADER.split(","),
            (
                "Number of trades",
                "Orders to be settled",
                "Refunds",
                "Voucher refunds",
                "Channel fees",
                "Orders",
                "Refunds applied for",
            ),
            strict=True,
        ),
        strict=True,
    )
)
"""Chinese and English label of each total."""


@dataclass(frozen=True, slots=True)
class Bill:
    """A bill whose rows add up to its totals."""

    rows: tuple[BillRow, ...]
    totals: BillTotals


def read_bill(file: Path) -> Bill:
    """Reads and checks a bill. Raises BillInvalid, or OSError when the file cannot be read."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise BillInvalid(f"{file} is not UTF-8 text") from error
    return parse_bill(text)


def parse_bill(text: str) -> Bill:
    """Parses a bill's text. Raises BillInvalid."""
    lines = [(number, line) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
    if not lines or lines[0][1] != HEADER:
        raise BillInvalid("line 1 is not the header of a trade bill of WeChat Pay (bill type ALL)")
    footer_places = [place for place, (_, line) in enumerate(lines) if line == FOOTER_HEADER]
    if footer_places != [len(lines) - 2]:
        raise BillInvalid("the bill does not end with one footer of totals")
    rows = tuple(_row(number, line) for number, line in lines[1:-2])
    totals = _totals(*lines[-1])
    _require_unique_payments(rows)
    _require_equal(add_up(rows), totals)
    return Bill(rows=rows, totals=totals)


def add_up(rows: Iterable[BillRow]) -> BillTotals:
    """Adds rows up as the footer does."""
    counted = list(rows)
    return BillTotals(
        record_count=len(counted),
        settled_minor_units=sum(row.settled_minor_units for row in counted),
        refund_minor_units=sum(row.refund_minor_units for row in counted),
        voucher_refund_minor_units=sum(row.voucher_refund_minor_units for row in counted),
        fee_minor_units=sum(row.fee_minor_units for row in counted),
        order_minor_units=sum(row.order_minor_units for row in counted),
        applied_refund_minor_units=sum(row.applied_refund_minor_units for row in counted),
    )


def _row(line_number: int, line: str) -> BillRow:
    values = dict(zip(HEADER.split(","), _cells(line_number, line, len(HEADER.split(","))), strict=True))

    def amount(name: str) -> int:
        return _minor_units(line_number, name, values[name])

    try:
        kind = RowKind(values["交易状态"])
        naive_time = datetime.strptime(values["交易时间"], "%Y-%m-%d %H:%M:%S")  # noqa: DTZ007 - zone follows
    except ValueError as error:
        raise BillInvalid(f"line {line_number}: {error}") from None
    if values["货币种类"] != "CNY":
        raise BillInvalid(f"line {line_number}: the currency {values['货币种类']!r} is not CNY")
    row = BillRow(
        line_number=line_number,
        trade_time=naive_time.replace(tzinfo=_BEIJING),
        app_id=values["公众账号ID"],
        merchant_number=values["商户号"],
        transaction_id=values["微信订单号"],
        merchant_order_id=values["商户订单号"],
        payer_id=values["用户标识"],
        trade_type=values["交易类型"],
        kind=kind,
        settled_minor_units=amount("应结订单金额"),
        voucher_minor_units=amount("代金券金额"),
        merchant_refund_id=values["商户退款单号"],
        refund_minor_units=amount("退款金额"),
        voucher_refund_minor_units=amount("充值券退款金额"),
        subject=values["商品名称"],
        fee_minor_units=amount("手续费"),
        fee_ratio=_ratio(line_number, values["费率"]),
        order_minor_units=amount("订单金额"),
        applied_refund_minor_units=amount("申请退款金额"),
    )
    _require_plausible(row, values["退款状态"])
    return row


def _require_plausible(row: BillRow, refund_state: str) -> None:
    if row.kind is RowKind.SUCCESS:
        fits = row.order_minor_units > 0 and row.applied_refund_minor_units == 0
    else:
        fits = row.applied_refund_minor_units > 0 and row.order_minor_units == 0
        if refund_state != _REFUND_SUCCEEDED:
            raise BillInvalid(f"line {row.line_number}: the refund's state {refund_state!r} is not SUCCESS")
    if not fits or not row.merchant_order_id:
        raise BillInvalid(f"line {row.line_number}: the amounts do not fit a row of kind {row.kind}")


def _totals(line_number: int, line: str) -> BillTotals:
    names = [field.name for field in fields(BillTotals)]
    cells = dict(zip(names, _cells(line_number, line, len(names)), strict=True))
    count_text = cells.pop("record_count")
    count = _decimal(line_number, "总交易单数", count_text)
    if count != int(count) or count < 0:
        raise BillInvalid(f"line {line_number}: the number of trades {count_text!r} is not a whole number")
    amounts = {name: _minor_units(line_number, name, text) for name, text in cells.items()}
    return BillTotals(record_count=int(count), **amounts)


def _cells(line_number: int, line: str, expected_count: int) -> list[str]:
    # A cell may hold commas; only a comma before a backtick ends it.
    if not line.startswith("`"):
        raise BillInvalid(f"line {line_number}: the first cell does not begin with a backtick")
    cells = [cell.strip() for cell in line[1:].split(",`")]
    if len(cells) != expected_count:
        raise BillInvalid(f"line {line_number}: {len(cells)} cells instead of {expected_count}")
    return cells


def _decimal(line_number: int, name: str, text: str) -> Decimal:
    if not _NUMBER.fullmatch(text):
        raise BillInvalid(f"line {line_number}: {name} is not a number: {text!r}")
    return Decimal(text)


def _minor_units(line_number: int, name: str, text: str) -> int:
    scaled = _decimal(line_number, name, text).scaleb(_CURRENCY_DECIMALS)
    if scaled != int(scaled):
        raise BillInvalid(f"line {line_number}: {name} has parts of a fen: {text!r}")
    return int(scaled)


def _ratio(line_number: int, text: str) -> Decimal:
    match = _PERCENTAGE.fullmatch(text)
    if match is None or Decimal(match[1]) > 100:
        raise BillInvalid(f"line {line_number}: the fee rate is not a percentage: {text!r}")
    return Decimal(match[1]).scaleb(-2)


def _require_unique_payments(rows: Iterable[BillRow]) -> None:
    seen: dict[str, int] = {}
    for row in rows:
        if row.kind is not RowKind.SUCCESS:
            continue
        if row.merchant_order_id in seen:
            raise BillInvalid(
                f"line {row.line_number}: the order {row.merchant_order_id} was paid before, "
                f"in line {seen[row.merchant_order_id]}"
            )
        seen[row.merchant_order_id] = row.line_number


def _require_equal(sums: BillTotals, totals: BillTotals) -> None:
    for name, (label, english) in TOTAL_LABELS.items():
        of_rows, of_footer = getattr(sums, name), getattr(totals, name)
        if of_rows != of_footer:
            unit = "" if name == "record_count" else " fen"
            raise BillInvalid(
                f"the footer disagrees with the rows: {label} ({english}) is {of_footer}{unit} there, "
                f"the rows add up to {of_rows}{unit}"
            )
