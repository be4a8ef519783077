"""Background loops of the ledger, each one step at a time."""

from __future__ import annotations

from accounting import hold
from accounting.books import Books


class HoldExpiry:
    """Frees holds whose time has passed; a capture after that time is refused even when this is late."""

    name = "hold-expiry"

    def __init__(self, books: Books) -> None:
        self._books = books
        self.idle_seconds = books.settings.hold_expiry_interval_seconds

    async def step(self) -> int:
        """Frees what is due now; gives the number of holds looked at."""
        return await hold.expire_holds(self._books)
