"""Faults on demand for the services that the tests put below PaymentCore."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field

from runtime.errors import PaycenterError, Reason


@dataclass(slots=True)
class Faults:
    """What goes wrong next, by method; `calls` counts every arrival."""

    calls: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    before: dict[str, list[Exception]] = field(default_factory=lambda: defaultdict(list))
    after: dict[str, list[Exception]] = field(default_factory=lambda: defaultdict(list))
    slow_seconds: dict[str, float] = field(default_factory=dict)

    def refuse(self, method: str, reason: Reason, *, times: int = 1) -> None:
        """The next calls are refused before they have an effect."""
        self.before[method] += [PaycenterError(reason, "on demand")] * times

    def lose_answer(self, method: str, *, times: int = 1) -> None:
        """The next calls take effect and their answer is lost."""
        self.after[method] += [PaycenterError(Reason.DATABASE_UNAVAILABLE, "on demand")] * times

    def be_silent(self, method: str, *, times: int = 1) -> None:
        """The next calls have no effect and no answer."""
        self.before[method] += [PaycenterError(Reason.DATABASE_UNAVAILABLE, "on demand")] * times

    async def strike(self, method: str) -> None:
        self.calls[method] += 1
        await asyncio.sleep(self.slow_seconds.get(method, 0))
        if self.before[method]:
            raise self.before[method].pop(0)

    async def strike_after(self, method: str) -> None:
        if self.after[method]:
            raise self.after[method].pop(0)
