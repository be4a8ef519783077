"""The channel's own books, the automatic payer, the admin calls and the pages that a person uses."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.channel_gateway.sandbox.support import (
    AlipayMerchant,
    SandboxProcess,
    WechatMerchant,
    unique,
    wait_for,
)


def test_the_books_add_up(sandbox: SandboxProcess, merchant_key: rsa.RSAPrivateKey) -> None:
    merchant = WechatMerchant(sandbox, merchant_key, opening_balance_minor_units=1000, fee_rate="0.006")
    first, refund, transfer = merchant.paid(10_000), unique("r"), unique("T")
    merchant.paid(5_000)
    merchant.create(unique("W"), 700)
    merchant.refund(first, 2_500, refund, 10_000)
    merchant.transfer(transfer, 1_200)
    wait_for(lambda: sandbox.figures(merchant.mchid)["refunded_count"])
    wait_for(lambda: sandbox.figures(merchant.mchid)["paid_out_count"])
    figures = sandbox.figures(merchant.mchid)
    assert figures | {"channel": "wechat", "account": merchant.mchid} == figures
    expected = {
        "trade_count": 3,
        "charged_count": 2,
        "charged_minor_units": 15_000,
        "fee_minor_units": 90,
        "refunded_minor_units": 2_500,
        "refund_open_minor_units": 0,
        "fee_returned_minor_units": 15,
        "paid_out_minor_units": 1_200,
        "payout_open_minor_units": 0,
        "balance_minor_units": 1000 + 15_000 - 90 - 2_500 + 15 - 1_200,
    }
    assert {name: figures[name] for name in expected} == expected
    assert figures["running_balance_minor_units"] == expected["balance_minor_units"]
    books = sandbox.get("/sandbox/books")
    assert [trade["paid_minor_units"] for trade in books["trades"] if trade["account"] == merchant.mchid] == [
        10_000,
        5_000,
        0,
    ]
    assert {each["out_refund_no"] for each in books["refunds"]} >= {refund}


def test_a_full_refund_brings_back_the_whole_fee(sandbox: SandboxProcess, alipay: AlipayMerchant) -> None:
    number = alipay.paid("0.99")
    for position in range(3):
        assert alipay.refund(number, "0.33", f"r{position}")["fund_change"] == "Y"
    assert sandbox.figures(alipay.seller_id)["balance_minor_units"] == 100_000_000


def test_the_payer_pays_by_itself(
    sandbox: SandboxProcess, alipay: AlipayMerchant, wechat: WechatMerchant
) -> None:
    sandbox.post("/sandbox/settings", {"auto_pay": True, "auto_pay_delay_seconds": 0.1})
    first, second = unique("Q"), unique("W")
    alipay.call("alipay.trade.precreate", {"out_trade_no": first, "total_amount": "1.00", "subject": "tea"})
    wechat.create(second)
    wait_for(lambda: alipay.query(first).get("trade_status") == "TRADE_SUCCESS")
    wait_for(lambda: wechat.query(second)[1]["trade_state"] == "SUCCESS")


def test_a_person_pays_on_the_page_and_returns_to_the_merchant(
    sandbox: SandboxProcess, alipay: AlipayMerchant
) -> None:
    number = unique("P")
    business = {
        "out_trade_no": number,
        "total_amount": "12.30",
        "subject": "tea",
        "product_code": "FAST_INSTANT_TRADE_PAY",
    }
    parameters = alipay.signed("alipay.trade.page.pay", business, return_url="https://shop.example/back?a=1")
    page = alipay.send(parameters)
    assert "¥12.30" in page.text
    assert f"/sandbox/cashier/{number}/pay" in page.text
    back = sandbox.http.post(f"/sandbox/cashier/{number}/pay")
    assert back.status_code == 303
    fields = dict(parse_qsl(urlsplit(back.headers["location"]).query))
    assert fields.pop("a") == "1"
    assert alipay.notice_holds(fields)
    assert fields["total_amount"] == "12.30"
    again = sandbox.http.post(f"/sandbox/cashier/{number}/pay")
    assert again.status_code == 409
    assert "TRADE_PAID" in again.text


def test_a_person_cancels_or_fails(
    sandbox: SandboxProcess, alipay: AlipayMerchant, wechat: WechatMerchant
) -> None:
    first, second = unique("A"), unique("W")
    alipay.create(first)
    made = wechat.call("POST", "/v3/pay/transactions/native", wechat.order(second))[1]
    page = httpx.get(made["code_url"])
    assert page.status_code == 200
    assert sandbox.http.post(f"/sandbox/cashier/{first}/cancel").status_code == 303
    assert alipay.query(first)["trade_status"] == "TRADE_CLOSED"
    assert sandbox.http.post(f"/sandbox/cashier/{second}/fail?channel=wechat").status_code == 303
    assert "the bank refused" in sandbox.http.get(f"/sandbox/cashier/{second}").text
    assert sandbox.http.post(f"/sandbox/cashier/{second}/dance").status_code == 404
    assert sandbox.http.get(f"/sandbox/cashier/{unique('none')}").status_code == 404


def test_a_page_that_cannot_be_paid_says_why(alipay: AlipayMerchant) -> None:
    parameters = alipay.signed("alipay.trade.page.pay", {"out_trade_no": unique("P"), "subject": "tea"})
    assert "ACQ.INVALID_PARAMETER" in alipay.send(parameters).text
    assert "isv.invalid-signature" in alipay.send(parameters | {"sign": "AAAA"}).text


def test_one_number_at_two_merchants(
    sandbox: SandboxProcess, alipay: AlipayMerchant, wechat: WechatMerchant
) -> None:
    number = unique("S")
    alipay.create(number)
    wechat.create(number)
    assert sandbox.post(f"/sandbox/payments/{number}/pay", status=409)["code"] == "AMBIGUOUS"
    sandbox.post(f"/sandbox/payments/{number}/pay?channel=wechat")
    assert sandbox.get(f"/sandbox/payments/{number}", channel="wechat")["state"] == "PAID"
    assert sandbox.get(f"/sandbox/payments/{number}", channel="alipay")["state"] == "WAITING"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/sandbox/settings", {"auto_pay": "yes"}),
        ("/sandbox/settings", {"unknown": 1}),
        ("/sandbox/settings", {"notice_retry_scale": -1}),
        ("/sandbox/merchants/alipay", {"app_id": "1"}),
        ("/sandbox/merchants/alipay", {"app_id": "1", "seller_id": "2", "app_public_key": "AAAA"}),
        ("/sandbox/merchants/wechat", {"mchid": "1", "appid": "2", "public_key": "x", "api_v3_key": "short"}),
    ],
)
def test_admin_calls_that_make_no_sense(sandbox: SandboxProcess, path: str, body: dict[str, object]) -> None:
    before = sandbox.get("/sandbox/settings")
    assert sandbox.post(path, body, status=400)["code"] == "INVALID"
    assert sandbox.get("/sandbox/settings") == before
    answer = sandbox.http.post(path, content=b"{")
    assert answer.status_code == 400


def test_registering_again_changes_nothing_and_a_second_certificate_is_added(
    sandbox: SandboxProcess, wechat: WechatMerchant, merchant_key: rsa.RSAPrivateKey
) -> None:
    number = wechat.paid()
    body = {
        "mchid": wechat.mchid,
        "appid": wechat.appid,
        "certificate_serial": "ABCDEF01",
        "certificate": wechat.platform["platform_certificate"],
        "api_v3_key": wechat.api_v3_key,
    }
    again = sandbox.post("/sandbox/merchants/wechat", body)
    assert again["certificate_serials"] == [
        wechat.serial.lstrip("0"),
        wechat.platform["platform_certificate_serial"],
    ]
    assert wechat.query(number)[1]["trade_state"] == "SUCCESS"
    assert sandbox.post("/sandbox/merchants/wechat", body) == again
