"""Turns a business event into lines by a rule that is data. Invariant: a rule names every role and component that it
uses, and what it makes of them is checked for balance like any other journal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from accounting.domain.accounts import EntrySide
from accounting.domain.posting import Line
from runtime.errors import PaycenterError, Reason
from runtime.money import Money


@dataclass(frozen=True, slots=True)
class RuleLine:
    """One line of a rule: the account in this role gets this component on this side."""

    role: str
    side: EntrySide
    component: str


@dataclass(frozen=True, slots=True)
class PostingRule:
    """A version of how one event becomes lines."""

    event_code: str
    version: int
    lines: tuple[RuleLine, ...]

    def lines_of(self, parties: Mapping[str, str], components: Mapping[str, Money]) -> tuple[Line, ...]:
        """Gives the lines of one event; a line whose component is zero or absent is left out.

        Args:
            parties: Account numbers by role.
            components: Amounts by component, zero or above.

        Raises:
            PaycenterError: FIELD_INVALID when a role of a line is not given, a component is below zero, or a role
                or component is given that the rule does not know.
        """
        known_roles = {line.role for line in self.lines}
        known_components = {line.component for line in self.lines}
        for role in parties:
            if role not in known_roles:
                raise PaycenterError(Reason.FIELD_INVALID, f"the rule has no role {role}", field="parties")
        for component, amount in components.items():
            if component not in known_components or amount.minor_units < 0:
                raise PaycenterError(
                    Reason.FIELD_INVALID,
                    f"component {component} is unknown to the rule or below zero",
                    field="components",
                )
        lines = []
        for rule_line in self.lines:
            given = components.get(rule_line.component)
            if given is None or given.minor_units == 0:
                continue
            account_id = parties.get(rule_line.role)
            if account_id is None:
                raise PaycenterError(
                    Reason.FIELD_INVALID, f"the role {rule_line.role} has no account", field="parties"
                )
            lines.append(Line(account_id=account_id, side=rule_line.side, amount=given))
        return tuple(lines)
