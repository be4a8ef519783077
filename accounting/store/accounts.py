"""Subjects, accounts and their locked positions."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from accounting.domain.accounts import (
    AccountPosition,
    AccountState,
    EntrySide,
    FloorKind,
    Subject,
    SubjectCategory,
)
from runtime.ids import NumberKind, number_kind, shard_of_number, shard_of_owner


@dataclass(frozen=True, slots=True)
class Account:
    """An account with its present position."""

    subject_code: str
    owner_id: str
    create_time: datetime
    position: AccountPosition


def shard_of_account(account_id: str) -> int:
    """Gives the shard of an account from its number: a payment account's own, else its owner's."""
    parts = account_id.split(":")
    owner_id = parts[1] if len(parts) == 3 else account_id
    return shard_of_account_owner(owner_id)


def shard_of_account_owner(owner_id: str) -> int:
    """Gives the shard in which an owner's accounts stand."""
    try:
        if number_kind(owner_id) is NumberKind.PAYMENT_ACCOUNT:
            return shard_of_number(owner_id)
    except ValueError:
        pass
    return shard_of_owner(owner_id)


_SELECT_ACCOUNT = """
    SELECT a.shard, a.account_id, a.subject_code, a.owner_id, a.currency_code, a.normal_side, a.floor,
           a.overdraft_minor_units, a.shadow, a.tenant_id, a.create_time, b.state, b.debit_minor_units,
           b.credit_minor_units, b.held_minor_units, b.entry_sequence, b.version
    FROM account_balance b JOIN account a USING (shard, account_id)
"""
_LOCK_POSITIONS = text(
    _SELECT_ACCOUNT
    + """
    WHERE (b.shard, b.account_id) IN (
        SELECT * FROM unnest(CAST(:shards AS smallint[]), CAST(:account_ids AS text[])))
    ORDER BY b.shard, b.account_id FOR UPDATE OF b
    """
)
_GET_ACCOUNT = text(_SELECT_ACCOUNT + "WHERE a.shard = :shard AND a.account_id = :account_id")
_LIST_ACCOUNTS = text(
    _SELECT_ACCOUNT
    + """
    WHERE a.tenant_id = :tenant_id AND a.account_id > :after_account_id
      AND (:owner_id = '' OR a.owner_id = :owner_id)
      AND starts_with(a.subject_code, :subject_code)
    ORDER BY a.account_id LIMIT :limit
    """
)
_INSERT_ACCOUNT = text(
    """
    WITH opened AS (
        INSERT INTO account (shard, account_id, subject_code, owner_id, currency_code, normal_side, floor,
                             overdraft_minor_units, shadow, tenant_id, business_id, traceparent)
        VALUES (:shard, :account_id, :subject_code, :owner_id, :currency_code, :normal_side, :floor,
                :overdraft_minor_units, :shadow, :tenant_id, :business_id, :traceparent)
        ON CONFLICT (shard, account_id) DO NOTHING RETURNING shard, account_id
    )
    INSERT INTO account_balance (shard, account_id, normal_side, state, lowest_minor_units)
    SELECT shard, account_id, :normal_side, 'ACTIVE', CAST(:lowest_minor_units AS bigint) FROM opened
    RETURNING account_id
    """
)
_CHANGE_STATE = text(
    """
    WITH changed AS (
        UPDATE account_balance SET state = :state_to, version = version + 1
        WHERE shard = :shard AND account_id = :account_id AND state = :state_from
        RETURNING version
    )
    INSERT INTO account_change (shard, account_id, version, state_from, state_to, reason, caller, operator,
                                traceparent)
    SELECT :shard, :account_id, version, :state_from, :state_to, :reason, :caller, :operator, :traceparent
    FROM changed RETURNING version
    """
)
_GET_SUBJECT = text("SELECT * FROM subject WHERE subject_code = :subject_code")
_LIST_SUBJECTS = text(
    "SELECT * FROM subject WHERE subject_code > :after_subject_code ORDER BY subject_code LIMIT :limit"
)
_INSERT_SUBJECT = text(
    """
    INSERT INTO subject (subject_code, parent_subject_code, display_name, category, normal_side, leaf)
    VALUES (:subject_code, :parent_subject_code, :display_name, :category, :normal_side, true)
    ON CONFLICT (subject_code) DO NOTHING RETURNING subject_code
    """
)
_MAKE_HEADING = text(
    """
    UPDATE subject SET leaf = false WHERE subject_code = :subject_code
      AND NOT EXISTS (SELECT 1 FROM account WHERE subject_code = :subject_code) RETURNING subject_code
    """
)
_TRIAL_BALANCE = text(
    """
    SELECT a.subject_code, a.currency_code, a.normal_side,
           coalesce(sum(e.amount_minor_units) FILTER (WHERE e.side = 'DEBIT'), 0)::bigint AS debit_minor_units,
           coalesce(sum(e.amount_minor_units) FILTER (WHERE e.side = 'CREDIT'), 0)::bigint AS credit_minor_units,
           count(DISTINCT a.account_id) AS account_count
    FROM account a LEFT JOIN entry e
      ON e.shard = a.shard AND e.account_id = a.account_id
     AND (CAST(:accounting_date AS date) IS NULL OR e.accounting_date <= :accounting_date)
    WHERE a.tenant_id = :tenant_id
    GROUP BY 1, 2, 3 ORDER BY 1, 2
    """
)


@dataclass(frozen=True, slots=True)
class TrialBalanceRow:
    """One subject and currency of a trial balance."""

    subject_code: str
    currency_code: str
    normal_side: EntrySide
    debit_minor_units: int
    credit_minor_units: int
    account_count: int


async def lock_positions(
    connection: AsyncConnection, account_ids: Collection[str]
) -> dict[str, AccountPosition]:
    """Locks the balances of accounts in the one order and reads them; accounts that are not open are absent."""
    ordered = sorted((shard_of_account(account_id), account_id) for account_id in set(account_ids))
    rows = await connection.execute(
        _LOCK_POSITIONS,
        {
            "shards": [shard for shard, _ in ordered],
            "account_ids": [account_id for _, account_id in ordered],
        },
    )
    return {row.account_id: _position(row) for row in rows}


async def get_account(connection: AsyncConnection, account_id: str) -> Account | None:
    """Reads an account; None when it is not open."""
    row = (
        await connection.execute(
            _GET_ACCOUNT, {"shard": shard_of_account(account_id), "account_id": account_id}
        )
    ).first()
    return _account(row) if row else None


async def list_accounts(
    connection: AsyncConnection,
    *,
    tenant_id: str,
    owner_id: str,
    subject_code: str,
    after_account_id: str,
    limit: int,
) -> list[Account]:
    """Reads accounts by number, ascending; `subject_code` takes its children along."""
    return [
        _account(row)
        for row in await connection.execute(
            _LIST_ACCOUNTS,
            {
                "tenant_id": tenant_id,
                "owner_id": owner_id,
                "subject_code": subject_code,
                "after_account_id": after_account_id,
                "limit": limit,
            },
        )
    ]


async def insert_account(
    connection: AsyncConnection,
    position: AccountPosition,
    *,
    subject_code: str,
    owner_id: str,
    business_id: str,
    traceparent: str,
) -> bool:
    """Opens an account with an empty balance; False when it was open before."""
    result = await connection.execute(
        _INSERT_ACCOUNT,
        {
            "shard": position.shard,
            "account_id": position.account_id,
            "subject_code": subject_code,
            "owner_id": owner_id,
            "currency_code": position.currency_code,
            "normal_side": position.normal_side.value,
            "floor": position.floor.value,
            "overdraft_minor_units": position.overdraft_minor_units,
            "lowest_minor_units": position.lowest_minor_units,
            "shadow": position.shadow,
            "tenant_id": position.tenant_id,
            "business_id": business_id,
            "traceparent": traceparent,
        },
    )
    return result.first() is not None


async def change_state(
    connection: AsyncConnection,
    position: AccountPosition,
    state_to: AccountState,
    *,
    reason: str,
    caller: str,
    operator: str,
    traceparent: str,
) -> bool:
    """Changes the state of a locked account, with an audit row; False when it changed meanwhile."""
    result = await connection.execute(
        _CHANGE_STATE,
        {
            "shard": position.shard,
            "account_id": position.account_id,
            "state_from": position.state.value,
            "state_to": state_to.value,
            "reason": reason,
            "caller": caller,
            "operator": operator,
            "traceparent": traceparent,
        },
    )
    return result.first() is not None


async def get_subject(connection: AsyncConnection, subject_code: str) -> Subject | None:
    """Reads a subject; None when there is none."""
    row = (await connection.execute(_GET_SUBJECT, {"subject_code": subject_code})).first()
    return _subject(row) if row else None


async def list_subjects(connection: AsyncConnection, *, after_subject_code: str, limit: int) -> list[Subject]:
    """Reads the chart of accounts by code, ascending."""
    rows = await connection.execute(
        _LIST_SUBJECTS, {"after_subject_code": after_subject_code, "limit": limit}
    )
    return [_subject(row) for row in rows]


async def insert_subject(connection: AsyncConnection, subject: Subject) -> bool:
    """Adds a leaf; False when the code is taken."""
    result = await connection.execute(
        _INSERT_SUBJECT,
        {
            "subject_code": subject.subject_code,
            "parent_subject_code": subject.parent_subject_code,
            "display_name": subject.display_name,
            "category": subject.category.value,
            "normal_side": subject.normal_side.value,
        },
    )
    return result.first() is not None


async def make_heading(connection: AsyncConnection, subject_code: str) -> bool:
    """Makes a leaf a heading, so that it can have children; False when accounts hang on it."""
    return (await connection.execute(_MAKE_HEADING, {"subject_code": subject_code})).first() is not None


async def trial_balance(
    connection: AsyncConnection, *, tenant_id: str, accounting_date: date | None
) -> list[TrialBalanceRow]:
    """Sums entries by subject and currency up to and with a day, or all."""
    rows = await connection.execute(
        _TRIAL_BALANCE, {"tenant_id": tenant_id, "accounting_date": accounting_date}
    )
    return [
        TrialBalanceRow(
            row.subject_code,
            row.currency_code,
            EntrySide(row.normal_side),
            row.debit_minor_units,
            row.credit_minor_units,
            row.account_count,
        )
        for row in rows
    ]


def _position(row: Row[Any]) -> AccountPosition:
    return AccountPosition(
        shard=row.shard,
        account_id=row.account_id,
        tenant_id=row.tenant_id,
        currency_code=row.currency_code,
        normal_side=EntrySide(row.normal_side),
        state=AccountState(row.state),
        floor=FloorKind(row.floor),
        overdraft_minor_units=row.overdraft_minor_units,
        shadow=row.shadow,
        debit_minor_units=row.debit_minor_units,
        credit_minor_units=row.credit_minor_units,
        held_minor_units=row.held_minor_units,
        entry_sequence=row.entry_sequence,
        version=row.version,
    )


def _account(row: Row[Any]) -> Account:
    return Account(
        subject_code=row.subject_code,
        owner_id=row.owner_id,
        create_time=row.create_time,
        position=_position(row),
    )


def _subject(row: Row[Any]) -> Subject:
    return Subject(
        subject_code=row.subject_code,
        parent_subject_code=row.parent_subject_code,
        display_name=row.display_name,
        category=SubjectCategory(row.category),
        normal_side=EntrySide(row.normal_side),
        leaf=row.leaf,
    )
