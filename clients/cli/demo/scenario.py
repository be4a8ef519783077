"""The demonstration's orders as data: what is done with each and what must come of it.

Invariant: a file that loads can be run; unknown words are refused with their line.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from paycenter.transaction.v1 import transaction_core_pb2 as transaction
from paycenter.type.v1 import money_pb2, party_pb2
from paycenter_client import money

from clients.cli.names import INVOKE_METHODS, ContractEnum, short_name, short_names

DEMO_ORDERS = Path(__file__).with_name("demo_orders.csv")
CURRENCY_CODE = "CNY"
_METHODS_WITHOUT_PAYER = ("payout", "balance")
_METHODS = (*INVOKE_METHODS, *_METHODS_WITHOUT_PAYER)
CHANNELS = ("alipay", "wechat_pay")
_OWNER_KINDS = {
    "user": party_pb2.ACCOUNT_OWNER_KIND_USER,
    "merchant": party_pb2.ACCOUNT_OWNER_KIND_MERCHANT,
}


class ScenarioInvalid(ValueError):
    """The file of orders cannot be run; the message names the line."""


class Act(StrEnum):
    """What one step does."""

    BEGIN = "begin"
    BEGIN_SILENTLY = "begin silently"
    PAYER_PAYS = "payer pays"
    PAYER_PAYS_BOTH = "payer pays both"
    PAYER_PAYS_LATE = "payer pays late"
    DUPLICATE_NOTICE = "duplicate notice"
    FORGED_NOTICE = "forged notice"
    CLOSE = "close"
    AWAIT = "await"
    REFUND = "refund"


_PLAIN_ACTS = {
    act: act
    for act in (
        Act.PAYER_PAYS,
        Act.PAYER_PAYS_BOTH,
        Act.PAYER_PAYS_LATE,
        Act.DUPLICATE_NOTICE,
        Act.FORGED_NOTICE,
        Act.CLOSE,
    )
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step; which of the other fields mean something depends on the act."""

    act: Act
    channel: str = ""
    method: str = ""
    state: str = ""
    amount: money_pb2.Money | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How an order stands, or is to stand; states are the contract's without prefix, those of attempts sorted."""

    state: str
    paid_minor_units: int
    refunded_minor_units: int
    attempt_states: tuple[str, ...]
    refund_states: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedOrder:
    """One order of the demonstration; `parties` are the words after the kind, as (kind, owner) pairs."""

    name: str
    story: str
    kind: str
    parties: tuple[tuple[str, str], ...]
    amount: money_pb2.Money
    steps: tuple[Step, ...]
    after: tuple[str, ...]
    expected: Outcome


def load_orders(file: Path = DEMO_ORDERS) -> list[PlannedOrder]:
    """Reads a file of orders. Raises ScenarioInvalid."""
    with file.open(encoding="utf-8", newline="") as stream:
        reader = csv.DictReader(stream, strict=True)
        orders = [_order(reader.line_num, row) for row in reader]
    names = [order.name for order in orders]
    for place, order in enumerate(orders):
        for name in order.after:
            if name not in names[:place]:
                raise ScenarioInvalid(f"{order.name} comes after {name}, which does not stand before it")
    if len(set(names)) != len(names):
        raise ScenarioInvalid("two orders have the same name")
    return orders


def outcome_of(order: transaction.Order) -> Outcome:
    """How an order stands."""
    return Outcome(
        state=short_name(transaction.OrderState, order.state),
        paid_minor_units=order.paid_amount.minor_units,
        refunded_minor_units=order.refunded_amount.minor_units,
        attempt_states=_sorted(short_name(transaction.AttemptState, each.state) for each in order.attempts),
        refund_states=_sorted(short_name(transaction.RefundState, each.state) for each in order.refunds),
    )


def account_owner(party: Sequence[str], merchant_id: str) -> party_pb2.AccountOwner:
    """The owner that a party stands for; a merchant is always the demonstration's own."""
    kind, name = party
    return party_pb2.AccountOwner(kind=_OWNER_KINDS[kind], owner_id=name or merchant_id)


def _order(line_number: int, row: Mapping[str, str]) -> PlannedOrder:
    try:
        kind, parties = _kind(row["kind"])
        return PlannedOrder(
            name=row["order"],
            story=row["story"],
            kind=kind,
            parties=parties,
            amount=money(row["amount"], CURRENCY_CODE),
            steps=tuple(_step(text.strip()) for text in row["steps"].split(";")),
            after=tuple(row["after"].split()),
            expected=Outcome(
                state=_known_state(transaction.OrderState, row["expected_state"]),
                paid_minor_units=money(row["expected_paid"], CURRENCY_CODE).minor_units,
                refunded_minor_units=money(row["expected_refunded"], CURRENCY_CODE).minor_units,
                attempt_states=_known_states(transaction.AttemptState, row["expected_attempts"]),
                refund_states=_known_states(transaction.RefundState, row["expected_refunds"]),
            ),
        )
    except (KeyError, ValueError, AttributeError) as error:
        raise ScenarioInvalid(f"line {line_number}: {error}") from error


def _kind(text: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    match text.split():
        case ["purchase"]:
            return "purchase", ()
        case ["recharge", "user", name]:
            return "recharge", (("user", name),)
        case ["withdrawal", "merchant"]:
            return "withdrawal", (("merchant", ""),)
        case ["withdrawal", "user", name]:
            return "withdrawal", (("user", name),)
        case ["transfer", "user", source, "to", "user", destination]:
            return "transfer", (("user", source), ("user", destination))
    raise ScenarioInvalid(f"unknown kind of order: {text!r}")


def _step(text: str) -> Step:
    if text in _PLAIN_ACTS:
        return Step(act=_PLAIN_ACTS[Act(text)])
    match text.split():
        case ["begin", "balance"]:
            return Step(act=Act.BEGIN, method="balance")
        case ["begin", channel, method] if channel in CHANNELS and method in _METHODS:
            return Step(act=Act.BEGIN, channel=channel, method=method)
        case ["begin", channel, method, "silently"] if channel in CHANNELS and method in _METHODS:
            return Step(act=Act.BEGIN_SILENTLY, channel=channel, method=method)
        case ["await", state]:
            return Step(act=Act.AWAIT, state=_known_state(transaction.OrderState, state))
        case ["refund", amount]:
            return Step(act=Act.REFUND, amount=money(amount, CURRENCY_CODE))
    raise ScenarioInvalid(f"unknown step: {text!r}")


def _known_states(enum: ContractEnum, text: str) -> tuple[str, ...]:
    return _sorted(_known_state(enum, state) for state in text.split())


def _known_state(enum: ContractEnum, text: str) -> str:
    if text not in short_names(enum):
        raise ScenarioInvalid(f"unknown state: {text!r}")
    return text


def _sorted(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(texts))
