"""The Accounting servicer: message in, one use case, message out. Invariant: it decides nothing."""

from __future__ import annotations

import base64
from typing import Any, Final

import grpc
from paycenter.accounting.v1 import accounting_pb2 as pb
from paycenter.accounting.v1.accounting_pb2_grpc import AccountingServicer, add_AccountingServicer_to_server
from paycenter.type.v1 import server_info_pb2

from accounting import hold, mapping, open_account, post, reading, reverse
from accounting.books import Books
from accounting.domain.accounts import FloorKind
from accounting.invariants import INVARIANTS, check
from accounting.post import JournalCommand
from accounting.store import accounts, journals, rules
from runtime.context import current_scope
from runtime.errors import PaycenterError, Reason
from runtime.idempotency import Replay, fingerprint
from runtime.wire import datetime_from_timestamp, money_from_proto, seconds_from_duration

SERVICE_NAME: Final = "paycenter.accounting.v1.Accounting"
_AFTER_LAST_SEQUENCE: Final = 2**63 - 1
_DEFAULT_PAGE_SIZE: Final = 50
_LARGEST_PAGE_SIZE: Final = 500

Context = grpc.aio.ServicerContext[Any, Any]


class AccountingApi(AccountingServicer):
    """Serves the ledger; a method that is not overridden here answers METHOD_UNIMPLEMENTED."""

    def __init__(self, books: Books, *, release: str) -> None:
        self._books = books
        self._release = release

    async def ListSubjects(
        self, request: pb.ListSubjectsRequest, context: Context
    ) -> pb.ListSubjectsResponse:
        size = _page_size(request.page_size)
        async with self._books.database.read() as connection:
            found = await accounts.list_subjects(
                connection, after_subject_code=_read_token(request.page_token), limit=size
            )
        return pb.ListSubjectsResponse(
            subjects=[mapping.subject_to_proto(subject) for subject in found],
            next_page_token=_token(found[-1].subject_code) if len(found) == size else "",
        )

    async def OpenAccount(self, request: pb.OpenAccountRequest, context: Context) -> pb.OpenAccountResponse:
        floor: FloorKind | None = None
        if request.floor:
            floor = mapping.from_wire(mapping.FLOORS, request.floor, "floor")
        account = await open_account.open_account(
            self._books,
            request_id=request.request_id,
            fingerprint=fingerprint(request),
            subject_code=request.subject_code,
            owner_id=request.owner_id,
            currency_code=request.currency_code,
            floor=floor,
            overdraft_minor_units=request.overdraft_minor_units,
        )
        if isinstance(account, Replay):
            return pb.OpenAccountResponse.FromString(account.response)
        return pb.OpenAccountResponse(account=mapping.account_to_proto(account))

    async def GetAccount(self, request: pb.GetAccountRequest, context: Context) -> pb.GetAccountResponse:
        account = await reading.get_account(self._books, request.account_id)
        return pb.GetAccountResponse(account=mapping.account_to_proto(account))

    async def ListAccounts(
        self, request: pb.ListAccountsRequest, context: Context
    ) -> pb.ListAccountsResponse:
        size = _page_size(request.page_size)
        async with self._books.database.read() as connection:
            found = await accounts.list_accounts(
                connection,
                tenant_id=current_scope().platform.tenant_id,
                owner_id=request.owner_id,
                subject_code=request.subject_code,
                after_account_id=_read_token(request.page_token),
                limit=size,
            )
        return pb.ListAccountsResponse(
            accounts=[mapping.account_to_proto(account) for account in found],
            next_page_token=_token(found[-1].position.account_id) if len(found) == size else "",
        )

    async def ChangeAccountState(
        self, request: pb.ChangeAccountStateRequest, context: Context
    ) -> pb.ChangeAccountStateResponse:
        account = await open_account.change_account_state(
            self._books,
            request_id=request.request_id,
            fingerprint=fingerprint(request),
            account_id=request.account_id,
            state=mapping.from_wire(mapping.ACCOUNT_STATES, request.state, "state"),
            reason=request.reason,
        )
        if isinstance(account, Replay):
            return pb.ChangeAccountStateResponse.FromString(account.response)
        return pb.ChangeAccountStateResponse(account=mapping.account_to_proto(account))

    async def PostEvent(self, request: pb.PostEventRequest, context: Context) -> pb.PostEventResponse:
        journal = await post.post_event(
            self._books,
            request_id=request.request_id,
            fingerprint=fingerprint(request),
            event_code=request.event_code,
            business_number=request.business_number,
            parties=mapping.parties_from_proto(request.parties),
            components=mapping.components_from_proto(request.components),
            hold_id=request.hold_id,
            effective_time=mapping.time_from_proto(
                request.effective_time, request.HasField("effective_time")
            ),
        )
        return pb.PostEventResponse(journal=mapping.journal_to_proto(journal))

    async def PostJournal(self, request: pb.PostJournalRequest, context: Context) -> pb.PostJournalResponse:
        journal = await post.post(
            self._books,
            JournalCommand(
                request_id=request.request_id,
                fingerprint=fingerprint(request),
                event_code=request.event_code,
                business_number=request.business_number,
                lines=mapping.lines_from_proto(request.lines),
                effective_time=mapping.time_from_proto(
                    request.effective_time, request.HasField("effective_time")
                ),
            ),
        )
        return pb.PostJournalResponse(journal=mapping.journal_to_proto(journal))

    async def ReverseJournal(
        self, request: pb.ReverseJournalRequest, context: Context
    ) -> pb.ReverseJournalResponse:
        journal = await reverse.reverse_journal(
            self._books,
            request_id=request.request_id,
            fingerprint=fingerprint(request),
            journal_id=request.journal_id,
        )
        return pb.ReverseJournalResponse(journal=mapping.journal_to_proto(journal))

    async def GetJournal(self, request: pb.GetJournalRequest, context: Context) -> pb.GetJournalResponse:
        journal = await reading.get_journal(
            self._books,
            journal_id=request.journal_id,
            event_code=request.event_code,
            business_number=request.business_number,
        )
        return pb.GetJournalResponse(journal=mapping.journal_to_proto(journal))

    async def ListJournals(
        self, request: pb.ListJournalsRequest, context: Context
    ) -> pb.ListJournalsResponse:
        size = _page_size(request.page_size)
        async with self._books.database.read() as connection:
            found = await journals.list_journals(
                connection,
                tenant_id=current_scope().platform.tenant_id,
                business_id=request.business_id,
                account_id=request.account_id,
                before_journal_id=_read_token(request.page_token),
                limit=size,
            )
        return pb.ListJournalsResponse(
            journals=[mapping.journal_to_proto(journal) for journal in found],
            next_page_token=_token(found[-1].journal_id) if len(found) == size else "",
        )

    async def ListEntries(self, request: pb.ListEntriesRequest, context: Context) -> pb.ListEntriesResponse:
        size = _page_size(request.page_size)
        found = await reading.list_entries(
            self._books,
            request.account_id,
            before_sequence=_read_number_token(request.page_token, _AFTER_LAST_SEQUENCE),
            limit=size,
        )
        return pb.ListEntriesResponse(
            entries=[mapping.entry_to_proto(entry) for entry in found],
            next_page_token=_token(str(found[-1].account_sequence)) if len(found) == size else "",
        )

    async def GetBalanceAt(
        self, request: pb.GetBalanceAtRequest, context: Context
    ) -> pb.GetBalanceAtResponse:
        by_instant = request.WhichOneof("at") == "instant"
        balance = await reading.balance_at(
            self._books,
            request.account_id,
            instant=datetime_from_timestamp(request.instant) if by_instant else None,
            accounting_date=None
            if by_instant
            else mapping.date_from_proto(request.accounting_date, "accounting_date"),
        )
        return pb.GetBalanceAtResponse(
            debit_minor_units=balance.debit_minor_units,
            credit_minor_units=balance.credit_minor_units,
            balance_minor_units=balance.balance_minor_units,
            account_sequence=balance.account_sequence,
        )

    async def PlaceHold(self, request: pb.PlaceHoldRequest, context: Context) -> pb.PlaceHoldResponse:
        held = await hold.place_hold(
            self._books,
            request_id=request.request_id,
            fingerprint=fingerprint(request),
            account_id=request.account_id,
            amount=money_from_proto(request.amount),
            business_number=request.business_number,
            hold_seconds=seconds_from_duration(request.hold_duration)
            if request.HasField("hold_duration")
            else None,
        )
        return pb.PlaceHoldResponse(hold=mapping.hold_to_proto(held))

    async def CaptureHold(self, request: pb.CaptureHoldRequest, context: Context) -> pb.CaptureHoldResponse:
        held, journal = await hold.capture_hold(
            self._books,
            request_id=request.request_id,
            fingerprint=fingerprint(request),
            hold_id=request.hold_id,
            amount=money_from_proto(request.amount),
            event_code=request.event_code,
            business_number=request.business_number,
            destination_account_id=request.destination_account_id,
            release_remainder=request.release_remainder,
        )
        return pb.CaptureHoldResponse(
            hold=mapping.hold_to_proto(held), journal=mapping.journal_to_proto(journal)
        )

    async def ReleaseHold(self, request: pb.ReleaseHoldRequest, context: Context) -> pb.ReleaseHoldResponse:
        held = await hold.release_hold(
            self._books,
            request_id=request.request_id,
            fingerprint=fingerprint(request),
            hold_id=request.hold_id,
        )
        if isinstance(held, Replay):
            return pb.ReleaseHoldResponse.FromString(held.response)
        return pb.ReleaseHoldResponse(hold=mapping.hold_to_proto(held))

    async def GetHold(self, request: pb.GetHoldRequest, context: Context) -> pb.GetHoldResponse:
        held = await hold.get_hold(self._books, request.hold_id)
        return pb.GetHoldResponse(hold=mapping.hold_to_proto(held))

    async def ListPostingRules(
        self, request: pb.ListPostingRulesRequest, context: Context
    ) -> pb.ListPostingRulesResponse:
        size = _page_size(request.page_size)
        after_event_code, _, after_version = _read_token(request.page_token).partition("/")
        if after_version and not after_version.isdecimal():
            raise _page_token_invalid()
        async with self._books.database.read() as connection:
            found = await rules.list_rules(
                connection,
                event_code=request.event_code,
                after_event_code=after_event_code,
                after_version=int(after_version or 2**31 - 1),
                limit=size,
            )
        last = found[-1].rule if len(found) == size else None
        return pb.ListPostingRulesResponse(
            posting_rules=[mapping.rule_to_proto(stored) for stored in found],
            next_page_token=_token(f"{last.event_code}/{last.version}") if last else "",
        )

    async def GetTrialBalance(
        self, request: pb.GetTrialBalanceRequest, context: Context
    ) -> pb.GetTrialBalanceResponse:
        day = None
        if request.HasField("accounting_date"):
            day = mapping.date_from_proto(request.accounting_date, "accounting_date")
        found, balanced = await reading.trial_balance(self._books, day)
        return pb.GetTrialBalanceResponse(
            rows=[mapping.trial_balance_row_to_proto(row) for row in found], balanced=balanced
        )

    async def GetJournalFamily(
        self, request: pb.GetJournalFamilyRequest, context: Context
    ) -> pb.GetJournalFamilyResponse:
        return mapping.family_to_proto(await reading.get_family(self._books, request.number))

    async def ListAccountingEvents(
        self, request: pb.ListAccountingEventsRequest, context: Context
    ) -> pb.ListAccountingEventsResponse:
        feed = await reading.list_events(
            self._books, start_revision=request.start_revision, limit=_page_size(request.page_size)
        )
        return pb.ListAccountingEventsResponse(
            events=[mapping.event_to_proto(stored) for stored in feed.events],
            next_revision=feed.next_revision,
        )

    async def CheckInvariants(
        self, request: pb.CheckInvariantsRequest, context: Context
    ) -> pb.CheckInvariantsResponse:
        async with self._books.database.read() as connection:
            results = [await check(connection, invariant) for invariant in INVARIANTS]
        return pb.CheckInvariantsResponse(
            results=[mapping.invariant_result_to_proto(result) for result in results]
        )

    async def GetServerInfo(
        self, request: pb.GetServerInfoRequest, context: Context
    ) -> pb.GetServerInfoResponse:
        return pb.GetServerInfoResponse(
            server_info=server_info_pb2.ServerInfo(
                service=SERVICE_NAME, release=self._release, methods=served_methods()
            )
        )


def add_to_server(api: AccountingApi, server: grpc.aio.Server) -> None:
    """Makes a server answer the ledger's calls."""
    add_AccountingServicer_to_server(api, server)


def served_methods() -> list[str]:
    """Gives the methods of the contract that this release serves, in the contract's order."""
    names = pb.DESCRIPTOR.services_by_name["Accounting"].methods_by_name
    return [name for name in names if getattr(AccountingApi, name) is not getattr(AccountingServicer, name)]


def _page_size(asked: int) -> int:
    return min(asked or _DEFAULT_PAGE_SIZE, _LARGEST_PAGE_SIZE)


def _token(key: str) -> str:
    return base64.urlsafe_b64encode(key.encode()).decode()


def _read_token(token: str) -> str:
    try:
        return base64.b64decode(token.encode(), altchars=b"-_", validate=True).decode()
    except ValueError:
        raise _page_token_invalid() from None


def _read_number_token(token: str, default: int) -> int:
    key = _read_token(token)
    if not key:
        return default
    if not key.isdecimal():
        raise _page_token_invalid()
    return int(key)


def _page_token_invalid() -> PaycenterError:
    return PaycenterError(Reason.PAGE_TOKEN_INVALID, "the page token is malformed", field="page_token")
