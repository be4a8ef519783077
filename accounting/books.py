"""What every use case of the ledger stands on. Invariant: the rules in force are read again before they can be older
than the refresh interval."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import date
from zoneinfo import ZoneInfo

from accounting.domain.rules import PostingRule
from accounting.settings import AccountingSettings
from accounting.store import rules as rule_store
from runtime.clock import Clock
from runtime.database import Database
from runtime.errors import PaycenterError, Reason
from runtime.idempotency import Idempotency
from runtime.outbox import Outbox


@dataclass(slots=True)
class Books:
    """Database, outbox, clock and rules of one accounting server."""

    database: Database
    outbox: Outbox
    idempotency: Idempotency
    clock: Clock
    settings: AccountingSettings
    _rules: dict[str, PostingRule] = field(default_factory=dict)
    _rules_read_at_seconds: float = float("-inf")
    _rules_lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def accounting_date(self) -> date:
        """Gives the civil day of the books in the accounting time zone."""
        return self.clock.now().astimezone(ZoneInfo(self.settings.accounting_time_zone)).date()

    async def rule_of(self, event_code: str) -> PostingRule:
        """Gives the rule in force for an event.

        Raises:
            PaycenterError: POSTING_RULE_NOT_FOUND, field event_code.
        """
        if self._rules_are_old():
            async with self._rules_lock:
                if self._rules_are_old():
                    async with self.database.read() as connection:
                        self._rules = await rule_store.rules_in_force(connection, self.accounting_date())
                    self._rules_read_at_seconds = self.clock.monotonic_seconds()
        rule = self._rules.get(event_code)
        if rule is None:
            raise PaycenterError(
                Reason.POSTING_RULE_NOT_FOUND,
                f"no rule is in force for {event_code}",
                field="event_code",
                metadata={"eventCode": event_code},
            )
        return rule

    def _rules_are_old(self) -> bool:
        age_seconds = self.clock.monotonic_seconds() - self._rules_read_at_seconds
        return age_seconds >= self.settings.posting_rule_refresh_seconds
