"""A waterfall shows every span once, under its parent, with later work on a scale of its own, in 100 columns."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from clients.cli.waterfall import arrange, bar, short_span_name, state_of, waterfall_table
from runtime.embedded import Span, SpanLink

MILLISECOND = 1_000_000
TRACE = "a" * 32


def span(
    span_id: str,
    parent: str,
    start: float,
    end: float,
    *,
    name: str = "",
    service: str = "transaction",
    **more: Any,
) -> Span:
    values: dict[str, Any] = {
        "trace_id": TRACE,
        "span_id": span_id,
        "parent_span_id": parent,
        "service": service,
        "name": name or span_id,
        "kind": "internal",
        "start_nanoseconds": int(start * MILLISECOND),
        "end_nanoseconds": int(end * MILLISECOND),
        "status": "unset",
        "status_message": "",
        "attributes": {},
        "links": (),
    }
    return Span(**(values | more))


CALL = "/paycenter.transaction.v1.TransactionCore/PayOrder"
FAMILY = [
    span("late", "notice", 5040, 5050, name="update_order", service="channel"),
    span("child", "root", 20, 60, name="invoke_channel", service="payment"),
    span("root", "caller", 0, 100, name=CALL),
    span("leaf", "child", 30, 50, name="POST", service="channel"),
    span("notice", "leaf", 5000, 5080, name="handle notice", service="channel", kind="consumer"),
]


def drawn(spans: list[Span]) -> str:
    console = Console(width=100, record=True, force_terminal=False, emoji=False)
    console.print(waterfall_table(spans, title="Trace"))
    return console.export_text()


def test_spans_are_arranged_under_their_parents_and_later_work_apart() -> None:
    now, later = arrange(FAMILY)
    assert [(line.depth, line.span.span_id) for line in now.lines] == [(0, "root"), (1, "child"), (2, "leaf")]
    assert [(line.depth, line.span.span_id) for line in later.lines] == [(0, "notice"), (1, "late")]
    assert now.continues is None
    assert later.continues is not None
    assert later.continues.span_id == "leaf"


def test_a_consumer_in_another_trace_is_shown_with_what_it_follows_from() -> None:
    link = SpanLink(trace_id=TRACE, span_id="root", attributes={})
    consumer = span("consumer", "", 300, 310, trace_id="b" * 32, links=(link,))
    sections = arrange([*FAMILY[1:3], consumer])
    assert sections[1].continues is not None
    assert sections[1].continues.span_id == "root"


def test_every_span_is_drawn_once_even_when_it_is_given_twice() -> None:
    lines = [line for section in arrange([*FAMILY, *FAMILY]) for line in section.lines]
    assert sorted(line.span.span_id for line in lines) == sorted(each.span_id for each in FAMILY)


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (0, 100, "██████████"),
        (0, 1, "█         "),
        (50, 100, "     █████"),
        (100, 100, "         █"),
        (20, 60, "  ████    "),
    ],
)
def test_a_bar_lies_where_the_span_does(start: float, end: float, expected: str) -> None:
    section = arrange([span("root", "", 0, 100)])[0]
    assert bar(span("x", "root", start, end), section, cells=10) == expected


def test_the_drawing_tells_service_name_duration_and_pause_in_100_columns() -> None:
    text = drawn(FAMILY)
    assert max(len(line) for line in text.splitlines()) <= 100
    assert "TransactionCore/PayOrder" in text
    assert "100.0" in text
    assert "+ 5.000 s, from POST in channel" in text


def test_a_long_name_deep_down_still_fits() -> None:
    deep = [
        span(f"s{depth}", f"s{depth - 1}", depth, 100 - depth, name=f"{'n' * 60}{depth}")
        for depth in range(1, 20)
    ]
    assert max(len(line) for line in drawn(deep).splitlines()) <= 100


def test_the_state_is_a_reason_when_it_failed() -> None:
    failed = span(
        "x", "", 0, 1, status="error", attributes={"error.type": "E", "paycenter.reason": "NO_ROUTE"}
    )
    assert state_of(failed) == "NO_ROUTE"
    assert state_of(span("x", "", 0, 1, attributes={"paycenter.payment_state": "PENDING"})) == "PENDING"
    assert state_of(span("x", "", 0, 1)) == "ok"
    assert state_of(span("x", "", 0, 1, status="error", status_message="Broken")) == "Broken"


def test_methods_are_shown_without_their_package() -> None:
    assert short_span_name("paycenter.payment.v1.PaymentCore/GetPayment") == "PaymentCore/GetPayment"
    assert short_span_name("POST /notices/alipay") == "POST /notices/alipay"
