"""What shall go wrong, and when: rules for one order number or at a rate, decided by a seed.

Invariant: the same rule with the same seed gives the same sequence of decisions, over restarts too.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from enum import StrEnum

from channel_gateway.sandbox.clock import now_milliseconds
from channel_gateway.sandbox.records import Channel, Fault
from channel_gateway.sandbox.store import Store


class Operation(StrEnum):
    """What a fault can befall."""

    PAY = "pay"
    QUERY = "query"
    CLOSE = "close"
    REFUND = "refund"
    REFUND_QUERY = "refund_query"
    TRANSFER = "transfer"
    TRANSFER_QUERY = "transfer_query"
    NOTICE = "notice"


class FaultKind(StrEnum):
    """A way in which a request or a notice goes wrong."""

    TIMEOUT_AFTER_CHARGE = "timeout_after_charge"
    TIMEOUT_BEFORE = "timeout_before"
    CONNECTION_RESET = "connection_reset"
    BAD_GATEWAY_HTML = "bad_gateway_html"
    BAD_GATEWAY_AFTER = "bad_gateway_after"
    SYSTEM_ERROR = "system_error"
    RATE_LIMITED = "rate_limited"
    BAD_RESPONSE_SIGNATURE = "bad_response_signature"
    DUPLICATE_NOTICE = "duplicate_notice"
    LATE_NOTICE = "late_notice"
    NO_NOTICE = "no_notice"
    FORGED_NOTICE = "forged_notice"
    FLIPPED_BYTE_NOTICE = "flipped_byte_notice"
    UNSIGNED_NOTICE = "unsigned_notice"
    WRONG_AMOUNT_NOTICE = "wrong_amount_notice"
    OTHER_MERCHANT_NOTICE = "other_merchant_notice"
    OTHER_ORDER_NOTICE = "other_order_notice"
    REPLAYED_NOTICE = "replayed_notice"
    SIGNTEST_PROBE = "signtest_probe"


NOTICE_KINDS = frozenset(kind for kind in FaultKind if kind.endswith("_notice")) | {FaultKind.SIGNTEST_PROBE}
_DEFAULT_SECONDS = {
    FaultKind.TIMEOUT_AFTER_CHARGE: 30.0,
    FaultKind.TIMEOUT_BEFORE: 30.0,
    FaultKind.LATE_NOTICE: 5.0,
    FaultKind.REPLAYED_NOTICE: 600.0,
}
_UNLIMITED = -1


class FaultBook:
    """The rules in force, asked once per request and once per attempt of a notice."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._rules = {rule.fault_id: rule for rule in store.load(Fault)}

    def add(
        self,
        *,
        operation: Operation,
        kind: FaultKind,
        channel: Channel | None = None,
        number: str = "",
        rate: float | None = None,
        seed: int = 0,
        count: int | None = None,
        seconds: float | None = None,
        other: str = "",
    ) -> Fault:
        """Adds a rule; it fires once when it names a number, else without limit, unless count says otherwise.

        Raises ValueError when the kind does not fit the operation or a figure is out of range.
        """
        if (operation is Operation.NOTICE) is not (kind in NOTICE_KINDS):
            raise ValueError(f"the kind {kind} does not fit the operation {operation}")
        if number and rate is not None:
            raise ValueError("name an order number or a rate, not both")
        if rate is not None and not 0 <= rate <= 1:
            raise ValueError("rate must be from 0 to 1")
        if count is not None and count < 1:
            raise ValueError("count must be at least 1")
        if seconds is not None and seconds < 0:
            raise ValueError("seconds must not be negative")
        if kind is FaultKind.SIGNTEST_PROBE and channel is not Channel.WECHAT:
            raise ValueError("only the channel wechat sends signtest_probe")
        rule = Fault(
            fault_id=f"F{secrets.token_hex(8)}",
            channel=channel or "",
            operation=operation,
            kind=kind,
            number=number,
            rate=1.0 if rate is None else float(rate),
            seed=seed,
            remaining=count if count is not None else 1 if number else _UNLIMITED,
            seconds=float(_DEFAULT_SECONDS.get(kind, 0.0) if seconds is None else seconds),
            other=other,
            create_milliseconds=now_milliseconds(),
        )
        self._rules[rule.fault_id] = rule
        self._store.put(rule)
        return rule

    def rules(self) -> list[Fault]:
        """Returns all rules, those that fired for the last time included."""
        return list(self._rules.values())

    def clear(self) -> int:
        """Removes all rules and returns how many there were."""
        count = len(self._rules)
        self._rules.clear()
        self._store.delete_kinds(Fault.__name__)
        return count

    def take(self, channel: Channel | str, operation: Operation, numbers: Iterable[str]) -> Fault | None:
        """Returns the first rule that fires for this request and counts it, or None.

        A rule with a rate takes one decision of its sequence for every request that it fits.
        """
        if not self._rules:
            return None
        known = set(numbers)
        for rule in self._rules.values():
            if rule.operation != operation or rule.remaining == 0:
                continue
            if rule.channel and rule.channel != channel:
                continue
            if rule.number and rule.number not in known:
                continue
            fires = decision(rule.seed, rule.seen, rule.rate)
            rule.seen += 1
            if fires:
                rule.fired += 1
                if rule.remaining != _UNLIMITED:
                    rule.remaining -= 1
            self._store.put(rule)
            if fires:
                return rule
        return None


def decision(seed: int, position: int, rate: float) -> bool:
    """Tells whether the request at a position of the sequence of a seed is hit at this rate."""
    digest = hashlib.sha256(f"{seed}:{position}".encode()).digest()
    return int.from_bytes(digest[:8]) < rate * 2**64
