"""Draws spans as a waterfall. Invariant: every span is drawn once, under its parent, in the order of time.

What begins after its parent has ended (a notice that comes later, a consumer of the bus, a repair) gets a section
with a time scale of its own; else a payer's minute of thought would leave everything else without width.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from clients.cli.output import make_table
from runtime.embedded import Span

_COLUMN_WIDTHS = (11, 44, 16, 7, 14)
_BAR_CELLS = 16
_NANOSECONDS_IN_MILLISECOND = 1_000_000
_LATER_AFTER_NANOSECONDS = _NANOSECONDS_IN_MILLISECOND
_STATE_SUFFIX = "state"
_ERROR_ATTRIBUTES = ("error.type", "paycenter.reason")


@dataclass(frozen=True, slots=True)
class Line:
    """One span, so deep in its section."""

    depth: int
    span: Span


@dataclass(frozen=True, slots=True)
class Section:
    """Spans that follow from one beginning; `continues` is the span that began it, when it is known."""

    lines: tuple[Line, ...]
    continues: Span | None

    @property
    def start_nanoseconds(self) -> int:
        """When its first span begins."""
        return self.lines[0].span.start_nanoseconds

    @property
    def end_nanoseconds(self) -> int:
        """When its last span ends."""
        return max(line.span.end_nanoseconds for line in self.lines)


def arrange(spans: Sequence[Span]) -> list[Section]:
    """Arranges spans of any number of traces in sections, by time."""
    by_id = {(span.trace_id, span.span_id): span for span in spans}
    children: defaultdict[tuple[str, str], list[Span]] = defaultdict(list)
    roots = []
    for span in sorted(by_id.values(), key=lambda each: (each.start_nanoseconds, -each.end_nanoseconds)):
        parent = by_id.get((span.trace_id, span.parent_span_id))
        if parent is None or _is_later(span, parent):
            roots.append(span)
        else:
            children[(span.trace_id, span.parent_span_id)].append(span)

    def below(span: Span, depth: int) -> Iterator[Line]:
        yield Line(depth, span)
        for child in children[(span.trace_id, span.span_id)]:
            yield from below(child, depth + 1)

    return [Section(tuple(below(root, 0)), _continued(root, by_id)) for root in roots]


def waterfall_table(spans: Sequence[Span], *, title: str) -> Table:
    """The waterfall as a table of 100 columns."""
    table = make_table(title, ("service", "span", "when", "ms", "state"), right=("ms",))
    for column, width in zip(table.columns, _COLUMN_WIDTHS, strict=True):
        column.width, column.no_wrap, column.overflow = width, True, "ellipsis"
    sections = arrange(spans)
    for number, section in enumerate(sections):
        if number:
            waited = section.start_nanoseconds - sections[0].start_nanoseconds
            table.add_row("", _heading(section, waited))
        for line in section.lines:
            table.add_row(*_cells(line, section))
    return table


def bar(span: Span, section: Section, *, cells: int = _BAR_CELLS) -> str:
    """Where a span lies in its section, in so many characters; at least one is filled."""
    whole = max(section.end_nanoseconds - section.start_nanoseconds, 1)
    before = (span.start_nanoseconds - section.start_nanoseconds) * cells // whole
    before = min(max(before, 0), cells - 1)
    filled = max(1, round(span.duration_nanoseconds * cells / whole))
    filled = min(filled, cells - before)
    return " " * before + "█" * filled + " " * (cells - before - filled)


def state_of(span: Span) -> str:
    """What the span tells of its outcome: a reason when it failed, else the state that it reached."""
    if span.status == "error":
        reasons = [str(span.attributes[name]) for name in _ERROR_ATTRIBUTES if name in span.attributes]
        return (reasons[-1:] or [span.status_message or "error"])[0]
    states = [str(value) for name, value in span.attributes.items() if name.endswith(_STATE_SUFFIX)]
    return states[0] if states else "ok"


def _is_later(span: Span, parent: Span) -> bool:
    return span.start_nanoseconds > parent.end_nanoseconds + _LATER_AFTER_NANOSECONDS


def _continued(root: Span, by_id: dict[tuple[str, str], Span]) -> Span | None:
    known = [by_id.get((root.trace_id, root.parent_span_id))]
    known += [by_id.get((link.trace_id, link.span_id)) for link in root.links]
    return next((span for span in known if span is not None), None)


def _heading(section: Section, waited_nanoseconds: int) -> Text:
    text = f"+ {waited_nanoseconds / 1e9:.3f} s"
    if section.continues is not None:
        continued = section.continues
        text += f", from {short_span_name(continued.name)} in {short_service(continued.service)}"
    return Text(text, style="dim")


def _cells(line: Line, section: Section) -> tuple[str, Text, Text, str, Text]:
    span = line.span
    failed = span.status == "error"
    return (
        short_service(span.service),
        Text("  " * line.depth + short_span_name(span.name)),
        Text(bar(span, section), style="red" if failed else "cyan"),
        f"{span.duration_nanoseconds / _NANOSECONDS_IN_MILLISECOND:.1f}",
        Text(state_of(span), style="red" if failed else ""),
    )


def short_span_name(name: str) -> str:
    """A method without its package: `paycenter.payment.v1.PaymentCore/GetPayment` as `PaymentCore/GetPayment`."""
    service, slash, method = name.lstrip("/").rpartition("/")
    return f"{service.rsplit('.', 1)[-1]}/{method}" if slash and service.startswith("paycenter.") else name


def short_service(name: str) -> str:
    """A service in one word: `channel_gateway` as `channel`."""
    return name.removesuffix("_gateway")
