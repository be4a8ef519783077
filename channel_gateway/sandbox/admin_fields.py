"""Checked access to the JSON body of an admin call.

Invariant: a wrong field is answered with its name, never with a stack trace.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Any


class BadField(ValueError):
    """Raised for a field that is missing or wrong."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"{name}: {problem}")


class Fields:
    """The members of a JSON object."""

    def __init__(self, body: dict[str, Any]) -> None:
        self.body = body

    @classmethod
    def parse(cls, raw: bytes) -> Fields:
        """Reads a JSON object; an empty body is an empty object."""
        if not raw.strip():
            return cls({})
        try:
            body = json.loads(raw)
        except ValueError as error:
            raise BadField("body", "not JSON") from error
        if not isinstance(body, dict):
            raise BadField("body", "not a JSON object")
        return cls(body)

    def text(self, name: str, *, default: str | None = None) -> str:
        """Returns a text; without a default it must be there and not be empty."""
        value = self.body.get(name)
        if value is None and default is not None:
            return default
        if not isinstance(value, str) or (not value and default is None):
            raise BadField(name, "a text is required")
        return value

    def texts(self, name: str) -> list[str]:
        """Returns a list of texts, which may be left out."""
        values = self.body.get(name, [])
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise BadField(name, "a list of texts is required")
        return values

    def one_of(self, name: str, allowed: Sequence[str], *, default: str | None = None) -> str:
        """Returns one of the allowed texts."""
        value = self.text(name, default=default)
        if value not in allowed and value != default:
            raise BadField(name, f"one of {', '.join(sorted(allowed))} is required")
        return value

    def flag(self, name: str) -> bool:
        """Returns a truth value, false when left out."""
        value = self.body.get(name, False)
        if not isinstance(value, bool):
            raise BadField(name, "true or false is required")
        return value

    def number(self, name: str) -> float | None:
        """Returns a number, or None when left out."""
        value = self.body.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise BadField(name, "a number is required")
        return float(value)

    def integer(self, name: str, *, default: int | None) -> Any:
        """Returns a whole number, or the default when left out."""
        value = self.body.get(name, default)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise BadField(name, "a whole number is required")
        return value

    def minor_units(self, name: str) -> int | None:
        """Returns an amount in minor units above zero, or None when left out."""
        value = self.integer(name, default=None)
        if value is None:
            return None
        if value <= 0:
            raise BadField(name, "must be above zero")
        return int(value)

    def rate_parts_per_million(self, name: str) -> int | None:
        """Reads a rate such as "0.006" as 6000 parts per million, or None when left out."""
        value = self.body.get(name)
        if value is None:
            return None
        try:
            rate = Decimal(str(value))
        except InvalidOperation as error:
            raise BadField(name, "a decimal is required") from error
        if not 0 <= rate <= 1:
            raise BadField(name, "must be from 0 to 1")
        return round(rate * 1_000_000)
