"""What one search by any number gives: records of one business identifier, in the same words for every service.
Invariant: a family has one business identifier; each record stands in it once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from runtime.money import Money


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilyMember:
    """One record of a family."""

    service: str
    kind: str
    number: str
    parent_number: str
    state: str
    amount: Money | None
    external_number: str
    create_time: datetime | None
    update_time: datetime | None
    business_id: str
    trace_id: str
    summary: str


@dataclass(frozen=True, slots=True)
class Family:
    """The records of one service that carry one business identifier."""

    business_id: str
    members: tuple[FamilyMember, ...]


def merge(families: Iterable[Family]) -> tuple[FamilyMember, ...]:
    """Puts the families of several services together, the oldest record first, each once."""
    members: dict[tuple[str, str, str], FamilyMember] = {}
    for family in families:
        for member in family.members:
            members.setdefault((member.service, member.kind, member.number), member)
    return tuple(sorted(members.values(), key=_by_age))


def _by_age(member: FamilyMember) -> tuple[float, str]:
    return (member.create_time.timestamp() if member.create_time else 0.0, member.number)
