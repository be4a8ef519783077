"""Scenarios of holds on the real server: kept back, taken, freed, and over by themselves."""

from __future__ import annotations

import asyncio

import pytest
from google.protobuf.duration_pb2 import Duration
from paycenter.accounting.v1 import accounting_pb2 as pb
from paycenter_client import InvalidRequest, PaycenterError, PreconditionFailed, new_request_id

from tests.integration.accounting.conftest import Merchant, yuan


async def test_held_money_is_not_available_and_is_taken_by_its_own_journal(merchant: Merchant) -> None:
    await merchant.has(100)
    hold = await merchant.hold(60)
    assert (await merchant.account(merchant.balance)).available_minor_units == 40
    with pytest.raises(PreconditionFailed):
        await merchant.client.accounting.PostEvent(merchant.withdrawal(41))
    await merchant.client.accounting.PostEvent(merchant.withdrawal(60, hold_id=hold.hold_id))
    account = await merchant.account(merchant.balance)
    assert (account.balance_minor_units, account.held_minor_units) == (40, 0)
    taken = (await merchant.client.accounting.GetHold(pb.GetHoldRequest(hold_id=hold.hold_id))).hold
    assert taken.state == pb.HOLD_STATE_CAPTURED


async def test_of_two_holds_of_60_on_100_at_once_one_is_placed(merchant: Merchant) -> None:
    await merchant.has(100)
    outcomes = await asyncio.gather(merchant.hold(60), merchant.hold(60), return_exceptions=True)
    refused = [outcome for outcome in outcomes if isinstance(outcome, PaycenterError)]
    assert [error.reason for error in refused] == ["INSUFFICIENT_FUNDS"]
    assert (await merchant.account(merchant.balance)).held_minor_units == 60


async def test_a_hold_asked_for_twice_is_placed_once(merchant: Merchant) -> None:
    await merchant.has(100)
    request = pb.PlaceHoldRequest(
        request_id=new_request_id(), account_id=merchant.balance, amount=yuan(60), business_number="P1"
    )
    answers = await asyncio.gather(*[merchant.client.accounting.PlaceHold(request) for _ in range(4)])
    assert len({answer.hold.hold_id for answer in answers}) == 1
    assert (await merchant.account(merchant.balance)).held_minor_units == 60
    request.amount.minor_units = 61
    with pytest.raises(InvalidRequest) as error:
        await merchant.client.accounting.PlaceHold(request)
    assert error.value.reason == "IDEMPOTENCY_KEY_REUSED"


async def test_a_hold_is_taken_in_parts_and_the_rest_is_freed(merchant: Merchant) -> None:
    await merchant.has(100)
    hold = await merchant.hold(60)

    def capture(minor_units: int) -> pb.CaptureHoldRequest:
        return pb.CaptureHoldRequest(
            request_id=new_request_id(),
            hold_id=hold.hold_id,
            amount=yuan(minor_units),
            event_code="CAPTURE",
            business_number=merchant.number(),
            destination_account_id=merchant.clearing,
        )

    await merchant.client.accounting.CaptureHold(capture(25))
    await merchant.client.accounting.CaptureHold(capture(25))
    with pytest.raises(PreconditionFailed) as error:
        await merchant.client.accounting.CaptureHold(capture(11))
    assert (error.value.reason, error.value.metadata["remainingMinorUnits"]) == ("HOLD_AMOUNT_EXCEEDED", "10")
    release = pb.ReleaseHoldRequest(request_id=new_request_id(), hold_id=hold.hold_id)
    freed = await merchant.client.accounting.ReleaseHold(release)
    assert await merchant.client.accounting.ReleaseHold(release) == freed
    assert (freed.hold.captured_minor_units, freed.hold.released_minor_units) == (50, 10)
    account = await merchant.account(merchant.balance)
    assert (account.balance_minor_units, account.held_minor_units) == (50, 0)


async def test_a_hold_whose_time_has_passed_frees_itself(merchant: Merchant) -> None:
    await merchant.has(100)
    answer = await merchant.client.accounting.PlaceHold(
        pb.PlaceHoldRequest(
            request_id=new_request_id(),
            account_id=merchant.balance,
            amount=yuan(60),
            business_number=merchant.number(),
            hold_duration=Duration(nanos=50_000_000),
        )
    )
    async with asyncio.timeout(10):
        while (await merchant.account(merchant.balance)).held_minor_units:
            await asyncio.sleep(0.05)
    hold = await merchant.client.accounting.GetHold(pb.GetHoldRequest(hold_id=answer.hold.hold_id))
    assert hold.hold.state == pb.HOLD_STATE_EXPIRED
    with pytest.raises(PreconditionFailed) as error:
        await merchant.client.accounting.PostEvent(merchant.withdrawal(1, hold_id=answer.hold.hold_id))
    assert error.value.reason == "HOLD_STATE_INVALID"
