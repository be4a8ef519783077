"""What must be true between services. Invariant: each check counts what it looked at and names what breaks it; a
record that is on its way is no breach as long as a worker is scheduled to bring it on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from invariants.records import Records

Row = dict[str, Any]
Finding = tuple[str, str | None]
"""Number of a record looked at, and what is wrong with it or None."""

EVENT_OF_KIND: Final = {
    "RECHARGE": "RECHARGE",
    "WITHDRAWAL": "WITHDRAWAL",
    "REFUND": "REFUND",
    "TRANSFER": "TRANSFER",
}
PAID_STATES: Final = frozenset({"PAID", "PARTLY_REFUNDED", "REFUNDED"})
OPEN_PAYMENT_STATES: Final = frozenset(
    {"ACCEPTED", "CHALLENGED", "SUBMITTING", "PENDING", "UNKNOWN", "CLOSING", "IN_REVIEW"}
)
OPEN_CHANNEL_STATES: Final = frozenset({"PREPARED", "SENT", "ACCEPTED", "UNKNOWN"})


@dataclass(frozen=True, slots=True)
class Check:
    """One invariant; `upper_first` tells in which order the records must be read for it."""

    name: str
    description: str
    upper_first: bool
    findings: Callable[[Records], Iterator[Finding]]


def _money(row: Row) -> tuple[int, str]:
    return int(row["amount_minor_units"]), row["currency_code"]


def _paid_order_has_its_money(records: Records) -> Iterator[Finding]:
    for number, order in records.orders.items():
        if order["state"] not in PAID_STATES:
            continue
        attempt = records.attempts.get(order["winning_attempt_id"])
        payment = records.payments.get(attempt["payment_id"]) if attempt else None
        problem = None
        if attempt is None or payment is None:
            problem = "has no winning attempt with a payment"
        elif payment["state"] != "SUCCEEDED" or _money(payment) != _money(order):
            problem = f"payment {attempt['payment_id']} is {payment['state']} over {_money(payment)}"
        elif order["kind"] in {"PURCHASE", "SPLIT_PURCHASE"}:
            transfer = records.payments.get(attempt["transfer_payment_id"])
            if transfer is None or transfer["state"] != "SUCCEEDED" or _money(transfer) != _money(order):
                problem = "its money did not go on to the receivers"
        yield number, problem


def _refunds_stay_within_paid(records: Records) -> Iterator[Finding]:
    succeeded: Counter[str] = Counter()
    for refund in records.refunds.values():
        # Money that no order took goes back whole and does not count against what the order was paid.
        if refund["state"] == "SUCCEEDED" and not refund["automatic"]:
            succeeded[refund["order_id"]] += int(refund["amount_minor_units"])
    for number, order in records.orders.items():
        reserved = order["refunded_minor_units"] + order["refunding_minor_units"]
        problem = None
        if reserved > order["paid_minor_units"]:
            problem = f"refunded and refunding {reserved} of {order['paid_minor_units']}"
        elif succeeded[number] != order["refunded_minor_units"]:
            problem = f"refunded {order['refunded_minor_units']}, its refunds say {succeeded[number]}"
        yield number, problem


def _refund_has_its_payment(records: Records) -> Iterator[Finding]:
    for number, refund in records.refunds.items():
        if refund["state"] != "SUCCEEDED":
            yield number, None if refund["state"] == "FAILED" or refund["is_scheduled"] else "is forgotten"
            continue
        payment = records.payments.get(refund["payment_id"])
        same = payment is not None and payment["state"] == "SUCCEEDED" and _money(payment) == _money(refund)
        yield number, None if same else "has no succeeded payment of its amount"


def _payment_has_one_posting(records: Records) -> Iterator[Finding]:
    by_number: dict[str, list[Row]] = {}
    for journal in records.journals.values():
        by_number.setdefault(journal["business_number"], []).append(journal)
    for number, payment in records.payments.items():
        if payment["state"] != "SUCCEEDED":
            continue
        expected = EVENT_OF_KIND.get(payment["kind"])
        journals = [each for each in by_number.get(number, []) if each["event_code"] == expected]
        problem = None
        if len(journals) != 1:
            problem = f"has {len(journals)} postings"
        elif journals[0]["journal_id"] != payment["journal_id"]:
            problem = f"names journal {payment['journal_id']}, booked is {journals[0]['journal_id']}"
        elif _money(journals[0]) != _money(payment):
            problem = f"is over {_money(payment)}, booked {_money(journals[0])}"
        yield number, problem


def _posting_has_its_payment(records: Records) -> Iterator[Finding]:
    kind_of_event = {event: kind for kind, event in EVENT_OF_KIND.items()}
    for number, journal in records.journals.items():
        if journal["event_code"] not in kind_of_event:
            continue
        payment = records.payments.get(journal["business_number"])
        problem = None
        if payment is None or payment["kind"] != kind_of_event[journal["event_code"]]:
            problem = f"books {journal['business_number']}, which is no such payment"
        elif payment["state"] != "SUCCEEDED" and not _on_its_way(payment):
            problem = f"books a payment that is {payment['state']}"
        yield number, problem


def _payment_agrees_with_channel(records: Records) -> Iterator[Finding]:
    for number, payment in records.payments.items():
        if payment["kind"] == "TRANSFER" or payment["state"] in OPEN_PAYMENT_STATES:
            continue
        order = records.channel_orders.get(payment["channel_order_id"])
        problem = None
        if payment["state"] == "SUCCEEDED":
            if order is None or order["state"] != "SUCCEEDED" or _money(order) != _money(payment):
                problem = "succeeded without a channel order that did"
        elif order is not None and order["state"] in OPEN_CHANNEL_STATES and payment["state"] == "FAILED":
            problem = f"failed while the channel order is {order['state']}"
        yield number, problem


def _channel_success_is_known(records: Records) -> Iterator[Finding]:
    for number, order in records.channel_orders.items():
        payment = records.payments.get(order["payment_id"])
        problem = None
        if order["state"] == "SUCCEEDED":
            if payment is None:
                problem = f"serves payment {order['payment_id']}, which is unknown"
            elif payment["state"] != "SUCCEEDED" and not _on_its_way(payment):
                problem = f"took the money while its payment is {payment['state']}"
        yield number, problem


def _recharge_is_used_or_given_back(records: Records) -> Iterator[Finding]:
    given_back = {refund["attempt_id"]: refund for refund in records.refunds.values() if refund["automatic"]}
    for number, attempt in records.attempts.items():
        payment = records.payments.get(attempt["payment_id"])
        if payment is None or payment["kind"] != "RECHARGE" or payment["state"] != "SUCCEEDED":
            continue
        order = records.orders.get(attempt["order_id"])
        problem = None
        if attempt["state"] == "SUPERSEDED":
            if number not in given_back:
                problem = "took money that no order needed and gives nothing back"
        elif attempt["state"] == "SUCCEEDED":
            if order is None or order["winning_attempt_id"] != number:
                problem = "succeeded without winning its order"
        elif not attempt["is_scheduled"]:
            problem = f"took money and is {attempt['state']} without a worker"
        yield number, problem


def _payment_is_known_above(records: Records) -> Iterator[Finding]:
    settled: Counter[str] = Counter()
    for number, payment in records.payments.items():
        if payment["state"] != "SUCCEEDED":
            continue
        transaction_number = payment["transaction_number"]
        attempt = records.attempts.get(transaction_number)
        refund = records.refunds.get(transaction_number)
        problem = None
        if attempt is not None and payment["kind"] in {"RECHARGE", "TRANSFER", "WITHDRAWAL"}:
            settled[f"{transaction_number} {payment['kind']}"] += 1
            if settled[f"{transaction_number} {payment['kind']}"] > 1:
                problem = f"is one of several that succeeded for {transaction_number}"
            elif number not in {attempt["payment_id"], attempt["transfer_payment_id"]}:
                problem = None if attempt["is_scheduled"] else f"is not named by {transaction_number}"
        elif refund is not None and payment["kind"] == "REFUND" and not refund["is_scheduled"]:
            named = refund["payment_id"] == number and refund["state"] == "SUCCEEDED"
            problem = None if named else (f"gave back for {transaction_number}, which is {refund['state']}")
        yield number, problem


def _business_id_is_one(records: Records) -> Iterator[Finding]:
    journals = {(each["business_number"], each["event_code"]): each for each in records.journals.values()}
    for number, payment in records.payments.items():
        related: list[Row | None] = [
            records.orders.get(payment["order_id"]),
            records.channel_orders.get(payment["channel_order_id"]),
            journals.get((number, EVENT_OF_KIND.get(payment["kind"], ""))),
        ]
        others = {row["business_id"] for row in related if row is not None} - {payment["business_id"]}
        yield number, f"is {payment['business_id']}, its family is {sorted(others)}" if others else None


def _on_its_way(payment: Row) -> bool:
    return payment["state"] in OPEN_PAYMENT_STATES and (
        payment["is_scheduled"] or payment["state"] == "IN_REVIEW"
    )


CHECKS: Final = (
    Check(
        "paid_order_has_its_money",
        "Every paid order has one winning attempt whose payment succeeded over the order's amount and went on.",
        True,
        _paid_order_has_its_money,
    ),
    Check(
        "refunds_stay_within_paid",
        "Refunded and refunding never exceed what was paid, and refunded equals the order's succeeded refunds.",
        True,
        _refunds_stay_within_paid,
    ),
    Check(
        "refund_has_its_payment",
        "Every succeeded refund has a succeeded payment of its amount; every open one has a worker.",
        True,
        _refund_has_its_payment,
    ),
    Check(
        "payment_has_one_posting",
        "Every succeeded payment has exactly one posting, over its amount.",
        True,
        _payment_has_one_posting,
    ),
    Check(
        "posting_has_its_payment",
        "Every posting of a payment event has exactly one payment, which succeeded or is being finished.",
        False,
        _posting_has_its_payment,
    ),
    Check(
        "payment_agrees_with_channel",
        "A final payment and its channel order say the same.",
        True,
        _payment_agrees_with_channel,
    ),
    Check(
        "channel_success_is_known",
        "Money that a channel took or gave is known to a payment that succeeded or is being finished.",
        False,
        _channel_success_is_known,
    ),
    Check(
        "recharge_is_used_or_given_back",
        "Money that arrived carried an order out, or is given back, or is being worked on.",
        False,
        _recharge_is_used_or_given_back,
    ),
    Check(
        "payment_is_known_above",
        "Every succeeded payment is the one that its attempt or refund names, and at most one of its kind succeeded.",
        False,
        _payment_is_known_above,
    ),
    Check(
        "business_id_is_one",
        "Order, payment, channel order and journal of one payment carry the same business identifier.",
        True,
        _business_id_is_one,
    ),
)
