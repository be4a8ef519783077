"""Time-outs, error pages and races at the channel: never failed by the clock, resolved by its own word."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from paycenter.channel.v1 import channel_gateway_pb2 as pb

from runtime.ids import new_request_id
from tests.integration.channel_gateway.support import (
    ACCEPTED,
    CLOSED,
    DECLINED,
    NOT_SENT,
    QR,
    SUCCEEDED,
    UNKNOWN,
    GatewayProcess,
    SandboxProcess,
    Shop,
)

CHANNELS = ("alipay", "wechat_pay")
MAYBE_SENT = 2
NO_ANSWER = pb.ChannelFailureReason.CHANNEL_FAILURE_REASON_NO_ANSWER


def at_sandbox(channel: str) -> str:
    return "alipay" if channel == "alipay" else "wechat"


@pytest.mark.parametrize("channel", CHANNELS)
async def test_a_time_out_after_the_charge_is_unknown_and_then_succeeds_by_query(
    shop: Shop, sandbox: SandboxProcess, channel: str
) -> None:
    sandbox.fault(at_sandbox(channel), "notice", "no_notice", count=1)
    sandbox.fault(at_sandbox(channel), "pay", "timeout_after_charge", count=1, seconds=0.1)
    order = await shop.pay(channel, QR, 500)
    assert order.state == UNKNOWN
    assert order.failure.reason == NO_ANSWER
    assert order.failure.outcome_safety == MAYBE_SENT
    paid = await shop.gateway.until(order.channel_order_id, SUCCEEDED)
    assert paid.amount.minor_units == 500
    assert not paid.HasField("failure")


@pytest.mark.parametrize("channel", CHANNELS)
async def test_an_answer_that_cannot_be_trusted_leaves_the_outcome_open(
    shop: Shop, sandbox: SandboxProcess, channel: str
) -> None:
    sandbox.fault(at_sandbox(channel), "query", "bad_gateway_html")
    sandbox.fault(at_sandbox(channel), "close", "bad_gateway_html")
    orders = []
    for kind in ("bad_gateway_html", "bad_response_signature", "system_error", "connection_reset"):
        sandbox.fault(at_sandbox(channel), "pay", kind, count=1)
        orders.append(await shop.pay(channel, QR, 500))
    assert [(order.state, order.failure.outcome_safety) for order in orders] == [(UNKNOWN, MAYBE_SENT)] * 4
    await asyncio.sleep(2.0)
    assert {(await shop.gateway.order(order.channel_order_id)).state for order in orders} == {UNKNOWN}


async def test_not_found_proves_nothing_until_the_channels_interval_has_passed(
    shop: Shop, sandbox: SandboxProcess
) -> None:
    sandbox.fault("wechat", "pay", "timeout_before", count=1, seconds=0.1)
    order = await shop.pay("wechat_pay", QR, 500)
    assert order.state == UNKNOWN
    assert (await shop.gateway.query(order.channel_order_id)).state == UNKNOWN
    proven = await shop.gateway.until(order.channel_order_id, NOT_SENT)
    elapsed = proven.update_time.ToMicroseconds() - proven.create_time.ToMicroseconds()
    assert elapsed >= 1_500_000
    assert proven.failure.outcome_safety == 1


async def test_a_close_before_the_channels_interval_has_passed_proves_nothing(
    shop: Shop, sandbox: SandboxProcess
) -> None:
    sandbox.fault("wechat", "pay", "timeout_before", count=1, seconds=0.1)
    order = await shop.pay("wechat_pay", QR, 500)
    closed = await shop.gateway.close_order(order.channel_order_id)
    assert (order.state, closed.state) == (UNKNOWN, UNKNOWN)
    proven = await shop.gateway.until(order.channel_order_id, NOT_SENT)
    assert proven.update_time.ToMicroseconds() - proven.create_time.ToMicroseconds() >= 1_500_000


async def test_a_channel_that_cannot_be_reached_is_not_sent(shop: Shop, server: GatewayProcess) -> None:
    server.sql(
        "UPDATE payment_account SET version = version + 1, settings = settings || %s::jsonb"
        " WHERE payment_account_id = %s",
        '{"api_base_url": "http://127.0.0.1:9"}',
        shop.wechat,
    )
    await asyncio.sleep(0.3)
    order = await shop.pay("wechat_pay", QR, 500)
    assert order.state == NOT_SENT
    assert order.failure.reason == pb.ChannelFailureReason.CHANNEL_FAILURE_REASON_NOT_REACHED
    assert order.failure.outcome_safety == 1


async def test_a_refusal_is_declined_with_the_channels_own_code(shop: Shop, sandbox: SandboxProcess) -> None:
    sandbox.fault("wechat", "pay", "rate_limited", count=2)
    order = await shop.pay("wechat_pay", QR, 500)
    assert order.state == DECLINED
    assert order.failure.channel_code == "FREQUENCY_LIMITED"
    assert order.failure.reason == pb.ChannelFailureReason.CHANNEL_FAILURE_REASON_RATE_LIMITED


async def test_one_rate_limit_is_met_by_a_second_try(shop: Shop, sandbox: SandboxProcess) -> None:
    sandbox.fault("wechat", "pay", "rate_limited", count=1)
    assert (await shop.pay("wechat_pay", QR, 500)).state == ACCEPTED


@pytest.mark.parametrize("channel", CHANNELS)
async def test_a_refund_whose_answer_was_lost_is_made_once(
    shop: Shop, sandbox: SandboxProcess, channel: str
) -> None:
    order = await shop.pay(channel, QR, 1000)
    sandbox.post(f"/sandbox/payments/{order.channel_order_id}/pay")
    await shop.gateway.until(order.channel_order_id, SUCCEEDED)
    sandbox.fault(at_sandbox(channel), "refund", "timeout_after_charge", count=1, seconds=0.1)
    refund = await shop.refund(order.channel_order_id, 400)
    assert refund.state in (UNKNOWN, SUCCEEDED)
    await shop.gateway.until(refund.channel_order_id, SUCCEEDED)
    assert sandbox.get(f"/sandbox/payments/{order.channel_order_id}")["refunded_minor_units"] == 400


@pytest.mark.parametrize("channel", CHANNELS)
async def test_a_refund_that_never_arrived_is_sent_again_under_its_number(
    shop: Shop, sandbox: SandboxProcess, channel: str
) -> None:
    order = await shop.pay(channel, QR, 1000)
    sandbox.post(f"/sandbox/payments/{order.channel_order_id}/pay")
    await shop.gateway.until(order.channel_order_id, SUCCEEDED)
    sandbox.fault(at_sandbox(channel), "refund", "timeout_before", count=1, seconds=0.1)
    refund = await shop.refund(order.channel_order_id, 400)
    assert refund.state == UNKNOWN
    await shop.gateway.until(refund.channel_order_id, SUCCEEDED)
    assert sandbox.get(f"/sandbox/payments/{order.channel_order_id}")["refunded_minor_units"] == 400


@pytest.mark.parametrize("channel", CHANNELS)
async def test_a_payout_that_never_arrived_is_sent_again_under_its_number(
    shop: Shop, sandbox: SandboxProcess, channel: str
) -> None:
    sandbox.fault(at_sandbox(channel), "transfer", "timeout_before", count=1, seconds=0.1)
    payout = await shop.payout(channel, 700)
    assert payout.state == UNKNOWN
    await shop.gateway.until(payout.channel_order_id, SUCCEEDED)
    transfers = [
        each
        for each in sandbox.get("/sandbox/books")["transfers"]
        if each["out_transfer_no"] == payout.channel_order_id
    ]
    assert len(transfers) == 1


async def test_a_refund_that_the_channel_closes_gives_its_amount_free(
    shop: Shop, sandbox: SandboxProcess
) -> None:
    sandbox.post("/sandbox/settings", auto_refund_seconds=None)
    order = await shop.pay("wechat_pay", QR, 1000)
    sandbox.post(f"/sandbox/payments/{order.channel_order_id}/pay")
    await shop.gateway.until(order.channel_order_id, SUCCEEDED)
    refund = await shop.refund(order.channel_order_id, 1000)
    assert refund.state == ACCEPTED
    sandbox.post(f"/sandbox/refunds/{refund.channel_order_id}/fail", **{"as": "CLOSED"})
    failed = await shop.gateway.until(refund.channel_order_id, DECLINED)
    assert failed.failure.channel_code == "CLOSED"
    again = await shop.refund(order.channel_order_id, 1000)
    assert again.state == ACCEPTED


@pytest.mark.parametrize("channel", CHANNELS)
async def test_closing_an_unpaid_order_closes_it_at_the_channel(
    shop: Shop, sandbox: SandboxProcess, channel: str
) -> None:
    order = await shop.pay(channel, QR, 500)
    if channel == "alipay":
        sandbox.post(f"/sandbox/payments/{order.channel_order_id}/scan")
    closed = await shop.gateway.close_order(order.channel_order_id)
    assert closed.state == CLOSED
    assert not closed.HasField("credential")
    assert sandbox.get(f"/sandbox/payments/{order.channel_order_id}")["state"] == "CLOSED"
    assert (await shop.gateway.close_order(order.channel_order_id)).state == CLOSED


@pytest.mark.parametrize("channel", CHANNELS)
async def test_closing_an_order_that_its_payer_paid_first_returns_it_paid(
    shop: Shop, sandbox: SandboxProcess, channel: str
) -> None:
    sandbox.fault(at_sandbox(channel), "notice", "no_notice", count=1)
    order = await shop.pay(channel, QR, 500)
    sandbox.post(f"/sandbox/payments/{order.channel_order_id}/pay")
    assert (await shop.gateway.close_order(order.channel_order_id)).state == SUCCEEDED


@pytest.mark.parametrize("channel", CHANNELS)
async def test_a_close_without_answer_stays_open_until_a_worker_has_closed_it(
    shop: Shop, sandbox: SandboxProcess, channel: str
) -> None:
    order = await shop.pay(channel, QR, 500)
    if channel == "alipay":
        sandbox.post(f"/sandbox/payments/{order.channel_order_id}/scan")
    sandbox.fault(at_sandbox(channel), "close", "timeout_before", count=1, seconds=0.1)
    request_id = new_request_id()
    assert (await shop.gateway.close_order(order.channel_order_id, request_id)).state == UNKNOWN
    await shop.gateway.until(order.channel_order_id, CLOSED)
    assert sandbox.get(f"/sandbox/payments/{order.channel_order_id}")["state"] == "CLOSED"
    assert (await shop.gateway.close_order(order.channel_order_id, request_id)).state == CLOSED


@pytest.mark.parametrize("channel", CHANNELS)
async def test_close_and_payment_at_the_same_moment_end_in_one_truth(
    shop: Shop, sandbox: SandboxProcess, channel: str
) -> None:
    for _ in range(4):
        order = await shop.pay(channel, QR, 500)
        if channel == "alipay":
            sandbox.post(f"/sandbox/payments/{order.channel_order_id}/scan")
        paying = asyncio.to_thread(
            sandbox.http.post, f"/sandbox/payments/{order.channel_order_id}/pay", json={}
        )
        await asyncio.gather(paying, shop.gateway.close_order(order.channel_order_id))
        truth = sandbox.get(f"/sandbox/payments/{order.channel_order_id}")["state"]
        await shop.gateway.until(order.channel_order_id, SUCCEEDED if truth == "PAID" else CLOSED)


async def test_a_lost_notice_is_made_good_by_the_gateways_own_query(
    shop: Shop, sandbox: SandboxProcess, server: GatewayProcess
) -> None:
    sandbox.fault("wechat", "notice", "no_notice", count=1)
    order = await shop.pay("wechat_pay", QR, 500)
    sandbox.post(f"/sandbox/payments/{order.channel_order_id}/pay")
    server.look_now(order.channel_order_id)
    await shop.gateway.until(order.channel_order_id, SUCCEEDED)
    assert sandbox.attempts(order.channel_order_id) == []


async def test_a_slow_channel_holds_up_nobody_else(shop: Shop, sandbox: SandboxProcess) -> None:
    sandbox.fault("wechat", "pay", "timeout_before", seconds=2, count=30)
    slow = [asyncio.ensure_future(shop.pay("wechat_pay", QR, 500)) for _ in range(30)]
    order = await shop.pay("alipay", QR, 500)
    assert order.state == ACCEPTED
    assert not any(payment.done() for payment in slow)
    assert {order.state for order in await asyncio.gather(*slow)} == {UNKNOWN}


async def test_an_order_past_its_expiry_is_closed_by_the_gateway(shop: Shop, server: GatewayProcess) -> None:
    request = shop.payment_request("alipay", QR, 500)
    request.expire_time.FromDatetime(datetime.now(UTC) + timedelta(seconds=2))
    order = (await shop.gateway.call("CreateChannelPayment", request)).channel_order
    server.look_now(order.channel_order_id)
    await asyncio.sleep(0.5)
    assert (await shop.gateway.order(order.channel_order_id)).state == ACCEPTED
    await asyncio.sleep(4)
    server.look_now(order.channel_order_id)
    await shop.gateway.until(order.channel_order_id, CLOSED)
