"""PaymentCore as TransactionCore sees it: the real contract on a real socket, money that moves when a test says so."""

# ruff: noqa: N802 - the methods have the names of the contract

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from paycenter.payment.v1 import payment_core_pb2 as pc
from paycenter.payment.v1.payment_core_pb2_grpc import (
    PaymentCoreServicer,
    add_PaymentCoreServicer_to_server,
)
from paycenter.type.v1 import credential_pb2, family_pb2

from runtime.context import current_scope
from runtime.errors import PaycenterError, Reason
from runtime.grpc_server import GrpcServer
from runtime.ids import NumberKind, new_number, shard_of_owner
from runtime.settings import RuntimeSettings

Behaviour = Callable[[pc.Payment], None]

SUCCEEDED = pc.PAYMENT_STATE_SUCCEEDED
PENDING = pc.PAYMENT_STATE_PENDING
FAILED = pc.PAYMENT_STATE_FAILED
CLOSED = pc.PAYMENT_STATE_CLOSED
UNKNOWN = pc.PAYMENT_STATE_UNKNOWN
IN_REVIEW = pc.PAYMENT_STATE_IN_REVIEW

_FIRST_STATE = {
    "CreateRecharge": (pc.PAYMENT_KIND_RECHARGE, PENDING),
    "CreateWithdrawal": (pc.PAYMENT_KIND_WITHDRAWAL, PENDING),
    "CreateRefund": (pc.PAYMENT_KIND_REFUND, SUCCEEDED),
    "CreateTransfer": (pc.PAYMENT_KIND_TRANSFER, SUCCEEDED),
}


class FakePaymentCore(PaymentCoreServicer):
    """Keeps payments in memory; answers the same request id with the same answer, and refuses another body."""

    def __init__(self) -> None:
        self.payments: dict[str, pc.Payment] = {}
        self.calls: list[tuple[str, Any]] = []
        self.business_ids: dict[str, str] = {}
        self.first_state: dict[str, int] = {}
        self.refusals: dict[str, list[PaycenterError]] = defaultdict(list)
        self.silent: set[str] = set()
        self.deaf: set[str] = set()
        self.on_close = CLOSED
        self.members: dict[str, list[family_pb2.FamilyMember]] = {}
        self._answers: dict[tuple[str, str], tuple[bytes, pc.Payment]] = {}
        self._server = GrpcServer(
            RuntimeSettings(reflection_enabled=False, drain_grace_seconds=0.2),
            "fake-payment",
            ["paycenter.payment.v1.PaymentCore"],
            lambda server: add_PaymentCoreServicer_to_server(self, server),
        )

    async def start(self) -> str:
        await self._server.start()
        return f"127.0.0.1:{self._server.port}"

    async def stop(self) -> None:
        await self._server.stop()

    def refuse(self, method: str, reason: Reason, message: str = "refused by the fake", **more: Any) -> None:
        """The next call of `method` is refused."""
        self.refusals[method].append(PaycenterError(reason, message, **more))

    def count(self, method: str) -> int:
        return sum(called == method for called, _ in self.calls)

    def of(self, number: str, kind: int = pc.PAYMENT_KIND_RECHARGE) -> pc.Payment:
        """Returns the payment that serves an attempt or refund."""
        found = [p for p in self.payments.values() if p.transaction_number == number and p.kind == kind]
        assert len(found) == 1, f"{len(found)} payments of kind {kind} serve {number}"
        return found[0]

    def becomes(self, payment: pc.Payment, state: int, **fields: Any) -> pc.Payment:
        """Changes a payment below; who hears of it is another matter."""
        payment.state = state  # type: ignore[assignment]
        payment.version += 1
        payment.update_time.GetCurrentTime()
        if state == SUCCEEDED:
            payment.succeed_time.GetCurrentTime()
        if state in (SUCCEEDED, FAILED, CLOSED):
            payment.ClearField("credential")
        for name, value in fields.items():
            if name in ("failure_reason", "channel_code"):
                setattr(payment.failure, "reason" if name == "failure_reason" else name, value)
            else:
                setattr(payment, name, value)
        return payment

    async def _create(self, method: str, request: Any) -> pc.Payment:
        self.calls.append((method, request))
        if method in self.deaf:
            await asyncio.sleep(30)
        if self.refusals[method]:
            raise self.refusals[method].pop(0)
        body = request.SerializeToString(deterministic=True)
        known = self._answers.get((method, request.request_id))
        if known is not None and known[0] != body:
            raise PaycenterError(Reason.IDEMPOTENCY_KEY_REUSED, "another body", field="request_id")
        if known is None:
            known = (body, self._accept(method, request))
            self._answers[method, request.request_id] = known
        if method in self.silent:
            await asyncio.sleep(30)
        answer = pc.Payment()
        answer.CopyFrom(known[1])
        return answer

    def _accept(self, method: str, request: Any) -> pc.Payment:
        kind, usual_state = _FIRST_STATE[method]
        state: Any = self.first_state.get(method, usual_state)
        number = new_number(NumberKind.PAYMENT, shard=shard_of_owner(request.merchant_id))
        now = Timestamp()
        now.GetCurrentTime()
        payment = pc.Payment(
            payment_id=number,
            kind=kind,
            state=state,
            merchant_id=request.merchant_id,
            order_id=request.order_id,
            transaction_number=request.transaction_number,
            amount=request.amount,
            business_id=current_scope().platform.business_id,
            trace_id=current_scope().trace.trace_id,
            version=2,
            create_time=now,
            update_time=now,
        )
        if method == "CreateRecharge":
            payment.payment_account_id = request.payment_account_id or "routed"
            payment.channel_order_id = f"C{number[1:]}"
            if state == PENDING:
                payment.credential.CopyFrom(
                    credential_pb2.PaymentCredential(
                        qr_code=credential_pb2.QrCode(code_url=f"pay://{number}")
                    )
                )
        if state == SUCCEEDED:
            payment.succeed_time.CopyFrom(now)
        self.payments[number] = payment
        self.business_ids[payment.business_id] = number
        snapshot = pc.Payment()
        snapshot.CopyFrom(payment)
        return snapshot

    async def CreateRecharge(self, request: Any, context: Any) -> pc.CreateRechargeResponse:
        return pc.CreateRechargeResponse(payment=await self._create("CreateRecharge", request))

    async def CreateWithdrawal(self, request: Any, context: Any) -> pc.CreateWithdrawalResponse:
        return pc.CreateWithdrawalResponse(payment=await self._create("CreateWithdrawal", request))

    async def CreateRefund(self, request: Any, context: Any) -> pc.CreateRefundResponse:
        return pc.CreateRefundResponse(payment=await self._create("CreateRefund", request))

    async def CreateTransfer(self, request: Any, context: Any) -> pc.CreateTransferResponse:
        return pc.CreateTransferResponse(payment=await self._create("CreateTransfer", request))

    async def ClosePayment(self, request: Any, context: Any) -> pc.ClosePaymentResponse:
        self.calls.append(("ClosePayment", request))
        if "ClosePayment" in self.deaf:
            await asyncio.sleep(30)
        if self.refusals["ClosePayment"]:
            raise self.refusals["ClosePayment"].pop(0)
        payment = self._payment(request.payment_id)
        if payment.state in (PENDING, UNKNOWN, IN_REVIEW, pc.PAYMENT_STATE_CLOSING):
            self.becomes(payment, self.on_close)
        return pc.ClosePaymentResponse(payment=payment)

    async def QueryPayment(self, request: Any, context: Any) -> pc.QueryPaymentResponse:
        self.calls.append(("QueryPayment", request))
        if "QueryPayment" in self.deaf:
            await asyncio.sleep(30)
        return pc.QueryPaymentResponse(payment=self._payment(request.payment_id))

    async def GetPaymentFamily(self, request: Any, context: Any) -> pc.GetPaymentFamilyResponse:
        self.calls.append(("GetPaymentFamily", request))
        for business_id, members in self.members.items():
            if request.number == business_id or request.number in [m.number for m in members]:
                return pc.GetPaymentFamilyResponse(business_id=business_id, members=members)
        raise PaycenterError(Reason.NUMBER_NOT_FOUND, "no such number")

    def _payment(self, payment_id: str) -> pc.Payment:
        if payment_id not in self.payments:
            raise PaycenterError(Reason.PAYMENT_NOT_FOUND, "no such payment")
        return self.payments[payment_id]
