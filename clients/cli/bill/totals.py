"""The center's own totals, in the terms of a bill's footer. Invariant: nothing here is read from the file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from paycenter.channel.v1 import channel_gateway_pb2 as channel
from paycenter.transaction.v1 import transaction_core_pb2 as transaction
from paycenter_client import AsyncPaycenterClient
from rich.table import Table

from clients.cli.bill.bill_file import TOTAL_LABELS, BillTotals
from clients.cli.bill.plan import (
    DAY_ANNOTATION,
    THIS_DAY,
    UNSETTLED_ANNOTATION,
    UNSETTLED_REFUND_ANNOTATION,
    VOUCHER_REFUND_ANNOTATION,
)
from clients.cli.demo.rendering import yuan
from clients.cli.output import make_table

_PAGE_SIZE = 500
_PAID_STATES = (
    transaction.ORDER_STATE_PAID,
    transaction.ORDER_STATE_PARTLY_REFUNDED,
    transaction.ORDER_STATE_REFUNDED,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CenterBooks:
    """What the center keeps of one replay: totals, and how many of each record."""

    totals: BillTotals
    order_count: int
    payment_count: int
    refund_count: int
    earlier_order_count: int


async def read_center(
    client: AsyncPaycenterClient, merchant_id: str, payment_account_ids: Iterable[str]
) -> CenterBooks:
    """Adds up the merchant's paid orders and succeeded refunds, and the fees of its channel orders.

    Orders of an earlier day count only by their refunds of this day, as in the channel's bill.
    """
    orders = await _orders(client, merchant_id)
    payments = await _channel_payments(client, payment_account_ids)
    paid = [order for order in orders if order.state in _PAID_STATES]
    of_this_day = [order for order in paid if order.annotations[DAY_ANNOTATION] == THIS_DAY]
    refunds = [
        refund
        for order in orders
        for refund in order.refunds
        if refund.state == transaction.REFUND_STATE_SUCCEEDED
    ]
    paid_amount = sum(order.paid_amount.minor_units for order in of_this_day)
    refunded = sum(refund.amount.minor_units for refund in refunds)
    business_ids = {order.business_id for order in of_this_day}
    fees = sum(each.channel_fee.minor_units for each in payments if each.business_id in business_ids)
    totals = BillTotals(
        record_count=len(of_this_day) + len(refunds),
        settled_minor_units=paid_amount,
        refund_minor_units=refunded,
        voucher_refund_minor_units=_annotated(orders, VOUCHER_REFUND_ANNOTATION),
        fee_minor_units=fees,
        order_minor_units=paid_amount + _annotated(of_this_day, UNSETTLED_ANNOTATION),
        applied_refund_minor_units=refunded + _annotated(orders, UNSETTLED_REFUND_ANNOTATION),
    )
    return CenterBooks(
        totals=totals,
        order_count=len(orders),
        payment_count=len(payments),
        refund_count=len(refunds),
        earlier_order_count=len(paid) - len(of_this_day),
    )


def totals_table(in_center: BillTotals, in_bill: BillTotals) -> Table:
    """The center's totals beside the bill's footer, field by field."""
    columns = ("footer field", "meaning", "in the bill", "in the center", "difference")
    table = make_table("Totals", columns, right=columns[2:])
    for name, (label, english) in TOTAL_LABELS.items():
        bill_value, center_value = getattr(in_bill, name), getattr(in_center, name)
        difference = center_value - bill_value
        table.add_row(
            label,
            english,
            _figure(name, bill_value),
            _figure(name, center_value),
            f"[red]{_figure(name, difference)}" if difference else f"[green]{_figure(name, 0)}",
        )
    return table


async def _orders(client: AsyncPaycenterClient, merchant_id: str) -> list[transaction.Order]:
    request = transaction.ListOrdersRequest(merchant_id=merchant_id, page_size=_PAGE_SIZE)
    listed = [
        order async for page in client.pages(client.transaction.ListOrders, request) for order in page.orders
    ]
    # A list leaves the refunds out; they are read order by order.
    return [
        (await client.transaction.GetOrder(transaction.GetOrderRequest(order_id=order.order_id))).order
        for order in listed
    ]


async def _channel_payments(
    client: AsyncPaycenterClient, payment_account_ids: Iterable[str]
) -> list[channel.ChannelOrder]:
    payments: list[channel.ChannelOrder] = []
    for payment_account_id in payment_account_ids:
        request = channel.ListChannelOrdersRequest(
            payment_account_id=payment_account_id,
            state=channel.CHANNEL_ORDER_STATE_SUCCEEDED,
            page_size=_PAGE_SIZE,
        )
        async for page in client.pages(client.channel.ListChannelOrders, request):
            payments += [
                order for order in page.channel_orders if order.kind == channel.CHANNEL_ORDER_KIND_PAY
            ]
    return payments


def _annotated(orders: Iterable[transaction.Order], annotation: str) -> int:
    return sum(int(order.annotations.get(annotation, "0")) for order in orders)


def _figure(name: str, value: int) -> str:
    return str(value) if name == "record_count" else yuan(value)
