"""Checks messages against the rules that the contract states (protovalidate). Invariant: one compiled
validator for the process; a violation never repeats a value of a field that the contract marks sensitive; no
text holds a NUL character, which databases refuse."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from paycenter.options.v1 import options_pb2
from protovalidate import Validator

from runtime.errors import FieldViolation, PaycenterError, Reason

_validator = Validator()
_NUL_REFUSED = "A text cannot hold a NUL character."
_NUL_RULE = "string.no_nul"


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
    texts = tuple(_texts_with_nul(message, "")) if b"\0" in message.SerializeToString() else ()
    if not found:
        return texts
    descriptor = cast("Descriptor", message.DESCRIPTOR)
    return (*(_describe(violation.proto, descriptor) for violation in found), *texts)


def prepare(message_class: type[Message]) -> None:
    """Compiles the rules of a message ahead of its first use, which else costs milliseconds."""
    _validator.collect_violations(message_class())


def _texts_with_nul(message: Message, prefix: str) -> Iterator[FieldViolation]:
    for field, value in message.ListFields():
        path = f"{prefix}{field.name}"
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            yield from _map_texts_with_nul(field, value, path)
        elif field.is_repeated:
            for index, element in enumerate(value):
                yield from _value_with_nul(element, f"{path}[{index}]")
        else:
            yield from _value_with_nul(value, path)


def _map_texts_with_nul(field: FieldDescriptor, entries: Any, path: str) -> Iterator[FieldViolation]:
    for key, value in entries.items():
        if isinstance(key, str) and "\0" in key:
            yield FieldViolation(field=f"{path}[...]", description=_NUL_REFUSED, rule=_NUL_RULE)
            continue
        shown = "..." if _is_sensitive(field) else f'"{key}"' if isinstance(key, str) else str(key)
        yield from _value_with_nul(value, f"{path}[{shown}]")


def _value_with_nul(value: Any, path: str) -> Iterator[FieldViolation]:
    if isinstance(value, Message):
        yield from _texts_with_nul(value, f"{path}.")
    elif isinstance(value, str) and "\0" in value:
        yield FieldViolation(field=path, description=_NUL_REFUSED, rule=_NUL_RULE)


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
