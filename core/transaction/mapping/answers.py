"""Answers of the commands. Invariant: what is stored for a request id is the serialized answer, and a replay parses
to the same bytes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from google.protobuf.message import Message
from paycenter.transaction.v1 import transaction_core_pb2 as transaction

from core.transaction.domain.records import Notification, Order, OrderFile
from core.transaction.mapping import resources

CreateOrderResponse = transaction.CreateOrderResponse
PayOrderResponse = transaction.PayOrderResponse
CloseOrderResponse = transaction.CloseOrderResponse
CreateRefundResponse = transaction.CreateRefundResponse
ResendNotificationResponse = transaction.ResendNotificationResponse

Answer = TypeVar("Answer", bound=Message)


def order_created(file: OrderFile) -> CreateOrderResponse:
    """Answers CreateOrder."""
    return CreateOrderResponse(order=resources.order_to_proto(file))


def order_being_paid(file: OrderFile, attempt_id: str) -> PayOrderResponse:
    """Answers PayOrder."""
    shown = resources.order_to_proto(file)
    own = next(attempt for attempt in shown.attempts if attempt.attempt_id == attempt_id)
    return PayOrderResponse(order=shown, attempt=own)


def order_closed(file: OrderFile) -> CloseOrderResponse:
    """Answers CloseOrder."""
    return CloseOrderResponse(order=resources.order_to_proto(file))


def refund_begun(file: OrderFile, refund_id: str) -> CreateRefundResponse:
    """Answers CreateRefund."""
    refund = file.refund(refund_id)
    if refund is None:
        raise ValueError("the order has no such refund")
    return CreateRefundResponse(refund=resources.refund_to_proto(refund))


def notification_due(notification: Notification) -> ResendNotificationResponse:
    """Answers ResendNotification."""
    return ResendNotificationResponse(notification=resources.notification_to_proto(notification))


def pack(answer: Message) -> bytes:
    """Serializes an answer for its request id."""
    packed: bytes = answer.SerializeToString(deterministic=True)
    return packed


def unpack(kind: type[Answer], packed: bytes) -> Answer:
    """Parses a stored answer."""
    return kind.FromString(packed)


def orders_listed(found: Iterable[Order], next_page_token: str) -> transaction.ListOrdersResponse:
    """Answers ListOrders."""
    return transaction.ListOrdersResponse(
        orders=[resources.bare_order_to_proto(order) for order in found], next_page_token=next_page_token
    )


def notifications_listed(
    found: Iterable[Notification], next_page_token: str
) -> transaction.ListNotificationsResponse:
    """Answers ListNotifications."""
    return transaction.ListNotificationsResponse(
        notifications=[resources.notification_to_proto(one) for one in found], next_page_token=next_page_token
    )
