"""The gateway's own figures for Prometheus. Invariant: labels are words of the contract and names of
channels, never a number or an amount of somebody."""

from __future__ import annotations

from prometheus_client import Counter, Histogram

_orders = Counter(
    "paycenter_channel_orders_total", "Channel orders that came into a state.", ("channel", "kind", "state")
)
_notices = Counter(
    "paycenter_channel_notices_total", "Notices by what became of them.", ("channel", "state", "refusal")
)
_unknown_codes = Counter(
    "paycenter_channel_unknown_codes_total",
    "Codes of channels that are not in the outcome table.",
    ("channel",),
)
_repairs = Counter(
    "paycenter_channel_repairs_total", "Channel orders that a worker took up.", ("channel", "kind", "state")
)
_calls = Histogram(
    "paycenter_channel_call_duration_seconds",
    "Time that a channel took to answer, or that was waited for it.",
    ("channel", "operation", "standing"),
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0),
)
_past_schedule = Counter(
    "paycenter_channel_unknown_past_schedule_total",
    "Looks at channel orders that were still UNKNOWN after their whole schedule.",
    ("channel",),
)


def order_entered(channel: str, kind: str, state: str) -> None:
    """Counts a channel order that came into a state."""
    _orders.labels(channel, kind, state).inc()


def notice_settled(channel: str, state: str, refusal: str) -> None:
    """Counts a notice; `refusal` is empty unless it was refused."""
    _notices.labels(channel, state, refusal).inc()


def unknown_channel_code(channel: str) -> None:
    """Counts a code that the outcome table does not hold."""
    _unknown_codes.labels(channel).inc()


def repair_taken(channel: str, kind: str, state: str) -> None:
    """Counts a channel order that the repair worker took up."""
    _repairs.labels(channel, kind, state).inc()


def channel_called(channel: str, operation: str, standing: str, seconds: float) -> None:
    """Notes how long one question to a channel took and what came of it."""
    _calls.labels(channel, operation, standing).observe(seconds)


def unknown_past_schedule(channel: str) -> None:
    """Counts a look at a channel order that waits for a person."""
    _past_schedule.labels(channel).inc()
