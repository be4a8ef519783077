"""What the contract promises of every element: idempotency level, request_id, documented reason, comment."""

from collections.abc import Iterator

import pytest
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    MethodDescriptorProto,
    MethodOptions,
)
from paycenter.options.v1.options_pb2 import ErrorDescription

from tools.contract import ERROR_OPTION, PROJECT_ROOT, elements, load_contract
from tools.generate_docs import REASON_ENUM, REASON_PREFIX

FILES = load_contract()


def methods() -> Iterator[tuple[str, MethodDescriptorProto]]:
    for file in FILES:
        for service in file.service:
            for method in service.method:
                yield f"{file.package}.{service.name}.{method.name}", method


def messages() -> dict[str, DescriptorProto]:
    return {f".{file.package}.{message.name}": message for file in FILES for message in file.message_type}


METHODS = dict(methods())
MESSAGES = messages()
MUTATING = {
    name: method
    for name, method in METHODS.items()
    if method.options.idempotency_level != MethodOptions.NO_SIDE_EFFECTS
}


def test_the_four_services_are_there() -> None:
    services = {name.rpartition(".")[0] for name in METHODS}

    assert services == {
        "paycenter.transaction.v1.TransactionCore",
        "paycenter.payment.v1.PaymentCore",
        "paycenter.channel.v1.ChannelGateway",
        "paycenter.accounting.v1.Accounting",
    }


@pytest.mark.parametrize("name", METHODS)
def test_method_has_an_idempotency_level(name: str) -> None:
    assert METHODS[name].options.idempotency_level != MethodOptions.IDEMPOTENCY_UNKNOWN


@pytest.mark.parametrize("name", MUTATING)
def test_mutating_method_has_request_id_first(name: str) -> None:
    first = next(field for field in MESSAGES[MUTATING[name].input_type].field if field.number == 1)

    assert (first.name, first.type, first.label) == (
        "request_id",
        FieldDescriptorProto.TYPE_STRING,
        FieldDescriptorProto.LABEL_OPTIONAL,
    )


def test_every_reason_is_documented() -> None:
    page = (PROJECT_ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    headings = {line.removeprefix("### ") for line in page.splitlines() if line.startswith("### ")}

    assert headings == {value.removeprefix(REASON_PREFIX) for value in reasons()}


def test_every_reason_says_its_code_and_what_the_client_does() -> None:
    incomplete = [
        name
        for name, description in reasons().items()
        if not (description.code and description.area and description.client_action)
    ]

    assert incomplete == []


def reasons() -> dict[str, ErrorDescription]:
    values = next(
        enum.value
        for file in FILES
        for enum in file.enum_type
        if f"{file.package}.{enum.name}" == REASON_ENUM
    )
    return {value.name: value.options.Extensions[ERROR_OPTION] for value in values if value.number != 0}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_element_has_a_comment(file: FileDescriptorProto) -> None:
    assert [f"{element.kind} {element.name}" for element in elements(file) if not element.comment] == []
