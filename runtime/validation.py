"""Checks messages against the rules that the contract states (protovalidate). Invariant: one compiled
validator for the process; a violation never repeats a value of a field that the contract marks sensitive."""

from __future__ import annotations

from typing import Any, cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from paycenter.options.v1 import options_pb2
from protovalidate import Validator

from runtime.errors import FieldViolation, PaycenterError, Reason

_validator = Validator()


def check(message: Message) -> None:
    """Raises PaycenterError(FIELD_INVALID) with every violation when `message` breaks a rule. Idempotent."""
    violations = violations_of(message)
    if violations:
        fields = ", ".join(dict.fromkeys(violation.field or "the message" for violation in violations))
        raise PaycenterError(
            Reason.FIELD_INVALID, f"The request breaks a rule in: {fields}.", violations=violations
        )


def violations_of(message: Message) -> tuple[FieldViolation, ...]:
    """Returns every rule that `message` breaks, with dotted field paths; empty when it is valid."""
    found = _validator.collect_violations(message)
    if not found:
        return ()
    descriptor = cast("Descriptor", message.DESCRIPTOR)
    return tuple(_describe(violation.proto, descriptor) for violation in found)


def prepare(message_class: type[Message]) -> None:
    """Compiles the rules of a message ahead of its first use, which else costs milliseconds."""
    _validator.collect_violations(message_class())


def _describe(violation: Any, descriptor: Descriptor) -> FieldViolation:
    path, sensitive = _path_of(violation, descriptor)
    rule = violation.rule_id or ""
    if sensitive:
        return FieldViolation(field=path, description="The value breaks its rule.", rule=rule)
    return FieldViolation(field=path, description=violation.message or f"breaks the rule {rule}", rule=rule)


def _path_of(violation: Any, descriptor: Descriptor) -> tuple[str, bool]:
    parts: list[str] = []
    sensitive = False
    current: Descriptor | None = descriptor
    elements = violation.field.elements if violation.field is not None else ()
    for element in elements:
        field = current.fields_by_name.get(element.field_name) if current is not None else None
        sensitive = sensitive or (field is not None and _is_sensitive(field))
        parts.append(f"{element.field_name}{_subscript_of(element, hidden=sensitive)}")
        current = _message_below(field)
    return ".".join(parts), sensitive


def _subscript_of(element: Any, *, hidden: bool) -> str:
    subscript = element.subscript
    if subscript is None:
        return ""
    if subscript.field == "index":
        return f"[{subscript.value}]"
    if hidden:
        return "[...]"
    return f'["{subscript.value}"]' if subscript.field == "string_key" else f"[{subscript.value}]"


def _message_below(field: FieldDescriptor | None) -> Descriptor | None:
    if field is None or field.message_type is None:
        return None
    message_type = field.message_type
    if message_type.GetOptions().map_entry:
        value_type: Descriptor | None = message_type.fields_by_name["value"].message_type
        return value_type
    return message_type


def _is_sensitive(field: FieldDescriptor) -> bool:
    return bool(field.GetOptions().Extensions[options_pb2.sensitive])
