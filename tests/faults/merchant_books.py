"""One merchant's money as the sandbox, the center's channel orders and the ledger tell it, each by itself."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import httpx

from clients.cli.sandbox_client import CHANNEL_AT_SANDBOX
from tests.e2e.center import Center

Row = dict[str, Any]


_NUMBER_AT_CHANNEL = {"alipay": "seller_id", "wechat_pay": "mchid"}


@dataclass(frozen=True, slots=True)
class Figures:
    """What one payment account took, what the channel kept of it and what went back, in minor units."""

    charged: int = 0
    fee: int = 0
    refunded: int = 0

    @property
    def clearing(self) -> int:
        """What the channel still owes the center."""
        return self.charged - self.fee - self.refunded


@dataclass(slots=True)
class ChannelBooks:
    """The sandbox's own records of one merchant's accounts: trades and their refunds by the trade's number."""

    trades: dict[str, Row] = field(default_factory=dict)
    refunds: defaultdict[str, list[Row]] = field(default_factory=lambda: defaultdict(list))

    def charged(self, number: str) -> int:
        """What the payer of a trade paid."""
        return int(self.trades[number]["paid_minor_units"]) if number in self.trades else 0

    def refunded(self, number: str) -> int:
        """What went back to the payer of a trade."""
        return sum(
            int(each["amount_minor_units"]) for each in self.refunds[number] if each["state"] == "SUCCEEDED"
        )

    def has_open_refund(self, number: str) -> bool:
        """Whether the channel still works on a refund of a trade."""
        return any(each["state"] not in {"SUCCEEDED", "CLOSED"} for each in self.refunds[number])


class MerchantBooks:
    """Reads what the three say of one merchant."""

    def __init__(self, center: Center, merchant_id: str) -> None:
        self._center = center
        self._merchant_id = merchant_id

    async def at_channel(self) -> ChannelBooks:
        """Reads the sandbox's records of the merchant's accounts."""
        accounts = set(self._accounts().values())
        everything = await self._sandbox_books()
        books = ChannelBooks()
        for trade in everything["trades"]:
            if (trade["channel"], trade["account"]) in accounts:
                books.trades[trade["out_trade_no"]] = trade
        for refund in everything["refunds"]:
            if (refund["channel"], refund["account"]) in accounts:
                books.refunds[refund["out_trade_no"]].append(refund)
        return books

    async def disagreements(self) -> list[str]:
        """Lays the three beside each other, account by account; gives each difference."""
        return [
            f"{account}: the sandbox says {at_sandbox}, the channel orders {at_center}, the ledger {ledger}"
            for account, (at_sandbox, at_center, ledger) in (await self._by_account()).items()
            if at_sandbox != at_center or at_sandbox.clearing != ledger
        ]

    def _accounts(self) -> dict[str, tuple[str, str]]:
        """The merchant's payment accounts with their channel and number at the sandbox."""
        rows = self._center.rows(
            "channel",
            "SELECT payment_account_id, channel, settings FROM payment_account WHERE merchant_id = %s",
            self._merchant_id,
        )
        return {
            row["payment_account_id"]: (
                CHANNEL_AT_SANDBOX[row["channel"]],
                row["settings"][_NUMBER_AT_CHANNEL[row["channel"]]],
            )
            for row in rows
        }

    async def _by_account(self) -> dict[str, tuple[Figures, Figures, int]]:
        totals = {
            (each["channel"], each["account"]): each for each in (await self._sandbox_books())["accounts"]
        }
        figures = {}
        for payment_account_id, place in self._accounts().items():
            at_sandbox = Figures(
                totals[place]["charged_minor_units"],
                totals[place]["fee_minor_units"],
                totals[place]["refunded_minor_units"],
            )
            figures[payment_account_id] = (
                at_sandbox,
                self._channel_orders(payment_account_id),
                self._clearing(payment_account_id),
            )
        return figures

    async def _sandbox_books(self) -> dict[str, Any]:
        async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
            answer = await http.get(f"{self._center.endpoints.sandbox_base_url}/sandbox/books")
        answer.raise_for_status()
        books: dict[str, Any] = answer.json()
        return books

    def _channel_orders(self, payment_account_id: str) -> Figures:
        row = self._center.rows(
            "channel",
            """
            SELECT coalesce(sum(amount_minor_units) FILTER (WHERE kind = 'PAY'), 0)::bigint AS charged,
                   coalesce(sum(channel_fee_minor_units) FILTER (WHERE kind = 'PAY'), 0)::bigint AS fee,
                   coalesce(sum(amount_minor_units) FILTER (WHERE kind = 'REFUND'), 0)::bigint AS refunded
            FROM channel_order WHERE payment_account_id = %s AND state = 'SUCCEEDED'
            """,
            payment_account_id,
        )[0]
        return Figures(row["charged"], row["fee"], row["refunded"])

    def _clearing(self, payment_account_id: str) -> int:
        row = self._center.rows(
            "accounting",
            """
            SELECT coalesce(sum(CASE side WHEN 'DEBIT' THEN amount_minor_units ELSE -amount_minor_units END),
                            0)::bigint AS clearing
            FROM entry WHERE account_id = %s
            """,
            f"1101:{payment_account_id}:CNY",
        )[0]
        return int(row["clearing"])
