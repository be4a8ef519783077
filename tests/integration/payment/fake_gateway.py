"""A small channel gateway that speaks ChannelGateway's contract; the test says what the channel does."""

# ruff: noqa: N802  methods are named by the contract

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.type import decimal_pb2
from paycenter.channel.v1 import channel_gateway_pb2 as pb
from paycenter.channel.v1.channel_gateway_pb2_grpc import ChannelGatewayServicer
from paycenter.errors.v1 import errors_pb2
from paycenter.type.v1 import credential_pb2, family_pb2

from runtime.context import current_scope
from runtime.errors import PaycenterError, Reason
from runtime.ids import NumberKind, new_number, shard_of_number
from tests.integration.payment.faults import Faults

FAILURES = {
    pb.CHANNEL_ORDER_STATE_DECLINED: (
        pb.CHANNEL_FAILURE_REASON_PAYER_FUNDS_INSUFFICIENT,
        "ACQ.BUYER_BALANCE_NOT_ENOUGH",
        errors_pb2.OUTCOME_SAFETY_DECLINED,
    ),
    pb.CHANNEL_ORDER_STATE_NOT_SENT: (
        pb.CHANNEL_FAILURE_REASON_NOT_REACHED,
        "",
        errors_pb2.OUTCOME_SAFETY_NOT_SENT,
    ),
    pb.CHANNEL_ORDER_STATE_UNKNOWN: (
        pb.CHANNEL_FAILURE_REASON_NO_ANSWER,
        "",
        errors_pb2.OUTCOME_SAFETY_MAYBE_SENT,
    ),
}


class FakeGateway(ChannelGatewayServicer):
    """Keeps channel orders by payment; `next_states` are what the channel answers to the next creations."""

    def __init__(self) -> None:
        self.faults = Faults()
        self.accounts: dict[str, pb.PaymentAccount] = {}
        self.tenants: dict[str, str] = {}
        self.orders: dict[str, pb.ChannelOrder] = {}
        self.next_states: list[pb.ChannelOrderState.ValueType] = []
        self.next_close: list[pb.ChannelOrderState.ValueType] = []
        self.channels = {"testpay": True, "otherpay": True}
        self.payments_seen: list[pb.CreateChannelPaymentRequest] = []
        self._decided: dict[tuple[str, str], Any] = {}

    def open_account(
        self,
        merchant_id: str,
        *,
        tenant_id: str,
        channel: str = "testpay",
        fee_ratio: str = "0.006",
        enabled: bool = True,
    ) -> str:
        payment_account_id = new_number(NumberKind.PAYMENT_ACCOUNT, shard=1)
        self.tenants[merchant_id] = tenant_id
        self.accounts[payment_account_id] = pb.PaymentAccount(
            payment_account_id=payment_account_id,
            merchant_id=merchant_id,
            channel=channel,
            fee_ratio=decimal_pb2.Decimal(value=fee_ratio),
            state=pb.PAYMENT_ACCOUNT_STATE_ENABLED if enabled else pb.PAYMENT_ACCOUNT_STATE_DISABLED,
        )
        return payment_account_id

    def order_of(self, payment_id: str) -> pb.ChannelOrder:
        return self.orders[payment_id]

    def move(self, payment_id: str, state: pb.ChannelOrderState.ValueType) -> pb.ChannelOrder:
        """The channel brings an order into a state."""
        order = self.orders[payment_id]
        order.state = state
        order.version += 1
        order.ClearField("failure")
        if state in FAILURES:
            reason, code, safety = FAILURES[state]
            order.failure.reason, order.failure.channel_code, order.failure.outcome_safety = (
                reason,
                code,
                safety,
            )
        if state == pb.CHANNEL_ORDER_STATE_ACCEPTED and order.kind == pb.CHANNEL_ORDER_KIND_PAY:
            order.credential.qr_code.code_url = f"testpay://{order.channel_order_id}"
        else:
            order.ClearField("credential")
        if state == pb.CHANNEL_ORDER_STATE_SUCCEEDED:
            order.channel_transaction_id = f"T{order.channel_order_id[1:12]}"
            order.succeed_time.GetCurrentTime()
        return order

    async def GetMerchant(self, request: pb.GetMerchantRequest, context: Any) -> pb.GetMerchantResponse:
        await self.faults.strike("GetMerchant")
        self._check_merchant(request.merchant_id)
        return pb.GetMerchantResponse(merchant=pb.Merchant(merchant_id=request.merchant_id))

    async def GetPaymentAccount(
        self, request: pb.GetPaymentAccountRequest, context: Any
    ) -> pb.GetPaymentAccountResponse:
        await self.faults.strike("GetPaymentAccount")
        account = self.accounts.get(request.payment_account_id)
        if account is None:
            raise PaycenterError(Reason.PAYMENT_ACCOUNT_NOT_FOUND, "no account", field="payment_account_id")
        self._check_merchant(account.merchant_id)
        return pb.GetPaymentAccountResponse(payment_account=account)

    async def ListPaymentAccounts(
        self, request: pb.ListPaymentAccountsRequest, context: Any
    ) -> pb.ListPaymentAccountsResponse:
        await self.faults.strike("ListPaymentAccounts")
        self._check_merchant(request.merchant_id)
        return pb.ListPaymentAccountsResponse(
            payment_accounts=[
                account for account in self.accounts.values() if account.merchant_id == request.merchant_id
            ]
        )

    async def ListChannels(self, request: pb.ListChannelsRequest, context: Any) -> pb.ListChannelsResponse:
        await self.faults.strike("ListChannels")
        pay = [
            pb.ChannelCapability(operation="pay", invoke_method=method, currency_codes=["CNY"])
            for method in (credential_pb2.INVOKE_METHOD_QR, credential_pb2.INVOKE_METHOD_BARCODE)
        ]
        others = [pb.ChannelCapability(operation=name) for name in ("refund", "payout")]
        return pb.ListChannelsResponse(
            channels=[
                pb.Channel(name=name, enabled=enabled, capabilities=[*pay, *others])
                for name, enabled in self.channels.items()
            ]
        )

    async def CreateChannelPayment(
        self, request: pb.CreateChannelPaymentRequest, context: Any
    ) -> pb.CreateChannelPaymentResponse:
        self.payments_seen.append(request)
        order = await self._once(
            "CreateChannelPayment",
            request,
            lambda: self._create(
                request,
                pb.CHANNEL_ORDER_KIND_PAY,
                request.payment_account_id,
                pb.CHANNEL_ORDER_STATE_ACCEPTED,
            ),
        )
        return pb.CreateChannelPaymentResponse(channel_order=order)

    async def CreateChannelRefund(
        self, request: pb.CreateChannelRefundRequest, context: Any
    ) -> pb.CreateChannelRefundResponse:
        paid = next(o for o in self.orders.values() if o.channel_order_id == request.channel_order_id)
        order = await self._once(
            "CreateChannelRefund",
            request,
            lambda: self._create(
                request,
                pb.CHANNEL_ORDER_KIND_REFUND,
                paid.payment_account_id,
                pb.CHANNEL_ORDER_STATE_SUCCEEDED,
            ),
        )
        return pb.CreateChannelRefundResponse(channel_order=order)

    async def CreateChannelPayout(
        self, request: pb.CreateChannelPayoutRequest, context: Any
    ) -> pb.CreateChannelPayoutResponse:
        order = await self._once(
            "CreateChannelPayout",
            request,
            lambda: self._create(
                request,
                pb.CHANNEL_ORDER_KIND_PAYOUT,
                request.payment_account_id,
                pb.CHANNEL_ORDER_STATE_SUCCEEDED,
            ),
        )
        return pb.CreateChannelPayoutResponse(channel_order=order)

    async def QueryChannelOrder(
        self, request: pb.QueryChannelOrderRequest, context: Any
    ) -> pb.QueryChannelOrderResponse:
        await self.faults.strike("QueryChannelOrder")
        for payment_id, order in self.orders.items():
            if request.channel_order_id == order.channel_order_id or request.payment_id == payment_id:
                return pb.QueryChannelOrderResponse(channel_order=order)
        raise PaycenterError(Reason.CHANNEL_ORDER_NOT_FOUND, "no order")

    async def CloseChannelOrder(
        self, request: pb.CloseChannelOrderRequest, context: Any
    ) -> pb.CloseChannelOrderResponse:
        await self.faults.strike("CloseChannelOrder")
        decided = self._decided.get(("CloseChannelOrder", request.request_id))
        if decided is not None:
            return pb.CloseChannelOrderResponse(channel_order=decided)
        order = next(o for o in self.orders.values() if o.channel_order_id == request.channel_order_id)
        if order.state not in (pb.CHANNEL_ORDER_STATE_SUCCEEDED, pb.CHANNEL_ORDER_STATE_CLOSED):
            state = self.next_close.pop(0) if self.next_close else pb.CHANNEL_ORDER_STATE_CLOSED
            self.move(order.payment_id, state)
        answer = pb.ChannelOrder()
        answer.CopyFrom(order)
        self._decided["CloseChannelOrder", request.request_id] = answer
        await self.faults.strike_after("CloseChannelOrder")
        return pb.CloseChannelOrderResponse(channel_order=order)

    async def GetChannelFamily(
        self, request: pb.GetChannelFamilyRequest, context: Any
    ) -> pb.GetChannelFamilyResponse:
        await self.faults.strike("GetChannelFamily")
        found = [
            order
            for order in self.orders.values()
            if request.number in (order.channel_order_id, order.business_id, order.channel_transaction_id)
        ]
        if not found:
            raise PaycenterError(Reason.NUMBER_NOT_FOUND, "nothing")
        members = [
            family_pb2.FamilyMember(
                service="channel",
                kind="channel_order",
                number=order.channel_order_id,
                parent_number=order.payment_id,
                business_id=order.business_id,
            )
            for order in self.orders.values()
            if order.business_id == found[0].business_id
        ]
        return pb.GetChannelFamilyResponse(business_id=found[0].business_id, members=members)

    def _check_merchant(self, merchant_id: str) -> None:
        tenant_id = self.tenants.get(merchant_id)
        if tenant_id is None:
            raise PaycenterError(Reason.MERCHANT_NOT_FOUND, "no merchant", field="merchant_id")
        if tenant_id != current_scope().platform.tenant_id:
            raise PaycenterError(Reason.TENANT_FORBIDDEN, "another tenant")

    def _create(
        self,
        request: Any,
        kind: pb.ChannelOrderKind.ValueType,
        payment_account_id: str,
        default_state: pb.ChannelOrderState.ValueType,
    ) -> pb.ChannelOrder:
        fee = 0
        if kind == pb.CHANNEL_ORDER_KIND_PAY:
            fee = round(float(self.accounts[payment_account_id].fee_ratio.value) * request.amount.minor_units)
        order = pb.ChannelOrder(
            channel_order_id=new_number(NumberKind.CHANNEL_ORDER, shard=shard_of_number(request.payment_id)),
            payment_id=request.payment_id,
            kind=kind,
            payment_account_id=payment_account_id,
            amount=request.amount,
            business_id=current_scope().platform.business_id,
        )
        order.channel_fee.minor_units, order.channel_fee.currency_code = fee, request.amount.currency_code
        self.orders[request.payment_id] = order
        return self.move(request.payment_id, self.next_states.pop(0) if self.next_states else default_state)

    async def _once(
        self, method: str, request: Any, effect: Callable[[], pb.ChannelOrder]
    ) -> pb.ChannelOrder:
        """Decides a request once; a repetition gets the answer of the first time, as the gateway does."""
        await self.faults.strike(method)
        key = (method, request.request_id)
        body = request.SerializeToString(deterministic=True)
        if key not in self._decided:
            answer = pb.ChannelOrder()
            answer.CopyFrom(effect())
            self._decided[key] = (body, answer)
        before, answer = self._decided[key]
        if before != body:
            raise PaycenterError(Reason.IDEMPOTENCY_KEY_REUSED, "another body", field="request_id")
        await self.faults.strike_after(method)
        assert isinstance(answer, pb.ChannelOrder)
        return answer
