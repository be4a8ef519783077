"""Assesses the risk of a payment by rules that are data. Invariant: a blocked payment leaves nothing behind, and the
same payment under the same rules and counters is always judged the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.ext.asyncio import AsyncConnection

from core.payment.domain.payment import PaymentKind
from runtime.errors import PaycenterError, Reason
from runtime.logs import get_logger
from runtime.money import Money


class RiskRule(BaseModel):
    """One rule: how much or how often a payment may be, and what follows when it is more.

    `single_amount` looks at the amount in minor units, `velocity` at the number of payments of one payer (or, for
    payouts, of one balance owner) of a merchant in each window of `window_seconds`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, max_length=64)
    kind: Literal["single_amount", "velocity"]
    limit: int = Field(ge=0, description="Highest allowed value, inclusive.")
    outcome: Literal["block", "allow"] = "block"
    window_seconds: int = Field(default=60, ge=1)
    currency_code: str = Field(default="", description="Currency that the rule is for; empty for all.")
    merchant_id: str = Field(default="", description="Merchant that the rule is for; empty for all.")
    payment_kinds: tuple[PaymentKind, ...] = (PaymentKind.RECHARGE, PaymentKind.WITHDRAWAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskSubject:
    """What the rules look at; `actor` is who pays or is paid, empty when nobody is named."""

    kind: PaymentKind
    shard: int
    merchant_id: str
    amount: Money
    actor: str


class RiskCounters(Protocol):
    """Counts payments in windows of time, in the transaction that records the payment."""

    async def count_payment(
        self, connection: AsyncConnection, *, shard: int, subject: str, window_seconds: int
    ) -> int:
        """Counts one payment of `subject` and returns how many there are in the window, this one included."""
        ...


class RiskAssessment:
    """Judges payments by the rules of the settings: `block` refuses what is more, `allow` lets it pass and logs it."""

    def __init__(self, *, rules: Sequence[RiskRule], counters: RiskCounters) -> None:
        self._amount_rules = tuple(rule for rule in rules if rule.kind == "single_amount")
        self._velocity_rules = tuple(rule for rule in rules if rule.kind == "velocity")
        self._counters = counters

    def assess_amount(self, subject: RiskSubject) -> None:
        """Raises PaycenterError(RISK_BLOCKED) when the amount alone is too much; reads and writes nothing."""
        for rule in self._amount_rules:
            if _is_for(rule, subject) and subject.amount.minor_units > rule.limit:
                _decide(rule, field="amount")

    def counts(self, subject: RiskSubject) -> bool:
        """Whether any rule counts payments like this one, so that recording it needs a transaction around it."""
        return bool(subject.actor) and any(_is_for(rule, subject) for rule in self._velocity_rules)

    async def assess_velocity(self, connection: AsyncConnection, subject: RiskSubject) -> None:
        """Counts the payment and raises PaycenterError(RISK_BLOCKED) when there are too many in a window.

        Runs in the transaction that records the payment, so that a refused one is not counted.
        """
        if not subject.actor:
            return
        for rule in self._velocity_rules:
            if not _is_for(rule, subject):
                continue
            count = await self._counters.count_payment(
                connection,
                shard=subject.shard,
                subject=f"{rule.name}:{subject.merchant_id}:{subject.actor}",
                window_seconds=rule.window_seconds,
            )
            if count > rule.limit:
                _decide(rule, field=None)


def _is_for(rule: RiskRule, subject: RiskSubject) -> bool:
    return (
        subject.kind in rule.payment_kinds
        and rule.currency_code in ("", subject.amount.currency_code)
        and rule.merchant_id in ("", subject.merchant_id)
    )


def _decide(rule: RiskRule, *, field: str | None) -> None:
    if rule.outcome == "allow":
        get_logger().warning("risk rule exceeded, payment allowed", rule=rule.name)
        return
    raise PaycenterError(
        Reason.RISK_BLOCKED,
        f"The risk rule {rule.name} blocks the payment.",
        field=field,
        metadata={"rule": rule.name, "kind": rule.kind},
    )
