"""The contract's words as people type and read them. Invariant: a value of a newer center is shown, not lost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from google.protobuf.descriptor import EnumDescriptor
from paycenter.type.v1 import credential_pb2

INVOKE_METHODS: Mapping[str, credential_pb2.InvokeMethod.ValueType] = {
    "mini-program": credential_pb2.INVOKE_METHOD_MINI_PROGRAM,
    "pc": credential_pb2.INVOKE_METHOD_PC,
    "wap": credential_pb2.INVOKE_METHOD_WAP,
    "app": credential_pb2.INVOKE_METHOD_APP,
    "qr": credential_pb2.INVOKE_METHOD_QR,
}


class ContractEnum(Protocol):
    """An enum of the generated code."""

    @property
    def DESCRIPTOR(self) -> EnumDescriptor:  # noqa: N802 - the generated name
        """The enum's description."""
        ...


def short_name(enum: ContractEnum, value: int) -> str:
    """Name of an enum value without the enum's prefix; the number itself when it is not known here."""
    found = enum.DESCRIPTOR.values_by_number.get(value)
    return str(value) if found is None else str(found.name.removeprefix(_prefix(enum)))


def short_names(enum: ContractEnum) -> list[str]:
    """Every name of an enum without its prefix, the unspecified one left out."""
    return [value.name.removeprefix(_prefix(enum)) for value in enum.DESCRIPTOR.values if value.number != 0]


def _prefix(enum: ContractEnum) -> str:
    return str(enum.DESCRIPTOR.values_by_number[0].name.removesuffix("UNSPECIFIED"))
