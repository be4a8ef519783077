"""A question that the channel refuses leaves its order as open as it was; the next one settles it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.integration.channel_gateway.support import (
    ACCEPTED,
    QR,
    SUCCEEDED,
    UNKNOWN,
    SandboxProcess,
    Shop,
)

CHANNELS = ("alipay", "wechat_pay")
KINDS = ("pay", "refund", "transfer")
QUERY_OF = {"pay": "query", "refund": "refund_query", "transfer": "transfer_query"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("channel", CHANNELS)
async def test_a_rate_limited_question_fails_nothing(
    shop: Shop, sandbox: SandboxProcess, channel: str, kind: str
) -> None:
    at_sandbox = "alipay" if channel == "alipay" else "wechat"
    paid = await _paid_order(shop, sandbox, channel) if kind == "refund" else None
    sandbox.fault(at_sandbox, "notice", "no_notice")
    sandbox.fault(at_sandbox, QUERY_OF[kind], "rate_limited")
    sandbox.fault(at_sandbox, kind, "timeout_after_charge", count=1, seconds=0.1)
    if kind == "pay":
        order = await shop.pay(channel, QR, 500)
    elif paid is not None:
        order = await shop.refund(paid.channel_order_id, 400)
    else:
        order = await shop.payout(channel, 700)
    assert order.state == UNKNOWN
    await asyncio.sleep(2.0)
    assert (await shop.gateway.order(order.channel_order_id)).state == UNKNOWN
    assert (await shop.gateway.query(order.channel_order_id)).state == UNKNOWN
    sandbox.http.delete("/sandbox/faults")
    settled = await shop.gateway.until(order.channel_order_id, SUCCEEDED)
    assert not settled.HasField("failure")


@pytest.mark.parametrize("channel", CHANNELS)
async def test_a_rate_limited_question_leaves_a_waiting_payment_to_its_payer(
    shop: Shop, sandbox: SandboxProcess, channel: str
) -> None:
    order = await shop.pay(channel, QR, 500)
    sandbox.fault("alipay" if channel == "alipay" else "wechat", "query", "rate_limited")
    assert (await shop.gateway.query(order.channel_order_id)).state == ACCEPTED
    sandbox.http.delete("/sandbox/faults")
    sandbox.post(f"/sandbox/payments/{order.channel_order_id}/pay")
    await shop.gateway.until(order.channel_order_id, SUCCEEDED)


@pytest.mark.parametrize("channel", CHANNELS)
async def test_a_rate_limited_repetition_of_a_payout_leaves_it_open(
    shop: Shop, sandbox: SandboxProcess, channel: str
) -> None:
    at_sandbox = "alipay" if channel == "alipay" else "wechat"
    sandbox.fault(at_sandbox, "transfer", "timeout_before", count=1, seconds=0.1)
    sandbox.fault(at_sandbox, "transfer", "rate_limited", count=2)
    payout = await shop.payout(channel, 700)
    assert payout.state == UNKNOWN
    await shop.gateway.until(payout.channel_order_id, SUCCEEDED)


async def _paid_order(shop: Shop, sandbox: SandboxProcess, channel: str) -> Any:
    order = await shop.pay(channel, QR, 1000)
    sandbox.post(f"/sandbox/payments/{order.channel_order_id}/pay")
    return await shop.gateway.until(order.channel_order_id, SUCCEEDED)
