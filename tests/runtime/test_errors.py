"""The table of reasons is the contract's table, and a refusal carries what it is given."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import grpc
from paycenter.errors.v1 import errors_pb2
from paycenter.options.v1 import options_pb2

from runtime import errors
from runtime.errors import Code, FieldViolation, PaycenterError, Reason, area_of, code_of, domain_of

PREFIX = "ERROR_REASON_"


def contract() -> dict[str, tuple[str, str]]:
    """Code and area of every reason as the contract states them."""
    table = {}
    for value in errors_pb2.ErrorReason.DESCRIPTOR.values:
        if value.number == 0:
            continue
        described = value.GetOptions().Extensions[options_pb2.error]
        table[value.name.removeprefix(PREFIX)] = (described.code, described.area)
    return table


def test_every_reason_of_the_contract_has_its_code_and_area_here_and_no_other_exists() -> None:
    assert {reason.value: (code_of(reason).value, area_of(reason)) for reason in Reason} == contract()


def test_codes_are_those_of_grpc() -> None:
    assert {code.value for code in Code} == {code.name for code in grpc.StatusCode} - {"OK"}


def test_the_domain_names_the_area() -> None:
    assert domain_of(Reason.REFUND_EXCEEDS_PAID) == "transaction.paycenter"
    assert domain_of(Reason.FIELD_INVALID) == "platform.paycenter"


def test_a_refusal_of_one_field_is_a_violation_of_that_field() -> None:
    error = PaycenterError(
        Reason.FIELD_INVALID,
        "The amount is above the limit.",
        field="amount",
        violations=[FieldViolation("subject", "too long")],
    )

    assert [violation.field for violation in error.violations] == ["amount", "subject"]
    assert (error.code, error.is_server_fault) == (Code.INVALID_ARGUMENT, False)
    assert PaycenterError(Reason.DATABASE_UNAVAILABLE, "Gone.").is_server_fault


def test_the_module_is_pure() -> None:
    tree = ast.parse(Path(errors.__file__).read_text(encoding="utf-8"))
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported <= sys.stdlib_module_names
