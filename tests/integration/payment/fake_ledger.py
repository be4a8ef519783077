"""A small ledger that speaks Accounting's contract: balances, holds, one journal for each event and number."""

# ruff: noqa: N802  methods are named by the contract

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

from paycenter.accounting.v1 import accounting_pb2 as pb
from paycenter.accounting.v1.accounting_pb2_grpc import AccountingServicer
from paycenter.type.v1 import family_pb2

from runtime.context import current_scope
from runtime.errors import PaycenterError, Reason
from runtime.ids import NumberKind, new_number
from tests.integration.payment.faults import Faults

RULES: dict[str, tuple[tuple[str, pb.EntrySide.ValueType, str], ...]] = {
    "RECHARGE": (
        ("channel_clearing", pb.ENTRY_SIDE_DEBIT, "net"),
        ("channel_fee_expense", pb.ENTRY_SIDE_DEBIT, "fee"),
        ("beneficiary", pb.ENTRY_SIDE_CREDIT, "gross"),
    ),
    "TRANSFER": (
        ("source", pb.ENTRY_SIDE_DEBIT, "gross"),
        ("destination", pb.ENTRY_SIDE_CREDIT, "gross"),
    ),
    "REFUND": (
        ("source", pb.ENTRY_SIDE_DEBIT, "gross"),
        ("channel_clearing", pb.ENTRY_SIDE_CREDIT, "gross"),
    ),
    "WITHDRAWAL": (
        ("source", pb.ENTRY_SIDE_DEBIT, "gross"),
        ("channel_clearing", pb.ENTRY_SIDE_CREDIT, "gross"),
    ),
}


class FakeLedger(AccountingServicer):
    """Keeps credit balances of liabilities and refuses what falls below zero, holds included."""

    def __init__(self) -> None:
        self.faults = Faults()
        self.opened: list[str] = []
        self.balances: dict[str, int] = defaultdict(int)
        self.held: dict[str, int] = defaultdict(int)
        self.holds: dict[str, pb.Hold] = {}
        self.journals: dict[tuple[str, str], pb.Journal] = {}
        self.frozen: set[str] = set()
        self.full: set[str] = set()
        self._decided: dict[tuple[str, str], tuple[bytes, Any]] = {}

    def journal_of(self, payment_id: str) -> pb.Journal:
        """The one journal of a payment; fails the test when there are none or several."""
        found = [journal for (_, number), journal in self.journals.items() if number == payment_id]
        assert len(found) == 1, f"{len(found)} journals for {payment_id}"
        return found[0]

    def available(self, account_id: str) -> int:
        return self.balances[account_id] - self.held[account_id]

    async def OpenAccount(self, request: pb.OpenAccountRequest, context: Any) -> pb.OpenAccountResponse:
        await self.faults.strike("OpenAccount")
        account_id = f"{request.subject_code}:{request.owner_id}:{request.currency_code}"
        self.opened.append(account_id)
        return pb.OpenAccountResponse(account=pb.Account(account_id=account_id))

    async def PostEvent(self, request: pb.PostEventRequest, context: Any) -> pb.PostEventResponse:
        accounts = {party.role: party.account_id for party in request.parties}
        amounts = {part.component: part.amount for part in request.components}
        lines = [
            pb.JournalLine(account_id=accounts[role], side=side, amount=amounts[component])
            for role, side, component in RULES[request.event_code]
            if amounts[component].minor_units
        ]

        def book() -> pb.Journal:
            return self._book(request.event_code, request.business_number, lines, request.hold_id)

        journal = await self._once("PostEvent", request, book)
        return pb.PostEventResponse(journal=journal)

    async def PostJournal(self, request: pb.PostJournalRequest, context: Any) -> pb.PostJournalResponse:
        def book() -> pb.Journal:
            return self._book(request.event_code, request.business_number, list(request.lines), "")

        journal = await self._once("PostJournal", request, book)
        return pb.PostJournalResponse(journal=journal)

    async def GetJournal(self, request: pb.GetJournalRequest, context: Any) -> pb.GetJournalResponse:
        await self.faults.strike("GetJournal")
        journal = self.journals.get((request.event_code, request.business_number))
        if journal is None:
            raise PaycenterError(Reason.JOURNAL_NOT_FOUND, "no journal")
        return pb.GetJournalResponse(journal=journal)

    async def PlaceHold(self, request: pb.PlaceHoldRequest, context: Any) -> pb.PlaceHoldResponse:
        def place() -> pb.Hold:
            if self.available(request.account_id) < request.amount.minor_units:
                raise PaycenterError(Reason.INSUFFICIENT_FUNDS, "too little money", field="amount")
            hold = pb.Hold(
                hold_id=new_number(NumberKind.HOLD, shard=1),
                account_id=request.account_id,
                amount=request.amount,
                state=pb.HOLD_STATE_OPEN,
                business_number=request.business_number,
            )
            self.held[request.account_id] += request.amount.minor_units
            self.holds[hold.hold_id] = hold
            return hold

        return pb.PlaceHoldResponse(hold=await self._once("PlaceHold", request, place))

    async def ReleaseHold(self, request: pb.ReleaseHoldRequest, context: Any) -> pb.ReleaseHoldResponse:
        def release() -> pb.Hold:
            hold = self.holds[request.hold_id]
            if hold.state == pb.HOLD_STATE_CAPTURED:
                raise PaycenterError(Reason.HOLD_STATE_INVALID, "captured")
            if hold.state == pb.HOLD_STATE_OPEN:
                self.held[hold.account_id] -= hold.amount.minor_units
                hold.state = pb.HOLD_STATE_RELEASED
            return hold

        return pb.ReleaseHoldResponse(hold=await self._once("ReleaseHold", request, release))

    async def GetJournalFamily(
        self, request: pb.GetJournalFamilyRequest, context: Any
    ) -> pb.GetJournalFamilyResponse:
        await self.faults.strike("GetJournalFamily")
        found = [
            journal
            for journal in self.journals.values()
            if request.number in (journal.journal_id, journal.business_number, journal.business_id)
        ]
        if not found:
            raise PaycenterError(Reason.NUMBER_NOT_FOUND, "nothing")
        members = [
            family_pb2.FamilyMember(
                service="accounting",
                kind="journal",
                number=journal.journal_id,
                parent_number=journal.business_number,
                state="POSTED",
                business_id=journal.business_id,
            )
            for journal in self.journals.values()
            if journal.business_id == found[0].business_id
        ]
        return pb.GetJournalFamilyResponse(business_id=found[0].business_id, members=members)

    async def _once(self, method: str, request: Any, effect: Callable[[], Any]) -> Any:
        """Decides a request once; repetitions get the same answer, refusals included."""
        await self.faults.strike(method)
        key = (method, request.request_id)
        body = type(request)()
        body.CopyFrom(request)
        body.request_id = ""
        fingerprint = body.SerializeToString(deterministic=True)
        if key in self._decided:
            before, outcome = self._decided[key]
            if before != fingerprint:
                raise PaycenterError(Reason.IDEMPOTENCY_KEY_REUSED, "another body", field="request_id")
        else:
            try:
                outcome = effect()
            except PaycenterError as refusal:
                outcome = refusal
            if not (isinstance(outcome, PaycenterError) and outcome.reason is Reason.ACCOUNT_STATE_INVALID):
                self._decided[key] = (fingerprint, outcome)
        await self.faults.strike_after(method)
        if isinstance(outcome, PaycenterError):
            raise outcome
        return outcome

    def _book(
        self, event_code: str, business_number: str, lines: list[pb.JournalLine], hold_id: str
    ) -> pb.Journal:
        if (event_code, business_number) in self.journals:
            raise PaycenterError(Reason.JOURNAL_EXISTS, "booked")
        debits = sum(line.amount.minor_units for line in lines if line.side == pb.ENTRY_SIDE_DEBIT)
        assert debits * 2 == sum(line.amount.minor_units for line in lines), "balanced"
        hold = self.holds[hold_id] if hold_id else None
        for line in lines:
            assert line.account_id in self.opened, f"{line.account_id} is not open"
            if line.account_id in self.full:
                raise PaycenterError(Reason.BALANCE_OVERFLOW, "full")
            if line.account_id in self.frozen:
                raise PaycenterError(Reason.ACCOUNT_STATE_INVALID, "frozen")
            if line.side == pb.ENTRY_SIDE_DEBIT and line.account_id.startswith("2"):
                freed = hold.amount.minor_units if hold is not None else 0
                if self.available(line.account_id) + freed < line.amount.minor_units:
                    raise PaycenterError(Reason.INSUFFICIENT_FUNDS, "too little money", field="amount")
        if hold is not None:
            assert hold.state == pb.HOLD_STATE_OPEN
            self.held[hold.account_id] -= hold.amount.minor_units
            hold.state = pb.HOLD_STATE_CAPTURED
        for line in lines:
            sign = 1 if line.side == pb.ENTRY_SIDE_CREDIT else -1
            self.balances[line.account_id] += sign * line.amount.minor_units
        journal = pb.Journal(
            journal_id=new_number(NumberKind.JOURNAL, shard=1),
            event_code=event_code,
            business_number=business_number,
            hold_id=hold_id,
            business_id=current_scope().platform.business_id,
            entries=[
                pb.Entry(account_id=line.account_id, side=line.side, amount=line.amount) for line in lines
            ],
        )
        self.journals[event_code, business_number] = journal
        return journal
