"""Between payments and the messages of the contract. Invariant: every field of a payment that callers may see is told,
absent ones stay absent, and what is stored for a replay is byte for byte what was answered."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache

from google.protobuf.timestamp_pb2 import Timestamp
from paycenter.payment.v1 import payment_core_pb2 as pb
from paycenter.type.v1 import credential_pb2, family_pb2, money_pb2, party_pb2

from core.payment.domain.accounts import Owner, OwnerKind
from core.payment.domain.family import FamilyMember
from core.payment.domain.payment import EventType, Failure, Payment, PaymentKind, Step
from core.payment.domain.shares import FixedShare, RatioShare, RemainderShare, Share
from core.payment.mapping import vocabulary
from runtime.ids import NumberKind, new_number
from runtime.money import Money
from runtime.outbox import OutboxEvent
from runtime.wire import datetime_from_timestamp, money_from_proto, money_to_proto, timestamp_from_datetime

_OWNER_KINDS = {
    party_pb2.ACCOUNT_OWNER_KIND_MERCHANT: OwnerKind.MERCHANT,
    party_pb2.ACCOUNT_OWNER_KIND_USER: OwnerKind.USER,
}


class PaymentCodec:
    """Writes payments as the contract has them, for use cases that know no message."""

    def response(self, payment: Payment) -> bytes:
        """Returns the serialized response of any command on a payment: they all hold the payment as field 1."""
        return pb.CreateRechargeResponse(payment=payment_to_proto(payment)).SerializeToString()

    def event(self, payment: Payment, event_type: EventType) -> OutboxEvent:
        """Returns the event that tells of the change that led to `payment`."""
        return _event(payment, event_type, payment_to_proto(payment))

    def tell(self, payment: Payment, event_type: EventType) -> tuple[OutboxEvent, bytes]:
        """Returns the event that tells of a change, and the response that shows the payment after it."""
        message = payment_to_proto(payment)
        response = pb.CreateRechargeResponse(payment=message).SerializeToString()
        return _event(payment, event_type, message), response


def _event(payment: Payment, event_type: EventType, message: pb.Payment) -> OutboxEvent:
    event_id = new_number(NumberKind.EVENT, shard=payment.shard)
    event = pb.PaymentEvent(
        event_id=event_id,
        event_time=_timestamp(payment.update_time),
        event_type=vocabulary.EVENT_TYPES[event_type],
        business_id=payment.business_id,
        payment=message,
    )
    return OutboxEvent(
        shard=payment.shard,
        event_id=event_id,
        event_type=event_type.value,
        resource_id=payment.payment_id,
        resource_version=payment.version,
        payload=event.SerializeToString(),
        business_id=payment.business_id,
    )


def payment_to_proto(payment: Payment) -> pb.Payment:
    """Returns the contract's form of a payment."""
    currency_code = payment.amount.currency_code
    return pb.Payment(
        payment_id=payment.payment_id,
        kind=vocabulary.KINDS[payment.kind],
        state=vocabulary.STATES[payment.state],
        merchant_id=payment.merchant_id,
        order_id=payment.order_id,
        transaction_number=payment.transaction_number,
        amount=money_to_proto(payment.amount),
        channel_fee=_money(payment.channel_fee_minor_units, currency_code),
        source_account_id=payment.source_account_id,
        destination_account_id=payment.destination_account_id,
        payment_account_id=payment.payment_account_id,
        invoke_method=(
            vocabulary.INVOKE_METHODS[payment.invoke_method]
            if payment.invoke_method
            else credential_pb2.INVOKE_METHOD_UNSPECIFIED
        ),
        channel_order_id=payment.channel_order_id,
        channel_transaction_id=payment.channel_transaction_id,
        refunded_payment_id=payment.refunded_payment_id,
        refunded_amount=(
            _money(payment.refunded_minor_units, currency_code)
            if payment.kind is PaymentKind.RECHARGE
            else None
        ),
        journal_id=payment.journal_id,
        hold_id=payment.hold_id,
        failure=_failure_to_proto(payment.failure) if payment.failure else None,
        credential=_credential(payment),
        steps=[_step_to_proto(step) for step in payment.steps],
        business_id=payment.business_id,
        trace_id=trace_id_of(payment.traceparent),
        version=payment.version,
        expire_time=_timestamp(payment.expire_time),
        succeed_time=_timestamp(payment.succeed_time),
        create_time=_timestamp(payment.create_time),
        update_time=_timestamp(payment.update_time),
    )


def _credential(payment: Payment) -> credential_pb2.PaymentCredential | None:
    if payment.credential is None or payment.is_final:
        return None
    return credential_pb2.PaymentCredential.FromString(payment.credential)


def _failure_to_proto(failure: Failure) -> pb.PaymentFailure:
    return pb.PaymentFailure(
        reason=failure.reason,
        channel_code=failure.channel_code,
        outcome_safety=vocabulary.SAFETIES[failure.outcome_safety],
        advice=vocabulary.ADVICES[failure.advice],
    )


def _step_to_proto(step: Step) -> pb.PaymentStep:
    return pb.PaymentStep(
        kind=vocabulary.STEP_KINDS[step.kind],
        state=vocabulary.STEP_STATES[step.state],
        try_count=step.try_count,
        update_time=_timestamp(step.update_time),
    )


def owner_of(message: party_pb2.AccountOwner) -> Owner:
    """Returns the owner of a balance; validation has refused kinds that the contract does not define."""
    return Owner(_OWNER_KINDS[message.kind], message.owner_id)


def share_of(message: party_pb2.SplitReceiver) -> Share:
    """Returns the share of a receiver; validation has refused a receiver without one."""
    match message.WhichOneof("share"):
        case "amount":
            return FixedShare(money_from_proto(message.amount))
        case "ratio":
            return RatioShare(message.ratio.value)
        case _:
            return RemainderShare()


def instant_or_none(message: Timestamp, *, present: bool) -> datetime | None:
    """Returns an instant when the request holds one."""
    return datetime_from_timestamp(message) if present else None


def member_of(payment: Payment) -> FamilyMember:
    """Returns a payment in the words that every service uses for a family."""
    failure = payment.failure.reason if payment.failure else ""
    words = (payment.kind.value, payment.invoke_method.value if payment.invoke_method else "", failure)
    return FamilyMember(
        service="payment",
        kind="payment",
        number=payment.payment_id,
        parent_number=payment.transaction_number or payment.order_id,
        state=payment.state.value,
        amount=payment.amount,
        external_number=payment.channel_transaction_id,
        create_time=payment.create_time,
        update_time=payment.update_time,
        business_id=payment.business_id,
        trace_id=trace_id_of(payment.traceparent),
        summary=" ".join(word for word in words if word),
    )


def member_to_proto(member: FamilyMember) -> family_pb2.FamilyMember:
    """Returns the contract's form of a family's record."""
    return family_pb2.FamilyMember(
        service=member.service,
        kind=member.kind,
        number=member.number,
        parent_number=member.parent_number,
        state=member.state,
        amount=money_to_proto(member.amount) if member.amount else None,
        external_number=member.external_number,
        create_time=_timestamp(member.create_time),
        update_time=_timestamp(member.update_time),
        business_id=member.business_id,
        trace_id=member.trace_id,
        summary=member.summary,
    )


def member_from_proto(message: family_pb2.FamilyMember) -> FamilyMember:
    """Returns a record that another service tells of."""
    return FamilyMember(
        service=message.service,
        kind=message.kind,
        number=message.number,
        parent_number=message.parent_number,
        state=message.state,
        amount=money_from_proto(message.amount) if message.HasField("amount") else None,
        external_number=message.external_number,
        create_time=instant_or_none(message.create_time, present=message.HasField("create_time")),
        update_time=instant_or_none(message.update_time, present=message.HasField("update_time")),
        business_id=message.business_id,
        trace_id=message.trace_id,
        summary=message.summary,
    )


def trace_id_of(traceparent: str) -> str:
    """Returns the trace id of a W3C traceparent; empty when it is malformed."""
    parts = traceparent.split("-")
    return parts[1] if len(parts) >= 4 else ""


def _money(minor_units: int | None, currency_code: str) -> money_pb2.Money | None:
    return None if minor_units is None else money_to_proto(Money(minor_units, currency_code))


def _timestamp(instant: datetime | None) -> Timestamp | None:
    return None if instant is None else _known_timestamp(instant)


@lru_cache(maxsize=256)
def _known_timestamp(instant: datetime) -> Timestamp:
    """The steps of a payment share few instants; whoever puts the message into another one copies it."""
    return timestamp_from_datetime(instant)
