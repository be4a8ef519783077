"""The service's own invariants as queries that look for what breaks them. Invariant: each says how many records it
looked at, since a check of nothing proves nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from core.transaction.parts import Parts
from core.transaction.store import checks

MOST_EXAMPLES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one check found; each example is a number and what is wrong with it."""

    name: str
    description: str
    checked_count: int
    violation_count: int
    examples: Sequence[str]


async def check_invariants(parts: Parts) -> list[Finding]:
    """Checks every invariant over the whole database, in one snapshot each."""
    findings = []
    for check in checks.CHECKS:
        async with parts.database.begin() as connection:
            checked_count, broken = await checks.run(connection, check)
        findings.append(
            Finding(
                name=check.name,
                description=check.description,
                checked_count=checked_count,
                violation_count=len(broken),
                examples=[f"{number}: {what}" for number, what in broken[:MOST_EXAMPLES]],
            )
        )
    return findings
