"""From the requests of the contract to what the use cases are asked. Invariant: nothing that changes the money result
is lost on the way."""

from __future__ import annotations

from paycenter.payment.v1 import payment_core_pb2 as pb
from paycenter.type.v1 import money_pb2

from core.payment.domain.payment import PaymentState
from core.payment.draft import Origin
from core.payment.mapping.payments import instant_or_none, owner_of, share_of
from core.payment.mapping.vocabulary import INVOKE_METHOD_OF_WIRE, RESOLUTION_OF_WIRE, STATE_OF_WIRE
from core.payment.query import PaymentFilter
from core.payment.recharge import RechargeCommand
from core.payment.refund import RefundCommand
from core.payment.resolve import ResolveCommand
from core.payment.transfer import TransferCommand
from core.payment.withdrawal import WithdrawalCommand
from runtime.errors import PaycenterError, Reason
from runtime.wire import money_from_proto


def recharge_command(request: pb.CreateRechargeRequest) -> RechargeCommand:
    """Returns what a CreateRecharge asks for."""
    _require_true(request.WhichOneof("destination"), "payer_transit", value=request.payer_transit)
    channel_tools = [tool for tool in request.tools if tool.kind == pb.PAYMENT_TOOL_KIND_CHANNEL]
    payer = request.payer
    return RechargeCommand(
        origin=_origin(request.merchant_id, request.order_id, request.transaction_number, request.amount),
        beneficiary=owner_of(request.balance_owner) if request.HasField("balance_owner") else None,
        payment_account_id=request.payment_account_id,
        invoke_method=INVOKE_METHOD_OF_WIRE[request.invoke_method],
        subject=request.subject,
        payer=payer.SerializeToString() if request.HasField("payer") else b"",
        payer_name=payer.user_id or payer.channel_payer_id,
        expire_time=instant_or_none(request.expire_time, present=request.HasField("expire_time")),
        return_url=request.return_url,
        authorization_code=request.authorization_code,
        agreement_id=request.agreement_id,
        channel_tool_amounts=tuple(money_from_proto(tool.amount) for tool in channel_tools),
        other_tool_count=len(request.tools) - len(channel_tools),
    )


def withdrawal_command(request: pb.CreateWithdrawalRequest) -> WithdrawalCommand:
    """Returns what a CreateWithdrawal asks for."""
    return WithdrawalCommand(
        origin=_origin(request.merchant_id, request.order_id, request.transaction_number, request.amount),
        owner=owner_of(request.balance_owner),
        payment_account_id=request.payment_account_id,
        payee=request.payee.SerializeToString(),
        remark=request.remark,
    )


def refund_command(request: pb.CreateRefundRequest) -> RefundCommand:
    """Returns what a CreateRefund asks for."""
    _require_true(request.WhichOneof("source"), "payer_transit", value=request.payer_transit)
    return RefundCommand(
        origin=_origin(request.merchant_id, request.order_id, request.transaction_number, request.amount),
        refunded_payment_id=request.refunded_payment_id,
        owner=owner_of(request.balance_owner) if request.HasField("balance_owner") else None,
        reason=request.reason,
    )


def transfer_command(request: pb.CreateTransferRequest) -> TransferCommand:
    """Returns what a CreateTransfer asks for."""
    _require_true(request.WhichOneof("source"), "payer_transit", value=request.payer_transit)
    for position, receiver in enumerate(request.receivers):
        _require_true(
            receiver.WhichOneof("share"),
            "remainder",
            value=receiver.remainder,
            prefix=f"receivers[{position}].",
        )
    return TransferCommand(
        origin=_origin(request.merchant_id, request.order_id, request.transaction_number, request.amount),
        source=owner_of(request.source_owner) if request.HasField("source_owner") else None,
        receivers=tuple((owner_of(receiver.receiver), share_of(receiver)) for receiver in request.receivers),
    )


def resolve_command(request: pb.ResolvePaymentRequest) -> ResolveCommand:
    """Returns what a ResolvePayment decides."""
    return ResolveCommand(
        payment_id=request.payment_id,
        resolution=RESOLUTION_OF_WIRE[request.resolution],
        evidence=request.evidence,
    )


def payment_filter(request: pb.ListPaymentsRequest) -> PaymentFilter:
    """Returns what a ListPayments shows. Raises PaycenterError(FIELD_INVALID) for a state that does not exist."""
    state: PaymentState | None = None
    if request.state != pb.PAYMENT_STATE_UNSPECIFIED:
        state = STATE_OF_WIRE.get(request.state)
        if state is None:
            raise PaycenterError(Reason.FIELD_INVALID, "No payment has such a state.", field="state")
    return PaymentFilter(business_id=request.business_id, order_id=request.order_id, state=state)


def _origin(merchant_id: str, order_id: str, transaction_number: str, amount: money_pb2.Money) -> Origin:
    return Origin(
        merchant_id=merchant_id,
        order_id=order_id,
        transaction_number=transaction_number,
        amount=money_from_proto(amount),
    )


def _require_true(chosen: str | None, name: str, *, value: bool, prefix: str = "") -> None:
    """Refuses a choice that is made and then said to be false: nobody knows what it means."""
    if chosen == name and not value:
        raise PaycenterError(
            Reason.FIELD_INVALID, "The choice is made by the value true.", field=f"{prefix}{name}"
        )
