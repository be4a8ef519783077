"""What one transaction does to an order's file. Invariant: every change raises the order's version by one and says
what happened in at least one event; state changes that no table allows raise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from core.transaction.domain.records import Attempt, Order, OrderFile, Refund
from core.transaction.domain.states import ATTEMPT_STATES, ORDER_STATES, REFUND_STATES, EventType


@dataclass(frozen=True, slots=True)
class Happening:
    """One event to tell: what happened and the number of the attempt or refund that changed (empty: the order)."""

    event_type: EventType
    changed_number: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A decision about an order's file, not stored yet."""

    before: OrderFile
    order: Order
    new_attempts: tuple[Attempt, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    new_refunds: tuple[Refund, ...] = ()
    refunds: tuple[Refund, ...] = ()
    happenings: tuple[Happening, ...] = ()

    def after(self, update_time: datetime) -> OrderFile:
        """Returns the file as stored at `update_time`, one version further."""
        changed_attempts = {attempt.attempt_id: attempt for attempt in self.attempts}
        changed_refunds = {refund.refund_id: refund for refund in self.refunds}
        return OrderFile(
            read_time=update_time,
            order=replace(self.order, version=self.before.order.version + 1, update_time=update_time),
            attempts=(
                *(_newer(a, changed_attempts.get(a.attempt_id), update_time) for a in self.before.attempts),
                *(replace(a, create_time=update_time, update_time=update_time) for a in self.new_attempts),
            ),
            refunds=(
                *(_newer(r, changed_refunds.get(r.refund_id), update_time) for r in self.before.refunds),
                *(replace(r, create_time=update_time, update_time=update_time) for r in self.new_refunds),
            ),
        )


def _newer(old: Any, new: Any, update_time: datetime) -> Any:
    return old if new is None else replace(new, update_time=update_time)


class Draft:
    """Collects a change step by step and checks each against the state tables."""

    def __init__(self, before: OrderFile) -> None:
        self._before = before
        self._order = before.order
        self._attempts: dict[str, Attempt] = {}
        self._refunds: dict[str, Refund] = {}
        self._new_attempts: list[Attempt] = []
        self._new_refunds: list[Refund] = []
        self._happenings: list[Happening] = []

    @property
    def order(self) -> Order:
        """The order as drafted so far."""
        return self._order

    @property
    def open_attempts(self) -> Sequence[Attempt]:
        """The attempts that are open as drafted so far."""
        current = [self._attempts.get(a.attempt_id, a) for a in self._before.attempts]
        return [attempt for attempt in (*current, *self._new_attempts) if attempt.is_open]

    def set_order(self, **fields: Any) -> None:
        """Replaces fields of the order; a change of state must stand in its table."""
        changed = replace(self._order, **fields)
        ORDER_STATES.require(self._order.state, changed.state)
        self._order = changed

    def set_attempt(self, attempt: Attempt, **fields: Any) -> None:
        """Replaces fields of an attempt; a change of state must stand in its table."""
        current = self._attempts.get(attempt.attempt_id, attempt)
        changed = replace(current, **fields)
        ATTEMPT_STATES.require(current.state, changed.state)
        self._attempts[attempt.attempt_id] = changed

    def set_refund(self, refund: Refund, **fields: Any) -> None:
        """Replaces fields of a refund; a change of state must stand in its table."""
        current = self._refunds.get(refund.refund_id, refund)
        changed = replace(current, **fields)
        REFUND_STATES.require(current.state, changed.state)
        self._refunds[refund.refund_id] = changed

    def add_attempt(self, attempt: Attempt) -> None:
        """Adds a new attempt."""
        self._new_attempts.append(attempt)
        self._order = replace(self._order, attempt_count=self._order.attempt_count + 1)

    def add_refund(self, refund: Refund) -> None:
        """Adds a new refund."""
        self._new_refunds.append(refund)
        self._order = replace(self._order, refund_count=self._order.refund_count + 1)

    def tell(self, event_type: EventType, changed_number: str = "") -> None:
        """Notes what happened."""
        self._happenings.append(Happening(event_type, changed_number))

    def finish(self) -> Change:
        """Returns the change; raises ValueError when nothing was said to have happened."""
        if not self._happenings:
            raise ValueError("a change must say what happened")
        return Change(
            before=self._before,
            order=self._order,
            new_attempts=tuple(self._new_attempts),
            attempts=tuple(self._attempts.values()),
            new_refunds=tuple(self._new_refunds),
            refunds=tuple(self._refunds.values()),
            happenings=tuple(self._happenings),
        )
