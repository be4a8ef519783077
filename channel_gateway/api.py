"""The ChannelGateway servicer: message in, one use case, message out. Invariant: it decides nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import grpc
from google.protobuf.message import Message
from paycenter.channel.v1 import channel_gateway_pb2 as pb
from paycenter.channel.v1.channel_gateway_pb2_grpc import (
    ChannelGatewayServicer,
    add_ChannelGatewayServicer_to_server,
)
from paycenter.type.v1 import invariant_pb2, server_info_pb2

from channel_gateway import (
    closing,
    family,
    invariants,
    mapping,
    merchants,
    payment,
    payment_accounts,
    payout,
    querying,
    refund,
    switching,
)
from channel_gateway.commands import Command
from channel_gateway.domain.account import Merchant, PaymentAccount
from channel_gateway.domain.fees import parse_fee_ratio
from channel_gateway.domain.order import ChannelOrder
from channel_gateway.domain.vocabulary import PayeeIdKind
from channel_gateway.finding import find_order
from channel_gateway.listing import cut_page, page_size_of, read_page_token
from channel_gateway.parts import GatewayParts
from channel_gateway.store import reads
from runtime.context import current_scope, decode_platform
from runtime.idempotency import fingerprint
from runtime.wire import money_from_proto

SERVICE_NAME: Final = "paycenter.channel.v1.ChannelGateway"

Context = grpc.aio.ServicerContext[Any, Any]
ResponseT = TypeVar("ResponseT", bound=Message)
ResultT = TypeVar("ResultT")


class ChannelGatewayApi(ChannelGatewayServicer):
    """Serves the channels; a method that is not overridden here answers METHOD_UNIMPLEMENTED."""

    def __init__(self, parts: GatewayParts, *, release: str) -> None:
        self._parts = parts
        self._release = release

    async def CreateMerchant(
        self, request: pb.CreateMerchantRequest, context: Context
    ) -> pb.CreateMerchantResponse:
        def respond(made: Merchant) -> pb.CreateMerchantResponse:
            return pb.CreateMerchantResponse(merchant=mapping.merchant_to_proto(made))

        result = await merchants.create_merchant(
            self._parts,
            tenant_merchant_number=request.tenant_merchant_number,
            display_name=request.display_name,
            command=_command("CreateMerchant", request, respond),
        )
        return _answer(pb.CreateMerchantResponse, result, respond)

    async def GetMerchant(self, request: pb.GetMerchantRequest, context: Context) -> pb.GetMerchantResponse:
        found = await merchants.get_merchant(self._parts, request.merchant_id)
        return pb.GetMerchantResponse(merchant=mapping.merchant_to_proto(found))

    async def ListMerchants(
        self, request: pb.ListMerchantsRequest, context: Context
    ) -> pb.ListMerchantsResponse:
        size = page_size_of(request.page_size)
        found = await merchants.list_merchants(
            self._parts,
            tenant_merchant_number=request.tenant_merchant_number,
            after=read_page_token(request.page_token, listing="merchants"),
            limit=size + 1,
        )
        page, token = cut_page(found, size=size, listing="merchants", key=lambda each: each.merchant_id)
        return pb.ListMerchantsResponse(
            merchants=[mapping.merchant_to_proto(each) for each in page], next_page_token=token
        )

    async def OpenPaymentAccount(
        self, request: pb.OpenPaymentAccountRequest, context: Context
    ) -> pb.OpenPaymentAccountResponse:
        def respond(made: PaymentAccount) -> pb.OpenPaymentAccountResponse:
            return pb.OpenPaymentAccountResponse(payment_account=self._account(made))

        opening = payment_accounts.AccountRequest(
            merchant_id=request.merchant_id,
            channel=request.channel,
            display_name=request.display_name,
            settings=dict(request.settings),
            secrets=dict(request.secrets),
            fee_ratio_millionths=parse_fee_ratio(request.fee_ratio.value, field="fee_ratio"),
        )
        command = _command("OpenPaymentAccount", request, respond)
        result = await payment_accounts.open_account(self._parts, opening, command)
        return _answer(pb.OpenPaymentAccountResponse, result, respond)

    async def GetPaymentAccount(
        self, request: pb.GetPaymentAccountRequest, context: Context
    ) -> pb.GetPaymentAccountResponse:
        opened = await self._parts.accounts.of_tenant(request.payment_account_id)
        return pb.GetPaymentAccountResponse(payment_account=self._account(opened.record))

    async def ListPaymentAccounts(
        self, request: pb.ListPaymentAccountsRequest, context: Context
    ) -> pb.ListPaymentAccountsResponse:
        size = page_size_of(request.page_size)
        found = await payment_accounts.list_accounts(
            self._parts,
            request.merchant_id,
            after=read_page_token(request.page_token, listing="accounts"),
            limit=size + 1,
        )
        page, token = cut_page(found, size=size, listing="accounts", key=lambda each: each.payment_account_id)
        return pb.ListPaymentAccountsResponse(
            payment_accounts=[self._account(each) for each in page], next_page_token=token
        )

    async def UpdatePaymentAccount(
        self, request: pb.UpdatePaymentAccountRequest, context: Context
    ) -> pb.UpdatePaymentAccountResponse:
        def respond(made: PaymentAccount) -> pb.UpdatePaymentAccountResponse:
            return pb.UpdatePaymentAccountResponse(payment_account=self._account(made))

        result = await payment_accounts.update_account(
            self._parts,
            request.payment_account_id,
            etag=request.etag,
            state=mapping.ACCOUNT_STATE_WORDS.get(request.state),
            settings=dict(request.settings),
            command=_command("UpdatePaymentAccount", request, respond),
        )
        return _answer(pb.UpdatePaymentAccountResponse, result, respond)

    async def ListChannels(
        self, request: pb.ListChannelsRequest, context: Context
    ) -> pb.ListChannelsResponse:
        switches = self._parts.switches
        return pb.ListChannelsResponse(
            channels=[
                mapping.channel_to_proto(plugin, enabled=await switches.channel_is_enabled(name))
                for name, plugin in self._parts.plugins.items()
            ]
        )

    async def CreateChannelPayment(
        self, request: pb.CreateChannelPaymentRequest, context: Context
    ) -> pb.CreateChannelPaymentResponse:
        def respond(order: ChannelOrder) -> pb.CreateChannelPaymentResponse:
            return pb.CreateChannelPaymentResponse(channel_order=mapping.order_to_proto(order))

        asked = payment.PaymentRequest(
            payment_id=request.payment_id,
            merchant_id=request.merchant_id,
            payment_account_id=request.payment_account_id,
            invoke_method=mapping.INVOKE_METHOD_WORDS[request.invoke_method],
            amount=money_from_proto(request.amount),
            subject=request.subject,
            channel_payer_id=request.payer.channel_payer_id,
            client_ip=request.payer.client_ip,
            expire_time=mapping.optional_instant(request, "expire_time"),
            return_url=request.return_url,
        )
        command = _command("CreateChannelPayment", request, respond)
        result = await payment.create_payment(self._parts, asked, command)
        return _answer(pb.CreateChannelPaymentResponse, result, respond)

    async def CreateChannelRefund(
        self, request: pb.CreateChannelRefundRequest, context: Context
    ) -> pb.CreateChannelRefundResponse:
        def respond(order: ChannelOrder) -> pb.CreateChannelRefundResponse:
            return pb.CreateChannelRefundResponse(channel_order=mapping.order_to_proto(order))

        asked = refund.RefundRequest(
            payment_id=request.payment_id,
            channel_order_id=request.channel_order_id,
            amount=money_from_proto(request.amount),
            reason=request.reason,
        )
        command = _command("CreateChannelRefund", request, respond)
        result = await refund.create_refund(self._parts, asked, command)
        return _answer(pb.CreateChannelRefundResponse, result, respond)

    async def CreateChannelPayout(
        self, request: pb.CreateChannelPayoutRequest, context: Context
    ) -> pb.CreateChannelPayoutResponse:
        def respond(order: ChannelOrder) -> pb.CreateChannelPayoutResponse:
            return pb.CreateChannelPayoutResponse(channel_order=mapping.order_to_proto(order))

        payee = request.payee
        asked = payout.PayoutRequest(
            payment_id=request.payment_id,
            merchant_id=request.merchant_id,
            payment_account_id=request.payment_account_id,
            amount=money_from_proto(request.amount),
            payee_id=payee.channel_payee_id,
            payee_id_kind=mapping.PAYEE_ID_KIND_WORDS.get(payee.id_kind, PayeeIdKind.CHANNEL_USER),
            real_name=payee.real_name,
            remark=request.remark,
        )
        command = _command("CreateChannelPayout", request, respond)
        result = await payout.create_payout(self._parts, asked, command)
        return _answer(pb.CreateChannelPayoutResponse, result, respond)

    async def GetChannelOrder(
        self, request: pb.GetChannelOrderRequest, context: Context
    ) -> pb.GetChannelOrderResponse:
        order = await find_order(self._parts, request.channel_order_id)
        return pb.GetChannelOrderResponse(channel_order=mapping.order_to_proto(order))

    async def QueryChannelOrder(
        self, request: pb.QueryChannelOrderRequest, context: Context
    ) -> pb.QueryChannelOrderResponse:
        order = await querying.query_order(self._parts, request.channel_order_id, request.payment_id)
        return pb.QueryChannelOrderResponse(channel_order=mapping.order_to_proto(order))

    async def CloseChannelOrder(
        self, request: pb.CloseChannelOrderRequest, context: Context
    ) -> pb.CloseChannelOrderResponse:
        def respond(order: ChannelOrder) -> pb.CloseChannelOrderResponse:
            return pb.CloseChannelOrderResponse(channel_order=mapping.order_to_proto(order))

        command = _command("CloseChannelOrder", request, respond)
        result = await closing.close_order(self._parts, request.channel_order_id, command)
        return _answer(pb.CloseChannelOrderResponse, result, respond)

    async def ListChannelOrders(
        self, request: pb.ListChannelOrdersRequest, context: Context
    ) -> pb.ListChannelOrdersResponse:
        size = page_size_of(request.page_size)
        async with self._parts.database.read() as connection:
            found = await reads.list_orders(
                connection,
                current_scope().platform.tenant_id,
                business_id=request.business_id,
                payment_account_id=request.payment_account_id,
                state=mapping.ORDER_STATE_WORDS.get(request.state),
                before=read_page_token(request.page_token, listing="orders"),
                limit=size + 1,
            )
        page, token = cut_page(found, size=size, listing="orders", key=lambda each: each.channel_order_id)
        return pb.ListChannelOrdersResponse(
            channel_orders=[mapping.order_to_proto(order) for order in page], next_page_token=token
        )

    async def ListNotices(self, request: pb.ListNoticesRequest, context: Context) -> pb.ListNoticesResponse:
        size = page_size_of(request.page_size)
        async with self._parts.database.read() as connection:
            found = await reads.list_notices(
                connection,
                current_scope().platform.tenant_id,
                payment_account_id=request.payment_account_id,
                state=mapping.NOTICE_STATE_WORDS.get(request.state),
                before=read_page_token(request.page_token, listing="notices"),
                limit=size + 1,
            )
        page, token = cut_page(found, size=size, listing="notices", key=lambda each: each.notice_id)
        return pb.ListNoticesResponse(
            notices=[mapping.notice_to_proto(each) for each in page], next_page_token=token
        )

    async def GetChannelFamily(
        self, request: pb.GetChannelFamilyRequest, context: Context
    ) -> pb.GetChannelFamilyResponse:
        found = await family.find_family(self._parts, request.number)
        members = [mapping.order_to_family_member(order) for order in found.orders]
        members += [mapping.notice_to_family_member(notice) for notice in found.notices]
        return pb.GetChannelFamilyResponse(business_id=found.business_id, members=members)

    async def ListChannelEvents(
        self, request: pb.ListChannelEventsRequest, context: Context
    ) -> pb.ListChannelEventsResponse:
        start = max(1, request.start_revision)
        async with self._parts.database.read() as connection:
            stored = await self._parts.outbox.read_events(
                connection, after_revision=start - 1, limit=page_size_of(request.page_size)
            )
        tenant_id = current_scope().platform.tenant_id
        own = [event for event in stored if decode_platform(event.platform).tenant_id == tenant_id]
        return pb.ListChannelEventsResponse(
            events=[mapping.event_to_proto(event) for event in own],
            next_revision=stored[-1].revision + 1 if stored else start,
        )

    async def SetChannelSwitch(
        self, request: pb.SetChannelSwitchRequest, context: Context
    ) -> pb.SetChannelSwitchResponse:
        def respond(result: tuple[Any, bool]) -> pb.SetChannelSwitchResponse:
            plugin, enabled = result
            return pb.SetChannelSwitchResponse(channel=mapping.channel_to_proto(plugin, enabled=enabled))

        result = await switching.set_switch(
            self._parts,
            channel=request.channel,
            operation=request.operation,
            enabled=request.enabled,
            reason=request.reason,
            command=_command("SetChannelSwitch", request, respond),
        )
        return _answer(pb.SetChannelSwitchResponse, result, respond)

    async def CheckInvariants(
        self, request: pb.CheckInvariantsRequest, context: Context
    ) -> pb.CheckInvariantsResponse:
        return pb.CheckInvariantsResponse(
            results=[
                invariant_pb2.InvariantResult(
                    name=found.invariant.name,
                    description=found.invariant.description,
                    checked_count=found.checked_count,
                    violation_count=found.violation_count,
                    examples=found.examples,
                )
                for found in await invariants.check(self._parts.database)
            ]
        )

    async def GetServerInfo(
        self, request: pb.GetServerInfoRequest, context: Context
    ) -> pb.GetServerInfoResponse:
        info = server_info_pb2.ServerInfo(
            service=SERVICE_NAME,
            release=self._release,
            methods=served_methods(),
            capabilities=mapping.capability_names(self._parts.plugins.values()),
        )
        return pb.GetServerInfoResponse(server_info=info)

    def _account(self, account: PaymentAccount) -> pb.PaymentAccount:
        return mapping.account_to_proto(account, notice_url=self._parts.accounts.notice_url_of(account))


def served_methods() -> list[str]:
    """Returns the names of the methods that this release serves, in the order of the contract."""
    methods = pb.DESCRIPTOR.services_by_name["ChannelGateway"].methods
    return [method.name for method in methods if method.name in vars(ChannelGatewayApi)]


def add_to_server(api: ChannelGatewayApi, server: grpc.aio.Server) -> None:
    """Adds the servicer to a gRPC server."""
    add_ChannelGatewayServicer_to_server(api, server)


def _command(method: str, request: Any, respond: Callable[[ResultT], Message]) -> Command[ResultT]:
    return Command(
        method=method,
        request_id=request.request_id,
        fingerprint=fingerprint(request),
        encode=lambda result: respond(result).SerializeToString(),
    )


def _answer(
    response: type[ResponseT], result: ResultT | bytes, respond: Callable[[ResultT], ResponseT]
) -> ResponseT:
    return response.FromString(result) if isinstance(result, bytes) else respond(result)
