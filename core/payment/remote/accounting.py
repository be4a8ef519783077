"""What PaymentCore asks of Accounting. Invariant: every posting and hold has a request id that follows from the
payment, so that repeating it after a crash is the same request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import grpc
from paycenter.accounting.v1 import accounting_pb2 as pb
from paycenter.accounting.v1.accounting_pb2_grpc import AccountingStub

from core.payment.domain.accounts import split_account_id
from core.payment.domain.family import Family
from core.payment.domain.payment import PostingLine
from core.payment.mapping.payments import member_from_proto
from core.payment.remote.calls import answer_of
from runtime.errors import PaycenterError, Reason
from runtime.money import Money
from runtime.wire import money_to_proto

if TYPE_CHECKING:
    from paycenter.accounting.v1.accounting_pb2_grpc import AccountingAsyncStub


class AccountingClient:
    """Accounting over one channel; every call takes its scope from the running task."""

    def __init__(self, channel: grpc.aio.Channel, *, call_seconds: float) -> None:
        self._stub: AccountingAsyncStub = AccountingStub(channel)
        self._call_seconds = call_seconds

    async def open_account(self, account_id: str, *, request_id: str) -> None:
        """Opens an account by its number; opening it again is harmless.

        Raises PaycenterError(TENANT_FORBIDDEN) when it belongs to another tenant; an account that is open with other
        properties stays as it is.
        """
        subject_code, owner_id, currency_code = split_account_id(account_id)
        request = pb.OpenAccountRequest(
            request_id=request_id,
            subject_code=subject_code,
            owner_id=owner_id,
            currency_code=currency_code,
        )
        try:
            await answer_of(self._stub.OpenAccount(request, timeout=self._call_seconds))
        except PaycenterError as error:
            if error.reason is not Reason.ACCOUNT_EXISTS:
                raise

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
        """Books a business event and returns the journal's number; the hold is taken in the same commit."""
        request = pb.PostEventRequest(
            request_id=request_id,
            event_code=event_code,
            business_number=business_number,
            parties=[pb.EventParty(role=role, account_id=account) for role, account in parties.items()],
            components=[
                pb.EventComponent(component=component, amount=money_to_proto(amount))
                for component, amount in components.items()
            ],
            hold_id=hold_id,
        )
        response = await answer_of(self._stub.PostEvent(request, timeout=self._call_seconds))
        return response.journal.journal_id

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
        """Books a transfer to several receivers, whose parts sum to the amount; returns the journal's number."""
        debit = pb.JournalLine(
            account_id=source_account_id, side=pb.ENTRY_SIDE_DEBIT, amount=money_to_proto(amount)
        )
        credit_lines = [
            pb.JournalLine(
                account_id=receiver.account_id,
                side=pb.ENTRY_SIDE_CREDIT,
                amount=money_to_proto(Money(receiver.minor_units, amount.currency_code)),
            )
            for receiver in receivers
        ]
        request = pb.PostJournalRequest(
            request_id=request_id,
            event_code=event_code,
            business_number=business_number,
            lines=[debit, *credit_lines],
        )
        response = await answer_of(self._stub.PostJournal(request, timeout=self._call_seconds))
        return response.journal.journal_id

    async def find_journal(self, *, event_code: str, business_number: str) -> str:
        """Returns the number of the journal that books an event; empty when it is not booked."""
        request = pb.GetJournalRequest(event_code=event_code, business_number=business_number)
        try:
            response = await answer_of(self._stub.GetJournal(request))
        except PaycenterError as error:
            if error.reason is Reason.JOURNAL_NOT_FOUND:
                return ""
            raise
        return response.journal.journal_id

    async def place_hold(
        self, *, request_id: str, account_id: str, amount: Money, business_number: str
    ) -> str:
        """Keeps money of an account back and returns the hold's number. Raises PaycenterError(INSUFFICIENT_FUNDS)."""
        request = pb.PlaceHoldRequest(
            request_id=request_id,
            account_id=account_id,
            amount=money_to_proto(amount),
            business_number=business_number,
        )
        response = await answer_of(self._stub.PlaceHold(request, timeout=self._call_seconds))
        return response.hold.hold_id

    async def release_hold(self, *, request_id: str, hold_id: str) -> None:
        """Frees what a hold keeps; releasing it again is harmless. Raises PaycenterError(HOLD_STATE_INVALID)."""
        request = pb.ReleaseHoldRequest(request_id=request_id, hold_id=hold_id)
        await answer_of(self._stub.ReleaseHold(request, timeout=self._call_seconds))

    async def find_family(self, number: str) -> Family | None:
        """Finds the journals of a number or business identifier; None when there are none."""
        try:
            response = await answer_of(self._stub.GetJournalFamily(pb.GetJournalFamilyRequest(number=number)))
        except PaycenterError as error:
            if error.reason is Reason.NUMBER_NOT_FOUND:
                return None
            raise
        return Family(response.business_id, tuple(member_from_proto(each) for each in response.members))
