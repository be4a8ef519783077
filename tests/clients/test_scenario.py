"""The file of orders that ships with the project can be run, and a wrong word in it is named by its line."""

from __future__ import annotations

from pathlib import Path

import pytest
from paycenter.transaction.v1 import transaction_core_pb2 as transaction
from paycenter.type.v1 import money_pb2

from clients.cli.demo.scenario import DEMO_ORDERS, Act, ScenarioInvalid, load_orders, outcome_of

HEADER = DEMO_ORDERS.read_text().splitlines()[0]
GOOD = "tea,Tea,purchase,5.00,begin alipay qr; payer pays,,PAID,5.00,0.00,SUCCEEDED,"


def load(tmp_path: Path, *lines: str) -> None:
    file = tmp_path / "orders.csv"
    file.write_text("\n".join([HEADER, *lines]) + "\n")
    load_orders(file)


def test_the_shipped_orders_cover_what_the_demonstration_promises() -> None:
    orders = load_orders()
    steps = [step for order in orders for step in order.steps]
    assert {step.act for step in steps} == set(Act)
    begun = {(step.channel, step.method) for step in steps if step.act is Act.BEGIN}
    methods = {("alipay", "pc"), ("alipay", "qr"), ("alipay", "mini-program")}
    assert methods | {("wechat_pay", "qr"), ("wechat_pay", "mini-program")} <= begun
    assert {order.kind for order in orders} == {"purchase", "recharge", "withdrawal", "transfer"}
    assert {order.expected.state for order in orders} == {"PAID", "PARTLY_REFUNDED", "REFUNDED", "CLOSED"}
    assert len(orders) >= 24


def test_the_file_is_checked_by_line(tmp_path: Path) -> None:
    load(tmp_path, GOOD)
    for wrong, complaint in (
        (GOOD.replace("payer pays", "payer runs"), "line 2: unknown step: 'payer runs'"),
        (GOOD.replace("alipay qr", "alipay telegraph"), "unknown step: 'begin alipay telegraph'"),
        (GOOD.replace("PAID", "HAPPY"), "unknown state: 'HAPPY'"),
        (GOOD.replace("purchase", "gift"), "unknown kind of order: 'gift'"),
        (GOOD.replace("5.00,begin", "5.001,begin"), "more than the 2 decimals"),
        (GOOD.replace("pays,,", "pays,coffee,"), "comes after coffee"),
    ):
        with pytest.raises(ScenarioInvalid, match=complaint):
            load(tmp_path, wrong)
    with pytest.raises(ScenarioInvalid, match="same name"):
        load(tmp_path, GOOD, GOOD)


def test_an_outcome_leaves_the_order_of_attempts_aside_and_shows_unknown_states() -> None:
    order = transaction.Order(
        state=transaction.ORDER_STATE_PAID,
        paid_amount=money_pb2.Money(minor_units=500, currency_code="CNY"),
        attempts=[
            transaction.Attempt(state=transaction.ATTEMPT_STATE_SUPERSEDED),
            transaction.Attempt(state=transaction.ATTEMPT_STATE_SUCCEEDED),
        ],
        refunds=[transaction.Refund(state=99)],  # type: ignore[arg-type]
    )
    outcome = outcome_of(order)
    assert outcome.attempt_states == ("SUCCEEDED", "SUPERSEDED")
    assert (outcome.state, outcome.paid_minor_units, outcome.refunded_minor_units) == ("PAID", 500, 0)
    assert outcome.refund_states == ("99",)
