"""Runs the checks shard by shard. Invariant: the report says how much was looked at; nothing looked at proves
nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from invariants.checks import CHECKS
from invariants.records import Center
from runtime.ids import SHARD_COUNT

_SHARDS_AT_ONCE: Final = 32
_EXAMPLES: Final = 20


@dataclass(slots=True)
class Result:
    """What one check found; at most 20 examples."""

    name: str
    description: str
    checked_count: int = 0
    violation_count: int = 0
    examples: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Counts:
    """How many records the center keeps."""

    orders: int
    attempts: int
    refunds: int
    payments: int
    channel_orders: int
    notices: int
    journals: int
    entries: int


@dataclass(frozen=True, slots=True)
class Report:
    """What all checks found."""

    results: tuple[Result, ...]
    counts: Counts

    @property
    def all_hold(self) -> bool:
        """Whether no check found a violation."""
        return not any(result.violation_count for result in self.results)


def check_center(readonly_database_urls: Mapping[str, str]) -> Report:
    """Checks what must be true between the four services, over their live databases.

    Reads without locks and range by range of shards, so that memory stays bounded; traffic may go on. Idempotent.

    Args:
        readonly_database_urls: URL of each service's database by service name (transaction, payment, channel,
            accounting), as a role that can read.

    Raises:
        psycopg.Error: A database cannot be read.
    """
    results = {check.name: Result(check.name, check.description) for check in CHECKS}
    with Center(readonly_database_urls) as center:
        for upper_first in (True, False):
            for first_shard in range(0, SHARD_COUNT, _SHARDS_AT_ONCE):
                records = center.read(first_shard, first_shard + _SHARDS_AT_ONCE - 1, upper_first=upper_first)
                for check in CHECKS:
                    if check.upper_first is not upper_first:
                        continue
                    result = results[check.name]
                    for number, problem in check.findings(records):
                        result.checked_count += 1
                        if problem is not None:
                            result.violation_count += 1
                            if len(result.examples) < _EXAMPLES:
                                result.examples.append(f"{number}: {problem}")
        counts = _counts(center)
    return Report(results=tuple(results.values()), counts=counts)


def _counts(center: Center) -> Counts:
    return Counts(
        orders=center.count("transaction", "SELECT count(*) FROM orders"),
        attempts=center.count("transaction", "SELECT count(*) FROM attempt"),
        refunds=center.count("transaction", "SELECT count(*) FROM refund"),
        payments=center.count("payment", "SELECT count(*) FROM payment"),
        channel_orders=center.count("channel", "SELECT count(*) FROM channel_order"),
        notices=center.count("channel", "SELECT count(*) FROM notice"),
        journals=center.count("accounting", "SELECT count(*) FROM journal"),
        entries=center.count("accounting", "SELECT count(*) FROM entry"),
    )
