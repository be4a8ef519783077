"""The typed client of PaymentCore. Invariant: every request is built from stored records alone, so that repeating a
step sends the same body under the same request id."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Protocol, TypeVar

import grpc
from paycenter.payment.v1 import payment_core_pb2 as payment
from paycenter.payment.v1.payment_core_pb2_grpc import PaymentCoreStub
from paycenter.type.v1 import family_pb2, party_pb2

from core.transaction.domain.records import Attempt, Leg, Order, Owner, Payee, PaymentReport, Refund, Refusal
from core.transaction.domain.states import OrderKind, PaymentKind, PaymentState
from core.transaction.mapping import enums
from runtime.errors import Code, PaycenterError, Reason
from runtime.grpc_client import raise_for_rpc
from runtime.ids import derive_request_id
from runtime.money import Money
from runtime.wire import datetime_from_timestamp, money_to_proto, timestamp_from_datetime

if TYPE_CHECKING:
    from paycenter.payment.v1.payment_core_pb2_grpc import PaymentCoreAsyncStub

_REFUSING_CODES = frozenset(
    {
        Code.INVALID_ARGUMENT,
        Code.NOT_FOUND,
        Code.ALREADY_EXISTS,
        Code.PERMISSION_DENIED,
        Code.FAILED_PRECONDITION,
        Code.OUT_OF_RANGE,
        Code.UNIMPLEMENTED,
    }
)
LONGEST_REMARK = 64


def is_refusal(error: PaycenterError) -> bool:
    """Whether PaymentCore refused for good: nothing was begun there and the same request would be refused again.

    Everything else (not reached, too late, busy, in progress) proves nothing and is repeated under the same id.
    """
    if error.may_have_begun or error.reason is Reason.IDEMPOTENCY_KEY_REUSED:
        return False
    return error.code in _REFUSING_CODES or error.reason is Reason.CHANNEL_NOT_CONTACTED


def refusal_of(error: PaycenterError) -> Refusal:
    """Returns the stored form of a refusal."""
    return Refusal(
        reason=error.reason.value,
        message=error.message,
        violations=error.violations,
        metadata=dict(error.metadata),
    )


def error_of(refusal: Refusal) -> PaycenterError:
    """Returns the error that a stored refusal answers with."""
    return PaycenterError(
        Reason(refusal.reason), refusal.message, violations=refusal.violations, metadata=refusal.metadata
    )


class _Response(Protocol):
    @property
    def payment(self) -> payment.Payment: ...


_Answer = TypeVar("_Answer")


class PaymentCoreClient:
    """Calls PaymentCore inside the current scope; every method raises PaycenterError and nothing else.

    `call_timeout_seconds` bounds one call, below the cap of the contract, so that the caller above still gets an
    answer when PaymentCore gives none.
    """

    def __init__(self, channel: grpc.aio.Channel, *, call_timeout_seconds: float = 12.0) -> None:
        self._stub: PaymentCoreAsyncStub = PaymentCoreStub(channel)
        self._call_timeout_seconds = call_timeout_seconds

    async def begin(self, order: Order, attempt: Attempt) -> PaymentReport:
        """Begins the attempt's payment: a recharge, withdrawal or transfer by the order's kind. Idempotent."""
        if order.kind is OrderKind.WITHDRAWAL:
            return await self._begin_withdrawal(order, attempt)
        if order.kind is OrderKind.TRANSFER:
            return await self._begin_transfer(order, attempt)
        return await self._begin_recharge(order, attempt)

    async def _begin_recharge(self, order: Order, attempt: Attempt) -> PaymentReport:
        how = attempt.instruction
        request = payment.CreateRechargeRequest(
            request_id=derive_request_id(attempt.attempt_id, "pay"),
            merchant_id=order.merchant_id,
            order_id=order.order_id,
            transaction_number=attempt.attempt_id,
            amount=money_to_proto(order.amount),
            payment_account_id=how.payment_account_id,
            invoke_method=enums.INVOKE_METHOD_TO_PROTO[how.invoke_method],
            subject=order.subject,
            payer=party_pb2.Payer(
                user_id=how.payer_user_id,
                channel_payer_id=how.payer_channel_id,
                client_ip=how.payer_client_ip,
            ),
            expire_time=timestamp_from_datetime(order.expire_time),
            return_url=how.return_url,
            authorization_code=how.authorization_code,
            agreement_id=how.agreement_id,
        )
        if order.kind is OrderKind.RECHARGE:
            request.balance_owner.CopyFrom(_owner(order.purpose.balance_owner))
        else:
            request.payer_transit = True
        return await self._payment(self._stub.CreateRecharge(request, timeout=self._call_timeout_seconds))

    async def _begin_withdrawal(self, order: Order, attempt: Attempt) -> PaymentReport:
        request = payment.CreateWithdrawalRequest(
            request_id=derive_request_id(attempt.attempt_id, "pay"),
            merchant_id=order.merchant_id,
            order_id=order.order_id,
            transaction_number=attempt.attempt_id,
            amount=money_to_proto(order.amount),
            balance_owner=_owner(order.purpose.balance_owner),
            payment_account_id=attempt.instruction.payment_account_id,
            payee=_payee(order.purpose.payee),
            remark=order.subject[:LONGEST_REMARK],
        )
        return await self._payment(self._stub.CreateWithdrawal(request, timeout=self._call_timeout_seconds))

    async def _begin_transfer(self, order: Order, attempt: Attempt) -> PaymentReport:
        request = payment.CreateTransferRequest(
            request_id=derive_request_id(attempt.attempt_id, "pay"),
            merchant_id=order.merchant_id,
            order_id=order.order_id,
            transaction_number=attempt.attempt_id,
            amount=money_to_proto(order.amount),
            source_owner=_owner(order.purpose.source_owner),
            receivers=[_receiver(_required(order.purpose.destination_owner), order.amount)],
        )
        return await self._payment(self._stub.CreateTransfer(request, timeout=self._call_timeout_seconds))

    async def settle(self, order: Order, attempt: Attempt) -> PaymentReport:
        """Moves the winner's money from the payer's transit account to the merchant or the receivers. Idempotent."""
        shares = order.purpose.shares
        receivers = [
            _receiver(share.receiver, Money(share.minor_units, order.amount.currency_code))
            for share in shares
        ] or [_receiver(merchant_owner(order), order.amount)]
        request = payment.CreateTransferRequest(
            request_id=derive_request_id(attempt.attempt_id, "transfer", str(attempt.transfer_round)),
            merchant_id=order.merchant_id,
            order_id=order.order_id,
            transaction_number=attempt.attempt_id,
            amount=money_to_proto(order.amount),
            payer_transit=True,
            receivers=receivers,
        )
        return await self._payment(self._stub.CreateTransfer(request, timeout=self._call_timeout_seconds))

    async def refund(self, order: Order, attempt: Attempt, refund: Refund) -> PaymentReport:
        """Gives money of the attempt's payment back to its payer. Idempotent."""
        request = payment.CreateRefundRequest(
            request_id=derive_request_id(refund.refund_id, "refund", str(refund.round_number)),
            merchant_id=order.merchant_id,
            order_id=order.order_id,
            transaction_number=refund.refund_id,
            amount=money_to_proto(refund.amount),
            refunded_payment_id=attempt.payment_id,
            reason=refund.reason,
        )
        if order.kind is OrderKind.RECHARGE:
            request.balance_owner.CopyFrom(_owner(order.purpose.balance_owner))
        elif refund.automatic:
            request.payer_transit = True
        else:
            request.balance_owner.CopyFrom(_owner(merchant_owner(order)))
        return await self._payment(self._stub.CreateRefund(request, timeout=self._call_timeout_seconds))

    async def move_leg(self, order: Order, refund: Refund, leg: Leg, *, back: bool) -> PaymentReport:
        """Moves a receiver's part of a refund to the merchant, or `back` when it cannot be carried out. Idempotent."""
        merchant = merchant_owner(order)
        source, destination = (merchant, leg.receiver) if back else (leg.receiver, merchant)
        amount = Money(leg.minor_units, refund.amount.currency_code)
        step = "return" if back else "take"
        owner = f"{leg.receiver.kind}:{leg.receiver.owner_id}"
        request = payment.CreateTransferRequest(
            request_id=derive_request_id(refund.refund_id, step, owner, str(leg.round_number)),
            merchant_id=order.merchant_id,
            order_id=order.order_id,
            transaction_number=refund.refund_id,
            amount=money_to_proto(amount),
            source_owner=_owner(source),
            receivers=[_receiver(destination, amount)],
        )
        return await self._payment(self._stub.CreateTransfer(request, timeout=self._call_timeout_seconds))

    async def query(self, payment_id: str) -> PaymentReport:
        """Asks what became of a payment, at the channel if need be."""
        request = payment.QueryPaymentRequest(payment_id=payment_id)
        return await self._payment(self._stub.QueryPayment(request, timeout=self._call_timeout_seconds))

    async def close(self, attempt: Attempt) -> PaymentReport:
        """Closes the attempt's payment at its channel; when the payer was faster it says SUCCEEDED.

        A payment that is decided already is told as it stands. Each try is a request of its own: a request that
        came again would only be told what was answered before.
        """
        request = payment.ClosePaymentRequest(
            request_id=derive_request_id(
                attempt.attempt_id, "close", str(attempt.payment_version), str(attempt.step_try_count)
            ),
            payment_id=attempt.payment_id,
        )
        try:
            return await self._payment(self._stub.ClosePayment(request, timeout=self._call_timeout_seconds))
        except PaycenterError as error:
            if error.reason is not Reason.PAYMENT_STATE_INVALID:
                raise
        return await self.query(attempt.payment_id)

    async def family(self, number: str) -> tuple[str, list[family_pb2.FamilyMember]]:
        """Finds what the three services below know of a number: its business identifier and the members.

        Raises PaycenterError(NUMBER_NOT_FOUND) when they know nothing.
        """
        response = await _call(self._stub.GetPaymentFamily(payment.GetPaymentFamilyRequest(number=number)))
        return response.business_id, list(response.members)

    async def _payment(self, call: Awaitable[_Response]) -> PaymentReport:
        return report_of((await _call(call)).payment)


async def _call(call: Awaitable[_Answer]) -> _Answer:
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        raise raise_for_rpc(error) from error


def report_of(message: payment.Payment) -> PaymentReport:
    """Reads what PaymentCore says of a payment.

    A state that this release does not know is taken as one that is not final: SUBMITTING.
    """
    states, kinds = enums.PAYMENT_STATES.from_proto, enums.PAYMENT_KINDS.from_proto
    return PaymentReport(
        payment_id=message.payment_id,
        kind=kinds.get(message.kind, PaymentKind.RECHARGE),
        state=states.get(message.state, PaymentState.SUBMITTING),
        order_id=message.order_id,
        transaction_number=message.transaction_number,
        version=message.version,
        payment_account_id=message.payment_account_id,
        channel_order_id=message.channel_order_id,
        channel_transaction_id=message.channel_transaction_id,
        credential=message.credential.SerializeToString(deterministic=True)
        if message.HasField("credential")
        else b"",
        failure_reason=message.failure.reason,
        channel_code=message.failure.channel_code,
        succeed_time=datetime_from_timestamp(message.succeed_time)
        if message.HasField("succeed_time")
        else None,
    )


def report_from_event(body: bytes) -> PaymentReport | None:
    """Reads the payment that an event of PaymentCore tells of; None when it tells of none."""
    event = payment.PaymentEvent.FromString(body)
    return report_of(event.payment) if event.HasField("payment") else None


def merchant_owner(order: Order) -> Owner:
    """Returns the merchant of an order as the owner of its balance."""
    return Owner(kind="MERCHANT", owner_id=order.merchant_id)


def _required(owner: Owner | None) -> Owner:
    if owner is None:
        raise ValueError("the order names no such owner")
    return owner


def _owner(owner: Owner | None) -> party_pb2.AccountOwner:
    found = _required(owner)
    return party_pb2.AccountOwner(kind=enums.OWNER_KIND_TO_PROTO[found.kind], owner_id=found.owner_id)


def _payee(payee: Payee | None) -> party_pb2.Payee:
    if payee is None:
        raise ValueError("the order names no payee")
    return party_pb2.Payee(
        channel_payee_id=payee.channel_payee_id,
        id_kind=enums.PAYEE_ID_KIND_TO_PROTO.get(payee.id_kind, 0),
        real_name=payee.real_name,
    )


def _receiver(owner: Owner, amount: Money) -> party_pb2.SplitReceiver:
    return party_pb2.SplitReceiver(receiver=_owner(owner), amount=money_to_proto(amount))
