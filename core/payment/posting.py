"""Books payments in the ledger: which event, which accounts, which parts of the amount. Invariant: one journal for each
payment; accounts are opened explicitly before their first use; money is held and freed by the same derived ids."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Protocol

from core.payment.domain.accounts import CHANNEL_CLEARING, CHANNEL_FEE_EXPENSE, account_id
from core.payment.domain.payment import Payment, PaymentKind, PostingLine
from runtime.context import current_scope
from runtime.errors import PaycenterError, Reason
from runtime.ids import derive_request_id
from runtime.money import Money

_REMEMBERED_AT_MOST = 100_000

EVENT_CODES: Final[Mapping[PaymentKind, str]] = {
    PaymentKind.RECHARGE: "RECHARGE",
    PaymentKind.WITHDRAWAL: "WITHDRAWAL",
    PaymentKind.REFUND: "REFUND",
    PaymentKind.TRANSFER: "TRANSFER",
}
"""Event of the posting rules that books each command."""


class Ledger(Protocol):
    """What posting asks of Accounting."""

    async def open_account(self, account_id: str, *, request_id: str) -> None:
        """Opens an account by its number; opening it again is harmless."""
        ...

    async def post_event(
        self,
        *,
        request_id: str,
        event_code: str,
        business_number: str,
        parties: Mapping[str, str],
        components: Mapping[str, Money],
        hold_id: str = "",
    ) -> str:
        """Books a business event and returns the journal's number."""
        ...

    async def post_transfer(
        self,
        *,
        request_id: str,
        event_code: str,
        business_number: str,
        source_account_id: str,
        amount: Money,
        receivers: Sequence[PostingLine],
    ) -> str:
        """Books a transfer to several receivers and returns the journal's number."""
        ...

    async def find_journal(self, *, event_code: str, business_number: str) -> str:
        """Returns the number of the journal that books an event; empty when it is not booked."""
        ...

    async def place_hold(
        self, *, request_id: str, account_id: str, amount: Money, business_number: str
    ) -> str:
        """Keeps money of an account back and returns the hold's number."""
        ...

    async def release_hold(self, *, request_id: str, hold_id: str) -> None:
        """Frees what a hold keeps."""
        ...


class Posting:
    """Books, holds and frees the money of payments.

    Every method raises PaycenterError: a refusal of the ledger by its reason, or DEPENDENCY_UNAVAILABLE when the ledger
    did not answer; then the same call again is the same request.
    """

    def __init__(self, *, ledger: Ledger) -> None:
        self._ledger = ledger
        self._opened: set[tuple[str, str]] = set()

    async def post(self, payment: Payment) -> str:
        """Books the payment's movement and returns the journal's number; a journal that stands already is found."""
        parties, components = _parties_of(payment), _components_of(payment)
        several_receivers = len(payment.posting_lines) > 1
        if several_receivers:
            await self._open(
                (payment.source_account_id, *(line.account_id for line in payment.posting_lines))
            )
        else:
            await self._open(parties.values())
        request_id = derive_request_id(payment.payment_id, "journal", str(payment.posting_round))
        event_code = EVENT_CODES[payment.kind]
        try:
            if several_receivers:
                return await self._ledger.post_transfer(
                    request_id=request_id,
                    event_code=event_code,
                    business_number=payment.payment_id,
                    source_account_id=payment.source_account_id,
                    amount=payment.amount,
                    receivers=payment.posting_lines,
                )
            return await self._ledger.post_event(
                request_id=request_id,
                event_code=event_code,
                business_number=payment.payment_id,
                parties=parties,
                components=components,
                hold_id=payment.hold_id,
            )
        except PaycenterError as error:
            if error.reason is not Reason.JOURNAL_EXISTS:
                raise
            return await self.find_journal(payment) or _unbooked(error)

    async def open_account(self, account_id: str) -> None:
        """Opens an account ahead of its use, so that another tenant's refuses a command before money moves."""
        await self._open((account_id,))

    async def find_journal(self, payment: Payment) -> str:
        """Returns the number of the journal that books the payment; empty when it is not booked."""
        return await self._ledger.find_journal(
            event_code=EVENT_CODES[payment.kind], business_number=payment.payment_id
        )

    async def hold(self, payment: Payment) -> str:
        """Keeps the payment's amount back on its source account; returns the hold's number."""
        if payment.hold_id:
            return payment.hold_id
        await self._open((payment.source_account_id,))
        return await self._ledger.place_hold(
            request_id=derive_request_id(payment.payment_id, "hold"),
            account_id=payment.source_account_id,
            amount=payment.amount,
            business_number=payment.payment_id,
        )

    async def release(self, payment: Payment) -> None:
        """Frees what the payment's hold keeps."""
        await self._ledger.release_hold(
            request_id=derive_request_id(payment.payment_id, "release"), hold_id=payment.hold_id
        )

    async def _open(self, account_ids: Iterable[str]) -> None:
        tenant_id = current_scope().platform.tenant_id
        for number in account_ids:
            if (tenant_id, number) in self._opened:
                continue
            await self._ledger.open_account(
                number, request_id=derive_request_id("open-account", tenant_id, number)
            )
            if len(self._opened) >= _REMEMBERED_AT_MOST:
                self._opened.clear()
            self._opened.add((tenant_id, number))


def _parties_of(payment: Payment) -> Mapping[str, str]:
    currency_code = payment.amount.currency_code
    match payment.kind:
        case PaymentKind.RECHARGE:
            return {
                "channel_clearing": account_id(CHANNEL_CLEARING, payment.payment_account_id, currency_code),
                "channel_fee_expense": account_id(CHANNEL_FEE_EXPENSE, payment.merchant_id, currency_code),
                "beneficiary": payment.destination_account_id,
            }
        case PaymentKind.TRANSFER:
            return {"source": payment.source_account_id, "destination": payment.destination_account_id}
        case _:
            return {
                "source": payment.source_account_id,
                "channel_clearing": account_id(CHANNEL_CLEARING, payment.payment_account_id, currency_code),
            }


def _components_of(payment: Payment) -> Mapping[str, Money]:
    gross = payment.amount
    if payment.kind is not PaymentKind.RECHARGE:
        return {"gross": gross}
    fee = Money(payment.channel_fee_minor_units or 0, gross.currency_code)
    return {"gross": gross, "fee": fee, "net": gross - fee}


def _unbooked(error: PaycenterError) -> str:
    raise error
