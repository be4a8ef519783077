"""The TransactionCore servicer: message in, one use case, message out. Invariant: it decides nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

import grpc
from paycenter.transaction.v1 import transaction_core_pb2 as pb
from paycenter.transaction.v1.transaction_core_pb2_grpc import (
    TransactionCoreServicer,
    add_TransactionCoreServicer_to_server,
)
from paycenter.type.v1 import invariant_pb2, server_info_pb2

from core.transaction import (
    close_order,
    create_order,
    family,
    invariants,
    notification,
    pay_order,
    query,
    refund,
    watch,
)
from core.transaction.mapping import answers, requests, resources
from core.transaction.parts import Parts
from runtime.wire import seconds_from_duration

SERVICE_NAME: Final = "paycenter.transaction.v1.TransactionCore"

Context = grpc.aio.ServicerContext[Any, Any]


class TransactionCoreApi(TransactionCoreServicer):
    """Serves orders; a method that is not overridden here answers METHOD_UNIMPLEMENTED."""

    def __init__(self, parts: Parts, *, release: str) -> None:
        self._parts = parts
        self._release = release

    async def CreateOrder(self, request: pb.CreateOrderRequest, context: Context) -> pb.CreateOrderResponse:
        return await create_order.create_order(self._parts, requests.create_order(request))

    async def PayOrder(self, request: pb.PayOrderRequest, context: Context) -> pb.PayOrderResponse:
        return await pay_order.pay_order(self._parts, requests.pay_order(request))

    async def CloseOrder(self, request: pb.CloseOrderRequest, context: Context) -> pb.CloseOrderResponse:
        return await close_order.close_order(self._parts, requests.close_order(request))

    async def GetOrder(self, request: pb.GetOrderRequest, context: Context) -> pb.GetOrderResponse:
        file = await query.get_order(
            self._parts,
            order_id=request.order_id,
            merchant_id=request.merchant_id,
            merchant_order_id=request.merchant_order_id,
        )
        return pb.GetOrderResponse(order=resources.order_to_proto(file))

    async def QueryOrder(self, request: pb.QueryOrderRequest, context: Context) -> pb.QueryOrderResponse:
        file = await query.query_order(self._parts, request.order_id)
        return pb.QueryOrderResponse(order=resources.order_to_proto(file))

    async def ListOrders(self, request: pb.ListOrdersRequest, context: Context) -> pb.ListOrdersResponse:
        found, next_page_token = await query.list_orders(self._parts, requests.list_orders(request))
        return answers.orders_listed(found, next_page_token)

    async def CreateRefund(
        self, request: pb.CreateRefundRequest, context: Context
    ) -> pb.CreateRefundResponse:
        return await refund.create_refund(self._parts, requests.create_refund(request))

    async def GetRefund(self, request: pb.GetRefundRequest, context: Context) -> pb.GetRefundResponse:
        found = await refund.get_refund(self._parts, request.refund_id)
        return pb.GetRefundResponse(refund=resources.refund_to_proto(found))

    async def GetOrderFamily(
        self, request: pb.GetOrderFamilyRequest, context: Context
    ) -> pb.GetOrderFamilyResponse:
        found = await family.get_order_family(self._parts, request.number)
        return pb.GetOrderFamilyResponse(
            business_id=found.business_id,
            order=resources.order_to_proto(found.file) if found.file is not None else None,
            members=found.members,
        )

    async def ListTransactionEvents(
        self, request: pb.ListTransactionEventsRequest, context: Context
    ) -> pb.ListTransactionEventsResponse:
        events, next_revision = await watch.list_events(
            self._parts, start_revision=request.start_revision, most=requests.page_size(request.page_size)
        )
        return pb.ListTransactionEventsResponse(
            events=[resources.event_from_payload(event.payload, revision=event.revision) for event in events],
            next_revision=next_revision,
        )

    async def WatchTransactions(
        self, request: pb.WatchTransactionsRequest, context: Context
    ) -> AsyncIterator[pb.WatchTransactionsResponse]:
        progress_seconds = (
            seconds_from_duration(request.progress_interval)
            if request.HasField("progress_interval")
            else None
        )
        feed = watch.watch(
            self._parts,
            start_revision=request.start_revision,
            business_id=request.business_id,
            progress_seconds=progress_seconds,
        )
        async for entry in feed:
            if entry.event is None:
                event = resources.heartbeat(revision=entry.revision, now=self._parts.clock.now())
            else:
                event = resources.event_from_payload(entry.event.payload, revision=entry.revision)
            yield pb.WatchTransactionsResponse(event=event)

    async def ListNotifications(
        self, request: pb.ListNotificationsRequest, context: Context
    ) -> pb.ListNotificationsResponse:
        found, next_page_token = await query.list_notifications(
            self._parts, requests.list_notifications(request)
        )
        return answers.notifications_listed(found, next_page_token)

    async def ResendNotification(
        self, request: pb.ResendNotificationRequest, context: Context
    ) -> pb.ResendNotificationResponse:
        return await notification.resend_notification(self._parts, requests.resend_notification(request))

    async def CheckInvariants(
        self, request: pb.CheckInvariantsRequest, context: Context
    ) -> pb.CheckInvariantsResponse:
        findings = await invariants.check_invariants(self._parts)
        return pb.CheckInvariantsResponse(
            results=[
                invariant_pb2.InvariantResult(
                    name=finding.name,
                    description=finding.description,
                    checked_count=finding.checked_count,
                    violation_count=finding.violation_count,
                    examples=finding.examples,
                )
                for finding in findings
            ]
        )

    async def GetServerInfo(
        self, request: pb.GetServerInfoRequest, context: Context
    ) -> pb.GetServerInfoResponse:
        return pb.GetServerInfoResponse(
            server_info=server_info_pb2.ServerInfo(
                service=SERVICE_NAME, release=self._release, methods=served_methods()
            )
        )


def add_to_server(api: TransactionCoreApi, server: grpc.aio.Server) -> None:
    """Makes a server answer the calls of TransactionCore."""
    add_TransactionCoreServicer_to_server(api, server)


def served_methods() -> list[str]:
    """Gives the methods of the contract that this release serves, in the contract's order."""
    names = pb.DESCRIPTOR.services_by_name["TransactionCore"].methods_by_name
    return [
        name
        for name in names
        if getattr(TransactionCoreApi, name) is not getattr(TransactionCoreServicer, name)
    ]
