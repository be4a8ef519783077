"""The contract's enums as the domain's. Invariant: two-way and total but for UNSPECIFIED (a test compares)."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Generic, TypeVar

from paycenter.payment.v1 import payment_core_pb2 as payment
from paycenter.transaction.v1 import transaction_core_pb2 as transaction
from paycenter.type.v1 import credential_pb2, party_pb2

from core.transaction.domain.states import (
    AttemptState,
    EventType,
    NotificationState,
    OrderKind,
    OrderState,
    PaymentKind,
    PaymentState,
    RefundState,
)
from runtime.errors import PaycenterError, Reason

Member = TypeVar("Member", bound=StrEnum)


class EnumTable(Generic[Member]):
    """Two dictionaries between one enum of the contract and one of the domain."""

    def __init__(self, proto_enum: Any, prefix: str, members: type[Member]) -> None:
        self.proto_enum = proto_enum
        self.prefix = prefix
        self.to_proto: dict[Member, Any] = {
            member: proto_enum.Value(f"{prefix}{member.value}") for member in members
        }
        self.from_proto: dict[int, Member] = {number: member for member, number in self.to_proto.items()}

    def parse(self, number: int, *, field: str) -> Member:
        """Returns the domain's member; raises PaycenterError(FIELD_INVALID) for a value that it does not know."""
        member = self.from_proto.get(number)
        if member is None:
            raise PaycenterError(
                Reason.FIELD_INVALID, "The value is not one that this release knows.", field=field
            )
        return member

    def parse_optional(self, number: int, *, field: str) -> Member | None:
        """Returns the domain's member, or None for UNSPECIFIED."""
        return None if number == 0 else self.parse(number, field=field)


ORDER_KINDS = EnumTable(transaction.OrderKind, "ORDER_KIND_", OrderKind)
ORDER_STATES = EnumTable(transaction.OrderState, "ORDER_STATE_", OrderState)
ATTEMPT_STATES = EnumTable(transaction.AttemptState, "ATTEMPT_STATE_", AttemptState)
REFUND_STATES = EnumTable(transaction.RefundState, "REFUND_STATE_", RefundState)
NOTIFICATION_STATES = EnumTable(transaction.NotificationState, "NOTIFICATION_STATE_", NotificationState)
EVENT_TYPES = EnumTable(transaction.TransactionEventType, "TRANSACTION_EVENT_TYPE_", EventType)
PAYMENT_STATES = EnumTable(payment.PaymentState, "PAYMENT_STATE_", PaymentState)
PAYMENT_KINDS = EnumTable(payment.PaymentKind, "PAYMENT_KIND_", PaymentKind)


def _names(proto_enum: Any, prefix: str) -> tuple[dict[str, Any], dict[int, str]]:
    to_proto = {name.removeprefix(prefix): number for name, number in proto_enum.items() if number}
    return to_proto, {number: name for name, number in to_proto.items()}


INVOKE_METHOD_TO_PROTO, INVOKE_METHOD_FROM_PROTO = _names(credential_pb2.InvokeMethod, "INVOKE_METHOD_")
OWNER_KIND_TO_PROTO, OWNER_KIND_FROM_PROTO = _names(party_pb2.AccountOwnerKind, "ACCOUNT_OWNER_KIND_")
PAYEE_ID_KIND_TO_PROTO, PAYEE_ID_KIND_FROM_PROTO = _names(party_pb2.PayeeIdKind, "PAYEE_ID_KIND_")
