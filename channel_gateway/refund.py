"""Asks a channel to give money back. Invariant: the refunds of a payment that did not fail never add up to
more than it; the amount is set aside on the payment's own row, in the transaction that writes the refund."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection

from channel_gateway.asked import refund_asked
from channel_gateway.commands import Command
from channel_gateway.domain.order import ChannelOrder
from channel_gateway.domain.vocabulary import ChannelOrderKind, ChannelOrderState, Operation
from channel_gateway.drafts import draft_order
from channel_gateway.finding import find_order
from channel_gateway.parts import GatewayParts
from channel_gateway.sending import Sending, send
from channel_gateway.store import orders as store
from runtime.errors import PaycenterError, Reason
from runtime.money import Money
from runtime.telemetry import span


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundRequest:
    """What the caller asks for."""

    payment_id: str
    channel_order_id: str
    amount: Money
    reason: str


async def create_refund(
    parts: GatewayParts, request: RefundRequest, command: Command[ChannelOrder]
) -> ChannelOrder | bytes:
    """Takes a refund to the channel of the payment that it gives back from; the order's state tells the outcome.

    Raises PaycenterError: CHANNEL_ORDER_NOT_FOUND, TENANT_FORBIDDEN, CHANNEL_ORDER_STATE_INVALID, CURRENCY_MISMATCH,
    AMOUNT_EXCEEDS_REFUNDABLE. Idempotent by the command's request id.
    """
    with span("validate"):
        paid = await find_order(parts, request.channel_order_id)
        account = await parts.accounts.get(paid.payment_account_id)
        if request.amount.currency_code != paid.amount.currency_code:
            raise PaycenterError(
                Reason.CURRENCY_MISMATCH,
                "The refund is in another currency than the payment.",
                field="amount.currency_code",
                metadata={"expected": paid.amount.currency_code, "given": request.amount.currency_code},
            )
        order = draft_order(
            account,
            kind=ChannelOrderKind.REFUND,
            payment_id=request.payment_id,
            amount=request.amount,
            channel_fee=Money(0, request.amount.currency_code),
            refunded_channel_order_id=paid.channel_order_id,
            asked={"reason": request.reason},
        )

    async def set_aside(connection: AsyncConnection) -> None:
        reserved = await store.reserve_refund(connection, paid.channel_order_id, request.amount.minor_units)
        if reserved is None:
            raise _refusal(await store.get_order(connection, paid.channel_order_id) or paid)

    asked = refund_asked(account, order, paid)
    sending = Sending(
        account=account,
        order=order,
        operation=Operation.REFUND,
        ask=lambda: account.channel.refund(asked),
        prepare=set_aside,
    )
    return await send(parts, sending, command)


def _refusal(paid: ChannelOrder) -> PaycenterError:
    resource = ("ChannelOrder", paid.channel_order_id)
    if paid.kind is not ChannelOrderKind.PAY or paid.state is not ChannelOrderState.SUCCEEDED:
        return PaycenterError(
            Reason.CHANNEL_ORDER_STATE_INVALID,
            "Only a succeeded channel payment can be refunded.",
            field="channel_order_id",
            metadata={"kind": paid.kind.value, "current": paid.state.value, "allowed": "SUCCEEDED"},
            resource=resource,
        )
    refundable = paid.amount.minor_units - paid.reserved_refund_minor_units
    return PaycenterError(
        Reason.AMOUNT_EXCEEDS_REFUNDABLE,
        "The refund is above what is left of the channel payment.",
        field="amount.minor_units",
        metadata={"refundableMinorUnits": str(refundable)},
        resource=resource,
    )
