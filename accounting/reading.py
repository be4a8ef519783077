"""Reads the books: accounts, statements, balances at a time, journals, families. Invariant: reads change nothing and
show the tenant its own records only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from accounting.books import Books
from accounting.finding import find_account
from accounting.store import accounts, journals
from accounting.store import holds as hold_store
from accounting.store.accounts import Account, TrialBalanceRow
from accounting.store.holds import Hold
from accounting.store.journals import Entry, Journal
from runtime.context import current_scope, decode_platform
from runtime.errors import PaycenterError, Reason
from runtime.ids import shard_of_number
from runtime.outbox import StoredEvent


@dataclass(frozen=True, slots=True)
class BalanceAt:
    """An account's balance at a time."""

    debit_minor_units: int
    credit_minor_units: int
    balance_minor_units: int
    account_sequence: int


@dataclass(frozen=True, slots=True)
class Family:
    """What the books keep of one business case."""

    business_id: str
    journals: list[Journal]
    holds: list[Hold]


@dataclass(frozen=True, slots=True)
class Feed:
    """A stretch of the tenant's events and the revision to go on from."""

    events: list[StoredEvent]
    next_revision: int


async def get_account(books: Books, account_id: str) -> Account:
    """Reads an account with its balance. Raises ACCOUNT_NOT_FOUND or TENANT_FORBIDDEN."""
    async with books.database.read() as connection:
        return await find_account(connection, account_id)


async def list_entries(books: Books, account_id: str, *, before_sequence: int, limit: int) -> list[Entry]:
    """Reads an account's statement, newest entry first. Raises ACCOUNT_NOT_FOUND or TENANT_FORBIDDEN."""
    async with books.database.read() as connection:
        account = await find_account(connection, account_id)
        return await journals.list_entries(
            connection,
            shard=account.position.shard,
            account_id=account_id,
            before_sequence=before_sequence,
            limit=limit,
        )


async def balance_at(
    books: Books, account_id: str, *, instant: datetime | None, accounting_date: date | None
) -> BalanceAt:
    """Reads a balance at an instant or at the end of a day. Raises ACCOUNT_NOT_FOUND or TENANT_FORBIDDEN."""
    async with books.database.read() as connection:
        account = await find_account(connection, account_id)
        debit, credit, sequence = await journals.balance_at(
            connection,
            shard=account.position.shard,
            account_id=account_id,
            instant=instant,
            accounting_date=accounting_date,
        )
    difference = debit - credit
    balance = difference if account.position.normal_side == "DEBIT" else -difference
    return BalanceAt(debit, credit, balance, sequence)


async def get_journal(books: Books, *, journal_id: str, event_code: str, business_number: str) -> Journal:
    """Reads a journal by its number, or by event code and business number.

    Raises:
        PaycenterError: JOURNAL_NOT_FOUND, TENANT_FORBIDDEN.
    """
    journal = None
    try:
        shard = shard_of_number(journal_id or business_number)
    except ValueError:
        pass
    else:
        async with books.database.read() as connection:
            if journal_id:
                journal = await journals.get_journal(connection, shard=shard, journal_id=journal_id)
            else:
                journal = await journals.get_journal_of_event(
                    connection, shard=shard, event_code=event_code, business_number=business_number
                )
    if journal is None:
        raise PaycenterError(
            Reason.JOURNAL_NOT_FOUND,
            "no journal has this number",
            field="journal_id",
            resource=("journal", journal_id or f"{event_code}/{business_number}"),
        )
    if journal.tenant_id != current_scope().platform.tenant_id:
        raise PaycenterError(Reason.TENANT_FORBIDDEN, "the journal belongs to another tenant")
    return journal


async def get_family(books: Books, number: str) -> Family:
    """Finds the journals and holds that carry a number or a business identifier.

    Raises:
        PaycenterError: NUMBER_NOT_FOUND, TENANT_FORBIDDEN.
    """
    async with books.database.read() as connection:
        found = await journals.find_business_id(connection, number)
        if found is None:
            raise PaycenterError(Reason.NUMBER_NOT_FOUND, "the books do not know the number", field="number")
        business_id, tenant_id = found
        if tenant_id != current_scope().platform.tenant_id:
            raise PaycenterError(Reason.TENANT_FORBIDDEN, "the number belongs to another tenant")
        return Family(
            business_id=business_id,
            journals=await journals.journals_of_business(connection, business_id),
            holds=await hold_store.holds_of_business(connection, business_id),
        )


async def list_events(books: Books, *, start_revision: int, limit: int) -> Feed:
    """Reads the tenant's events from a revision on; a page may hold fewer than `limit` though more follow.

    Raises:
        PaycenterError: REVISION_COMPACTED.
    """
    start = max(start_revision, 1)
    async with books.database.read() as connection:
        stored = await books.outbox.read_events(connection, after_revision=start - 1, limit=limit)
    tenant_id = current_scope().platform.tenant_id
    return Feed(
        events=[event for event in stored if decode_platform(event.platform).tenant_id == tenant_id],
        next_revision=stored[-1].revision + 1 if stored else start,
    )


async def trial_balance(books: Books, accounting_date: date | None) -> tuple[list[TrialBalanceRow], bool]:
    """Sums entries by subject and currency; tells whether debits equal credits in every currency."""
    async with books.database.read() as connection:
        rows = await accounts.trial_balance(
            connection, tenant_id=current_scope().platform.tenant_id, accounting_date=accounting_date
        )
    differences: dict[str, int] = {}
    for row in rows:
        difference = row.debit_minor_units - row.credit_minor_units
        differences[row.currency_code] = differences.get(row.currency_code, 0) + difference
    return rows, not any(differences.values())
