"""Each invariant of the ledger holds after real traffic, and each is able to fail."""

from __future__ import annotations

import psycopg
import pytest
from paycenter.accounting.v1 import accounting_pb2 as pb
from paycenter_client import new_request_id

from accounting.invariants import INVARIANTS
from tests.integration.accounting.conftest import Ledger, Merchant

TAMPERINGS = {
    "journal_balances": "UPDATE entry SET amount_minor_units = amount_minor_units + 1 WHERE journal_id = '{journal}' "
    "AND line_number = 1",
    "journal_is_complete": "DELETE FROM entry WHERE journal_id = '{journal}' AND line_number = 1",
    "balance_equals_entries": "UPDATE account_balance SET credit_minor_units = credit_minor_units + 1 "
    "WHERE account_id = '{account}'",
    "entry_sequence_is_unbroken": "UPDATE entry SET balance_after_minor_units = balance_after_minor_units + 1 "
    "WHERE account_id = '{account}' AND account_sequence = 1",
    "held_equals_open_holds": "UPDATE account_balance SET held_minor_units = held_minor_units + 1 "
    "WHERE account_id = '{account}'",
    "hold_equals_its_history": "DELETE FROM hold_event WHERE hold_id = '{hold}'",
    "account_currency_is_kept": "UPDATE entry SET currency_code = 'USD' WHERE journal_id = '{journal}'",
    "books_are_apart": "UPDATE account SET shadow = true WHERE account_id = '{account}'",
    "floor_is_kept": "ALTER TABLE account_balance DROP CONSTRAINT balance_floor; UPDATE account_balance "
    "SET held_minor_units = 100000 WHERE account_id = '{account}'",
    "account_has_one_balance": "DELETE FROM account_balance WHERE account_id = '{account}'",
    "reversal_mirrors": "UPDATE entry SET amount_minor_units = 3 WHERE journal_id = '{reversal}'",
    "journal_has_its_event": "DELETE FROM outbox_event WHERE resource_id = '{journal}'",
}


async def test_all_hold_after_traffic_and_say_how_much_they_looked_at(merchant: Merchant) -> None:
    await _traffic(merchant)
    results = (await merchant.client.accounting.CheckInvariants(pb.CheckInvariantsRequest())).results
    assert {result.name for result in results} == set(TAMPERINGS)
    assert [result.name for result in results if result.violation_count] == []
    assert all(result.checked_count > 0 for result in results)


@pytest.mark.parametrize("name", sorted(TAMPERINGS))
async def test_each_is_able_to_fail(ledger: Ledger, merchant: Merchant, name: str) -> None:
    known = await _traffic(merchant)
    query = next(invariant.violation_query for invariant in INVARIANTS if invariant.name == name)
    url = ledger.parts.database_urls["accounting"].replace("+psycopg", "")
    with psycopg.connect(url) as connection:
        for table in ("journal", "entry", "hold_event", "account"):
            connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER".encode())
        assert connection.execute(query.encode()).fetchall() == []
        connection.execute(TAMPERINGS[name].format(**known).encode())
        assert connection.execute(query.encode()).fetchall()
        connection.rollback()


async def _traffic(merchant: Merchant) -> dict[str, str]:
    first = await merchant.client.accounting.PostEvent(merchant.recharge(100, fee=1))
    second = await merchant.client.accounting.PostEvent(merchant.recharge(50))
    hold = await merchant.hold(30)
    reversal = await merchant.client.accounting.ReverseJournal(
        pb.ReverseJournalRequest(
            request_id=new_request_id(), journal_id=second.journal.journal_id, reason="mistake"
        )
    )
    return {
        "journal": first.journal.journal_id,
        "account": merchant.balance,
        "hold": hold.hold_id,
        "reversal": reversal.journal.journal_id,
    }
