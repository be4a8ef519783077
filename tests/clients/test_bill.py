"""A trade bill is read strictly, adds up, and becomes one order or refund for each row."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from paycenter.type.v1 import credential_pb2

from clients.cli.bill.bill_file import (
    FOOTER_HEADER,
    HEADER,
    Bill,
    BillInvalid,
    RowKind,
    parse_bill,
    read_bill,
)
from clients.cli.bill.plan import PlannedBillOrder, plan_bill

VECTORS = Path(__file__).parents[2].parent / "shared" / "vectors" / "wechat_bill"
needs_vectors = pytest.mark.skipif(not VECTORS.is_dir(), reason=f"the bills of {VECTORS} are not here")

PAYMENT = {
    "交易时间": "2019-02-19 01:52:32",
    "公众账号ID": "wx1",
    "商户号": "1900000109",
    "微信订单号": "42001",
    "商户订单号": "S1",
    "用户标识": "o1",
    "交易类型": "NATIVE",
    "交易状态": "SUCCESS",
    "货币种类": "CNY",
    "应结订单金额": "10.00",
    "代金券金额": "0.00",
    "微信退款单号": "0",
    "商户退款单号": "0",
    "退款金额": "0.00",
    "充值券退款金额": "0.00",
    "商品名称": "tea, green",
    "手续费": "0.06000",
    "费率": "0.60%",
    "订单金额": "10.00",
    "申请退款金额": "0.00",
}
REFUND = PAYMENT | {
    "交易状态": "REFUND",
    "应结订单金额": "0.00",
    "订单金额": "0.00",
    "手续费": "0.00000",
    "商户退款单号": "R1",
    "退款金额": "3.00",
    "申请退款金额": "3.00",
    "退款状态": "SUCCESS",
}


def line(row: dict[str, str]) -> str:
    return ",".join(f"`{row.get(name, '')}" for name in HEADER.split(","))


def bill_text(*rows: dict[str, str], footer: str) -> str:
    totals = ",".join(f"`{value}" for value in footer.split())
    return "\n".join([HEADER, *(line(row) for row in rows), FOOTER_HEADER, totals]) + "\n"


def parse(*rows: dict[str, str], footer: str) -> Bill:
    return parse_bill(bill_text(*rows, footer=footer))


@needs_vectors
def test_the_real_bill_is_read_and_adds_up() -> None:
    bill = read_bill(VECTORS / "bill.ALL.csv")
    assert len(bill.rows) == 45
    assert [row.kind for row in bill.rows].count(RowKind.REFUND) == 14
    totals = bill.totals
    assert (totals.record_count, totals.settled_minor_units, totals.refund_minor_units) == (45, 47, 14)
    assert (totals.voucher_refund_minor_units, totals.fee_minor_units) == (0, 8)
    assert (totals.order_minor_units, totals.applied_refund_minor_units) == (47, 14)
    assert {row.fee_ratio for row in bill.rows} == {Decimal("0.39")}


@needs_vectors
def test_a_real_bill_whose_footer_speaks_of_more_rows_is_refused() -> None:
    with pytest.raises(BillInvalid, match=r"Number of trades.* is 48 there, the rows add up to 1"):
        read_bill(VECTORS / "wxjava_pay_bill_result_all_content.csv")


@needs_vectors
def test_every_row_of_the_real_bill_becomes_one_order_or_refund() -> None:
    bill = read_bill(VECTORS / "bill.ALL.csv")
    planned = plan_bill(bill)
    of_this_day = [each for each in planned if each.annotations["bill_day"] == "this"]
    refunds = [refund for each in planned for refund in each.refunds]
    assert len(of_this_day) + len(refunds) == len(bill.rows)
    assert sum(each.amount_minor_units for each in of_this_day) == 47
    assert sum(refund.amount_minor_units for refund in refunds) == 14
    assert {each.invoke_method for each in planned} == {
        credential_pb2.INVOKE_METHOD_MINI_PROGRAM,
        credential_pb2.INVOKE_METHOD_QR,
    }


def test_a_row_is_read_in_fen_and_beijing_time() -> None:
    row = parse(PAYMENT, footer="1 10.00 0.00 0.00 0.06 10.00 0.00").rows[0]
    assert (row.settled_minor_units, row.fee_minor_units, row.fee_ratio) == (1000, 6, Decimal("0.006"))
    assert row.subject == "tea, green", "a comma inside a cell belongs to the cell"
    assert row.trade_time.isoformat() == "2019-02-19T01:52:32+08:00"


@pytest.mark.parametrize(
    ("footer", "label"),
    [
        ("2 10.00 0.00 0.00 0.06 10.00 0.00", "总交易单数"),
        ("1 10.01 0.00 0.00 0.06 10.00 0.00", "应结订单总金额"),
        ("1 10.00 0.01 0.00 0.06 10.00 0.00", "退款总金额"),
        ("1 10.00 0.00 0.01 0.06 10.00 0.00", "充值券退款总金额"),
        ("1 10.00 0.00 0.00 0.07 10.00 0.00", "手续费总金额"),
        ("1 10.00 0.00 0.00 0.06 9.99 0.00", "订单总金额"),
        ("1 10.00 0.00 0.00 0.06 10.00 0.01", "申请退款总金额"),
    ],
)
def test_a_footer_that_disagrees_with_the_rows_is_refused(footer: str, label: str) -> None:
    with pytest.raises(BillInvalid, match=f"disagrees with the rows: {label}"):
        parse(PAYMENT, footer=footer)


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"交易状态": "PAYERROR"}, "line 2: 'PAYERROR' is not a valid RowKind"),
        ({"交易时间": "2019-02-30 01:52:32"}, "line 2"),
        ({"货币种类": "USD"}, "the currency 'USD' is not CNY"),
        ({"订单金额": "10.001"}, "订单金额 has parts of a fen"),
        ({"订单金额": "1e1"}, "订单金额 is not a number"),
        ({"费率": "0.6"}, "the fee rate is not a percentage"),
        ({"费率": "101%"}, "the fee rate is not a percentage"),
        ({"订单金额": "0.00"}, "the amounts do not fit"),
        ({"商户订单号": ""}, "the amounts do not fit"),
    ],
)
def test_a_row_that_is_not_understood_is_refused_by_line(changed: dict[str, str], complaint: str) -> None:
    with pytest.raises(BillInvalid, match=complaint):
        parse(PAYMENT | changed, footer="1 10.00 0.00 0.00 0.06 10.00 0.00")


def test_a_refund_that_has_not_succeeded_is_refused() -> None:
    with pytest.raises(BillInvalid, match="the refund's state 'PROCESSING' is not SUCCESS"):
        parse(REFUND | {"退款状态": "PROCESSING"}, footer="1 0 3.00 0.00 0.00 0.00 3.00")


def test_an_order_that_is_paid_twice_in_one_bill_is_refused() -> None:
    with pytest.raises(BillInvalid, match="line 3: the order S1 was paid before, in line 2"):
        parse(PAYMENT, PAYMENT, footer="2 20.00 0.00 0.00 0.12 20.00 0.00")


@pytest.mark.parametrize(
    "text",
    ["", "交易时间\n", HEADER + "\n", bill_text(PAYMENT, footer="1 10 0 0 0.06 10 0") + "more\n"],
)
def test_a_file_without_header_or_footer_is_refused(text: str) -> None:
    with pytest.raises(BillInvalid):
        parse_bill(text)


def test_a_file_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "bill.csv"
    file.write_bytes(HEADER.encode("gb18030"))
    with pytest.raises(BillInvalid, match="not UTF-8"):
        read_bill(file)


def planned_by_number(bill: Bill) -> dict[str, PlannedBillOrder]:
    return {each.merchant_order_id: each for each in plan_bill(bill)}


def test_a_refund_belongs_to_its_payment_and_without_one_to_an_earlier_day() -> None:
    of_other_day = REFUND | {
        "商户订单号": "S0",
        "商户退款单号": "R2",
        "退款金额": "4.00",
        "申请退款金额": "4.00",
    }
    bill = parse(PAYMENT, REFUND, of_other_day, footer="3 10.00 7.00 0.00 0.06 10.00 7.00")
    planned = planned_by_number(bill)
    assert planned["S1"].annotations["bill_day"] == "this"
    assert [each.merchant_refund_id for each in planned["S1"].refunds] == ["R1"]
    assert planned["S0"].annotations["bill_day"] == "earlier"
    assert planned["S0"].amount_minor_units == 400, "it is paid with what goes back"


def test_what_the_money_does_not_show_is_annotated() -> None:
    with_voucher = PAYMENT | {"代金券金额": "2.00", "应结订单金额": "8.00"}
    back = REFUND | {"退款金额": "2.50", "充值券退款金额": "0.25", "申请退款金额": "3.00"}
    bill = parse(with_voucher, back, footer="2 8.00 2.50 0.25 0.06 10.00 3.00")
    order = planned_by_number(bill)["S1"]
    assert order.amount_minor_units == 800
    assert dict(order.annotations) == {
        "bill_day": "this",
        "bill_voucher_minor_units": "200",
        "bill_unsettled_minor_units": "200",
        "bill_voucher_refund_minor_units": "25",
        "bill_unsettled_refund_minor_units": "50",
    }


def test_a_revoked_trade_is_money_that_goes_back() -> None:
    bill = parse(REFUND | {"交易状态": "REVOKED"}, footer="1 0.00 3.00 0.00 0.00 0.00 3.00")
    assert planned_by_number(bill)["S1"].refunds[0].amount_minor_units == 300


def test_an_unknown_trade_type_is_refused() -> None:
    bill = parse(PAYMENT | {"交易类型": "FACEPAY"}, footer="1 10.00 0.00 0.00 0.06 10.00 0.00")
    with pytest.raises(BillInvalid, match="line 2: unknown trade type 'FACEPAY'"):
        plan_bill(bill)
