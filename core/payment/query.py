"""Query: asks below what became of a payment, and lists payments. Invariant: a question moves no money; what channel or
ledger say is stored and applied like any other word of theirs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from core.payment.domain.channel import ChannelWord
from core.payment.domain.payment import Payment, PaymentKind, PaymentState
from core.payment.outcome import Outcomes
from core.payment.page import decode_page_token, encode_page_token, page_size_of
from core.payment.posting import Posting
from core.payment.records import PaymentRecords
from core.payment.store import payments as store
from runtime.context import current_scope, with_business_id

_SETTLED = frozenset({PaymentState.SUCCEEDED, PaymentState.FAILED})


class OrderQueries(Protocol):
    """What a query asks of the channel gateway."""

    async def query_order(self, payment: Payment) -> ChannelWord | None:
        """Returns what the channel says; None when the gateway has no order for the payment."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentFilter:
    """Which payments a list shows; empty fields show all of the tenant."""

    business_id: str
    order_id: str
    state: PaymentState | None


class Queries:
    """Reads payments, and asks what became of those that are open."""

    def __init__(
        self, *, records: PaymentRecords, outcomes: Outcomes, posting: Posting, gateway: OrderQueries
    ) -> None:
        self._records = records
        self._outcomes = outcomes
        self._posting = posting
        self._gateway = gateway

    async def get(self, payment_id: str) -> Payment:
        """Reads a payment as it is stored. Raises PaycenterError(PAYMENT_NOT_FOUND or TENANT_FORBIDDEN)."""
        return await self._records.get(payment_id)

    async def query(self, payment_id: str) -> Payment:
        """Asks what became of a payment and returns it after storing what was said; idempotent.

        Raises PaycenterError: PAYMENT_NOT_FOUND, TENANT_FORBIDDEN, or DEPENDENCY_UNAVAILABLE when nobody answers.
        """
        payment = await self._records.get(payment_id)
        with with_business_id(payment.business_id):
            return await self.ask(payment)

    async def ask(self, payment: Payment) -> Payment:
        """Asks the channel, or the ledger for a transfer; a payment that is settled is returned as it is.

        Raises PaycenterError when nobody answers.
        """
        if payment.state in _SETTLED:
            return payment
        if payment.kind is PaymentKind.TRANSFER:
            booked = await self._posting.find_journal(payment)
            return await self._outcomes.succeed(payment) if booked else payment
        word = await self._gateway.query_order(payment)
        return payment if word is None else await self._outcomes.apply(payment, word)

    async def list(
        self, shown: PaymentFilter, *, page_size: int, page_token: str
    ) -> tuple[list[Payment], str]:
        """Lists the tenant's payments, newest first, and the token of the next page, empty at the end.

        Raises PaycenterError(PAGE_TOKEN_INVALID).
        """
        row_limit = page_size_of(page_size)
        async with self._records.database.read() as connection:
            found = await store.list_payments(
                connection,
                tenant_id=current_scope().platform.tenant_id,
                business_id=shown.business_id,
                order_id=shown.order_id,
                state=shown.state,
                before_payment_id=decode_page_token(page_token),
                row_limit=row_limit + 1,
            )
        page = found[:row_limit]
        return page, encode_page_token(page[-1].payment_id) if len(found) > row_limit else ""
