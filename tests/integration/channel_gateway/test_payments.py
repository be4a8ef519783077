"""Payments through both channels by each invoke method, with notices, refunds and payouts."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from channel_gateway.channels import rsa as channel_rsa
from tests.integration.channel_gateway.support import (
    ACCEPTED,
    APP,
    DECLINED,
    MINI_PROGRAM,
    PC,
    QR,
    SUCCEEDED,
    WAP,
    GatewayProcess,
    SandboxProcess,
    Shop,
    public_pem,
)


def open_page(url: str) -> httpx.Response:
    return httpx.get(url, trust_env=False, timeout=10)


async def test_an_alipay_page_is_signed_here_and_paid_there(
    shop: Shop, sandbox: SandboxProcess, server: GatewayProcess
) -> None:
    order = await shop.pay("alipay", PC, 1234, return_url="https://shop.example/back")
    assert order.state == ACCEPTED
    assert order.channel_fee.minor_units == 7
    assert order.business_id == shop.gateway.business_id
    assert order.credential.redirect.http_method == "GET"
    query = parse_qs(urlsplit(order.credential.redirect.url).query)
    assert query["return_url"] == ["https://shop.example/back"]
    assert (await shop.gateway.query(order.channel_order_id)).state == ACCEPTED

    assert open_page(order.credential.redirect.url).status_code == 200
    sandbox.post(f"/sandbox/payments/{order.channel_order_id}/pay")
    paid = await shop.gateway.until(order.channel_order_id, SUCCEEDED)

    trade = sandbox.get(f"/sandbox/payments/{order.channel_order_id}")
    assert paid.channel_transaction_id == trade["transaction_no"]
    assert paid.HasField("succeed_time")
    assert not paid.HasField("credential")
    assert server.notices(order.channel_order_id) == [("APPLIED", "", 1)]
    assert [attempt["answer"] for attempt in sandbox.attempts(order.channel_order_id)] == ["success"]


@pytest.mark.parametrize(
    ("channel", "invoke_method", "form"),
    [
        ("alipay", WAP, "redirect"),
        ("alipay", APP, "in_app_call"),
        ("alipay", QR, "qr_code"),
        ("alipay", MINI_PROGRAM, "in_app_call"),
        ("wechat_pay", MINI_PROGRAM, "in_app_call"),
        ("wechat_pay", APP, "in_app_call"),
        ("wechat_pay", WAP, "redirect"),
        ("wechat_pay", QR, "qr_code"),
    ],
)
async def test_each_invoke_method_gives_its_form_and_succeeds_by_notice(
    shop: Shop, sandbox: SandboxProcess, channel: str, invoke_method: int, form: str
) -> None:
    order = await shop.pay(channel, invoke_method, 888)
    assert order.state == ACCEPTED
    assert order.credential.WhichOneof("form") == form
    if (channel, form) == ("alipay", "redirect"):
        open_page(order.credential.redirect.url)
    if (channel, invoke_method) == ("alipay", APP):
        open_page(f"{sandbox.url}/gateway.do?{order.credential.in_app_call.parameters['orderStr']}")
    sandbox.post(f"/sandbox/payments/{order.channel_order_id}/pay")
    paid = await shop.gateway.until(order.channel_order_id, SUCCEEDED)
    assert paid.channel_fee.minor_units == 5


async def test_the_in_app_call_of_wechat_pay_carries_the_merchants_signature(
    shop: Shop, merchant_key: rsa.RSAPrivateKey
) -> None:
    order = await shop.pay("wechat_pay", MINI_PROGRAM)
    parameters = order.credential.in_app_call.parameters
    signed = [parameters[name] for name in ("appId", "timeStamp", "nonceStr", "package")]
    text = "".join(f"{part}\n" for part in signed).encode()
    public_key = load_pem_public_key(public_pem(merchant_key).encode())
    assert isinstance(public_key, rsa.RSAPublicKey)
    assert parameters["appId"] == shop.appid
    assert channel_rsa.verify(public_key, text, parameters["paySign"])
    assert not channel_rsa.verify(public_key, text + b"x", parameters["paySign"])


@pytest.mark.parametrize(("channel", "invoke_method"), [("alipay", QR), ("wechat_pay", QR)])
async def test_refunds_are_partial_and_repeated_and_told_by_notice(
    shop: Shop, sandbox: SandboxProcess, server: GatewayProcess, channel: str, invoke_method: int
) -> None:
    order = await shop.pay(channel, invoke_method, 1000)
    sandbox.post(f"/sandbox/payments/{order.channel_order_id}/pay")
    await shop.gateway.until(order.channel_order_id, SUCCEEDED)

    for minor_units in (300, 700):
        refund = await shop.refund(order.channel_order_id, minor_units)
        assert refund.refunded_channel_order_id == order.channel_order_id
        assert refund.channel_fee.minor_units == 0
        done = await shop.gateway.until(refund.channel_order_id, SUCCEEDED)
        assert done.amount.minor_units == minor_units
        assert done.channel_transaction_id
    assert sandbox.get(f"/sandbox/payments/{order.channel_order_id}")["refunded_minor_units"] == 1000
    assert (await shop.gateway.order(order.channel_order_id)).state == SUCCEEDED


@pytest.mark.parametrize("channel", ["alipay", "wechat_pay"])
async def test_a_payout_reaches_its_payee(shop: Shop, sandbox: SandboxProcess, channel: str) -> None:
    payout = await shop.payout(channel, 5000)
    done = await shop.gateway.until(payout.channel_order_id, SUCCEEDED)
    assert done.amount.minor_units == 5000
    transfers = sandbox.get("/sandbox/books")["transfers"]
    sent = [each for each in transfers if each["out_transfer_no"] == payout.channel_order_id]
    assert [(each["amount_minor_units"], each["payee_name"]) for each in sent] == [(5000, "张三")]


@pytest.mark.parametrize("channel", ["alipay", "wechat_pay"])
async def test_a_payout_above_the_balance_is_declined_with_the_reason(shop: Shop, channel: str) -> None:
    payout = await shop.payout(channel, 90_000_000)
    assert payout.state == DECLINED
    assert payout.failure.channel_code in ("PAYER_BALANCE_NOT_ENOUGH", "NOT_ENOUGH")
    assert payout.failure.reason == 4


async def test_a_payees_name_is_sealed_at_rest(shop: Shop, server: GatewayProcess) -> None:
    payout = await shop.payout("alipay", 5000)
    ((asked, sealed),) = server.sql(
        "SELECT asked::text, sealed_asked FROM channel_order WHERE channel_order_id = %s",
        payout.channel_order_id,
    )
    assert "张三" not in asked
    assert len(sealed) > 12
    assert "张三".encode() not in sealed
