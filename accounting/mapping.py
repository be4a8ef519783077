"""Between the contract's messages and the ledger's own types. Invariant: total in both directions; an unknown enum
value is refused on the way in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime
from typing import TypeVar

from google.protobuf.timestamp_pb2 import Timestamp
from google.type import date_pb2
from paycenter.accounting.v1 import accounting_pb2 as pb
from paycenter.type.v1 import family_pb2, invariant_pb2

from accounting.domain.accounts import (
    AccountState,
    EntrySide,
    FloorKind,
    Subject,
    SubjectCategory,
)
from accounting.domain.holds import HoldState
from accounting.domain.posting import Line
from accounting.invariants import InvariantResult
from accounting.reading import Family
from accounting.store.accounts import Account, TrialBalanceRow
from accounting.store.holds import Hold
from accounting.store.journals import Entry, Journal
from accounting.store.rules import StoredRule
from runtime.errors import PaycenterError, Reason
from runtime.ids import NumberKind, new_number
from runtime.money import Money
from runtime.outbox import OutboxEvent, StoredEvent
from runtime.wire import datetime_from_timestamp, money_from_proto, money_to_proto, timestamp_from_datetime

SIDES: Mapping[EntrySide, pb.EntrySide.ValueType] = {
    EntrySide.DEBIT: pb.ENTRY_SIDE_DEBIT,
    EntrySide.CREDIT: pb.ENTRY_SIDE_CREDIT,
}
ACCOUNT_STATES: Mapping[AccountState, pb.AccountState.ValueType] = {
    AccountState.ACTIVE: pb.ACCOUNT_STATE_ACTIVE,
    AccountState.DEBIT_BLOCKED: pb.ACCOUNT_STATE_DEBIT_BLOCKED,
    AccountState.CREDIT_BLOCKED: pb.ACCOUNT_STATE_CREDIT_BLOCKED,
    AccountState.FROZEN: pb.ACCOUNT_STATE_FROZEN,
    AccountState.CLOSED: pb.ACCOUNT_STATE_CLOSED,
}
FLOORS: Mapping[FloorKind, pb.FloorKind.ValueType] = {
    FloorKind.ZERO: pb.FLOOR_KIND_ZERO,
    FloorKind.OVERDRAFT: pb.FLOOR_KIND_OVERDRAFT,
    FloorKind.NONE: pb.FLOOR_KIND_NONE,
}
CATEGORIES: Mapping[SubjectCategory, pb.SubjectCategory.ValueType] = {
    SubjectCategory.ASSET: pb.SUBJECT_CATEGORY_ASSET,
    SubjectCategory.LIABILITY: pb.SUBJECT_CATEGORY_LIABILITY,
    SubjectCategory.EQUITY: pb.SUBJECT_CATEGORY_EQUITY,
    SubjectCategory.INCOME: pb.SUBJECT_CATEGORY_INCOME,
    SubjectCategory.EXPENSE: pb.SUBJECT_CATEGORY_EXPENSE,
}
HOLD_STATES: Mapping[HoldState, pb.HoldState.ValueType] = {
    HoldState.OPEN: pb.HOLD_STATE_OPEN,
    HoldState.CAPTURED: pb.HOLD_STATE_CAPTURED,
    HoldState.RELEASED: pb.HOLD_STATE_RELEASED,
    HoldState.EXPIRED: pb.HOLD_STATE_EXPIRED,
}
JOURNAL_KINDS: Mapping[str, pb.JournalKind.ValueType] = {
    "NORMAL": pb.JOURNAL_KIND_NORMAL,
    "REVERSAL": pb.JOURNAL_KIND_REVERSAL,
    "ADJUSTMENT": pb.JOURNAL_KIND_ADJUSTMENT,
}
RULE_STATES: Mapping[str, pb.PostingRuleState.ValueType] = {
    "PROPOSED": pb.POSTING_RULE_STATE_PROPOSED,
    "APPROVED": pb.POSTING_RULE_STATE_APPROVED,
    "RETIRED": pb.POSTING_RULE_STATE_RETIRED,
}

Own = TypeVar("Own")
Wire = TypeVar("Wire", bound=int)


def from_wire(table: Mapping[Own, Wire], value: int, field: str) -> Own:
    """Reads an enum value by its table. Raises FIELD_INVALID with the field when the table has none."""
    for own, wire in table.items():
        if wire == value:
            return own
    raise PaycenterError(Reason.FIELD_INVALID, "the value is unknown", field=field)


def lines_from_proto(messages: Iterable[pb.JournalLine]) -> tuple[Line, ...]:
    """Reads the lines of a journal."""
    return tuple(
        Line(
            account_id=message.account_id,
            side=from_wire(SIDES, message.side, f"lines[{index}].side"),
            amount=money_from_proto(message.amount),
            expected_version=message.expected_version if message.HasField("expected_version") else None,
        )
        for index, message in enumerate(messages)
    )


def parties_from_proto(messages: Iterable[pb.EventParty]) -> dict[str, str]:
    """Reads accounts by role. Raises FIELD_INVALID when a role is given twice."""
    return _unique(((message.role, message.account_id) for message in messages), "parties")


def components_from_proto(messages: Iterable[pb.EventComponent]) -> dict[str, Money]:
    """Reads amounts by component. Raises FIELD_INVALID when a component is given twice."""
    return _unique(
        ((message.component, money_from_proto(message.amount)) for message in messages), "components"
    )


def _unique(pairs: Iterable[tuple[str, Own]], field: str) -> dict[str, Own]:
    found: dict[str, Own] = {}
    for name, value in pairs:
        if name in found:
            raise PaycenterError(Reason.FIELD_INVALID, f"{name} is given twice", field=field)
        found[name] = value
    return found


def date_to_proto(day: date) -> date_pb2.Date:
    """Writes a civil day."""
    return date_pb2.Date(year=day.year, month=day.month, day=day.day)


def date_from_proto(message: date_pb2.Date, field: str) -> date:
    """Reads a civil day. Raises FIELD_INVALID when there is no such day."""
    try:
        return date(message.year, message.month, message.day)
    except ValueError:
        raise PaycenterError(Reason.FIELD_INVALID, "no such day", field=field) from None


def time_from_proto(message: Timestamp, present: bool) -> datetime | None:
    """Reads an instant that may be absent."""
    return datetime_from_timestamp(message) if present else None


def subject_to_proto(subject: Subject) -> pb.Subject:
    """Writes a subject."""
    return pb.Subject(
        subject_code=subject.subject_code,
        parent_subject_code=subject.parent_subject_code,
        display_name=subject.display_name,
        category=CATEGORIES[subject.category],
        normal_side=SIDES[subject.normal_side],
        leaf=subject.leaf,
    )


def subject_from_proto(message: pb.Subject) -> Subject:
    """Reads a subject that is to be added as a leaf."""
    return Subject(
        subject_code=message.subject_code,
        parent_subject_code=message.parent_subject_code,
        display_name=message.display_name,
        category=from_wire(CATEGORIES, message.category, "subject.category"),
        normal_side=from_wire(SIDES, message.normal_side, "subject.normal_side"),
        leaf=True,
    )


def account_to_proto(account: Account) -> pb.Account:
    """Writes an account with its balance."""
    position = account.position
    return pb.Account(
        account_id=position.account_id,
        subject_code=account.subject_code,
        owner_id=account.owner_id,
        currency_code=position.currency_code,
        normal_side=SIDES[position.normal_side],
        state=ACCOUNT_STATES[position.state],
        floor=FLOORS[position.floor],
        overdraft_minor_units=position.overdraft_minor_units,
        debit_minor_units=position.debit_minor_units,
        credit_minor_units=position.credit_minor_units,
        balance_minor_units=position.balance_minor_units,
        held_minor_units=position.held_minor_units,
        available_minor_units=position.available_minor_units,
        entry_sequence=position.entry_sequence,
        version=position.version,
        shadow=position.shadow,
        create_time=timestamp_from_datetime(account.create_time),
    )


def entry_to_proto(entry: Entry) -> pb.Entry:
    """Writes an entry."""
    return pb.Entry(
        account_id=entry.account_id,
        account_sequence=entry.account_sequence,
        journal_id=entry.journal_id,
        line_number=entry.line_number,
        side=SIDES[entry.side],
        amount=money_to_proto(entry.amount),
        balance_after_minor_units=entry.balance_after_minor_units,
        accounting_date=date_to_proto(entry.accounting_date),
        create_time=timestamp_from_datetime(entry.create_time),
        event_code=entry.event_code,
        business_number=entry.business_number,
    )


def journal_to_proto(journal: Journal) -> pb.Journal:
    """Writes a journal with its entries."""
    return pb.Journal(
        journal_id=journal.journal_id,
        event_code=journal.event_code,
        business_number=journal.business_number,
        kind=JOURNAL_KINDS[journal.kind],
        entries=[entry_to_proto(entry) for entry in journal.entries],
        posting_rule_version=journal.posting_rule_version,
        hold_id=journal.hold_id,
        reversed_journal_id=journal.reversed_journal_id,
        accounting_date=date_to_proto(journal.accounting_date),
        effective_time=timestamp_from_datetime(journal.effective_time),
        create_time=timestamp_from_datetime(journal.create_time),
        business_id=journal.business_id,
        trace_id=_trace_id(journal.traceparent),
    )


def hold_to_proto(hold: Hold) -> pb.Hold:
    """Writes a hold."""
    position = hold.position
    return pb.Hold(
        hold_id=position.hold_id,
        account_id=position.account_id,
        amount=money_to_proto(hold.amount),
        captured_minor_units=position.captured_minor_units,
        released_minor_units=position.released_minor_units,
        state=HOLD_STATES[position.state],
        business_number=hold.business_number,
        expire_time=timestamp_from_datetime(hold.expire_time) if hold.expire_time else None,
        business_id=hold.business_id,
        create_time=timestamp_from_datetime(hold.create_time),
    )


def rule_to_proto(stored: StoredRule) -> pb.PostingRule:
    """Writes a posting rule."""
    return pb.PostingRule(
        event_code=stored.rule.event_code,
        version=stored.rule.version,
        lines=[
            pb.PostingRuleLine(role=line.role, side=SIDES[line.side], component=line.component)
            for line in stored.rule.lines
        ],
        state=RULE_STATES[stored.state],
        maker=stored.maker,
        checker=stored.checker,
        effective_date=date_to_proto(stored.effective_date),
    )


def trial_balance_row_to_proto(row: TrialBalanceRow) -> pb.TrialBalanceRow:
    """Writes one row of a trial balance."""
    difference = row.debit_minor_units - row.credit_minor_units
    return pb.TrialBalanceRow(
        subject_code=row.subject_code,
        currency_code=row.currency_code,
        debit_minor_units=row.debit_minor_units,
        credit_minor_units=row.credit_minor_units,
        balance_minor_units=difference if row.normal_side is EntrySide.DEBIT else -difference,
        account_count=row.account_count,
    )


def family_to_proto(family: Family) -> pb.GetJournalFamilyResponse:
    """Writes the family's journals and holds as members."""
    members = [
        family_pb2.FamilyMember(
            service="accounting",
            kind="journal",
            number=journal.journal_id,
            parent_number=journal.business_number,
            state="POSTED",
            amount=money_to_proto(_turnover(journal)),
            create_time=timestamp_from_datetime(journal.create_time),
            update_time=timestamp_from_datetime(journal.create_time),
            business_id=journal.business_id,
            trace_id=_trace_id(journal.traceparent),
            summary=", ".join(
                f"{'Dr' if entry.side is EntrySide.DEBIT else 'Cr'} {entry.account_id}"
                for entry in journal.entries
            ),
        )
        for journal in family.journals
    ]
    members += [
        family_pb2.FamilyMember(
            service="accounting",
            kind="hold",
            number=hold.position.hold_id,
            parent_number=hold.business_number,
            state=hold.position.state.value,
            amount=money_to_proto(hold.amount),
            create_time=timestamp_from_datetime(hold.create_time),
            update_time=timestamp_from_datetime(hold.update_time),
            business_id=hold.business_id,
            trace_id=_trace_id(hold.traceparent),
            summary=hold.position.account_id,
        )
        for hold in family.holds
    ]
    return pb.GetJournalFamilyResponse(business_id=family.business_id, members=members)


def invariant_result_to_proto(result: InvariantResult) -> invariant_pb2.InvariantResult:
    """Writes what a check found."""
    return invariant_pb2.InvariantResult(
        name=result.name,
        description=result.description,
        checked_count=result.checked_count,
        violation_count=result.violation_count,
        examples=result.examples,
    )


def event_to_proto(stored: StoredEvent) -> pb.AccountingEvent:
    """Writes an event with its place in the feed."""
    event = pb.AccountingEvent.FromString(stored.payload)
    event.revision = stored.revision
    return event


def open_account_response(account: Account) -> bytes:
    """Serializes the answer of OpenAccount, as it is kept for replays."""
    return pb.OpenAccountResponse(account=account_to_proto(account)).SerializeToString()


def change_account_state_response(account: Account) -> bytes:
    """Serializes the answer of ChangeAccountState, as it is kept for replays."""
    return pb.ChangeAccountStateResponse(account=account_to_proto(account)).SerializeToString()


def release_hold_response(hold: Hold) -> bytes:
    """Serializes the answer of ReleaseHold, as it is kept for replays."""
    return pb.ReleaseHoldResponse(hold=hold_to_proto(hold)).SerializeToString()


def journal_posted(journal: Journal) -> OutboxEvent:
    """Makes the event of a booked journal."""
    event = pb.AccountingEvent(
        event_id=new_number(NumberKind.EVENT, shard=journal.shard),
        event_time=timestamp_from_datetime(journal.create_time),
        event_type=pb.ACCOUNTING_EVENT_TYPE_JOURNAL_POSTED,
        business_id=journal.business_id,
        journal=journal_to_proto(journal),
    )
    return _outbox_event(event, journal.shard, "JOURNAL_POSTED", journal.journal_id, 1)


def hold_changed(hold: Hold) -> OutboxEvent:
    """Makes the event of a hold's change."""
    position = hold.position
    event = pb.AccountingEvent(
        event_id=new_number(NumberKind.EVENT, shard=position.shard),
        event_time=timestamp_from_datetime(hold.update_time),
        event_type=pb.ACCOUNTING_EVENT_TYPE_HOLD_CHANGED,
        business_id=hold.business_id,
        hold=hold_to_proto(hold),
    )
    return _outbox_event(event, position.shard, "HOLD_CHANGED", position.hold_id, position.version)


def account_changed(account: Account) -> OutboxEvent:
    """Makes the event of an opened or changed account."""
    position = account.position
    event = pb.AccountingEvent(
        event_id=new_number(NumberKind.EVENT, shard=position.shard),
        event_time=timestamp_from_datetime(account.create_time),
        event_type=pb.ACCOUNTING_EVENT_TYPE_ACCOUNT_CHANGED,
        business_id=position.account_id,
    )
    return _outbox_event(event, position.shard, "ACCOUNT_CHANGED", position.account_id, position.version)


def _outbox_event(
    event: pb.AccountingEvent, shard: int, event_type: str, resource_id: str, version: int
) -> OutboxEvent:
    return OutboxEvent(
        shard=shard,
        event_id=event.event_id,
        event_type=event_type,
        resource_id=resource_id,
        resource_version=version,
        payload=event.SerializeToString(),
    )


def _turnover(journal: Journal) -> Money:
    debits = [entry.amount for entry in journal.entries if entry.side is EntrySide.DEBIT]
    first = debits[0].currency_code
    return Money(sum(each.minor_units for each in debits if each.currency_code == first), first)


def _trace_id(traceparent: str) -> str:
    parts = traceparent.split("-")
    return parts[1] if len(parts) == 4 else ""
