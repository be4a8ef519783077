"""Says in the log that something did not go through. Invariant: an outage is one line with its reason, a bug of ours
comes with its stack."""

from __future__ import annotations

from runtime.errors import PaycenterError
from runtime.logs import get_logger


def tell_trouble(event: str, error: Exception, **fields: str) -> None:
    """Logs what failed: a warning for what the contract has a reason for, else an error with the stack."""
    if isinstance(error, PaycenterError):
        get_logger().warning(event, reason=error.reason.value, **fields)
    else:
        get_logger().error(event, exc_info=error, **fields)
