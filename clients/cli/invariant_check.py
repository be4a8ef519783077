"""Checks every invariant: each service answers for its own, the package `invariants` for those between services.

Invariant: the report says how much was looked at, since a check of nothing proves nothing.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from typing import Any

import psycopg
from paycenter.accounting.v1 import accounting_pb2
from paycenter.channel.v1 import channel_gateway_pb2
from paycenter.payment.v1 import payment_core_pb2
from paycenter.transaction.v1 import transaction_core_pb2
from paycenter_client import AsyncPaycenterClient
from rich.table import Table

from clients.cli.failure import CommandFailed
from clients.cli.output import make_table
from invariants import Report, check_center
from runtime.embedded import Endpoints

_BETWEEN_SERVICES = "between services"


@dataclass(frozen=True, slots=True, kw_only=True)
class InvariantFinding:
    """What one check found, and who answers for it."""

    service: str
    name: str
    description: str
    checked_count: int
    violation_count: int
    examples: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class InvariantReport:
    """What all checks found, and how many records the center keeps by kind."""

    findings: tuple[InvariantFinding, ...]
    record_counts: dict[str, int]

    @property
    def all_hold(self) -> bool:
        """Whether no check found a violation."""
        return not any(finding.violation_count for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "all_hold": self.all_hold,
            "record_counts": self.record_counts,
            "invariants": [asdict(finding) for finding in self.findings],
        }

    def summary(self) -> str:
        """One line: whether all hold, and over how much."""
        counted = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in self.record_counts.items())
        violations = sum(finding.violation_count for finding in self.findings)
        verdict = "all hold" if self.all_hold else f"{violations} violations"
        return f"invariants: {verdict} ({len(self.findings)} invariants over {counted})"


async def check_invariants(endpoints: Endpoints, client: AsyncPaycenterClient) -> InvariantReport:
    """Checks everything over the live databases. Raises PaycenterError, or CommandFailed when one cannot be read."""
    transaction, payment, channel, accounting, between = await asyncio.gather(
        client.transaction.CheckInvariants(transaction_core_pb2.CheckInvariantsRequest()),
        client.payment.CheckInvariants(payment_core_pb2.CheckInvariantsRequest()),
        client.channel.CheckInvariants(channel_gateway_pb2.CheckInvariantsRequest()),
        client.accounting.CheckInvariants(accounting_pb2.CheckInvariantsRequest()),
        asyncio.to_thread(_check_between_services, endpoints),
    )
    findings = [_finding(_BETWEEN_SERVICES, result) for result in between.results]
    for service, answer in (
        ("transaction", transaction),
        ("payment", payment),
        ("channel", channel),
        ("accounting", accounting),
    ):
        findings += [_finding(service, result) for result in answer.results]
    return InvariantReport(tuple(findings), asdict(between.counts))


def invariant_table(report: InvariantReport) -> Table:
    """One line for each check, and one for each example of a violation."""
    columns = ("service", "invariant", "checked", "violations")
    table = make_table("Invariants", columns, right=("checked", "violations"))
    for finding in report.findings:
        table.add_row(
            finding.service,
            finding.description,
            str(finding.checked_count),
            f"[red]{finding.violation_count}" if finding.violation_count else "[green]0",
        )
        for example in finding.examples:
            table.add_row("", f"[red]{finding.name}: {example}", "", "")
    return table


def _check_between_services(endpoints: Endpoints) -> Report:
    try:
        return check_center(endpoints.readonly_database_urls)
    except psycopg.Error as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CommandFailed(f"the databases cannot be read: {reason}") from error


def _finding(service: str, result: Any) -> InvariantFinding:
    return InvariantFinding(
        service=service,
        name=result.name,
        description=result.description,
        checked_count=result.checked_count,
        violation_count=result.violation_count,
        examples=tuple(result.examples),
    )
