"""Scenarios of booking on the real server: once, balanced, never below the floor."""

from __future__ import annotations

import asyncio

import psycopg
import pytest
from paycenter.accounting.v1 import accounting_pb2 as pb
from paycenter_client import (
    AlreadyExists,
    AsyncPaycenterClient,
    Caller,
    CallerRejected,
    InvalidRequest,
    NotFound,
    PaycenterError,
    PreconditionFailed,
    Targets,
    new_request_id,
)

from tests.integration.accounting.conftest import Ledger, Merchant, yuan


async def test_a_recharge_is_booked_with_its_fee_and_every_balance_follows(merchant: Merchant) -> None:
    answer = await merchant.client.accounting.PostEvent(merchant.recharge(100, fee=1))
    sides = [(entry.account_id, entry.side, entry.amount.minor_units) for entry in answer.journal.entries]
    assert sides == [
        (merchant.clearing, pb.ENTRY_SIDE_DEBIT, 99),
        (merchant.expense, pb.ENTRY_SIDE_DEBIT, 1),
        (merchant.balance, pb.ENTRY_SIDE_CREDIT, 100),
    ]
    assert (await merchant.account(merchant.balance)).available_minor_units == 100
    assert (await merchant.account(merchant.clearing)).balance_minor_units == 99


async def test_the_same_request_again_gets_the_same_answer_and_books_once(merchant: Merchant) -> None:
    request = merchant.recharge(100)
    answers = await asyncio.gather(*[merchant.client.accounting.PostEvent(request) for _ in range(8)])
    assert len({answer.SerializeToString(deterministic=True) for answer in answers}) == 1
    assert (await merchant.account(merchant.balance)).balance_minor_units == 100


async def test_the_same_request_with_another_body_is_refused(merchant: Merchant) -> None:
    request = merchant.recharge(100)
    await merchant.client.accounting.PostEvent(request)
    request.components[0].amount.minor_units = request.components[2].amount.minor_units = 101
    with pytest.raises(InvalidRequest) as error:
        await merchant.client.accounting.PostEvent(request)
    assert (error.value.reason, error.value.field) == ("IDEMPOTENCY_KEY_REUSED", "request_id")
    assert (await merchant.account(merchant.balance)).balance_minor_units == 100


async def test_a_business_event_is_booked_once_whoever_asks(merchant: Merchant) -> None:
    request = merchant.recharge(100)
    booked = await merchant.client.accounting.PostEvent(request)
    request.request_id = new_request_id()
    with pytest.raises(AlreadyExists) as error:
        await merchant.client.accounting.PostEvent(request)
    assert error.value.reason == "JOURNAL_EXISTS"
    assert error.value.metadata["journalId"] == booked.journal.journal_id


async def test_many_callers_draw_one_account_to_zero_and_never_below(merchant: Merchant) -> None:
    await merchant.has(500)
    outcomes = await asyncio.gather(
        *[merchant.client.accounting.PostEvent(merchant.withdrawal(60)) for _ in range(20)],
        return_exceptions=True,
    )
    refused = [outcome for outcome in outcomes if isinstance(outcome, PaycenterError)]
    assert len(outcomes) - len(refused) == 8
    assert {error.reason for error in refused} == {"INSUFFICIENT_FUNDS"}
    assert (await merchant.account(merchant.balance)).balance_minor_units == 20


async def test_a_refusal_is_an_outcome_and_replays_as_refused(merchant: Merchant) -> None:
    request = merchant.withdrawal(10)
    with pytest.raises(PreconditionFailed):
        await merchant.client.accounting.PostEvent(request)
    await merchant.has(10)
    with pytest.raises(PreconditionFailed) as error:
        await merchant.client.accounting.PostEvent(request)
    assert (error.value.reason, error.value.metadata["shortMinorUnits"]) == ("INSUFFICIENT_FUNDS", "10")
    assert (await merchant.account(merchant.balance)).balance_minor_units == 10


async def test_an_account_that_is_opened_later_lets_the_same_request_through(merchant: Merchant) -> None:
    request = merchant.withdrawal(10)
    stranger = "2101:stranger:CNY"
    request.parties[0].account_id = stranger
    with pytest.raises(NotFound) as error:
        await merchant.client.accounting.PostEvent(request)
    assert (error.value.reason, error.value.field) == ("ACCOUNT_NOT_FOUND", "lines[0].account_id")
    request.parties[0].account_id = merchant.balance
    await merchant.has(10)
    request.request_id = new_request_id()
    assert (await merchant.client.accounting.PostEvent(request)).journal.journal_id


@pytest.mark.parametrize(
    ("change", "reason", "field"),
    [
        ({"event_code": "NOTHING"}, "POSTING_RULE_NOT_FOUND", "event_code"),
        ({"event_code": "not upper"}, "FIELD_INVALID", "event_code"),
        ({"request_id": "no-uuid"}, "FIELD_INVALID", "request_id"),
        ({"business_number": ""}, "FIELD_INVALID", "business_number"),
        ({"hold_id": "H000"}, "HOLD_NOT_FOUND", "hold_id"),
    ],
)
async def test_bad_input_is_refused_with_reason_and_field_and_changes_nothing(
    merchant: Merchant, change: dict[str, str], reason: str, field: str
) -> None:
    request = merchant.recharge(100)
    for name, value in change.items():
        setattr(request, name, value)
    with pytest.raises(PaycenterError) as error:
        await merchant.client.accounting.PostEvent(request)
    assert (error.value.reason, error.value.field) == (reason, field)
    assert error.value.trace_id
    assert (await merchant.account(merchant.balance)).version == 1


async def test_lines_as_given_must_balance(merchant: Merchant) -> None:
    request = pb.PostJournalRequest(
        request_id=new_request_id(),
        event_code="TRANSFER",
        business_number=merchant.number(),
        lines=[
            pb.JournalLine(account_id=merchant.clearing, side=pb.ENTRY_SIDE_DEBIT, amount=yuan(10)),
            pb.JournalLine(account_id=merchant.balance, side=pb.ENTRY_SIDE_CREDIT, amount=yuan(9)),
        ],
    )
    with pytest.raises(InvalidRequest) as error:
        await merchant.client.accounting.PostJournal(request)
    assert error.value.reason == "JOURNAL_UNBALANCED"
    request.lines[1].amount.minor_units = 10
    request.lines[1].expected_version = 2
    with pytest.raises(PaycenterError) as mismatch:
        await merchant.client.accounting.PostJournal(request)
    assert (mismatch.value.reason, mismatch.value.metadata["version"]) == ("VERSION_MISMATCH", "1")


async def test_a_reversal_mirrors_once(merchant: Merchant) -> None:
    booked = await merchant.client.accounting.PostEvent(merchant.recharge(100, fee=2))
    reverse = pb.ReverseJournalRequest(
        request_id=new_request_id(), journal_id=booked.journal.journal_id, reason="booked by mistake"
    )
    first = await merchant.client.accounting.ReverseJournal(reverse)
    assert await merchant.client.accounting.ReverseJournal(reverse) == first
    assert (await merchant.account(merchant.balance)).balance_minor_units == 0
    for journal_id in (booked.journal.journal_id, first.journal.journal_id):
        with pytest.raises(PreconditionFailed) as error:
            await merchant.client.accounting.ReverseJournal(
                pb.ReverseJournalRequest(request_id=new_request_id(), journal_id=journal_id, reason="again")
            )
        assert error.value.reason == "JOURNAL_NOT_REVERSIBLE"


async def test_a_frozen_account_takes_nothing_until_it_is_active_again(merchant: Merchant) -> None:
    await merchant.has(10)

    async def change(state: pb.AccountState.ValueType) -> None:
        await merchant.client.accounting.ChangeAccountState(
            pb.ChangeAccountStateRequest(
                request_id=new_request_id(), account_id=merchant.balance, state=state, reason="court order"
            )
        )

    await change(pb.ACCOUNT_STATE_FROZEN)
    request = merchant.withdrawal(5)
    with pytest.raises(PreconditionFailed) as error:
        await merchant.client.accounting.PostEvent(request)
    assert error.value.reason == "ACCOUNT_STATE_INVALID"
    with pytest.raises(PreconditionFailed):
        await merchant.hold(5)
    await change(pb.ACCOUNT_STATE_ACTIVE)
    assert (await merchant.client.accounting.PostEvent(request)).journal.journal_id
    with pytest.raises(PreconditionFailed):
        await change(pb.ACCOUNT_STATE_CLOSED)


async def test_another_tenant_sees_nothing(ledger: Ledger, merchant: Merchant) -> None:
    booked = await merchant.client.accounting.PostEvent(merchant.recharge(100))
    stranger = Caller(service="payment", tenant_id="tenant-2")
    async with AsyncPaycenterClient(Targets(accounting=ledger.target), caller=stranger) as other:
        for call in (
            other.accounting.GetAccount(pb.GetAccountRequest(account_id=merchant.balance)),
            other.accounting.GetJournal(pb.GetJournalRequest(journal_id=booked.journal.journal_id)),
            other.accounting.ListEntries(pb.ListEntriesRequest(account_id=merchant.balance)),
        ):
            with pytest.raises(CallerRejected) as error:
                await call
            assert error.value.reason == "TENANT_FORBIDDEN"


async def test_another_tenant_moves_nothing(ledger: Ledger, merchant: Merchant) -> None:
    await merchant.has(100)
    hold = await merchant.hold(10)
    stranger = Caller(service="payment", tenant_id="tenant-2")
    async with AsyncPaycenterClient(Targets(accounting=ledger.target), caller=stranger) as other:
        for call in (
            other.accounting.PostEvent(merchant.withdrawal(10)),
            other.accounting.PostEvent(merchant.withdrawal(10, hold_id=hold.hold_id)),
            other.accounting.PlaceHold(
                pb.PlaceHoldRequest(
                    request_id=new_request_id(),
                    account_id=merchant.balance,
                    amount=yuan(10),
                    business_number="P1",
                )
            ),
        ):
            with pytest.raises(CallerRejected) as error:
                await call
            assert error.value.reason == "TENANT_FORBIDDEN"
        feed = await other.accounting.ListAccountingEvents(pb.ListAccountingEventsRequest(page_size=500))
    assert merchant.merchant_id not in str(feed)
    own = await merchant.client.accounting.ListAccountingEvents(pb.ListAccountingEventsRequest(page_size=500))
    assert own.events
    account = await merchant.account(merchant.balance)
    assert (account.balance_minor_units, account.held_minor_units) == (100, 10)


async def test_shadow_traffic_cannot_touch_real_accounts(ledger: Ledger, merchant: Merchant) -> None:
    rehearsal = Caller(service="payment", tenant_id="tenant-1", shadow=True)
    async with AsyncPaycenterClient(Targets(accounting=ledger.target), caller=rehearsal) as shadow:
        with pytest.raises(InvalidRequest) as error:
            await shadow.accounting.PostEvent(merchant.recharge(100))
    assert error.value.reason == "SHADOW_MIXED"
    assert (await merchant.account(merchant.balance)).balance_minor_units == 0


async def test_a_statement_runs_backwards_by_pages_with_the_running_balance(merchant: Merchant) -> None:
    for minor_units in (5, 7, 11):
        await merchant.has(minor_units)
    pages = [
        page
        async for page in merchant.client.pages(
            merchant.client.accounting.ListEntries,
            pb.ListEntriesRequest(account_id=merchant.balance, page_size=2),
        )
    ]
    assert [entry.balance_after_minor_units for page in pages for entry in page.entries] == [23, 12, 5]
    with pytest.raises(InvalidRequest) as error:
        await merchant.client.accounting.ListEntries(
            pb.ListEntriesRequest(account_id=merchant.balance, page_token="not a token")
        )
    assert error.value.reason == "PAGE_TOKEN_INVALID"


@pytest.mark.parametrize("table", ["journal", "entry", "hold_event", "posting_refusal", "account"])
async def test_what_is_booked_cannot_be_changed_past_the_server(
    ledger: Ledger, merchant: Merchant, table: str
) -> None:
    await merchant.has(100)
    await merchant.hold(10)
    with pytest.raises(PreconditionFailed):
        await merchant.client.accounting.PostEvent(merchant.withdrawal(1000))
    for statement in (
        f"UPDATE {table} SET shard = shard",
        f"DELETE FROM {table}",
        f"TRUNCATE {table} CASCADE",
    ):
        with pytest.raises(psycopg.errors.RestrictViolation):
            ledger.sql(statement)


async def test_after_a_kill_the_same_request_gets_the_same_answer(ledger: Ledger, merchant: Merchant) -> None:
    request = merchant.recharge(100)
    before = await merchant.client.accounting.PostEvent(request)
    ledger.kill()
    ledger.start()
    assert await merchant.client.accounting.PostEvent(request, timeout=10) == before
    assert (await merchant.account(merchant.balance)).balance_minor_units == 100
