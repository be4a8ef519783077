"""Who may begin: calls with a sound context, as long as the server is not full. Invariant: a refusal here
has changed nothing anywhere."""

from __future__ import annotations

from runtime.errors import PaycenterError, Reason
from runtime.interceptors.entry import Arrival


class Admission:
    """Counts the unary calls that are being carried out, work that outlived its caller included."""

    def __init__(self, calls_limit: int) -> None:
        self._calls_limit = calls_limit
        self.calls_in_flight = 0

    def check(self, arrival: Arrival) -> None:
        """Raises the refusal of a call whose context is missing or broken, or that finds the server full."""
        if arrival.error is not None:
            raise arrival.error
        if self.calls_in_flight > self._calls_limit:
            raise PaycenterError(
                Reason.OVERLOADED,
                "The server carries out as many calls as it accepts.",
                metadata={"callsLimit": str(self._calls_limit)},
            )
