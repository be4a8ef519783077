"""Writes the pages that repeat what code says, `docs/errors.md` and `docs/settings.md`: never edited by hand.

`python -m tools.generate_docs` writes them, `--check` only says whether they are true (exit code 1 when not).
"""

import argparse
import importlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from annotated_types import BaseMetadata
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings

from tools.contract import ERROR_OPTION, PROJECT_ROOT, elements, load_contract

REASON_ENUM = "paycenter.errors.v1.ErrorReason"
REASON_PREFIX = "ERROR_REASON_"
SETTINGS_MODULES = {
    "runtime.settings": "Every server",
    "core.transaction.settings": "TransactionCore (`python -m core.transaction`)",
    "core.payment.settings": "PaymentCore (`python -m core.payment`)",
    "channel_gateway.settings": "ChannelGateway (`python -m channel_gateway`)",
    "accounting.settings": "Accounting (`python -m accounting`)",
}

ERRORS_INTRODUCTION = """# Errors

<!-- Made by `make docs` from protos/paycenter/errors/v1/errors.proto: edit that file. -->

Every refused call carries `google.rpc.ErrorInfo` with one of these reasons and the domain of the area that
refused; other details (`BadRequest`, `RetryInfo`, ...) say more where there is more to say. The message is
for people and may change; the reason, the code and the metadata keys do not. Treat a reason that you do not
know by its gRPC code. An OK answer is not yet a success: what became of the money is the response's `state`.

`DEADLINE_EXCEEDED` has no reason: the call's outcome is unknown. Send the same `request_id` again, or get the
record.
"""

SETTINGS_INTRODUCTION = """# Settings

<!-- Made by `make docs` from the settings classes: edit the descriptions there. -->

Servers read their settings from the environment, and check them when they start. `paycenter up` sets
addresses and database URLs by itself.
"""


def errors_page() -> str:
    """Returns docs/errors.md: each reason with its anchor, code, domain, meaning and what the client does."""
    file = next(file for file in load_contract() if file.package == "paycenter.errors.v1")
    comments = {element.name: element.comment for element in elements(file)}
    values = next(enum for enum in file.enum_type if f"{file.package}.{enum.name}" == REASON_ENUM).value
    summary = ["| reason | code | domain |", "|---|---|---|"]
    sections: list[str] = []
    for value in values:
        if value.number == 0:
            continue
        reason = value.name.removeprefix(REASON_PREFIX)
        description = value.options.Extensions[ERROR_OPTION]
        domain = f"{description.area}.paycenter"
        summary.append(f"| [{reason}](#{reason.lower()}) | {description.code} | `{domain}` |")
        meaning = _one_line(comments[f"{REASON_ENUM}.{value.name}"])
        sections += [
            f"### {reason}",
            meaning,
            f"`{description.code}` in the domain `{domain}`. The client: {description.client_action}",
        ]
    return "\n\n".join([ERRORS_INTRODUCTION.strip(), "\n".join(summary), *sections]) + "\n"


def settings_page() -> str:
    """Returns docs/settings.md: for each server, what it reads beyond what every server reads."""
    parts = [SETTINGS_INTRODUCTION.strip()]
    for module_name, title in SETTINGS_MODULES.items():
        for settings in _settings_classes(module_name):
            rows = ["| variable | default | meaning |", "|---|---|---|", *_rows(settings)]
            parts += [f"## {title}", _one_line(settings.__doc__ or ""), "\n".join(rows)]
    return "\n\n".join(parts) + "\n"


def _settings_classes(module_name: str) -> Iterator[type[BaseSettings]]:
    module = importlib.import_module(module_name)
    for candidate in vars(module).values():
        if (
            isinstance(candidate, type)
            and issubclass(candidate, BaseSettings)
            and candidate.__module__ == module_name
        ):
            yield candidate


def _rows(settings: type[BaseSettings]) -> Iterator[str]:
    inherited: dict[str, FieldInfo] = {}
    for base in settings.__mro__[1:]:
        if issubclass(base, BaseSettings) and base is not BaseSettings:
            inherited = {**base.model_fields, **inherited}
    prefix = settings.model_config.get("env_prefix", "")
    for name, field in settings.model_fields.items():
        if name in inherited and _facts(inherited[name]) == _facts(field):
            continue
        default, description, limits = _facts(field)
        shown = "required" if default is None else f"`{default}`" if default else "empty"
        yield f"| `{(prefix + name).upper()}` | {shown} | {description}{limits} |"


def _facts(field: FieldInfo) -> tuple[str | None, str, str]:
    """Returns the default as text (None when required), the description and the limits of a setting."""
    if not field.description:
        raise ValueError(f"a setting without a description: {field!r}")
    default = None if field.is_required() else str(field.get_default(call_default_factory=True))
    if default == str(PydanticUndefined):
        default = None
    limits = [_limit(rule) for rule in field.metadata if isinstance(rule, BaseMetadata)]
    known = ", ".join(limit for limit in limits if limit)
    return default, _one_line(field.description), f" ({known})" if known else ""


def _limit(rule: BaseMetadata) -> str:
    words = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
    return ", ".join(
        f"{word} {getattr(rule, name)}"
        for name, word in words.items()
        if getattr(rule, name, None) is not None
    )


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def main(arguments: Sequence[str]) -> int:
    """Writes or checks the pages; returns the exit code of the command."""
    parser = argparse.ArgumentParser(description="Write the pages that are made from code.")
    parser.add_argument("--check", action="store_true", help="only say what differs")
    only_check = parser.parse_args(arguments).check
    stale = 0
    for name, make_page in {"errors.md": errors_page, "settings.md": settings_page}.items():
        content = make_page()
        path: Path = PROJECT_ROOT / "docs" / name
        is_true = path.exists() and path.read_text(encoding="utf-8") == content
        stale += not is_true
        if not only_check and not is_true:
            path.parent.mkdir(exist_ok=True)
            path.write_text(content, encoding="utf-8")
        state = (
            "unchanged" if is_true else "not what the code says: run `make docs`" if only_check else "written"
        )
        print(f"docs/{name}: {state}")
    return 1 if only_check and stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
