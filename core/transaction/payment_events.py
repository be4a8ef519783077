"""Consumes what PaymentCore tells by the bus. Invariant: idempotent, and nothing depends on it: what the bus loses,
the repair worker hears by asking."""

from __future__ import annotations

from core.transaction import outcome, refund
from core.transaction.domain.records import PaymentReport
from core.transaction.domain.states import PaymentKind, PaymentState
from core.transaction.parts import Parts
from core.transaction.remote import report_from_event
from core.transaction.store import order_files
from runtime.bus import Bus, BusMessage, Consumer, subject_filter
from runtime.clock import Clock
from runtime.context import with_business_id
from runtime.errors import PaycenterError, Reason
from runtime.ids import NumberKind, number_kind, shard_of_number
from runtime.logs import get_logger

STREAM = "payment"
DURABLE = "transaction-payment"
EVENT_TYPES = (
    "PAYMENT_CHANGED",
    "PAYMENT_SUCCEEDED",
    "PAYMENT_FAILED",
    "PAYMENT_CLOSED",
    "PAYMENT_REVIEW_NEEDED",
)

_DECIDED = frozenset({PaymentState.SUCCEEDED, PaymentState.FAILED, PaymentState.CLOSED})


def payment_consumer(parts: Parts, bus: Bus, clock: Clock, *, concurrency: int) -> Consumer:
    """Returns the worker that hears of payments."""

    async def handle(message: BusMessage) -> None:
        await hear(parts, message)

    subjects = [subject_filter(STREAM, event_type) for event_type in EVENT_TYPES]
    return Consumer(bus, STREAM, DURABLE, subjects, handle, clock, concurrency=concurrency)


async def hear(parts: Parts, message: BusMessage) -> None:
    """Records what an event says of an attempt's or a refund's payment; payments of nobody here are ignored."""
    report = report_from_event(message.payload)
    if report is None:
        return
    kind = _kind_of(report.transaction_number)
    with with_business_id(message.business_id):
        try:
            if kind is NumberKind.ATTEMPT and not await _is_known(parts, report):
                await outcome.apply(parts, report)
            elif kind is NumberKind.REFUND:
                await refund.apply(parts, report)
        except PaycenterError as error:
            if error.reason not in (Reason.ORDER_NOT_FOUND, Reason.REFUND_NOT_FOUND):
                raise
            get_logger().warning(
                "payment of an unknown order", payment_id=report.payment_id, number=report.transaction_number
            )


def _kind_of(number: str) -> NumberKind | None:
    try:
        return number_kind(number)
    except ValueError:
        return None


async def _is_known(parts: Parts, report: PaymentReport) -> bool:
    """Whether the event tells what the answer of a call told, or is about to: then nothing has to be locked."""
    is_transfer = report.kind is PaymentKind.TRANSFER
    if report.state in _DECIDED and not is_transfer:
        return False
    if report.transaction_number in parts.calls_under_way:
        return True
    async with parts.database.read() as connection:
        seen = await order_files.payment_seen(
            connection, shard=shard_of_number(report.transaction_number), attempt_id=report.transaction_number
        )
    if seen is None:
        return False
    if is_transfer and seen.payment_id != report.payment_id:
        return seen.state == "SUCCEEDED" and seen.transfer_payment_id == report.payment_id
    return seen.payment_id == report.payment_id and seen.payment_version >= report.version
