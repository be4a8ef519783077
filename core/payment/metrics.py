"""Money figures of PaymentCore for Prometheus. Invariant: labels are kinds, states and outcomes, never numbers."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter

from core.payment.domain.payment import Payment

_changes: Final = Counter(
    "paycenter_payment_changes_total", "Payments that came into a state.", ("kind", "state")
)
_repairs: Final = Counter(
    "paycenter_payment_repairs_total", "Unfinished payments that were taken up again.", ("kind", "outcome")
)
_contradictions: Final = Counter(
    "paycenter_payment_contradictions_total",
    "Payments that failed and of which the channel says that they succeeded.",
)


def count_change(payment: Payment) -> None:
    """Counts a payment that came into its state."""
    _changes.labels(payment.kind.value, payment.state.value).inc()


def count_repair(payment: Payment, *, outcome: str) -> None:
    """Counts a payment that the repair worker took up: `moved`, `waits` or `failed`."""
    _repairs.labels(payment.kind.value, outcome).inc()


def count_contradiction() -> None:
    """Counts a failed payment of which the channel says that it succeeded; never expected, always an alert."""
    _contradictions.inc()
