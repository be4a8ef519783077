"""Figures of orders and callbacks for Prometheus. Invariant: labels come from the contract, never from a request."""

from __future__ import annotations

from prometheus_client import Counter

order_events = Counter(
    "paycenter_transaction_events_total",
    "Changes of orders, attempts and refunds by what happened.",
    ("event_type",),
)
callbacks = Counter(
    "paycenter_callbacks_total", "Tries to deliver a callback by their outcome.", ("outcome",)
)
repairs = Counter(
    "paycenter_transaction_repairs_total", "Records that the repair worker took up.", ("record",)
)
contradictions = Counter(
    "paycenter_transaction_contradictions_total",
    "Reports of money for a payment that was proven to have failed.",
)
