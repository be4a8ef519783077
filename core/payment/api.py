"""The servicer of PaymentCore: proto in, one call to a use case, proto out. Invariant: no rule lives here, and what is
answered twice is the same bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

import grpc
from google.protobuf.message import Message
from paycenter.payment.v1 import payment_core_pb2 as pb
from paycenter.payment.v1.payment_core_pb2_grpc import PaymentCoreServicer, add_PaymentCoreServicer_to_server
from paycenter.type.v1 import invariant_pb2, server_info_pb2

from core.payment.close import Closing
from core.payment.family import Families
from core.payment.feed import Feed
from core.payment.invariants import check_invariants
from core.payment.mapping import requests
from core.payment.mapping.events import event_to_proto, heartbeat_to_proto
from core.payment.mapping.payments import member_to_proto, payment_to_proto
from core.payment.query import Queries
from core.payment.recharge import Recharges
from core.payment.records import Call
from core.payment.refund import Refunds
from core.payment.resolve import Resolutions
from core.payment.transfer import Transfers
from core.payment.withdrawal import Withdrawals
from runtime.clock import Clock
from runtime.database import Database
from runtime.idempotency import fingerprint
from runtime.wire import seconds_from_duration

SERVICE_NAME: Final = "paycenter.payment.v1.PaymentCore"

_Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class UseCases:
    """Everything that the servicer calls."""

    recharges: Recharges
    withdrawals: Withdrawals
    refunds: Refunds
    transfers: Transfers
    closing: Closing
    resolutions: Resolutions
    queries: Queries
    families: Families
    feed: Feed
    database: Database
    clock: Clock


class PaymentCoreApi(PaymentCoreServicer):
    """Serves the methods of this release; those of the contract that are absent here answer METHOD_UNIMPLEMENTED."""

    def __init__(self, use_cases: UseCases, *, release: str) -> None:
        self._use = use_cases
        self._release = release

    async def CreateRecharge(
        self, request: pb.CreateRechargeRequest, context: _Context
    ) -> pb.CreateRechargeResponse:
        answer = await self._use.recharges.create(
            requests.recharge_command(request), _call("CreateRecharge", request)
        )
        return pb.CreateRechargeResponse.FromString(answer)

    async def CreateWithdrawal(
        self, request: pb.CreateWithdrawalRequest, context: _Context
    ) -> pb.CreateWithdrawalResponse:
        answer = await self._use.withdrawals.create(
            requests.withdrawal_command(request), _call("CreateWithdrawal", request)
        )
        return pb.CreateWithdrawalResponse.FromString(answer)

    async def CreateRefund(
        self, request: pb.CreateRefundRequest, context: _Context
    ) -> pb.CreateRefundResponse:
        answer = await self._use.refunds.create(
            requests.refund_command(request), _call("CreateRefund", request)
        )
        return pb.CreateRefundResponse.FromString(answer)

    async def CreateTransfer(
        self, request: pb.CreateTransferRequest, context: _Context
    ) -> pb.CreateTransferResponse:
        answer = await self._use.transfers.create(
            requests.transfer_command(request), _call("CreateTransfer", request)
        )
        return pb.CreateTransferResponse.FromString(answer)

    async def ClosePayment(
        self, request: pb.ClosePaymentRequest, context: _Context
    ) -> pb.ClosePaymentResponse:
        answer = await self._use.closing.close(request.payment_id, _call("ClosePayment", request))
        return pb.ClosePaymentResponse.FromString(answer)

    async def ResolvePayment(
        self, request: pb.ResolvePaymentRequest, context: _Context
    ) -> pb.ResolvePaymentResponse:
        answer = await self._use.resolutions.resolve(
            requests.resolve_command(request), _call("ResolvePayment", request)
        )
        return pb.ResolvePaymentResponse.FromString(answer)

    async def GetPayment(self, request: pb.GetPaymentRequest, context: _Context) -> pb.GetPaymentResponse:
        payment = await self._use.queries.get(request.payment_id)
        return pb.GetPaymentResponse(payment=payment_to_proto(payment))

    async def QueryPayment(
        self, request: pb.QueryPaymentRequest, context: _Context
    ) -> pb.QueryPaymentResponse:
        payment = await self._use.queries.query(request.payment_id)
        return pb.QueryPaymentResponse(payment=payment_to_proto(payment))

    async def ListPayments(
        self, request: pb.ListPaymentsRequest, context: _Context
    ) -> pb.ListPaymentsResponse:
        payments, next_page_token = await self._use.queries.list(
            requests.payment_filter(request), page_size=request.page_size, page_token=request.page_token
        )
        return pb.ListPaymentsResponse(
            payments=[payment_to_proto(payment) for payment in payments], next_page_token=next_page_token
        )

    async def GetPaymentFamily(
        self, request: pb.GetPaymentFamilyRequest, context: _Context
    ) -> pb.GetPaymentFamilyResponse:
        family = await self._use.families.find(request.number)
        return pb.GetPaymentFamilyResponse(
            business_id=family.business_id, members=[member_to_proto(member) for member in family.members]
        )

    async def ListPaymentEvents(
        self, request: pb.ListPaymentEventsRequest, context: _Context
    ) -> pb.ListPaymentEventsResponse:
        events, next_revision = await self._use.feed.list(
            start_revision=request.start_revision, page_size=request.page_size
        )
        return pb.ListPaymentEventsResponse(
            events=[event_to_proto(event) for event in events], next_revision=next_revision
        )

    async def WatchPayments(
        self, request: pb.WatchPaymentsRequest, context: _Context
    ) -> AsyncIterator[pb.WatchPaymentsResponse]:
        heartbeat_seconds = (
            seconds_from_duration(request.progress_interval) if request.HasField("progress_interval") else 0.0
        )
        watched = self._use.feed.watch(
            start_revision=request.start_revision,
            business_id=request.business_id,
            heartbeat_seconds=heartbeat_seconds,
        )
        async for entry in watched:
            if isinstance(entry, int):
                event = heartbeat_to_proto(entry, now=self._use.clock.now())
            else:
                event = event_to_proto(entry)
            yield pb.WatchPaymentsResponse(event=event)

    async def CheckInvariants(
        self, request: pb.CheckInvariantsRequest, context: _Context
    ) -> pb.CheckInvariantsResponse:
        results = await check_invariants(self._use.database)
        return pb.CheckInvariantsResponse(
            results=[
                invariant_pb2.InvariantResult(
                    name=result.name,
                    description=result.description,
                    checked_count=result.checked_count,
                    violation_count=result.violation_count,
                    examples=result.examples,
                )
                for result in results
            ]
        )

    async def GetServerInfo(
        self, request: pb.GetServerInfoRequest, context: _Context
    ) -> pb.GetServerInfoResponse:
        return pb.GetServerInfoResponse(
            server_info=server_info_pb2.ServerInfo(
                service=SERVICE_NAME,
                release=self._release,
                methods=served_methods(),
                capabilities=["routing.cheapest", "risk.single_amount", "risk.velocity", "transfer.split"],
            )
        )


def add_to_server(use_cases: UseCases, server: grpc.aio.Server, *, release: str) -> None:
    """Makes a server answer PaymentCore's calls."""
    api = PaymentCoreApi(use_cases, release=release)  # type: ignore[abstract]  # the rest is not served yet
    add_PaymentCoreServicer_to_server(api, server)


def served_methods() -> list[str]:
    """Returns the methods of the contract that this release serves, in the contract's order."""
    service = pb.DESCRIPTOR.services_by_name["PaymentCore"]
    return [
        method.name
        for method in service.methods
        if getattr(PaymentCoreApi, method.name) is not getattr(PaymentCoreServicer, method.name)
    ]


def _call(method: str, request: Message) -> Call:
    request_id: str = getattr(request, "request_id")  # noqa: B009  every command of the contract has the field
    return Call(method, request_id, fingerprint(request))
