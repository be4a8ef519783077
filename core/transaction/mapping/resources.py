"""Records as the contract shows them: resources, events, answers and callback bodies. Invariant: one record has one
form, whoever is told of it."""

from __future__ import annotations

import json
from datetime import datetime

from google.protobuf import json_format
from paycenter.transaction.v1 import transaction_core_pb2 as transaction
from paycenter.type.v1 import credential_pb2, family_pb2, money_pb2

from core.transaction.domain import records
from core.transaction.domain.records import Attempt, Notification, OrderFile, Refund
from core.transaction.domain.states import EventType
from core.transaction.mapping import enums
from runtime.money import Money
from runtime.wire import money_to_proto, timestamp_from_datetime

_TRACE_ID = slice(3, 35)

FamilyMember = family_pb2.FamilyMember
Order = transaction.Order


def order_to_proto(file: OrderFile) -> transaction.Order:
    """Shows an order with its attempts and refunds."""
    shown = bare_order_to_proto(file.order)
    shown.attempts.extend(attempt_to_proto(attempt) for attempt in file.attempts)
    shown.refunds.extend(refund_to_proto(refund) for refund in file.refunds)
    return shown


def bare_order_to_proto(order: records.Order) -> transaction.Order:
    """Shows an order without attempts and refunds, as lists do."""
    currency_code = order.amount.currency_code
    shown = transaction.Order(
        order_id=order.order_id,
        kind=enums.ORDER_KINDS.to_proto[order.kind],
        state=enums.ORDER_STATES.to_proto[order.state],
        merchant_id=order.merchant_id,
        merchant_order_id=order.merchant_order_id,
        merchant_serial_number=order.merchant_serial_number,
        amount=money_to_proto(order.amount),
        paid_amount=money_pb2.Money(minor_units=order.paid_minor_units, currency_code=currency_code),
        refunded_amount=money_pb2.Money(minor_units=order.refunded_minor_units, currency_code=currency_code),
        refunding_amount=money_pb2.Money(
            minor_units=order.refunding_minor_units, currency_code=currency_code
        ),
        subject=order.subject,
        winning_attempt_id=order.winning_attempt_id,
        notify_url=order.notify_url,
        expire_time=timestamp_from_datetime(order.expire_time),
        annotations=order.annotations,
        business_id=order.business_id,
        trace_id=order.traceparent[_TRACE_ID],
        etag=str(order.version),
        create_time=timestamp_from_datetime(order.create_time),
        update_time=timestamp_from_datetime(order.update_time),
    )
    if order.pay_time is not None and order.paid_minor_units:
        shown.pay_time.FromDatetime(order.pay_time)
    return shown


def attempt_to_proto(attempt: Attempt) -> transaction.Attempt:
    """Shows an attempt; its credential only while it is open."""
    instruction = attempt.instruction
    shown = transaction.Attempt(
        attempt_id=attempt.attempt_id,
        order_id=attempt.order_id,
        state=enums.ATTEMPT_STATES.to_proto[attempt.state],
        payment_account_id=attempt.payment_account_id or instruction.payment_account_id,
        invoke_method=enums.INVOKE_METHOD_TO_PROTO.get(instruction.invoke_method, 0),
        payment_id=attempt.payment_id,
        transfer_payment_id=attempt.transfer_payment_id,
        failure_reason=attempt.failure_reason,
        channel_code=attempt.channel_code,
        channel_transaction_id=attempt.channel_transaction_id,
        create_time=timestamp_from_datetime(attempt.create_time),
        update_time=timestamp_from_datetime(attempt.update_time),
    )
    if attempt.credential and attempt.is_open:
        shown.credential.CopyFrom(credential_pb2.PaymentCredential.FromString(attempt.credential))
    return shown


def refund_to_proto(refund: Refund) -> transaction.Refund:
    """Shows a refund."""
    shown = transaction.Refund(
        refund_id=refund.refund_id,
        order_id=refund.order_id,
        attempt_id=refund.attempt_id,
        merchant_refund_id=refund.merchant_refund_id,
        amount=money_to_proto(refund.amount),
        reason=refund.reason,
        state=enums.REFUND_STATES.to_proto[refund.state],
        automatic=refund.automatic,
        payment_id=refund.payment_id,
        failure_reason=refund.failure_reason,
        channel_code=refund.channel_code,
        create_time=timestamp_from_datetime(refund.create_time),
        update_time=timestamp_from_datetime(refund.update_time),
    )
    if refund.succeed_time is not None:
        shown.succeed_time.FromDatetime(refund.succeed_time)
    return shown


def notification_to_proto(notification: Notification) -> transaction.Notification:
    """Shows a notification, without its body."""
    shown = transaction.Notification(
        notification_id=notification.notification_id,
        order_id=notification.order_id,
        event_type=enums.EVENT_TYPES.to_proto[notification.event_type],
        url=notification.url,
        state=enums.NOTIFICATION_STATES.to_proto[notification.state],
        try_count=notification.try_count,
        last_status=notification.last_status,
        create_time=timestamp_from_datetime(notification.create_time),
        business_id=notification.business_id,
    )
    if notification.next_attempt_time is not None:
        shown.next_try_time.FromDatetime(notification.next_attempt_time)
    if notification.deliver_time is not None:
        shown.deliver_time.FromDatetime(notification.deliver_time)
    return shown


def event_payload(
    *,
    event_id: str,
    event_type: EventType,
    event_time: datetime,
    order: transaction.Order,
    changed_number: str,
) -> bytes:
    """Returns the body of a bus message and feed entry; its revision is not known yet and stays zero."""
    payload: bytes = transaction.TransactionEvent(
        event_id=event_id,
        event_time=timestamp_from_datetime(event_time),
        event_type=enums.EVENT_TYPES.to_proto[event_type],
        business_id=order.business_id,
        order=order,
        changed_number=changed_number,
    ).SerializeToString(deterministic=True)
    return payload


def event_from_payload(payload: bytes, *, revision: int) -> transaction.TransactionEvent:
    """Returns a stored event with its position in the feed."""
    event = transaction.TransactionEvent.FromString(payload)
    event.revision = revision
    return event


def heartbeat(*, revision: int, now: datetime) -> transaction.TransactionEvent:
    """Returns a feed entry that carries only a position and an instant."""
    return transaction.TransactionEvent(revision=revision, event_time=timestamp_from_datetime(now))


def callback_body(*, notification_id: str, event_type: EventType, order: transaction.Order) -> bytes:
    """Returns what a business system gets: canonical JSON (sorted keys, no blanks, UTF-8) of the notification's
    number, the event's type and the order in protobuf's JSON form."""
    content = {
        "notification_id": notification_id,
        "event_type": event_type.value,
        "order": json_format.MessageToDict(order),
    }
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def order_members(file: OrderFile) -> list[family_pb2.FamilyMember]:
    """Shows an order, its attempts and its refunds as members of a family."""
    order = file.order
    members = [
        _member("order", order.order_id, "", order.state.value, order.amount, order.merchant_order_id, order)
    ]
    for attempt in file.attempts:
        member = _member(
            "attempt",
            attempt.attempt_id,
            order.order_id,
            attempt.state.value,
            order.amount,
            attempt.channel_transaction_id,
            attempt,
        )
        method = attempt.instruction.invoke_method
        member.summary = " ".join(
            part for part in (attempt.payment_account_id, method, attempt.failure_reason) if part
        )
        members.append(member)
    for refund in file.refunds:
        member = _member(
            "refund",
            refund.refund_id,
            refund.attempt_id,
            refund.state.value,
            refund.amount,
            refund.merchant_refund_id,
            refund,
        )
        member.summary = " ".join(
            part
            for part in ("automatic" if refund.automatic else "", refund.reason, refund.failure_reason)
            if part
        )
        members.append(member)
    members[0].summary = f"{order.kind.value} {order.subject}"
    return members


def notification_member(notification: Notification) -> family_pb2.FamilyMember:
    """Shows a notification as a member of a family."""
    member = _member(
        "notification",
        notification.notification_id,
        notification.order_id,
        notification.state.value,
        None,
        "",
        notification,
    )
    member.summary = (
        f"{notification.event_type.value} tries={notification.try_count} status={notification.last_status}"
    )
    return member


def _member(
    kind: str,
    number: str,
    parent_number: str,
    state: str,
    amount: Money | None,
    external_number: str,
    stored: records.Order | Attempt | Refund | Notification,
) -> family_pb2.FamilyMember:
    return family_pb2.FamilyMember(
        service="transaction",
        kind=kind,
        number=number,
        parent_number=parent_number,
        state=state,
        amount=money_to_proto(amount) if amount is not None else None,
        external_number=external_number,
        create_time=timestamp_from_datetime(stored.create_time),
        update_time=timestamp_from_datetime(stored.update_time),
        business_id=stored.business_id,
        trace_id=stored.traceparent[_TRACE_ID],
    )
