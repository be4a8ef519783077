"""From the event log to the feed of the contract. Invariant: an entry is what the bus carries, with its revision."""

from __future__ import annotations

from datetime import datetime

from paycenter.payment.v1 import payment_core_pb2 as pb

from runtime.outbox import StoredEvent
from runtime.wire import timestamp_from_datetime


def event_to_proto(stored: StoredEvent) -> pb.PaymentEvent:
    """Returns an entry of the feed."""
    event = pb.PaymentEvent.FromString(stored.payload)
    event.revision = stored.revision
    return event


def heartbeat_to_proto(revision: int, *, now: datetime) -> pb.PaymentEvent:
    """Returns an entry that says how far the feed is."""
    return pb.PaymentEvent(revision=revision, event_time=timestamp_from_datetime(now))
