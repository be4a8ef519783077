"""Between the contract and the domain. Invariant: the enum tables are total in both directions, and no secret
has a way out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any, TypeVar

from google.type import decimal_pb2
from paycenter.channel.v1 import channel_gateway_pb2 as pb
from paycenter.errors.v1 import errors_pb2
from paycenter.type.v1 import credential_pb2, family_pb2, party_pb2

from channel_gateway.channels.protocol import Capability, ChannelPlugin
from channel_gateway.domain.account import Merchant, PaymentAccount, etag_of
from channel_gateway.domain.answer import Failure
from channel_gateway.domain.credential import Credential, InAppCall, NoAction, QrCode, Redirect
from channel_gateway.domain.fees import format_fee_ratio
from channel_gateway.domain.order import ChannelOrder
from channel_gateway.domain.states import SETTLED_STATES
from channel_gateway.domain.vocabulary import (
    ChannelOrderKind,
    ChannelOrderState,
    EventType,
    FailureReason,
    InvokeMethod,
    MerchantState,
    NoticeState,
    OutcomeSafety,
    PayeeIdKind,
    PaymentAccountState,
)
from channel_gateway.store.notices import StoredNotice
from runtime.context import TraceContext
from runtime.ids import NumberKind, new_number
from runtime.outbox import StoredEvent
from runtime.wire import (
    datetime_from_timestamp,
    duration_from_timedelta,
    money_to_proto,
    timestamp_from_datetime,
)

WordT = TypeVar("WordT", bound=StrEnum)


def _values(enum: Any, prefix: str, words: type[WordT]) -> Mapping[WordT, Any]:
    # Any: the contract types each enum's numbers apart, and this builds the tables of all of them.
    return MappingProxyType({word: enum.Value(prefix + word.value) for word in words})


def _words(values: Mapping[WordT, int]) -> Mapping[int, WordT]:
    return MappingProxyType({value: word for word, value in values.items()})


ORDER_KINDS = _values(pb.ChannelOrderKind, "CHANNEL_ORDER_KIND_", ChannelOrderKind)
ORDER_STATES = _values(pb.ChannelOrderState, "CHANNEL_ORDER_STATE_", ChannelOrderState)
FAILURE_REASONS = _values(pb.ChannelFailureReason, "CHANNEL_FAILURE_REASON_", FailureReason)
OUTCOME_SAFETIES = _values(errors_pb2.OutcomeSafety, "OUTCOME_SAFETY_", OutcomeSafety)
INVOKE_METHODS = _values(credential_pb2.InvokeMethod, "INVOKE_METHOD_", InvokeMethod)
PAYEE_ID_KINDS = _values(party_pb2.PayeeIdKind, "PAYEE_ID_KIND_", PayeeIdKind)
NOTICE_STATES = _values(pb.NoticeState, "NOTICE_STATE_", NoticeState)
MERCHANT_STATES = _values(pb.MerchantState, "MERCHANT_STATE_", MerchantState)
ACCOUNT_STATES = _values(pb.PaymentAccountState, "PAYMENT_ACCOUNT_STATE_", PaymentAccountState)
EVENT_TYPES = _values(pb.ChannelEventType, "CHANNEL_EVENT_TYPE_", EventType)

ORDER_STATE_WORDS = _words(ORDER_STATES)
INVOKE_METHOD_WORDS = _words(INVOKE_METHODS)
PAYEE_ID_KIND_WORDS = _words(PAYEE_ID_KINDS)
NOTICE_STATE_WORDS = _words(NOTICE_STATES)
ACCOUNT_STATE_WORDS = _words(ACCOUNT_STATES)


def merchant_to_proto(merchant: Merchant) -> pb.Merchant:
    """Returns the contract's form of a merchant."""
    return pb.Merchant(
        merchant_id=merchant.merchant_id,
        tenant_merchant_number=merchant.tenant_merchant_number,
        display_name=merchant.display_name,
        state=MERCHANT_STATES[merchant.state],
        etag=etag_of(merchant.version),
        create_time=timestamp_from_datetime(merchant.create_time),
        update_time=timestamp_from_datetime(merchant.update_time),
    )


def account_to_proto(account: PaymentAccount, *, notice_url: str) -> pb.PaymentAccount:
    """Returns the contract's form of a payment account, without secrets."""
    return pb.PaymentAccount(
        payment_account_id=account.payment_account_id,
        merchant_id=account.merchant_id,
        channel=account.channel,
        display_name=account.display_name,
        settings=dict(account.settings),
        fee_ratio=decimal_pb2.Decimal(value=format_fee_ratio(account.fee_ratio_millionths)),
        state=ACCOUNT_STATES[account.state],
        notice_url=notice_url,
        etag=etag_of(account.version),
        create_time=timestamp_from_datetime(account.create_time),
        update_time=timestamp_from_datetime(account.update_time),
    )


def order_to_proto(order: ChannelOrder) -> pb.ChannelOrder:
    """Returns the contract's form of a channel order; a settled one has no credential any more."""
    message = pb.ChannelOrder(
        channel_order_id=order.channel_order_id,
        payment_id=order.payment_id,
        kind=ORDER_KINDS[order.kind],
        merchant_id=order.merchant_id,
        payment_account_id=order.payment_account_id,
        channel=order.channel,
        amount=money_to_proto(order.amount),
        channel_fee=money_to_proto(order.channel_fee),
        state=ORDER_STATES[order.state],
        channel_transaction_id=order.channel_transaction_id,
        refunded_channel_order_id=order.refunded_channel_order_id,
        business_id=order.business_id,
        version=order.version,
        create_time=timestamp_from_datetime(order.create_time),
        update_time=timestamp_from_datetime(order.update_time),
    )
    if order.invoke_method is not None:
        message.invoke_method = INVOKE_METHODS[order.invoke_method]
    if order.failure is not None:
        message.failure.CopyFrom(failure_to_proto(order.failure))
    if order.credential is not None and order.state not in SETTLED_STATES:
        message.credential.CopyFrom(credential_to_proto(order.credential))
    if order.succeed_time is not None:
        message.succeed_time.CopyFrom(timestamp_from_datetime(order.succeed_time))
    return message


def failure_to_proto(failure: Failure) -> pb.ChannelFailure:
    """Returns the contract's form of a failure."""
    return pb.ChannelFailure(
        reason=FAILURE_REASONS[failure.reason],
        channel_code=failure.channel_code,
        channel_message=failure.channel_message,
        outcome_safety=OUTCOME_SAFETIES[failure.outcome_safety],
    )


def credential_to_proto(credential: Credential) -> credential_pb2.PaymentCredential:
    """Returns the contract's form of a credential."""
    match credential:
        case QrCode(code_url=code_url):
            return credential_pb2.PaymentCredential(qr_code=credential_pb2.QrCode(code_url=code_url))
        case Redirect(http_method=http_method, url=url, form_fields=form_fields):
            redirect = credential_pb2.Redirect(
                http_method=http_method, url=url, form_fields=dict(form_fields)
            )
            return credential_pb2.PaymentCredential(redirect=redirect)
        case InAppCall(parameters=parameters):
            call = credential_pb2.InAppCall(parameters=dict(parameters))
            return credential_pb2.PaymentCredential(in_app_call=call)
        case NoAction():
            return credential_pb2.PaymentCredential(no_action=credential_pb2.NoAction())


def channel_to_proto(plugin: ChannelPlugin, *, enabled: bool) -> pb.Channel:
    """Returns the contract's form of a channel."""
    return pb.Channel(
        name=plugin.name,
        display_name=plugin.display_name,
        capabilities=[_capability(capability) for capability in plugin.capabilities],
        required_settings=plugin.required_settings,
        required_secrets=plugin.required_secrets,
        enabled=enabled,
    )


def notice_to_proto(notice: StoredNotice) -> pb.Notice:
    """Returns the contract's form of a notice, without its body."""
    return pb.Notice(
        notice_id=notice.notice_id,
        channel=notice.channel,
        payment_account_id=notice.payment_account_id,
        state=NOTICE_STATES[notice.state],
        refusal=notice.refusal,
        channel_order_id=notice.channel_order_id,
        receive_count=notice.receive_count,
        create_time=timestamp_from_datetime(notice.create_time),
        business_id=notice.business_id,
    )


def event_payload(order: ChannelOrder, event_type: EventType) -> tuple[str, bytes]:
    """Returns the number and the serialized message of an event that tells of a channel order after its change."""
    event_id = new_number(NumberKind.EVENT, shard=order.shard)
    message = pb.ChannelEvent(
        event_id=event_id,
        event_time=timestamp_from_datetime(order.update_time),
        event_type=EVENT_TYPES[event_type],
        business_id=order.business_id,
        channel_order=order_to_proto(order),
    )
    return event_id, message.SerializeToString()


def event_to_proto(stored: StoredEvent) -> pb.ChannelEvent:
    """Returns a stored event with its place in the feed."""
    message = pb.ChannelEvent.FromString(stored.payload)
    message.revision = stored.revision
    return message


def order_to_family_member(order: ChannelOrder) -> family_pb2.FamilyMember:
    """Returns a channel order in the words that every service shares."""
    failed = "" if order.failure is None else f" {order.failure.reason.value} {order.failure.channel_code}"
    method = "" if order.invoke_method is None else f" {order.invoke_method.value}"
    return family_pb2.FamilyMember(
        service="channel",
        kind="channel_order",
        number=order.channel_order_id,
        parent_number=order.payment_id,
        state=order.state.value,
        amount=money_to_proto(order.amount),
        external_number=order.channel_transaction_id,
        create_time=timestamp_from_datetime(order.create_time),
        update_time=timestamp_from_datetime(order.update_time),
        business_id=order.business_id,
        trace_id=_trace_id(order.traceparent),
        summary=f"{order.kind.value} {order.channel}{method}{failed}".rstrip(),
    )


def notice_to_family_member(notice: StoredNotice) -> family_pb2.FamilyMember:
    """Returns a notice in the words that every service shares."""
    return family_pb2.FamilyMember(
        service="channel",
        kind="notice",
        number=notice.notice_id,
        parent_number=notice.channel_order_id,
        state=notice.state.value,
        create_time=timestamp_from_datetime(notice.create_time),
        update_time=timestamp_from_datetime(notice.update_time),
        business_id=notice.business_id,
        trace_id=_trace_id(notice.traceparent),
        summary=f"{notice.channel} received {notice.receive_count}x {notice.refusal}".rstrip(),
    )


def optional_instant(message: Any, field: str) -> datetime | None:
    """Returns an instant that a request may leave out; raises PaycenterError(FIELD_INVALID) for an impossible one."""
    if not message.HasField(field):
        return None
    return datetime_from_timestamp(getattr(message, field), field=field)


def _capability(capability: Capability) -> pb.ChannelCapability:
    message = pb.ChannelCapability(
        operation=capability.operation.value, currency_codes=capability.currency_codes
    )
    if capability.invoke_method is not None:
        message.invoke_method = INVOKE_METHODS[capability.invoke_method]
    if capability.refund_window is not None:
        message.refund_window.CopyFrom(duration_from_timedelta(capability.refund_window))
    if capability.not_found_proof is not None:
        message.not_found_proof.CopyFrom(duration_from_timedelta(capability.not_found_proof))
    return message


def _trace_id(traceparent: str) -> str:
    trace = TraceContext.parse(traceparent)
    return "" if trace is None else trace.trace_id


def capability_names(plugins: Iterable[ChannelPlugin]) -> list[str]:
    """Returns the names by which a server tells its channels' abilities, for example `channel.alipay.pay.qr`."""
    names = []
    for plugin in plugins:
        for capability in plugin.capabilities:
            method = "" if capability.invoke_method is None else f".{capability.invoke_method.value.lower()}"
            names.append(f"channel.{plugin.name}.{capability.operation.value}{method}")
    return names
