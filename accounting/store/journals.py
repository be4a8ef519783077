"""Journals, entries and recorded refusals. Invariant: a journal, its entries, its balances and what it takes from a
hold are written by one statement, or nothing is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from accounting.domain.accounts import EntrySide
from accounting.domain.holds import HoldPosition, HoldState
from accounting.domain.posting import Decision
from runtime.money import Money


@dataclass(frozen=True, slots=True)
class Entry:
    """One line as it was applied to its account."""

    account_id: str
    account_sequence: int
    journal_id: str
    line_number: int
    side: EntrySide
    amount: Money
    balance_after_minor_units: int
    accounting_date: date
    create_time: datetime
    event_code: str
    business_number: str


@dataclass(frozen=True, slots=True)
class Journal:
    """A booked journal. `caller`, `request_id` and `fingerprint` are those of the request that booked it."""

    shard: int
    journal_id: str
    tenant_id: str
    caller: str
    request_id: str
    fingerprint: bytes
    event_code: str
    business_number: str
    kind: str
    posting_rule_version: int
    hold_id: str
    reversed_journal_id: str
    accounting_date: date
    effective_time: datetime
    create_time: datetime
    business_id: str
    traceparent: str
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class NewJournal:
    """What is to be booked beside its entries."""

    shard: int
    journal_id: str
    tenant_id: str
    caller: str
    request_id: str
    fingerprint: bytes
    event_code: str
    business_number: str
    kind: str
    posting_rule_version: int
    hold_id: str
    reversed_journal_id: str
    accounting_date: date
    effective_time: datetime | None
    business_id: str
    traceparent: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refusal that is recorded under its request."""

    fingerprint: bytes
    reason: str
    message: str
    field: str
    metadata: dict[str, str]


_POSTED = """
    WITH posted AS (
        INSERT INTO journal (shard, journal_id, tenant_id, caller, request_id, fingerprint, event_code,
                             business_number, kind, posting_rule_version, hold_id, reversed_journal_id, line_count,
                             accounting_date, effective_time, business_id, traceparent)
        SELECT :shard, :journal_id, :tenant_id, :caller, :request_id, :fingerprint, :event_code, :business_number,
               :kind, :posting_rule_version, :hold_id, :reversed_journal_id, :line_count, :accounting_date,
               coalesce(CAST(:effective_time AS timestamptz), clock_timestamp()), :business_id, :traceparent
        WHERE NOT EXISTS (SELECT 1 FROM posting_refusal
                          WHERE shard = :shard AND caller = :caller AND request_id = :request_id)
        ON CONFLICT DO NOTHING
        RETURNING journal_id, accounting_date, effective_time, create_time
    ), applied AS (
        INSERT INTO entry (shard, account_id, account_sequence, journal_id, line_number, side, amount_minor_units,
                           currency_code, balance_after_minor_units, accounting_date, create_time)
        SELECT e.shard, e.account_id, e.account_sequence, p.journal_id, e.line_number, e.side, e.amount,
               e.currency_code, e.balance_after, p.accounting_date, p.create_time
        FROM posted p, unnest(
            CAST(:entry_shards AS smallint[]), CAST(:entry_account_ids AS text[]),
            CAST(:entry_sequences AS bigint[]), CAST(:entry_line_numbers AS smallint[]),
            CAST(:entry_sides AS text[]), CAST(:entry_amounts AS bigint[]), CAST(:entry_currencies AS text[]),
            CAST(:entry_balances_after AS bigint[])
        ) AS e(shard, account_id, account_sequence, line_number, side, amount, currency_code, balance_after)
    ), balanced AS (
        UPDATE account_balance b
        SET debit_minor_units = n.debit, credit_minor_units = n.credit, held_minor_units = n.held,
            entry_sequence = n.entry_sequence, version = n.version
        FROM posted, unnest(
            CAST(:position_shards AS smallint[]), CAST(:position_account_ids AS text[]),
            CAST(:position_debits AS bigint[]), CAST(:position_credits AS bigint[]),
            CAST(:position_helds AS bigint[]), CAST(:position_sequences AS bigint[]),
            CAST(:position_versions AS bigint[])
        ) AS n(shard, account_id, debit, credit, held, entry_sequence, version)
        WHERE b.shard = n.shard AND b.account_id = n.account_id
    )
"""
_FROM_HOLD = """
    , taken AS (
        UPDATE hold h
        SET captured_minor_units = h.captured_minor_units + :captured,
            released_minor_units = h.released_minor_units + :released, state = :hold_state,
            version = h.version + 1, update_time = clock_timestamp()
        FROM posted WHERE h.shard = :hold_shard AND h.hold_id = :hold_id
        RETURNING h.shard, h.hold_id, h.version
    ), hold_history AS (
        INSERT INTO hold_event (shard, hold_id, version, action, amount_minor_units, released_minor_units, journal_id)
        SELECT t.shard, t.hold_id, t.version, 'CAPTURE', :captured, :released, p.journal_id FROM taken t, posted p
    )
"""
_RESULT = " SELECT journal_id, accounting_date, effective_time, create_time FROM posted"
_POST = text(_POSTED + _RESULT)
_POST_FROM_HOLD = text(_POSTED + _FROM_HOLD + _RESULT)

_SELECT_JOURNAL = "SELECT * FROM journal "
_FIND_BY_REQUEST_OR_EVENT = text(
    _SELECT_JOURNAL
    + """
    WHERE shard = :shard AND ((caller = :caller AND request_id = :request_id)
       OR (event_code = :event_code AND business_number = :business_number))
    ORDER BY (caller = :caller AND request_id = :request_id) DESC LIMIT 1
    """
)
_GET = text(_SELECT_JOURNAL + "WHERE shard = :shard AND journal_id = :journal_id")
_GET_BY_EVENT = text(
    _SELECT_JOURNAL
    + "WHERE shard = :shard AND event_code = :event_code AND business_number = :business_number"
)
_GET_REVERSAL = text(_SELECT_JOURNAL + "WHERE shard = :shard AND reversed_journal_id = :journal_id")
_LIST = text(
    _SELECT_JOURNAL
    + """
    WHERE tenant_id = :tenant_id AND (:business_id = '' OR business_id = :business_id)
      AND (:before_journal_id = '' OR journal_id < :before_journal_id)
      AND (:account_id = '' OR EXISTS (SELECT 1 FROM entry e
           WHERE e.journal_id = journal.journal_id AND e.account_id = :account_id))
    ORDER BY journal_id DESC LIMIT :limit
    """
)
_FAMILY = text(_SELECT_JOURNAL + "WHERE business_id = :business_id ORDER BY create_time LIMIT 500")
_FIND_BUSINESS_ID = text(
    """
    SELECT business_id, tenant_id FROM journal
    WHERE journal_id = :number OR business_number = :number OR business_id = :number
    UNION ALL
    SELECT business_id, tenant_id FROM hold
    WHERE hold_id = :number OR business_number = :number OR business_id = :number LIMIT 1
    """
)
_SELECT_ENTRY = """
    SELECT e.*, j.event_code, j.business_number FROM entry e
    JOIN journal j ON j.journal_id = e.journal_id
"""
_ENTRIES_OF_JOURNALS = text(
    _SELECT_ENTRY + "WHERE e.journal_id = ANY(:journal_ids) ORDER BY e.journal_id, e.line_number"
)
_STATEMENT = text(
    _SELECT_ENTRY
    + """
    WHERE e.shard = :shard AND e.account_id = :account_id AND e.account_sequence < :before_sequence
    ORDER BY e.account_sequence DESC LIMIT :limit
    """
)
_BALANCE_AT = text(
    """
    SELECT coalesce(sum(amount_minor_units) FILTER (WHERE side = 'DEBIT'), 0)::bigint AS debit_minor_units,
           coalesce(sum(amount_minor_units) FILTER (WHERE side = 'CREDIT'), 0)::bigint AS credit_minor_units,
           coalesce(max(account_sequence), 0) AS account_sequence
    FROM entry WHERE shard = :shard AND account_id = :account_id
      AND (CAST(:instant AS timestamptz) IS NULL OR create_time <= :instant)
      AND (CAST(:accounting_date AS date) IS NULL OR accounting_date <= :accounting_date)
    """
)
_GET_REFUSAL = text(
    "SELECT * FROM posting_refusal WHERE shard = :shard AND caller = :caller AND request_id = :request_id"
)
_INSERT_REFUSAL = text(
    """
    INSERT INTO posting_refusal (shard, caller, request_id, fingerprint, reason, message, field, metadata,
                                 business_id, traceparent)
    VALUES (:shard, :caller, :request_id, :fingerprint, :reason, :message, :field,
            CAST(:metadata AS jsonb), :business_id, :traceparent)
    ON CONFLICT (shard, caller, request_id) DO NOTHING
    """
)


async def insert_journal(
    connection: AsyncConnection,
    journal: NewJournal,
    decision: Decision,
    *,
    hold: HoldPosition | None = None,
    hold_state: HoldState | None = None,
) -> Journal | None:
    """Books a decided journal; None when the request, or the business event, was decided before.

    The balances of `decision.positions` and the hold must be locked by this transaction.
    """
    parameters: dict[str, object] = {
        "shard": journal.shard,
        "journal_id": journal.journal_id,
        "tenant_id": journal.tenant_id,
        "caller": journal.caller,
        "request_id": journal.request_id,
        "fingerprint": journal.fingerprint,
        "event_code": journal.event_code,
        "business_number": journal.business_number,
        "kind": journal.kind,
        "posting_rule_version": journal.posting_rule_version,
        "hold_id": journal.hold_id,
        "reversed_journal_id": journal.reversed_journal_id,
        "line_count": len(decision.entries),
        "accounting_date": journal.accounting_date,
        "effective_time": journal.effective_time,
        "business_id": journal.business_id,
        "traceparent": journal.traceparent,
        "entry_shards": [entry.shard for entry in decision.entries],
        "entry_account_ids": [entry.account_id for entry in decision.entries],
        "entry_sequences": [entry.account_sequence for entry in decision.entries],
        "entry_line_numbers": [entry.line_number for entry in decision.entries],
        "entry_sides": [entry.side.value for entry in decision.entries],
        "entry_amounts": [entry.amount.minor_units for entry in decision.entries],
        "entry_currencies": [entry.amount.currency_code for entry in decision.entries],
        "entry_balances_after": [entry.balance_after_minor_units for entry in decision.entries],
        "position_shards": [position.shard for position in decision.positions],
        "position_account_ids": [position.account_id for position in decision.positions],
        "position_debits": [position.debit_minor_units for position in decision.positions],
        "position_credits": [position.credit_minor_units for position in decision.positions],
        "position_helds": [position.held_minor_units for position in decision.positions],
        "position_sequences": [position.entry_sequence for position in decision.positions],
        "position_versions": [position.version for position in decision.positions],
    }
    if hold is not None and hold_state is not None:
        parameters |= {
            "hold_shard": hold.shard,
            "captured": decision.captured_minor_units,
            "released": decision.released_minor_units,
            "hold_state": hold_state.value,
        }
    statement = _POST if hold is None else _POST_FROM_HOLD
    row = (await connection.execute(statement, parameters)).first()
    if row is None:
        return None
    return Journal(
        shard=journal.shard,
        journal_id=journal.journal_id,
        tenant_id=journal.tenant_id,
        caller=journal.caller,
        request_id=journal.request_id,
        fingerprint=journal.fingerprint,
        event_code=journal.event_code,
        business_number=journal.business_number,
        kind=journal.kind,
        posting_rule_version=journal.posting_rule_version,
        hold_id=journal.hold_id,
        reversed_journal_id=journal.reversed_journal_id,
        accounting_date=row.accounting_date,
        effective_time=row.effective_time,
        create_time=row.create_time,
        business_id=journal.business_id,
        traceparent=journal.traceparent,
        entries=tuple(
            Entry(
                account_id=entry.account_id,
                account_sequence=entry.account_sequence,
                journal_id=journal.journal_id,
                line_number=entry.line_number,
                side=entry.side,
                amount=entry.amount,
                balance_after_minor_units=entry.balance_after_minor_units,
                accounting_date=row.accounting_date,
                create_time=row.create_time,
                event_code=journal.event_code,
                business_number=journal.business_number,
            )
            for entry in decision.entries
        ),
    )


async def find_decided(
    connection: AsyncConnection,
    *,
    shard: int,
    caller: str,
    request_id: str,
    event_code: str,
    business_number: str,
) -> Journal | Refusal | None:
    """Finds what an earlier request decided: the same request's journal or refusal, else the event's journal."""
    parameters = {
        "shard": shard,
        "caller": caller,
        "request_id": request_id,
        "event_code": event_code,
        "business_number": business_number,
    }
    row = (await connection.execute(_FIND_BY_REQUEST_OR_EVENT, parameters)).first()
    if row is not None and row.caller == caller and row.request_id == request_id:
        return await _with_entries(connection, row)
    refusal = await get_refusal(connection, shard=shard, caller=caller, request_id=request_id)
    if refusal is not None:
        return refusal
    return await _with_entries(connection, row) if row is not None else None


async def get_refusal(
    connection: AsyncConnection, *, shard: int, caller: str, request_id: str
) -> Refusal | None:
    """Reads the refusal recorded under a request; None when there is none."""
    parameters = {"shard": shard, "caller": caller, "request_id": request_id}
    row = (await connection.execute(_GET_REFUSAL, parameters)).first()
    if row is None:
        return None
    return Refusal(
        fingerprint=bytes(row.fingerprint),
        reason=row.reason,
        message=row.message,
        field=row.field,
        metadata=dict(row.metadata),
    )


async def insert_refusal(
    connection: AsyncConnection,
    refusal: Refusal,
    *,
    shard: int,
    caller: str,
    request_id: str,
    metadata_json: str,
    business_id: str,
    traceparent: str,
) -> None:
    """Records a refusal under its request; harmless when it is recorded already."""
    await connection.execute(
        _INSERT_REFUSAL,
        {
            "shard": shard,
            "caller": caller,
            "request_id": request_id,
            "fingerprint": refusal.fingerprint,
            "reason": refusal.reason,
            "message": refusal.message,
            "field": refusal.field,
            "metadata": metadata_json,
            "business_id": business_id,
            "traceparent": traceparent,
        },
    )


async def get_journal(connection: AsyncConnection, *, shard: int, journal_id: str) -> Journal | None:
    """Reads a journal with its entries; None when there is none."""
    row = (await connection.execute(_GET, {"shard": shard, "journal_id": journal_id})).first()
    return await _with_entries(connection, row) if row else None


async def get_journal_of_event(
    connection: AsyncConnection, *, shard: int, event_code: str, business_number: str
) -> Journal | None:
    """Reads the one journal of a business event; None when it is not booked."""
    parameters = {"shard": shard, "event_code": event_code, "business_number": business_number}
    row = (await connection.execute(_GET_BY_EVENT, parameters)).first()
    return await _with_entries(connection, row) if row else None


async def get_reversal(connection: AsyncConnection, *, shard: int, journal_id: str) -> Journal | None:
    """Reads the reversal of a journal; None when it was not reversed."""
    row = (await connection.execute(_GET_REVERSAL, {"shard": shard, "journal_id": journal_id})).first()
    return await _with_entries(connection, row) if row else None


async def list_journals(
    connection: AsyncConnection,
    *,
    tenant_id: str,
    business_id: str,
    account_id: str,
    before_journal_id: str,
    limit: int,
) -> list[Journal]:
    """Reads journals with their entries, newest first."""
    rows = await connection.execute(
        _LIST,
        {
            "tenant_id": tenant_id,
            "business_id": business_id,
            "account_id": account_id,
            "before_journal_id": before_journal_id,
            "limit": limit,
        },
    )
    return await _all_with_entries(connection, rows.all())


async def find_business_id(connection: AsyncConnection, number: str) -> tuple[str, str] | None:
    """Finds business identifier and tenant of any number that the books know; None when they do not."""
    row = (await connection.execute(_FIND_BUSINESS_ID, {"number": number})).first()
    return (row.business_id, row.tenant_id) if row else None


async def journals_of_business(connection: AsyncConnection, business_id: str) -> list[Journal]:
    """Reads the journals of one business case, oldest first, at most 500."""
    rows = await connection.execute(_FAMILY, {"business_id": business_id})
    return await _all_with_entries(connection, rows.all())


async def list_entries(
    connection: AsyncConnection, *, shard: int, account_id: str, before_sequence: int, limit: int
) -> list[Entry]:
    """Reads an account's entries, newest first: a backward scan of the primary key."""
    rows = await connection.execute(
        _STATEMENT,
        {"shard": shard, "account_id": account_id, "before_sequence": before_sequence, "limit": limit},
    )
    return [_entry(row) for row in rows]


async def balance_at(
    connection: AsyncConnection,
    *,
    shard: int,
    account_id: str,
    instant: datetime | None,
    accounting_date: date | None,
) -> tuple[int, int, int]:
    """Sums an account's entries up to an instant or day: debits, credits, last sequence."""
    parameters = {
        "shard": shard,
        "account_id": account_id,
        "instant": instant,
        "accounting_date": accounting_date,
    }
    row = (await connection.execute(_BALANCE_AT, parameters)).one()
    return row.debit_minor_units, row.credit_minor_units, row.account_sequence


async def _with_entries(connection: AsyncConnection, row: Row[Any]) -> Journal:
    return (await _all_with_entries(connection, [row]))[0]


async def _all_with_entries(connection: AsyncConnection, rows: Sequence[Row[Any]]) -> list[Journal]:
    entries: dict[str, list[Entry]] = {row.journal_id: [] for row in rows}
    if rows:
        found = await connection.execute(_ENTRIES_OF_JOURNALS, {"journal_ids": list(entries)})
        for entry_row in found:
            entries[entry_row.journal_id].append(_entry(entry_row))
    return [
        Journal(
            shard=row.shard,
            journal_id=row.journal_id,
            tenant_id=row.tenant_id,
            caller=row.caller,
            request_id=row.request_id,
            fingerprint=bytes(row.fingerprint),
            event_code=row.event_code,
            business_number=row.business_number,
            kind=row.kind,
            posting_rule_version=row.posting_rule_version,
            hold_id=row.hold_id,
            reversed_journal_id=row.reversed_journal_id,
            accounting_date=row.accounting_date,
            effective_time=row.effective_time,
            create_time=row.create_time,
            business_id=row.business_id,
            traceparent=row.traceparent,
            entries=tuple(entries[row.journal_id]),
        )
        for row in rows
    ]


def _entry(row: Row[Any]) -> Entry:
    return Entry(
        account_id=row.account_id,
        account_sequence=row.account_sequence,
        journal_id=row.journal_id,
        line_number=row.line_number,
        side=EntrySide(row.side),
        amount=Money(row.amount_minor_units, row.currency_code),
        balance_after_minor_units=row.balance_after_minor_units,
        accounting_date=row.accounting_date,
        create_time=row.create_time,
        event_code=row.event_code,
        business_number=row.business_number,
    )
