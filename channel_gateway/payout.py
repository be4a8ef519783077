"""Asks a channel to pay money of the merchant out. Invariant: the payee's legal name is kept sealed and
leaves only for the channel."""

from __future__ import annotations

from dataclasses import dataclass, replace

from channel_gateway.asked import payout_asked
from channel_gateway.commands import Command
from channel_gateway.directory import OpenedAccount
from channel_gateway.domain.order import ChannelOrder
from channel_gateway.domain.vocabulary import ChannelOrderKind, Operation, PayeeIdKind
from channel_gateway.drafts import draft_order
from channel_gateway.parts import GatewayParts
from channel_gateway.sending import Sending, send
from runtime.errors import PaycenterError, Reason
from runtime.money import Money
from runtime.telemetry import span


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutRequest:
    """What the caller asks for."""

    payment_id: str
    merchant_id: str
    payment_account_id: str
    amount: Money
    payee_id: str
    payee_id_kind: PayeeIdKind
    real_name: str
    remark: str


async def create_payout(
    parts: GatewayParts, request: PayoutRequest, command: Command[ChannelOrder]
) -> ChannelOrder | bytes:
    """Takes a payout to its channel; the order's state tells the outcome.

    Raises PaycenterError: PAYMENT_ACCOUNT_NOT_FOUND, TENANT_FORBIDDEN, MERCHANT_MISMATCH, PAYMENT_ACCOUNT_DISABLED,
    CURRENCY_UNSUPPORTED. Idempotent by the command's request id.
    """
    with span("validate"):
        account = await parts.accounts.of_tenant(request.payment_account_id)
        account.require_merchant(request.merchant_id)
        account.require_enabled()
        _require_currency(account, request.amount)
        order = draft_order(
            account,
            kind=ChannelOrderKind.PAYOUT,
            payment_id=request.payment_id,
            amount=request.amount,
            channel_fee=Money(0, request.amount.currency_code),
            asked={
                "payee_id": request.payee_id,
                "payee_id_kind": request.payee_id_kind.value,
                "remark": request.remark,
            },
        )
        if request.real_name:
            sealed = account.data_box.seal(request.real_name, owner=order.channel_order_id)
            order = replace(order, sealed_asked=sealed)
    asked = payout_asked(account, order)
    sending = Sending(
        account=account,
        order=order,
        operation=Operation.PAYOUT,
        ask=lambda: account.channel.payout(asked),
    )
    return await send(parts, sending, command)


def _require_currency(account: OpenedAccount, amount: Money) -> None:
    for capability in account.plugin.capabilities:
        if capability.operation is Operation.PAYOUT and amount.currency_code in capability.currency_codes:
            return
    raise PaycenterError(
        Reason.CURRENCY_UNSUPPORTED,
        "The channel pays nothing out in this currency.",
        field="amount.currency_code",
        metadata={"currencyCode": amount.currency_code},
    )
