"""Lays three books side by side, account by account: the channel's own, the center's channel orders, the ledger.

Invariant: each figure is read from its own book; none is derived from another.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from paycenter.accounting.v1 import accounting_pb2 as accounting
from paycenter.channel.v1 import channel_gateway_pb2 as channel
from paycenter_client import AsyncPaycenterClient, NotFound

from clients.cli.provisioning import ProvisionedAccount, ProvisionedMerchant
from clients.cli.sandbox_client import SandboxClient

CURRENCY_CODE = "CNY"
_CLEARING_SUBJECT = "1101"
_FEE_SUBJECT = "5101"
_PAGE_SIZE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What one book says of one account; amounts are in fen."""

    payment_count: int
    paid_minor_units: int
    fee_minor_units: int
    refund_count: int
    refunded_minor_units: int
    payout_count: int
    paid_out_minor_units: int

    @property
    def balance_minor_units(self) -> int:
        """What the account gained: payments less fees, refunds and payouts."""
        gained = self.paid_minor_units - self.fee_minor_units
        return gained - self.refunded_minor_units - self.paid_out_minor_units


FIGURE_LABELS: Mapping[str, str] = {
    "payment_count": "payments",
    "paid_minor_units": "paid",
    "fee_minor_units": "channel fee",
    "refund_count": "refunds",
    "refunded_minor_units": "refunded",
    "payout_count": "payouts",
    "paid_out_minor_units": "paid out",
    "balance_minor_units": "balance",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountReconciliation:
    """Three books of one account.

    Attributes:
        fee_returned_minor_units: Part of its fees that the channel gave back with refunds, which the center
            books when it reads the channel's bill.
        ledger_balance_minor_units: Balance of the clearing account as the ledger keeps it.
    """

    account: ProvisionedAccount
    at_channel: Figures
    in_center: Figures
    in_ledger: Figures
    fee_returned_minor_units: int
    ledger_balance_minor_units: int

    def difference(self, name: str) -> int:
        """How far the three books are apart in one figure; zero when all agree."""
        values = [getattr(book, name) for book in (self.at_channel, self.in_center, self.in_ledger)]
        if name == "balance_minor_units":
            values.append(self.ledger_balance_minor_units)
        return int(max(values) - min(values))

    @property
    def agrees(self) -> bool:
        """Whether the three books say the same."""
        return not any(self.difference(name) for name in FIGURE_LABELS)


async def reconcile(
    client: AsyncPaycenterClient, sandbox: SandboxClient, merchant: ProvisionedMerchant
) -> list[AccountReconciliation]:
    """Reads all three books of every account of the merchant. Raises PaycenterError or CommandFailed."""
    channel_books = await sandbox.account_figures()
    fee_by_journal = await _entry_amounts(client, _FEE_SUBJECT, merchant.merchant_id)
    reconciled = []
    for account in merchant.accounts:
        sandbox_row = channel_books[account.sandbox_account]
        in_ledger, balance = await _ledger_figures(client, account.payment_account_id, fee_by_journal)
        reconciled.append(
            AccountReconciliation(
                account=account,
                at_channel=_sandbox_figures(sandbox_row),
                in_center=await _center_figures(client, account.payment_account_id),
                in_ledger=in_ledger,
                fee_returned_minor_units=int(sandbox_row["fee_returned_minor_units"]),
                ledger_balance_minor_units=balance,
            )
        )
    return reconciled


def _sandbox_figures(row: Mapping[str, Any]) -> Figures:
    return Figures(
        payment_count=row["charged_count"],
        paid_minor_units=row["charged_minor_units"],
        fee_minor_units=row["fee_minor_units"],
        refund_count=row["refunded_count"] + row["refund_open_count"],
        refunded_minor_units=row["refunded_minor_units"] + row["refund_open_minor_units"],
        payout_count=row["paid_out_count"] + row["payout_open_count"],
        paid_out_minor_units=row["paid_out_minor_units"] + row["payout_open_minor_units"],
    )


async def _center_figures(client: AsyncPaycenterClient, payment_account_id: str) -> Figures:
    request = channel.ListChannelOrdersRequest(
        payment_account_id=payment_account_id,
        state=channel.CHANNEL_ORDER_STATE_SUCCEEDED,
        page_size=_PAGE_SIZE,
    )
    orders = [
        order
        async for page in client.pages(client.channel.ListChannelOrders, request)
        for order in page.channel_orders
    ]

    def of(kind: channel.ChannelOrderKind.ValueType) -> list[channel.ChannelOrder]:
        return [order for order in orders if order.kind == kind]

    payments = of(channel.CHANNEL_ORDER_KIND_PAY)
    refunds = of(channel.CHANNEL_ORDER_KIND_REFUND)
    payouts = of(channel.CHANNEL_ORDER_KIND_PAYOUT)
    return Figures(
        payment_count=len(payments),
        paid_minor_units=_sum(order.amount.minor_units for order in payments),
        fee_minor_units=_sum(order.channel_fee.minor_units for order in payments),
        refund_count=len(refunds),
        refunded_minor_units=_sum(order.amount.minor_units for order in refunds),
        payout_count=len(payouts),
        paid_out_minor_units=_sum(order.amount.minor_units for order in payouts),
    )


async def _ledger_figures(
    client: AsyncPaycenterClient, payment_account_id: str, fee_by_journal: Mapping[str, int]
) -> tuple[Figures, int]:
    account_id = f"{_CLEARING_SUBJECT}:{payment_account_id}:{CURRENCY_CODE}"
    entries = await _entries(client, account_id)
    incoming = [entry for entry in entries if entry.side == accounting.ENTRY_SIDE_DEBIT]
    outgoing = [entry for entry in entries if entry.side == accounting.ENTRY_SIDE_CREDIT]
    refunds = [entry for entry in outgoing if entry.event_code == "REFUND"]
    payouts = [entry for entry in outgoing if entry.event_code != "REFUND"]
    fees = _sum(fee_by_journal.get(entry.journal_id, 0) for entry in incoming)
    figures = Figures(
        payment_count=len(incoming),
        paid_minor_units=_sum(entry.amount.minor_units for entry in incoming) + fees,
        fee_minor_units=fees,
        refund_count=len(refunds),
        refunded_minor_units=_sum(entry.amount.minor_units for entry in refunds),
        payout_count=len(payouts),
        paid_out_minor_units=_sum(entry.amount.minor_units for entry in payouts),
    )
    try:
        answer = await client.accounting.GetAccount(accounting.GetAccountRequest(account_id=account_id))
    except NotFound:
        return figures, 0
    return figures, answer.account.balance_minor_units


async def _entry_amounts(client: AsyncPaycenterClient, subject_code: str, owner_id: str) -> dict[str, int]:
    """Debits of an account by journal."""
    entries = await _entries(client, f"{subject_code}:{owner_id}:{CURRENCY_CODE}")
    return {
        entry.journal_id: entry.amount.minor_units
        for entry in entries
        if entry.side == accounting.ENTRY_SIDE_DEBIT
    }


async def _entries(client: AsyncPaycenterClient, account_id: str) -> list[accounting.Entry]:
    """Every entry of an account; none when it was never opened, since nothing was booked there."""
    request = accounting.ListEntriesRequest(account_id=account_id, page_size=_PAGE_SIZE)
    try:
        return [
            entry
            async for page in client.pages(client.accounting.ListEntries, request)
            for entry in page.entries
        ]
    except NotFound:
        return []


def _sum(amounts: Iterable[int]) -> int:
    return sum(amounts)
