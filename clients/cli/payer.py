"""Plays the payer at the sandbox. Invariant: a payer knows only what the business system hands over, and pays there."""

from __future__ import annotations

from dataclasses import dataclass

from paycenter.payment.v1 import payment_core_pb2 as payment
from paycenter.transaction.v1 import transaction_core_pb2 as transaction
from paycenter.type.v1 import credential_pb2, party_pb2
from paycenter_client import AsyncPaycenterClient, business_case

from clients.cli.failure import CommandFailed
from clients.cli.sandbox_client import SandboxClient

PAYER_BY_CHANNEL = {
    "alipay": party_pb2.Payer(user_id="anna", channel_payer_id="2088102146225135", client_ip="203.0.113.7"),
    "wechat_pay": party_pb2.Payer(
        user_id="anna", channel_payer_id="oUpF8uMuAJO_M2pxb1Q9zNjWeS6o", client_ip="203.0.113.7"
    ),
}
"""Who pays, as each channel knows the same person."""


@dataclass(frozen=True, slots=True)
class ChannelTrade:
    """What the payer is to pay: the number by which the channel knows it and the way there."""

    channel_order_id: str
    credential: credential_pb2.PaymentCredential


async def find_trade(client: AsyncPaycenterClient, attempt: transaction.Attempt) -> ChannelTrade:
    """Finds the number that the channel has for an attempt. Raises CommandFailed when none was given yet."""
    if not attempt.payment_id:
        raise CommandFailed(f"the attempt {attempt.attempt_id} has not reached the channel")
    # Looking is no part of the order's own trace.
    with business_case():
        answer = await client.payment.GetPayment(payment.GetPaymentRequest(payment_id=attempt.payment_id))
    if not answer.payment.channel_order_id:
        raise CommandFailed(f"the payment {attempt.payment_id} has no order at the channel")
    return ChannelTrade(answer.payment.channel_order_id, attempt.credential)


async def pay(sandbox: SandboxClient, trade: ChannelTrade, *, force: bool = False) -> None:
    """Goes where the credential leads, then pays. Raises CommandFailed when the channel refuses."""
    await open_at_channel(sandbox, trade)
    await sandbox.pay(trade.channel_order_id, force=force)


async def open_at_channel(sandbox: SandboxClient, trade: ChannelTrade) -> None:
    """Opens the page or app that the credential leads to; some trades begin to exist only then."""
    url = _address(sandbox, trade.credential)
    if url.startswith(f"{sandbox.url}/"):
        await sandbox.visit(url)


def describe_credential(credential: credential_pb2.PaymentCredential) -> str:
    """What the business system hands to the payer's device, as one text."""
    match credential.WhichOneof("form"):
        case "qr_code":
            return credential.qr_code.code_url
        case "redirect":
            return credential.redirect.url
        case "in_app_call":
            parameters = credential.in_app_call.parameters
            return ", ".join(f"{name}={value}" for name, value in sorted(parameters.items()))
        case "no_action":
            return "nothing to hand over"
    return "none"


def _address(sandbox: SandboxClient, credential: credential_pb2.PaymentCredential) -> str:
    order_text = credential.in_app_call.parameters.get("orderStr", "")
    if order_text:
        return f"{sandbox.url}/gateway.do?{order_text}"
    return credential.qr_code.code_url or credential.redirect.url
