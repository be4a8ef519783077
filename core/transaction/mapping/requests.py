"""Requests of the contract as commands. Invariant: nothing of a request is lost on the way but what the contract says
is ignored."""

from __future__ import annotations

from typing import Any

from paycenter.transaction.v1 import transaction_core_pb2 as transaction
from paycenter.type.v1 import party_pb2

from core.transaction import commands
from core.transaction.domain.amounts import RequestedShare
from core.transaction.domain.records import Instruction, Owner, Payee, Purpose
from core.transaction.domain.states import OrderKind
from core.transaction.mapping import enums
from runtime.errors import PaycenterError, Reason
from runtime.idempotency import fingerprint
from runtime.wire import datetime_from_timestamp, money_from_proto

DEFAULT_PAGE_SIZE = 50
LARGEST_PAGE_SIZE = 500

_KIND_OF_PURPOSE = {
    "purchase": OrderKind.PURCHASE,
    "recharge": OrderKind.RECHARGE,
    "withdrawal": OrderKind.WITHDRAWAL,
    "transfer": OrderKind.TRANSFER,
    "split_purchase": OrderKind.SPLIT_PURCHASE,
    "preauthorized_purchase": OrderKind.PREAUTHORIZED_PURCHASE,
}


def create_order(request: transaction.CreateOrderRequest) -> commands.CreateOrder:
    """Reads CreateOrder."""
    purpose = request.WhichOneof("purpose")
    if purpose is None:
        raise PaycenterError(Reason.FIELD_INVALID, "What the order is to do is missing.", field="purpose")
    return commands.CreateOrder(
        key=_key(request),
        merchant_id=request.merchant_id,
        merchant_order_id=request.merchant_order_id,
        merchant_serial_number=request.merchant_serial_number,
        amount=money_from_proto(request.amount),
        subject=request.subject,
        kind=_KIND_OF_PURPOSE[purpose],
        purpose=_purpose(request, purpose),
        requested_shares=tuple(_requested_share(receiver) for receiver in request.split_purchase.receivers)
        if purpose == "split_purchase"
        else (),
        notify_url=request.notify_url,
        expire_time=datetime_from_timestamp(request.expire_time) if request.HasField("expire_time") else None,
        annotations=dict(request.annotations),
    )


def pay_order(request: transaction.PayOrderRequest) -> commands.PayOrder:
    """Reads PayOrder."""
    return commands.PayOrder(
        key=_key(request),
        merchant_id=request.merchant_id,
        order_id=request.order_id,
        instruction=Instruction(
            payment_account_id=request.payment_account_id,
            invoke_method=enums.INVOKE_METHOD_FROM_PROTO.get(request.invoke_method, ""),
            payer_user_id=request.payer.user_id,
            payer_channel_id=request.payer.channel_payer_id,
            payer_client_ip=request.payer.client_ip,
            return_url=request.return_url,
            authorization_code=request.authorization_code,
            agreement_id=request.agreement_id,
        ),
    )


def close_order(request: transaction.CloseOrderRequest) -> commands.CloseOrder:
    """Reads CloseOrder."""
    return commands.CloseOrder(key=_key(request), merchant_id=request.merchant_id, order_id=request.order_id)


def create_refund(request: transaction.CreateRefundRequest) -> commands.CreateRefund:
    """Reads CreateRefund."""
    return commands.CreateRefund(
        key=_key(request),
        merchant_id=request.merchant_id,
        order_id=request.order_id,
        amount=money_from_proto(request.amount),
        merchant_refund_id=request.merchant_refund_id,
        reason=request.reason,
    )


def resend_notification(request: transaction.ResendNotificationRequest) -> commands.ResendNotification:
    """Reads ResendNotification."""
    return commands.ResendNotification(key=_key(request), notification_id=request.notification_id)


def list_orders(request: transaction.ListOrdersRequest) -> commands.ListOrders:
    """Reads ListOrders."""
    return commands.ListOrders(
        merchant_id=request.merchant_id,
        state=enums.ORDER_STATES.parse_optional(request.state, field="state"),
        page=commands.Page(size=page_size(request.page_size), token=request.page_token),
    )


def list_notifications(request: transaction.ListNotificationsRequest) -> commands.ListNotifications:
    """Reads ListNotifications."""
    return commands.ListNotifications(
        order_id=request.order_id,
        state=enums.NOTIFICATION_STATES.parse_optional(request.state, field="state"),
        page=commands.Page(size=page_size(request.page_size), token=request.page_token),
    )


def page_size(wanted: int) -> int:
    """Returns how many entries a page gets: 50 when not said, never above 500."""
    return min(wanted, LARGEST_PAGE_SIZE) if wanted else DEFAULT_PAGE_SIZE


def owner(message: party_pb2.AccountOwner) -> Owner:
    """Reads the owner of a balance."""
    return Owner(kind=enums.OWNER_KIND_FROM_PROTO[message.kind], owner_id=message.owner_id)


def _key(request: Any) -> commands.CommandKey:
    return commands.CommandKey(request_id=request.request_id, fingerprint=fingerprint(request))


def _purpose(request: transaction.CreateOrderRequest, purpose: str) -> Purpose:
    if purpose == "recharge":
        return Purpose(balance_owner=owner(request.recharge.balance_owner))
    if purpose == "withdrawal":
        payee = request.withdrawal.payee
        return Purpose(
            balance_owner=owner(request.withdrawal.balance_owner),
            payee=Payee(
                channel_payee_id=payee.channel_payee_id,
                id_kind=enums.PAYEE_ID_KIND_FROM_PROTO.get(payee.id_kind, ""),
                real_name=payee.real_name,
            ),
        )
    if purpose == "transfer":
        return Purpose(
            source_owner=owner(request.transfer.source_owner),
            destination_owner=owner(request.transfer.destination_owner),
        )
    return Purpose()


def _requested_share(receiver: party_pb2.SplitReceiver) -> RequestedShare:
    share = receiver.WhichOneof("share")
    return RequestedShare(
        receiver=owner(receiver.receiver),
        fixed_minor_units=receiver.amount.minor_units if share == "amount" else None,
        fixed_currency_code=receiver.amount.currency_code if share == "amount" else "",
        ratio=receiver.ratio.value if share == "ratio" else None,
        remainder=share == "remainder",
    )
