"""Each invariant between services holds for a whole purchase, and each is able to fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from invariants.checks import CHECKS
from invariants.records import Records

Tampering = Callable[[Records], None]


def purchase() -> Records:
    """A purchase of 100 that was paid, with 30 given back, and a second attempt that was paid too late."""
    money = {"amount_minor_units": 100, "currency_code": "CNY", "business_id": "B", "is_scheduled": False}
    records = Records()
    records.orders["O1"] = money | {
        "kind": "PURCHASE",
        "state": "PARTLY_REFUNDED",
        "paid_minor_units": 100,
        "refunded_minor_units": 30,
        "refunding_minor_units": 0,
        "winning_attempt_id": "A1",
    }
    for number, state, payment_id, transfer in (
        ("A1", "SUCCEEDED", "P1", "P2"),
        ("A2", "SUPERSEDED", "P4", ""),
    ):
        records.attempts[number] = {
            "order_id": "O1",
            "state": state,
            "payment_id": payment_id,
            "transfer_payment_id": transfer,
            "business_id": "B",
            "is_scheduled": False,
        }
    refund = {"order_id": "O1", "state": "SUCCEEDED", "currency_code": "CNY", "business_id": "B"}
    records.refunds["R1"] = refund | {
        "attempt_id": "A1",
        "automatic": False,
        "payment_id": "P3",
        "amount_minor_units": 30,
        "is_scheduled": False,
    }
    records.refunds["R2"] = refund | {
        "attempt_id": "A2",
        "automatic": True,
        "payment_id": "P5",
        "amount_minor_units": 100,
        "is_scheduled": False,
    }
    for number, kind, amount, channel_order, transaction_number in (
        ("P1", "RECHARGE", 100, "C1", "A1"),
        ("P2", "TRANSFER", 100, "", "A1"),
        ("P3", "REFUND", 30, "C3", "R1"),
        ("P4", "RECHARGE", 100, "C4", "A2"),
        ("P5", "REFUND", 100, "C5", "R2"),
    ):
        journal_id = f"J{number[1]}"
        records.payments[number] = money | {
            "kind": kind,
            "state": "SUCCEEDED",
            "order_id": "O1",
            "transaction_number": transaction_number,
            "amount_minor_units": amount,
            "channel_order_id": channel_order,
            "refunded_payment_id": "",
            "journal_id": journal_id,
        }
        records.journals[journal_id] = money | {
            "journal_id": journal_id,
            "event_code": kind,
            "business_number": number,
            "amount_minor_units": amount,
        }
        if channel_order:
            records.channel_orders[channel_order] = money | {
                "kind": "PAY",
                "state": "SUCCEEDED",
                "payment_id": number,
                "amount_minor_units": amount,
            }
    return records


def change(kind: str, number: str, **values: Any) -> Tampering:
    return lambda records: getattr(records, kind)[number].update(values)


def lose(kind: str, number: str) -> Tampering:
    return lambda records: getattr(records, kind).pop(number) and None


TAMPERINGS: list[tuple[str, Tampering]] = [
    ("paid_order_has_its_money", change("orders", "O1", winning_attempt_id="A9")),
    ("paid_order_has_its_money", change("payments", "P1", state="PENDING")),
    ("paid_order_has_its_money", change("payments", "P1", amount_minor_units=99)),
    ("paid_order_has_its_money", lose("payments", "P2")),
    ("refunds_stay_within_paid", change("orders", "O1", refunding_minor_units=71)),
    ("refunds_stay_within_paid", change("orders", "O1", refunded_minor_units=29)),
    ("refund_has_its_payment", lose("payments", "P3")),
    ("refund_has_its_payment", change("refunds", "R1", state="PENDING")),
    ("payment_has_one_posting", lose("journals", "J1")),
    ("payment_has_one_posting", change("journals", "J1", amount_minor_units=101)),
    ("payment_has_one_posting", change("journals", "J2", event_code="RECHARGE", business_number="P1")),
    ("payment_has_one_posting", change("payments", "P1", journal_id="J9")),
    ("posting_has_its_payment", lose("payments", "P2")),
    ("posting_has_its_payment", change("payments", "P2", state="FAILED")),
    ("payment_agrees_with_channel", change("channel_orders", "C1", state="DECLINED")),
    ("payment_agrees_with_channel", change("channel_orders", "C1", amount_minor_units=1)),
    ("channel_success_is_known", change("payments", "P1", state="FAILED")),
    ("channel_success_is_known", lose("payments", "P3")),
    ("recharge_is_used_or_given_back", lose("refunds", "R2")),
    ("recharge_is_used_or_given_back", change("attempts", "A2", state="CLOSED")),
    ("recharge_is_used_or_given_back", change("attempts", "A2", state="SUCCEEDED")),
    ("payment_is_known_above", change("attempts", "A1", transfer_payment_id="P9")),
    ("payment_is_known_above", change("payments", "P4", transaction_number="A1")),
    ("payment_is_known_above", change("refunds", "R1", state="FAILED")),
    ("business_id_is_one", change("journals", "J1", business_id="other")),
    ("business_id_is_one", change("channel_orders", "C4", business_id="other")),
]


def violations(records: Records, name: str) -> list[str]:
    check = next(each for each in CHECKS if each.name == name)
    return [number for number, problem in check.findings(records) if problem is not None]


@pytest.mark.parametrize("name", [check.name for check in CHECKS])
def test_a_whole_purchase_breaks_nothing_and_is_looked_at(name: str) -> None:
    records = purchase()
    check = next(each for each in CHECKS if each.name == name)
    assert list(check.findings(records))
    assert violations(records, name) == []


@pytest.mark.parametrize(("name", "tamper"), TAMPERINGS)
def test_each_finds_what_was_tampered_with(name: str, tamper: Tampering) -> None:
    records = purchase()
    tamper(records)
    assert violations(records, name)


def test_every_check_is_proven_able_to_fail() -> None:
    assert {name for name, _ in TAMPERINGS} == {check.name for check in CHECKS}


def test_what_a_worker_is_bringing_on_is_no_breach() -> None:
    records = purchase()
    records.payments["P1"].update(state="SUBMITTING", is_scheduled=True)
    assert violations(records, "posting_has_its_payment") == []
    assert violations(records, "channel_success_is_known") == []
