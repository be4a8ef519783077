"""Asks a channel to take a payment: payment identifier -> plugin -> executor of the invoke method ->
operation. Invariant: a refusal before the order is written leaves no trace at the channel and none here."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from channel_gateway.channels.protocol import PayExecutor, PaymentAsked
from channel_gateway.commands import Command
from channel_gateway.directory import OpenedAccount
from channel_gateway.domain.fees import channel_fee
from channel_gateway.domain.order import ChannelOrder
from channel_gateway.domain.vocabulary import ChannelOrderKind, InvokeMethod, Operation
from channel_gateway.drafts import draft_order
from channel_gateway.parts import GatewayParts
from channel_gateway.sending import Sending, send
from runtime.errors import PaycenterError, Reason
from runtime.money import Money
from runtime.telemetry import span

# Longer than any channel keeps a payment open, and far from the last instant that can be written.
_LONGEST_LIFETIME = timedelta(days=3650)


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentRequest:
    """What the caller asks for."""

    payment_id: str
    merchant_id: str
    payment_account_id: str
    invoke_method: InvokeMethod
    amount: Money
    subject: str
    channel_payer_id: str
    client_ip: str
    expire_time: datetime | None
    return_url: str


async def create_payment(
    parts: GatewayParts, request: PaymentRequest, command: Command[ChannelOrder]
) -> ChannelOrder | bytes:
    """Takes a payment to its channel; the order's state tells the outcome.

    Raises PaycenterError: PAYMENT_ACCOUNT_NOT_FOUND, TENANT_FORBIDDEN, MERCHANT_MISMATCH, PAYMENT_ACCOUNT_DISABLED,
    INVOKE_METHOD_UNSUPPORTED, FIELD_INVALID, CURRENCY_UNSUPPORTED. Idempotent by the command's request id.
    """
    with span("validate"):
        account = await parts.accounts.of_tenant(request.payment_account_id)
        account.require_merchant(request.merchant_id)
        account.require_enabled()
        executor = _executor_of(account, request.invoke_method)
        expire_time = _expire_time_of(request, now=parts.clock.now(), executor=executor)
        order = draft_order(
            account,
            kind=ChannelOrderKind.PAY,
            payment_id=request.payment_id,
            invoke_method=request.invoke_method,
            amount=request.amount,
            channel_fee=channel_fee(request.amount, fee_ratio_millionths=account.record.fee_ratio_millionths),
            asked={"subject": request.subject, "return_url": request.return_url},
            expire_time=expire_time,
        )
        asked = PaymentAsked(
            channel_order_id=order.channel_order_id,
            amount=request.amount,
            subject=request.subject,
            expire_time=expire_time,
            notice_url=account.notice_url,
            channel_payer_id=request.channel_payer_id,
            client_ip=request.client_ip,
            return_url=request.return_url,
        )
        executor.check(asked)
    sending = Sending(
        account=account,
        order=order,
        operation=Operation.PAY,
        ask=lambda: executor.pay(asked),
        calls_channel=executor.calls_channel,
    )
    return await send(parts, sending, command)


def _expire_time_of(request: PaymentRequest, *, now: datetime, executor: PayExecutor) -> datetime:
    expire_time = request.expire_time or now + executor.default_lifetime
    if expire_time - now > _LONGEST_LIFETIME:
        raise PaycenterError(
            Reason.FIELD_INVALID,
            f"The expiry lies more than {_LONGEST_LIFETIME.days} days ahead.",
            field="expire_time",
        )
    return expire_time.replace(microsecond=0)


def _executor_of(account: OpenedAccount, invoke_method: InvokeMethod) -> PayExecutor:
    executor = account.channel.executor(invoke_method)
    if executor is None:
        raise PaycenterError(
            Reason.INVOKE_METHOD_UNSUPPORTED,
            "The channel has no executor for the invoke method.",
            field="invoke_method",
            metadata={"channel": account.record.channel, "invokeMethod": invoke_method.value},
        )
    return executor
