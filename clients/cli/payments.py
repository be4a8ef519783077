"""`paycenter pay` and `paycenter refund`. Invariant: every command gets its request id before the call."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer
from paycenter.transaction.v1 import transaction_core_pb2 as transaction
from paycenter.type.v1 import money_pb2
from paycenter_client import (
    AsyncPaycenterClient,
    business_case,
    format_money,
    money,
    new_request_id,
    new_traceparent,
)

from clients.cli import payer
from clients.cli.connection import with_center
from clients.cli.demo_merchant import merchant_keys, provision_demo_merchant
from clients.cli.failure import CommandFailed
from clients.cli.names import INVOKE_METHODS, short_name
from clients.cli.order_feed import OrderFeed
from clients.cli.output import (
    DEFAULT_DATA_DIRECTORY,
    AsJson,
    DataDirectory,
    console,
    message_json,
    print_json,
)
from clients.cli.provisioning import ProvisionedMerchant
from clients.cli.sandbox_client import SandboxClient
from runtime.embedded import Endpoints

_OPEN_ORDER_STATES = (transaction.ORDER_STATE_CREATED, transaction.ORDER_STATE_PAYING)
_AUTO_WAIT_SECONDS = 30.0
_FINAL_REFUND_STATES = (transaction.REFUND_STATE_SUCCEEDED, transaction.REFUND_STATE_FAILED)


class ChannelName(StrEnum):
    """A channel of the demonstration's merchant."""

    ALIPAY = "alipay"
    WECHAT_PAY = "wechat_pay"


class MethodName(StrEnum):
    """How the payer meets the channel."""

    QR = "qr"
    PC = "pc"
    MINI_PROGRAM = "mini-program"
    WAP = "wap"
    APP = "app"


def pay(
    amount: Annotated[str, typer.Option(help="Amount, for example 12.30.")],
    currency: Annotated[str, typer.Option(help="ISO 4217 code.")] = "CNY",
    channel: Annotated[ChannelName, typer.Option(help="Where the payer pays.")] = ChannelName.ALIPAY,
    method: Annotated[MethodName, typer.Option(help="How the payer meets the channel.")] = MethodName.QR,
    subject: Annotated[str, typer.Option(help="What is paid for.")] = "Paid from the command line",
    auto: Annotated[bool, typer.Option("--auto", help="Let the sandbox's payer pay at once.")] = False,
    wait_seconds: Annotated[
        float, typer.Option("--wait", min=0.0, help="How long to wait for the outcome, in seconds.")
    ] = 0.0,
    data_directory: DataDirectory = DEFAULT_DATA_DIRECTORY,
    as_json: AsJson = False,
) -> None:
    """Creates an order of the demonstration's merchant and pays it.

    Without --auto the payer has to pay at the sandbox's page that is printed; --wait waits for that.
    """
    try:
        wanted = money(amount, currency)
    except ValueError as error:
        raise CommandFailed(f"--amount: {error}") from error
    timeout_seconds = wait_seconds or (_AUTO_WAIT_SECONDS if auto else 0.0)

    async def work(endpoints: Endpoints, client: AsyncPaycenterClient) -> None:
        async with SandboxClient(endpoints.sandbox_base_url) as sandbox, OrderFeed(client) as feed:
            keys = merchant_keys(endpoints.callback_public_key_file)
            merchant = await provision_demo_merchant(client, sandbox, keys)
            with business_case(traceparent=new_traceparent()):
                attempt = await _begin(client, merchant, wanted, subject, channel, method)
            trade = await payer.find_trade(client, attempt)
            if not as_json:
                console.print(f"order       {attempt.order_id}")
                credential = payer.describe_credential(attempt.credential)
                console.print(f"credential  {credential}", markup=False, soft_wrap=True)
            await (payer.pay if auto else payer.open_at_channel)(sandbox, trade)
            order = await feed.wait_for(
                attempt.order_id,
                lambda each: each.state not in _OPEN_ORDER_STATES,
                timeout_seconds=timeout_seconds,
            )
            cashier_url = f"{sandbox.url}/sandbox/cashier/{trade.channel_order_id}"
            if as_json:
                print_json(message_json(order) | {"cashier_url": cashier_url})
            else:
                _print_outcome(order, cashier_url)

    with_center(data_directory, work)


async def _begin(
    client: AsyncPaycenterClient,
    merchant: ProvisionedMerchant,
    amount: money_pb2.Money,
    subject: str,
    channel: ChannelName,
    method: MethodName,
) -> transaction.Attempt:
    created = await client.transaction.CreateOrder(
        transaction.CreateOrderRequest(
            request_id=new_request_id(),
            merchant_id=merchant.merchant_id,
            merchant_order_id=f"CLI-{new_request_id()}",
            amount=amount,
            subject=subject,
            purchase=transaction.Purchase(),
        )
    )
    begun = await client.transaction.PayOrder(
        transaction.PayOrderRequest(
            request_id=new_request_id(),
            merchant_id=merchant.merchant_id,
            order_id=created.order.order_id,
            payment_account_id=merchant.account_at(channel).payment_account_id,
            invoke_method=INVOKE_METHODS[method],
            payer=payer.PAYER_BY_CHANNEL[channel],
        )
    )
    return begun.attempt


def _print_outcome(order: transaction.Order, cashier_url: str) -> None:
    console.print(f"outcome     {short_name(transaction.OrderState, order.state)}")
    if order.state in _OPEN_ORDER_STATES:
        console.print(f"pay it at   {cashier_url}", soft_wrap=True)
    console.print(f"look at it  paycenter order show {order.order_id}")


def refund(
    order_number: Annotated[str, typer.Argument(metavar="ORDER", help="Number of the order.")],
    amount: Annotated[str, typer.Option(help="Amount to give back, for example 3.00.")],
    reason: Annotated[str, typer.Option(help="Why, shown to the payer.")] = "",
    wait_seconds: Annotated[
        float, typer.Option("--wait", min=0.0, help="How long to wait for the outcome, in seconds.")
    ] = 30.0,
    data_directory: DataDirectory = DEFAULT_DATA_DIRECTORY,
    as_json: AsJson = False,
) -> None:
    """Gives money of a paid order back and waits for the outcome."""

    async def work(_endpoints: Endpoints, client: AsyncPaycenterClient) -> None:
        found = await client.transaction.GetOrder(transaction.GetOrderRequest(order_id=order_number))
        try:
            wanted = money(amount, found.order.amount.currency_code)
        except ValueError as error:
            raise CommandFailed(f"--amount: {error}") from error
        async with OrderFeed(client) as feed:
            created = await client.transaction.CreateRefund(
                transaction.CreateRefundRequest(
                    request_id=new_request_id(),
                    merchant_id=found.order.merchant_id,
                    order_id=order_number,
                    amount=wanted,
                    reason=reason,
                )
            )
            refund_id = created.refund.refund_id

            def this_refund(order: transaction.Order) -> transaction.Refund:
                return next((each for each in order.refunds if each.refund_id == refund_id), created.refund)

            order = await feed.wait_for(
                order_number,
                lambda each: this_refund(each).state in _FINAL_REFUND_STATES,
                timeout_seconds=wait_seconds,
            )
        if as_json:
            print_json(message_json(order))
            return
        outcome = this_refund(order)
        console.print(f"refund    {refund_id}")
        console.print(
            f"outcome   {short_name(transaction.RefundState, outcome.state)} {outcome.failure_reason}"
        )
        console.print(
            f"order     {short_name(transaction.OrderState, order.state)}, "
            f"{format_money(order.refunded_amount)} of {format_money(order.paid_amount)} given back"
        )

    with_center(data_directory, work)
