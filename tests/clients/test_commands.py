"""Commands end with a sentence and exit code 1 when they cannot go on, and what they print fits 100 columns."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import grpc
import pytest
from paycenter.transaction.v1 import transaction_core_pb2 as transaction
from paycenter.type.v1 import family_pb2, money_pb2
from paycenter_client.errors import FieldViolation, InvalidRequest
from rich.console import Console, RenderableType
from typer.testing import CliRunner, Result

from clients.cli.demo.reconciliation import AccountReconciliation, Figures
from clients.cli.demo.rendering import order_table, reconciliation_table
from clients.cli.demo.runner import OrderResult
from clients.cli.demo.scenario import Outcome, load_orders
from clients.cli.failure import sentence_of
from clients.cli.main import app
from clients.cli.orders import family_text
from clients.cli.provisioning import AccountPlan, ProvisionedAccount
from clients.cli.sandbox_client import SandboxAccount
from runtime.embedded.layout import DirectoryLock, Layout


def run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def drawn(content: RenderableType) -> str:
    console = Console(width=100, record=True, force_terminal=False, emoji=False)
    console.print(content)
    return console.export_text()


@pytest.mark.parametrize(
    "words",
    [
        ("pay", "--amount", "1.00"),
        ("refund", "O1", "--amount", "1.00"),
        ("order", "show", "O1"),
        ("trace", "O1"),
        ("invariants",),
    ],
)
def test_without_a_running_center_a_command_says_how_to_start_one(
    tmp_path: Path, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    result = run(*words, "--data-directory", str(tmp_path))
    assert result.exit_code == 1
    said = result.output + capsys.readouterr().err
    assert f"no center runs on {tmp_path}; start one with: paycenter up" in said.replace("\n", " ")
    assert "Traceback" not in said


def test_status_of_nothing_fails_and_is_told_as_json_too(tmp_path: Path) -> None:
    assert run("status", "--data-directory", str(tmp_path)).exit_code == 1
    result = run("status", "--data-directory", str(tmp_path), "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout) == {"is_running": False, "owner_pid": None, "processes": []}


def test_a_second_start_on_one_data_directory_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lock = DirectoryLock(Layout(tmp_path).data_directory)
    lock.acquire()
    try:
        result = run("up", "--data-directory", str(tmp_path))
    finally:
        lock.release()
    assert result.exit_code == 1
    said = result.output + capsys.readouterr().err
    assert "is already in use by process" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("content", "complaint"),
    [("not a bill\n", "line 1 is not the header of a trade bill"), (None, "cannot be read: No such file")],
)
def test_a_bad_bill_is_refused_before_anything_is_started(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None, complaint: str
) -> None:
    file = tmp_path / "bill.csv"
    if content is not None:
        file.write_text(content)
    result = run("demo", "--bill", str(file), "--data-directory", str(tmp_path / "center"))
    assert result.exit_code == 1
    assert complaint in (result.output + capsys.readouterr().err).replace("\n", " ")
    assert not (tmp_path / "center").exists()


def test_a_refusal_is_told_in_one_sentence_with_code_reason_field_and_trace() -> None:
    error = InvalidRequest(
        code=grpc.StatusCode.INVALID_ARGUMENT,
        reason="FIELD_INVALID",
        message="The request is not valid.",
        metadata={"traceId": "ab" * 16},
        violations=[FieldViolation("amount", "must be above zero")],
        retry_after_seconds=None,
    )
    assert sentence_of(error) == (
        "The request is not valid (code INVALID_ARGUMENT, reason FIELD_INVALID, "
        f"field amount: must be above zero, trace {'ab' * 16})"
    )


def member(kind: str, number: str, parent: str, second: int, **more: Any) -> family_pb2.FamilyMember:
    made = family_pb2.FamilyMember(kind=kind, number=number, parent_number=parent, state="SUCCEEDED", **more)
    made.create_time.FromSeconds(second)
    return made


def test_a_family_is_drawn_as_a_tree_with_every_record_once() -> None:
    amount = money_pb2.Money(minor_units=1230, currency_code="CNY")
    family = transaction.GetOrderFamilyResponse(
        business_id="O1",
        members=[
            member("journal", "J1", "P1", 5, summary="Dr 1101 " * 30),
            member("payment", "P1", "A1", 3, amount=amount),
            member("order", "O1", "", 1, amount=amount),
            member("notice", "I9", "lost", 9),
            member("attempt", "A1", "O1", 2),
            member("refund", "R1", "R2", 7),
            member("refund", "R2", "R1", 8),
        ],
    )
    text = drawn(family_text(family))
    lines = text.splitlines()
    assert max(len(line) for line in lines) <= 100
    assert "12.30 CNY" in text
    places = {number: text.index(number) for number in ("O1", "A1", "P1", "J1", "I9", "R1", "R2")}
    assert places["A1"] < places["P1"] < places["J1"] < places["I9"]
    first_words = [line.strip().removeprefix("└ ").split()[0] for line in lines if line.strip()]
    assert [word for word in first_words if word in ("order", "attempt", "payment", "journal")] == [
        "order",
        "attempt",
        "payment",
        "journal",
    ]
    assert first_words.count("refund") == 2, "two that name each other as parent are shown, too"


def result_of(seen: Outcome | None, *, problem: str = "", was_told: bool = True) -> OrderResult:
    return OrderResult(
        planned=load_orders()[0],
        order_id="O1",
        seen=seen,
        was_told=was_told,
        callback_count=1,
        notes=(),
        problem=problem,
        seconds=0.1,
    )


def test_an_order_that_ends_otherwise_than_planned_is_marked_and_says_what_was_expected() -> None:
    expected = load_orders()[0].expected
    other = Outcome(
        state="CLOSED",
        paid_minor_units=0,
        refunded_minor_units=0,
        attempt_states=("CLOSED",),
        refund_states=(),
    )
    assert result_of(expected).matches
    assert "✗" not in drawn(order_table([result_of(expected)]))
    for result, says in (
        (result_of(other), "expected PAID"),
        (result_of(None, problem="the channel is away"), "the channel is away"),
        (result_of(expected, was_told=False), "not told"),
    ):
        assert not result.matches
        text = drawn(order_table([result]))
        assert "✗" in text
        assert says in " ".join(text.split())
        assert max(len(line) for line in text.splitlines()) <= 100


def figures(**changed: int) -> Figures:
    values = {
        "payment_count": 3,
        "paid_minor_units": 1000,
        "fee_minor_units": 6,
        "refund_count": 1,
        "refunded_minor_units": 200,
        "payout_count": 1,
        "paid_out_minor_units": 100,
    }
    return Figures(**(values | changed))


def reconciled(*, in_ledger: Figures, ledger_balance_minor_units: int = 694) -> AccountReconciliation:
    plan = AccountPlan(
        name="demo", channel="alipay", account="2088", app_id="2021", fee_ratio=Decimal("0.006")
    )
    account = ProvisionedAccount(
        plan=plan, payment_account_id="K1", sandbox_account=SandboxAccount("alipay", "2088")
    )
    return AccountReconciliation(
        account=account,
        at_channel=figures(),
        in_center=figures(),
        in_ledger=in_ledger,
        fee_returned_minor_units=0,
        ledger_balance_minor_units=ledger_balance_minor_units,
    )


def test_books_agree_only_when_every_figure_and_the_kept_balance_do() -> None:
    assert reconciled(in_ledger=figures()).agrees
    for name in figures().__slots__:
        assert not reconciled(in_ledger=figures(**{name: 7})).agrees, name
    assert not reconciled(in_ledger=figures(), ledger_balance_minor_units=693).agrees
    text = drawn(reconciliation_table([reconciled(in_ledger=figures(fee_minor_units=5))]))
    assert "0.01" in text
    assert max(len(line) for line in text.splitlines()) <= 100
