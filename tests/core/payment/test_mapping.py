"""The enums of the contract are mapped totally, both ways, and a payment loses nothing on the way out."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import pytest
from google.protobuf.descriptor import EnumDescriptor
from paycenter.channel.v1 import channel_gateway_pb2 as channel_pb
from paycenter.errors.v1 import errors_pb2
from paycenter.payment.v1 import payment_core_pb2 as pb
from paycenter.type.v1 import credential_pb2

from core.payment.api import served_methods
from core.payment.domain.channel import ChannelState
from core.payment.domain.payment import (
    EventType,
    Failure,
    FailureAdvice,
    InvokeMethod,
    OutcomeSafety,
    PaymentKind,
    PaymentState,
    Resolution,
    Step,
    StepKind,
    StepState,
)
from core.payment.mapping import vocabulary
from core.payment.mapping.payments import (
    PaymentCodec,
    member_from_proto,
    member_of,
    member_to_proto,
    payment_to_proto,
)
from tests.core.payment.make import payment

NOW = datetime(2026, 11, 21, 8, 30, tzinfo=UTC)

TABLES: list[tuple[Mapping[Any, int], type[StrEnum], EnumDescriptor]] = [
    (vocabulary.KINDS, PaymentKind, pb.PaymentKind.DESCRIPTOR),
    (vocabulary.STATES, PaymentState, pb.PaymentState.DESCRIPTOR),
    (vocabulary.STEP_KINDS, StepKind, pb.PaymentStepKind.DESCRIPTOR),
    (vocabulary.STEP_STATES, StepState, pb.PaymentStepState.DESCRIPTOR),
    (vocabulary.ADVICES, FailureAdvice, pb.FailureAdvice.DESCRIPTOR),
    (vocabulary.SAFETIES, OutcomeSafety, errors_pb2.OutcomeSafety.DESCRIPTOR),
    (vocabulary.RESOLUTIONS, Resolution, pb.PaymentResolution.DESCRIPTOR),
    (vocabulary.INVOKE_METHODS, InvokeMethod, credential_pb2.InvokeMethod.DESCRIPTOR),
    (vocabulary.EVENT_TYPES, EventType, pb.PaymentEventType.DESCRIPTOR),
    (vocabulary.CHANNEL_STATES, ChannelState, channel_pb.ChannelOrderState.DESCRIPTOR),
]


@pytest.mark.parametrize(("table", "own", "wire"), TABLES, ids=lambda value: getattr(value, "__name__", ""))
def test_a_table_holds_every_member_under_its_own_name(
    table: Mapping[Any, int], own: type[StrEnum], wire: EnumDescriptor
) -> None:
    assert set(table) == set(own)
    names = {value.number: value.name for value in wire.values}
    assert {*table.values(), 0} == set(names)
    for member, number in table.items():
        assert names[number].endswith(f"_{member.value}")


def test_an_unknown_reason_of_a_channel_is_told_as_unspecified() -> None:
    assert vocabulary.channel_reason_name(channel_pb.CHANNEL_FAILURE_REASON_AMOUNT_LIMIT) == "AMOUNT_LIMIT"
    assert vocabulary.channel_reason_name(9_999) == "UNSPECIFIED"


FULL = payment(
    state=PaymentState.IN_REVIEW,
    order_id="O-1",
    transaction_number="A-1",
    channel_fee_minor_units=60,
    source_account_id="2201:M-1:CNY",
    destination_account_id="2101:M-1:CNY",
    payment_account_id="K-1",
    invoke_method=InvokeMethod.QR,
    channel_order_id="C-1",
    channel_transaction_id="T-1",
    refunded_payment_id="P-0",
    refunded_minor_units=5,
    journal_id="J-1",
    hold_id="H-1",
    failure=Failure("NO_ANSWER", OutcomeSafety.MAYBE_SENT, FailureAdvice.WAIT, "SYSTEM_ERROR"),
    credential=credential_pb2.PaymentCredential(
        qr_code=credential_pb2.QrCode(code_url="weixin://x")
    ).SerializeToString(),
    steps=(Step(StepKind.ROUTE, StepState.DONE, 1, NOW),),
    expire_time=NOW,
    succeed_time=NOW,
    create_time=NOW,
    update_time=NOW,
    version=4,
)


def test_no_field_of_the_contract_is_left_out() -> None:
    message = payment_to_proto(FULL)
    filled = {field.name for field, _ in message.ListFields()}
    assert filled == {field.name for field in pb.Payment.DESCRIPTOR.fields}
    assert message.trace_id == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert message.credential.qr_code.code_url == "weixin://x"


def test_what_is_absent_stays_absent() -> None:
    message = payment_to_proto(payment(PaymentKind.TRANSFER))
    for name in ("channel_fee", "failure", "credential", "expire_time", "succeed_time", "refunded_amount"):
        assert not message.HasField(name), name


def test_a_final_payment_hands_out_no_credential() -> None:
    from dataclasses import replace

    assert not payment_to_proto(replace(FULL, state=PaymentState.SUCCEEDED)).HasField("credential")


def test_an_event_and_a_response_hold_the_payment() -> None:
    codec = PaymentCodec()
    event = codec.event(FULL, EventType.PAYMENT_REVIEW_NEEDED)
    message = pb.PaymentEvent.FromString(event.payload)
    assert message.payment == payment_to_proto(FULL)
    assert (message.event_id, message.business_id) == (event.event_id, "B-1")
    assert (event.event_type, event.resource_id, event.resource_version) == (
        "PAYMENT_REVIEW_NEEDED",
        "P-1",
        4,
    )
    for response in (
        pb.CreateRechargeResponse,
        pb.CreateWithdrawalResponse,
        pb.CreateRefundResponse,
        pb.CreateTransferResponse,
        pb.ClosePaymentResponse,
        pb.ResolvePaymentResponse,
    ):
        assert response.FromString(codec.response(FULL)).payment == message.payment


def test_a_family_member_survives_the_way_through_the_contract() -> None:
    member = member_of(FULL)
    assert member_from_proto(member_to_proto(member)) == member
    assert (member.parent_number, member.external_number, member.summary) == (
        "A-1",
        "T-1",
        "RECHARGE QR NO_ANSWER",
    )


def test_the_methods_of_this_release_are_those_that_it_says() -> None:
    assert served_methods() == [
        "CreateRecharge",
        "CreateWithdrawal",
        "CreateRefund",
        "CreateTransfer",
        "ClosePayment",
        "ResolvePayment",
        "GetPayment",
        "QueryPayment",
        "ListPayments",
        "GetPaymentFamily",
        "ListPaymentEvents",
        "WatchPayments",
        "CheckInvariants",
        "GetServerInfo",
    ]
