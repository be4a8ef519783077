"""When an unfinished payment is taken up again, by lists of waits. Invariant: a payment that is not final always has a
next time, and the clock alone never fails one."""

from __future__ import annotations

from dataclasses import dataclass

from core.payment.domain.payment import Payment, PaymentKind, PaymentState


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Waits in seconds; for payments that the channel took the last one repeats, for the others a person follows."""

    pending_seconds: tuple[float, ...]
    unknown_seconds: tuple[float, ...]
    closing_seconds: tuple[float, ...]
    closed_watch_seconds: tuple[float, ...]
    review_seconds: float

    def first_delay(self, payment: Payment) -> float | None:
        """Returns the wait of a payment that has just come into its state; None when nothing is left to do."""
        return self.delay(payment, try_count=0)

    def delay(self, payment: Payment, *, try_count: int) -> float | None:
        """Returns the wait before try number `try_count`; None when the list is at its end or nothing is left to do."""
        match payment.state:
            case PaymentState.SUCCEEDED | PaymentState.FAILED:
                return None
            case PaymentState.CLOSED:
                watched = payment.kind is PaymentKind.RECHARGE
                return _at(self.closed_watch_seconds, try_count) if watched else None
            case PaymentState.IN_REVIEW:
                return self.review_seconds
            case PaymentState.PENDING | PaymentState.CHALLENGED:
                return self.pending_seconds[min(try_count, len(self.pending_seconds) - 1)]
            case PaymentState.CLOSING:
                return _at(self.closing_seconds, try_count)
            case PaymentState.ACCEPTED | PaymentState.SUBMITTING | PaymentState.UNKNOWN:
                return _at(self.unknown_seconds, try_count)


def _at(waits: tuple[float, ...], position: int) -> float | None:
    return waits[position] if position < len(waits) else None
