"""The scope in which later work on a payment runs. Invariant: it acts as the caller that recorded the payment, under
the same business identifier and trace."""

from __future__ import annotations

from core.payment.domain.payment import Payment
from runtime.context import CallScope, scope_or_none
from runtime.telemetry import scope_from_stored


def scope_of(payment: Payment) -> CallScope:
    """Returns the stored scope; within the same trace the running span stays the parent of what comes."""
    stored = scope_from_stored(payment.traceparent, payment.platform)
    running = scope_or_none()
    if running is None or running.trace.trace_id != stored.trace.trace_id:
        return stored
    return CallScope(stored.platform, running.trace, running.deadline_monotonic_seconds, running.record)
