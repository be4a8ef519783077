"""What PaymentCore asks of ChannelGateway. Invariant: a command is composed once and sent byte for byte the same every
time, under a request id that follows from the payment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING

import grpc
from paycenter.channel.v1 import channel_gateway_pb2 as pb
from paycenter.channel.v1.channel_gateway_pb2_grpc import ChannelGatewayStub
from paycenter.type.v1 import credential_pb2

from core.payment.domain.channel import ChannelWord, PayeeDetails, PayerDetails
from core.payment.domain.family import Family
from core.payment.domain.payment import Payment
from core.payment.domain.route import Capability, ChannelProfile, PaymentAccount
from core.payment.mapping.payments import member_from_proto
from core.payment.mapping.vocabulary import (
    CHANNEL_STATE_OF_WIRE,
    INVOKE_METHOD_OF_WIRE,
    INVOKE_METHODS,
    channel_reason_name,
)
from core.payment.remote.calls import answer_of
from runtime.errors import PaycenterError, Reason
from runtime.ids import derive_request_id
from runtime.wire import datetime_from_timestamp, money_from_proto, money_to_proto, timestamp_from_datetime

_PAGE_SIZE = 500

if TYPE_CHECKING:
    from paycenter.channel.v1.channel_gateway_pb2_grpc import ChannelGatewayAsyncStub


class ChannelGatewayClient:
    """ChannelGateway over one channel; every call takes its scope from the running task."""

    def __init__(self, channel: grpc.aio.Channel, *, call_seconds: float) -> None:
        self._stub: ChannelGatewayAsyncStub = ChannelGatewayStub(channel)
        self._call_seconds = call_seconds

    def compose_payment(self, payment: Payment, details: PayerDetails) -> bytes:
        """Returns the command that asks the channel to take the money of a recharge."""
        assert payment.invoke_method is not None, "a recharge has an invoke method"
        command = pb.CreateChannelPaymentRequest(
            request_id=_request_id(payment),
            payment_id=payment.payment_id,
            merchant_id=payment.merchant_id,
            payment_account_id=payment.payment_account_id,
            invoke_method=INVOKE_METHODS[payment.invoke_method],
            amount=money_to_proto(payment.amount),
            subject=details.subject,
            expire_time=timestamp_from_datetime(details.expire_time),
            return_url=details.return_url,
            authorization_code=details.authorization_code,
        )
        if details.payer:
            command.payer.ParseFromString(details.payer)
        return command.SerializeToString()

    def compose_refund(self, refund: Payment, *, channel_order_id: str, reason: str) -> bytes:
        """Returns the command that asks the channel to give money of a channel payment back."""
        return pb.CreateChannelRefundRequest(
            request_id=_request_id(refund),
            payment_id=refund.payment_id,
            channel_order_id=channel_order_id,
            amount=money_to_proto(refund.amount),
            reason=reason,
        ).SerializeToString()

    def compose_payout(self, payment: Payment, details: PayeeDetails) -> bytes:
        """Returns the command that asks the channel to pay money out."""
        command = pb.CreateChannelPayoutRequest(
            request_id=_request_id(payment),
            payment_id=payment.payment_id,
            merchant_id=payment.merchant_id,
            payment_account_id=payment.payment_account_id,
            amount=money_to_proto(payment.amount),
            remark=details.remark,
        )
        command.payee.ParseFromString(details.payee)
        return command.SerializeToString()

    async def create_payment(self, command: bytes) -> ChannelWord:
        """Sends what `compose_payment` made; repeating it is harmless."""
        request = pb.CreateChannelPaymentRequest.FromString(command)
        response = await answer_of(self._stub.CreateChannelPayment(request, timeout=self._call_seconds))
        return word_of(response.channel_order)

    async def create_refund(self, command: bytes) -> ChannelWord:
        """Sends what `compose_refund` made; repeating it is harmless."""
        request = pb.CreateChannelRefundRequest.FromString(command)
        response = await answer_of(self._stub.CreateChannelRefund(request, timeout=self._call_seconds))
        return word_of(response.channel_order)

    async def create_payout(self, command: bytes) -> ChannelWord:
        """Sends what `compose_payout` made; repeating it is harmless."""
        request = pb.CreateChannelPayoutRequest.FromString(command)
        response = await answer_of(self._stub.CreateChannelPayout(request, timeout=self._call_seconds))
        return word_of(response.channel_order)

    async def query_order(self, payment: Payment) -> ChannelWord | None:
        """Asks what became of the payment's channel order; None when the gateway has none. Moves nothing."""
        request = pb.QueryChannelOrderRequest(
            channel_order_id=payment.channel_order_id,
            payment_id="" if payment.channel_order_id else payment.payment_id,
        )
        try:
            response = await answer_of(self._stub.QueryChannelOrder(request, timeout=self._call_seconds))
        except PaycenterError as error:
            if error.reason is Reason.CHANNEL_ORDER_NOT_FOUND:
                return None
            raise
        return word_of(response.channel_order)

    async def close_order(self, payment: Payment, *, try_number: int) -> ChannelWord:
        """Closes the payment's channel order; each try has an id of its own, since closing again is harmless."""
        request = pb.CloseChannelOrderRequest(
            request_id=derive_request_id(payment.payment_id, "close", str(try_number)),
            channel_order_id=payment.channel_order_id,
        )
        response = await answer_of(self._stub.CloseChannelOrder(request, timeout=self._call_seconds))
        return word_of(response.channel_order)

    async def get_payment_account(self, payment_account_id: str) -> PaymentAccount:
        """Reads a payment account. Raises PaycenterError(PAYMENT_ACCOUNT_NOT_FOUND or TENANT_FORBIDDEN)."""
        request = pb.GetPaymentAccountRequest(payment_account_id=payment_account_id)
        response = await answer_of(self._stub.GetPaymentAccount(request))
        return _account_of(response.payment_account)

    async def list_payment_accounts(self, merchant_id: str) -> Sequence[PaymentAccount]:
        """Reads all payment accounts of a merchant. Raises PaycenterError(MERCHANT_NOT_FOUND)."""
        accounts: list[PaymentAccount] = []
        page_token = ""
        while True:
            request = pb.ListPaymentAccountsRequest(
                merchant_id=merchant_id, page_size=_PAGE_SIZE, page_token=page_token
            )
            response = await answer_of(self._stub.ListPaymentAccounts(request))
            accounts.extend(_account_of(account) for account in response.payment_accounts)
            page_token = response.next_page_token
            if not page_token:
                return accounts

    async def list_channels(self) -> Mapping[str, ChannelProfile]:
        """Reads what each channel can do, by name."""
        response = await answer_of(self._stub.ListChannels(pb.ListChannelsRequest()))
        return {channel.name: _channel_of(channel) for channel in response.channels}

    async def check_merchant(self, merchant_id: str) -> None:
        """Raises PaycenterError(MERCHANT_NOT_FOUND or TENANT_FORBIDDEN) unless the merchant is the tenant's."""
        await answer_of(self._stub.GetMerchant(pb.GetMerchantRequest(merchant_id=merchant_id)))

    async def find_family(self, number: str) -> Family | None:
        """Finds the records of a number or business identifier; None when there are none."""
        try:
            response = await answer_of(self._stub.GetChannelFamily(pb.GetChannelFamilyRequest(number=number)))
        except PaycenterError as error:
            if error.reason is Reason.NUMBER_NOT_FOUND:
                return None
            raise
        return Family(response.business_id, tuple(member_from_proto(each) for each in response.members))


def word_of(order: pb.ChannelOrder) -> ChannelWord:
    """Returns what a channel order says; also used for the events of the bus."""
    failure = order.failure if order.HasField("failure") else None
    return ChannelWord(
        channel_order_id=order.channel_order_id,
        payment_id=order.payment_id,
        state=CHANNEL_STATE_OF_WIRE.get(order.state),
        amount=money_from_proto(order.amount),
        channel_fee_minor_units=order.channel_fee.minor_units,
        channel_transaction_id=order.channel_transaction_id,
        failure_reason=channel_reason_name(failure.reason) if failure is not None else "",
        failure_channel_code=failure.channel_code if failure is not None else "",
        credential=order.credential.SerializeToString() if order.HasField("credential") else None,
        succeed_time=datetime_from_timestamp(order.succeed_time) if order.HasField("succeed_time") else None,
        version=order.version,
    )


def word_of_event(message: bytes) -> ChannelWord:
    """Returns what a ChannelEvent of the bus says of its channel order."""
    return word_of(pb.ChannelEvent.FromString(message).channel_order)


def _request_id(payment: Payment) -> str:
    return derive_request_id(payment.payment_id, "channel")


def _account_of(account: pb.PaymentAccount) -> PaymentAccount:
    try:
        fee_ratio = Decimal(account.fee_ratio.value or "0")
    except InvalidOperation:
        fee_ratio = Decimal(0)
    return PaymentAccount(
        payment_account_id=account.payment_account_id,
        merchant_id=account.merchant_id,
        channel=account.channel,
        fee_ratio=fee_ratio,
        enabled=account.state == pb.PAYMENT_ACCOUNT_STATE_ENABLED,
    )


def _channel_of(channel: pb.Channel) -> ChannelProfile:
    return ChannelProfile(
        name=channel.name,
        enabled=channel.enabled,
        capabilities=tuple(
            Capability(
                operation=capability.operation,
                invoke_method=INVOKE_METHOD_OF_WIRE.get(capability.invoke_method),
                currency_codes=frozenset(capability.currency_codes),
            )
            for capability in channel.capabilities
            if capability.invoke_method == credential_pb2.INVOKE_METHOD_UNSPECIFIED
            or capability.invoke_method in INVOKE_METHOD_OF_WIRE
        ),
    )
