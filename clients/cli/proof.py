"""`paycenter trace` and `paycenter invariants`. Invariant: what is shown was read from the center just now."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from dataclasses import asdict
from typing import Annotated

import typer
from paycenter.transaction.v1 import transaction_core_pb2 as transaction
from paycenter_client import AsyncPaycenterClient

from clients.cli.connection import with_center
from clients.cli.failure import CommandFailed
from clients.cli.invariant_check import check_invariants, invariant_table
from clients.cli.output import DEFAULT_DATA_DIRECTORY, AsJson, DataDirectory, console, print_json
from clients.cli.waterfall import waterfall_table
from runtime.embedded import Endpoints, Span, TraceStore

_TRACE_ID = re.compile(r"[0-9a-f]{32}")
_NO_TRACE = "0" * 32
_LOOK_EVERY_SECONDS = 0.75
_MOST_LOOKS = 5
_VIOLATED = 1


def trace(
    number: Annotated[str, typer.Argument(metavar="NUMBER", help="Any number of the family, or a trace id.")],
    data_directory: DataDirectory = DEFAULT_DATA_DIRECTORY,
    as_json: AsJson = False,
) -> None:
    """Draws what was done for a number as a waterfall, over all services, the bus and later notices."""

    async def work(endpoints: Endpoints, client: AsyncPaycenterClient) -> tuple[str, list[Span]]:
        store = TraceStore(endpoints.trace_file)
        if _TRACE_ID.fullmatch(number):
            return f"Trace {number}", collect_spans(store, trace_ids=[number], business_id="")
        request = transaction.GetOrderFamilyRequest(number=number)
        family = await client.transaction.GetOrderFamily(request)
        return f"Trace of business case {family.business_id}", family_spans(store, family)

    title, spans = with_center(data_directory, work)
    if not spans:
        raise CommandFailed(
            f"no spans are kept of {number}: it was not sampled, or is older than what is kept"
        )
    if as_json:
        print_json({"title": title, "spans": [asdict(span) for span in spans]})
    else:
        console.print(waterfall_table(spans, title=title))


def invariants(data_directory: DataDirectory = DEFAULT_DATA_DIRECTORY, as_json: AsJson = False) -> None:
    """Proves the invariants over the live databases; ends with exit code 1 on a violation."""
    report = with_center(data_directory, check_invariants)
    if as_json:
        print_json(report.to_json())
    else:
        console.print(invariant_table(report))
        console.print(report.summary(), soft_wrap=True, style="green" if report.all_hold else "red")
    if not report.all_hold:
        raise typer.Exit(_VIOLATED)


def family_spans(store: TraceStore, family: transaction.GetOrderFamilyResponse) -> list[Span]:
    """Every span of a family: of the traces in which its records were made, and of its business identifier."""
    trace_ids = {member.trace_id for member in family.members} | {family.order.trace_id}
    return collect_spans(store, trace_ids=trace_ids, business_id=family.business_id)


def collect_spans(store: TraceStore, *, trace_ids: Iterable[str], business_id: str) -> list[Span]:
    """Spans by start, each once; traces in which the case was only looked at are left out."""
    made_in = {trace_id for trace_id in trace_ids if trace_id and trace_id != _NO_TRACE}
    found = [span for trace_id in made_in for span in store.spans_of_trace(trace_id)]
    if business_id:
        others = [span for span in store.spans_of_business_id(business_id) if span.trace_id not in made_in]
        only_looked = {span.trace_id for span in others} - {
            span.trace_id for span in others if not _is_look(span)
        }
        found += [span for span in others if span.trace_id not in only_looked]
    return sorted(found, key=lambda span: span.start_nanoseconds)


def _is_look(span: Span) -> bool:
    return span.name.rpartition("/")[2].startswith(("Get", "List"))


async def settled_spans(store: TraceStore, family: transaction.GetOrderFamilyResponse) -> list[Span]:
    """The spans of a family when no more have come for a moment: servers hand them over twice a second."""
    spans: list[Span] = []
    for _ in range(_MOST_LOOKS):
        await asyncio.sleep(_LOOK_EVERY_SECONDS)
        latest = family_spans(store, family)
        if spans and len(latest) == len(spans):
            return latest
        spans = latest
    return spans
