"""Shows what the demonstration did. Invariant: what differs is marked, and says what was expected."""

from __future__ import annotations

from collections.abc import Sequence

from paycenter.type.v1 import money_pb2
from paycenter_client import decimal_amount
from rich.table import Table

from clients.cli.demo.reconciliation import CURRENCY_CODE, FIGURE_LABELS, AccountReconciliation
from clients.cli.demo.runner import OrderResult
from clients.cli.demo.scenario import Outcome
from clients.cli.output import make_table


def order_table(results: Sequence[OrderResult]) -> Table:
    """One line for each order: expected beside seen."""
    columns = ("order", "what happens", "amount", "state", "paid", "back", "s", "")
    title = "Orders (✓: state, amounts, attempts, refunds and the signed callback are as expected)"
    table = make_table(title, columns, right=("amount", "paid", "back", "s"))
    for result in results:
        planned, seen = result.planned, result.seen
        table.add_row(
            planned.name,
            planned.story,
            str(decimal_amount(planned.amount)),
            seen.state if seen else "-",
            yuan(seen.paid_minor_units) if seen else "-",
            yuan(seen.refunded_minor_units) if seen else "-",
            f"{result.seconds:.1f}",
            "[green]✓" if result.matches else "[red]✗",
        )
        for line in (*result.notes, *_differences(result)):
            table.add_row("", f"[dim]{line}" if line in result.notes else f"[red]{line}")
    return table


def reconciliation_table(reconciled: Sequence[AccountReconciliation]) -> Table:
    """Three books side by side, figure by figure."""
    columns = ("account", "figure", "at the channel", "in the center", "in the ledger", "difference")
    table = make_table("Reconciliation", columns, right=columns[2:])
    for each in reconciled:
        for place, (name, label) in enumerate(FIGURE_LABELS.items()):
            difference = each.difference(name)
            books = (each.at_channel, each.in_center, each.in_ledger)
            table.add_row(
                each.account.plan.channel if place == 0 else "",
                label,
                *(_figure(name, getattr(book, name)) for book in books),
                f"[green]{_figure(name, 0)}" if difference == 0 else f"[red]{_figure(name, difference)}",
            )
        if each.fee_returned_minor_units:
            returned = yuan(each.fee_returned_minor_units)
            table.add_row("", "[dim]fee given back", f"[dim]{returned}", "", "", "[dim]booked with the bill")
    return table


def yuan(minor_units: int) -> str:
    """An amount in yuan with its decimals."""
    return str(decimal_amount(money_pb2.Money(minor_units=minor_units, currency_code=CURRENCY_CODE)))


def _differences(result: OrderResult) -> list[str]:
    lines = [result.problem] if result.problem else []
    expected = result.planned.expected
    if result.seen is not None and result.seen != expected:
        lines.append(f"expected {_words(expected)}; seen {_words(result.seen)}")
    if result.seen is not None and not result.was_told:
        lines.append("the business system was not told of this state by a signed callback")
    return lines


def _words(outcome: Outcome) -> str:
    refunds = " ".join(outcome.refund_states) or "none"
    return (
        f"{outcome.state}, paid {yuan(outcome.paid_minor_units)}, back {yuan(outcome.refunded_minor_units)}, "
        f"attempts {' '.join(outcome.attempt_states)}, refunds {refunds}"
    )


def _figure(name: str, value: int) -> str:
    return str(value) if name.endswith("_count") else yuan(value)
