"""The enums of the contract beside those of the domain. Invariant: total in both directions; an unknown number of the
wire is never stored (tests compare every table with the contract)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from paycenter.channel.v1 import channel_gateway_pb2 as channel_pb
from paycenter.errors.v1 import errors_pb2
from paycenter.payment.v1 import payment_core_pb2 as pb
from paycenter.type.v1 import credential_pb2

from core.payment.domain.channel import ChannelState
from core.payment.domain.payment import (
    EventType,
    FailureAdvice,
    InvokeMethod,
    OutcomeSafety,
    PaymentKind,
    PaymentState,
    Resolution,
    StepKind,
    StepState,
)

KINDS: Mapping[PaymentKind, pb.PaymentKind.ValueType] = {
    PaymentKind.RECHARGE: pb.PAYMENT_KIND_RECHARGE,
    PaymentKind.WITHDRAWAL: pb.PAYMENT_KIND_WITHDRAWAL,
    PaymentKind.REFUND: pb.PAYMENT_KIND_REFUND,
    PaymentKind.TRANSFER: pb.PAYMENT_KIND_TRANSFER,
    PaymentKind.AUTHORIZATION: pb.PAYMENT_KIND_AUTHORIZATION,
    PaymentKind.CAPTURE: pb.PAYMENT_KIND_CAPTURE,
}
STATES: Mapping[PaymentState, pb.PaymentState.ValueType] = {
    PaymentState.ACCEPTED: pb.PAYMENT_STATE_ACCEPTED,
    PaymentState.CHALLENGED: pb.PAYMENT_STATE_CHALLENGED,
    PaymentState.SUBMITTING: pb.PAYMENT_STATE_SUBMITTING,
    PaymentState.PENDING: pb.PAYMENT_STATE_PENDING,
    PaymentState.SUCCEEDED: pb.PAYMENT_STATE_SUCCEEDED,
    PaymentState.FAILED: pb.PAYMENT_STATE_FAILED,
    PaymentState.UNKNOWN: pb.PAYMENT_STATE_UNKNOWN,
    PaymentState.CLOSING: pb.PAYMENT_STATE_CLOSING,
    PaymentState.CLOSED: pb.PAYMENT_STATE_CLOSED,
    PaymentState.IN_REVIEW: pb.PAYMENT_STATE_IN_REVIEW,
}
STEP_KINDS: Mapping[StepKind, pb.PaymentStepKind.ValueType] = {
    StepKind.VALIDATE: pb.PAYMENT_STEP_KIND_VALIDATE,
    StepKind.ROUTE: pb.PAYMENT_STEP_KIND_ROUTE,
    StepKind.ASSESS_RISK: pb.PAYMENT_STEP_KIND_ASSESS_RISK,
    StepKind.GENERATE_ORDER: pb.PAYMENT_STEP_KIND_GENERATE_ORDER,
    StepKind.RESERVE_FUNDS: pb.PAYMENT_STEP_KIND_RESERVE_FUNDS,
    StepKind.INVOKE_CHANNEL: pb.PAYMENT_STEP_KIND_INVOKE_CHANNEL,
    StepKind.POST_JOURNAL: pb.PAYMENT_STEP_KIND_POST_JOURNAL,
    StepKind.UPDATE_ORDER: pb.PAYMENT_STEP_KIND_UPDATE_ORDER,
    StepKind.NOTIFY: pb.PAYMENT_STEP_KIND_NOTIFY,
}
STEP_STATES: Mapping[StepState, pb.PaymentStepState.ValueType] = {
    StepState.DUE: pb.PAYMENT_STEP_STATE_DUE,
    StepState.RUNNING: pb.PAYMENT_STEP_STATE_RUNNING,
    StepState.DONE: pb.PAYMENT_STEP_STATE_DONE,
    StepState.REFUSED: pb.PAYMENT_STEP_STATE_REFUSED,
    StepState.SKIPPED: pb.PAYMENT_STEP_STATE_SKIPPED,
}
ADVICES: Mapping[FailureAdvice, pb.FailureAdvice.ValueType] = {
    FailureAdvice.NONE: pb.FAILURE_ADVICE_NONE,
    FailureAdvice.RETRY_OTHER_CHANNEL: pb.FAILURE_ADVICE_RETRY_OTHER_CHANNEL,
    FailureAdvice.WAIT: pb.FAILURE_ADVICE_WAIT,
    FailureAdvice.FIX_REQUEST: pb.FAILURE_ADVICE_FIX_REQUEST,
    FailureAdvice.CONTACT_OPERATIONS: pb.FAILURE_ADVICE_CONTACT_OPERATIONS,
}
SAFETIES: Mapping[OutcomeSafety, errors_pb2.OutcomeSafety.ValueType] = {
    OutcomeSafety.NOT_SENT: errors_pb2.OUTCOME_SAFETY_NOT_SENT,
    OutcomeSafety.MAYBE_SENT: errors_pb2.OUTCOME_SAFETY_MAYBE_SENT,
    OutcomeSafety.DECLINED: errors_pb2.OUTCOME_SAFETY_DECLINED,
    OutcomeSafety.SUCCEEDED: errors_pb2.OUTCOME_SAFETY_SUCCEEDED,
}
RESOLUTIONS: Mapping[Resolution, pb.PaymentResolution.ValueType] = {
    Resolution.SUCCEEDED: pb.PAYMENT_RESOLUTION_SUCCEEDED,
    Resolution.FAILED: pb.PAYMENT_RESOLUTION_FAILED,
    Resolution.REFUND: pb.PAYMENT_RESOLUTION_REFUND,
}
INVOKE_METHODS: Mapping[InvokeMethod, credential_pb2.InvokeMethod.ValueType] = {
    InvokeMethod.MINI_PROGRAM: credential_pb2.INVOKE_METHOD_MINI_PROGRAM,
    InvokeMethod.PC: credential_pb2.INVOKE_METHOD_PC,
    InvokeMethod.WAP: credential_pb2.INVOKE_METHOD_WAP,
    InvokeMethod.APP: credential_pb2.INVOKE_METHOD_APP,
    InvokeMethod.QR: credential_pb2.INVOKE_METHOD_QR,
    InvokeMethod.BARCODE: credential_pb2.INVOKE_METHOD_BARCODE,
    InvokeMethod.AGREEMENT: credential_pb2.INVOKE_METHOD_AGREEMENT,
    InvokeMethod.BALANCE: credential_pb2.INVOKE_METHOD_BALANCE,
}
EVENT_TYPES: Mapping[EventType, pb.PaymentEventType.ValueType] = {
    EventType.PAYMENT_ACCEPTED: pb.PAYMENT_EVENT_TYPE_PAYMENT_ACCEPTED,
    EventType.PAYMENT_CHANGED: pb.PAYMENT_EVENT_TYPE_PAYMENT_CHANGED,
    EventType.PAYMENT_SUCCEEDED: pb.PAYMENT_EVENT_TYPE_PAYMENT_SUCCEEDED,
    EventType.PAYMENT_FAILED: pb.PAYMENT_EVENT_TYPE_PAYMENT_FAILED,
    EventType.PAYMENT_CLOSED: pb.PAYMENT_EVENT_TYPE_PAYMENT_CLOSED,
    EventType.PAYMENT_REVIEW_NEEDED: pb.PAYMENT_EVENT_TYPE_PAYMENT_REVIEW_NEEDED,
}
CHANNEL_STATES: Mapping[ChannelState, channel_pb.ChannelOrderState.ValueType] = {
    ChannelState.PREPARED: channel_pb.CHANNEL_ORDER_STATE_PREPARED,
    ChannelState.SENT: channel_pb.CHANNEL_ORDER_STATE_SENT,
    ChannelState.ACCEPTED: channel_pb.CHANNEL_ORDER_STATE_ACCEPTED,
    ChannelState.SUCCEEDED: channel_pb.CHANNEL_ORDER_STATE_SUCCEEDED,
    ChannelState.DECLINED: channel_pb.CHANNEL_ORDER_STATE_DECLINED,
    ChannelState.NOT_SENT: channel_pb.CHANNEL_ORDER_STATE_NOT_SENT,
    ChannelState.UNKNOWN: channel_pb.CHANNEL_ORDER_STATE_UNKNOWN,
    ChannelState.CLOSED: channel_pb.CHANNEL_ORDER_STATE_CLOSED,
}

_Own = TypeVar("_Own")
_Wire = TypeVar("_Wire", bound=int)


def reverse(table: Mapping[_Own, _Wire]) -> Mapping[int, _Own]:
    """Returns the way back from the wire; numbers that a newer release added are absent."""
    return {int(wire): own for own, wire in table.items()}


STATE_OF_WIRE = reverse(STATES)
RESOLUTION_OF_WIRE = reverse(RESOLUTIONS)
INVOKE_METHOD_OF_WIRE = reverse(INVOKE_METHODS)
CHANNEL_STATE_OF_WIRE = reverse(CHANNEL_STATES)

_CHANNEL_REASON_PREFIX = "CHANNEL_FAILURE_REASON_"


def channel_reason_name(wire: int) -> str:
    """Returns the name of a channel's failure reason without its prefix; `UNSPECIFIED` for one of a newer release."""
    value = channel_pb.ChannelFailureReason.DESCRIPTOR.values_by_number.get(wire)
    return "UNSPECIFIED" if value is None else value.name.removeprefix(_CHANNEL_REASON_PREFIX)
