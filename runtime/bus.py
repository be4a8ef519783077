"""The message bus: NATS JetStream. Invariant: it only makes things fast; whatever it loses, doubles or
delays, the databases still come to agree."""

from __future__ import annotations

from runtime.bus_connection import (
    Bus,
    BusUnavailableError,
    stream_of,
    subject_filter,
)
from runtime.bus_consumer import BusMessage, Consumer, Handler

__all__ = [
    "Bus",
    "BusMessage",
    "BusUnavailableError",
    "Consumer",
    "Handler",
    "stream_of",
    "subject_filter",
]
