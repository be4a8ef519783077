"""Alipay through python-alipay-sdk, a client that others wrote."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from alipay import AliPay
from alipay.exceptions import AliPayException
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.channel_gateway.sandbox.support import (
    AlipayMerchant,
    Receiver,
    SandboxProcess,
    private_pem_of,
    unique,
)


@pytest.fixture
def client(sandbox: SandboxProcess, alipay: AlipayMerchant, merchant_key: rsa.RSAPrivateKey) -> Any:
    sdk = AliPay(
        appid=alipay.app_id,
        app_private_key_string=private_pem_of(merchant_key),
        alipay_public_key_string=alipay.platform["alipay_public_key"],
        sign_type="RSA2",
    )
    sdk._gateway = f"{sandbox.url}/gateway.do"
    return sdk


def test_qr_code_scan_pay_query_refund(
    client: Any, sandbox: SandboxProcess, alipay: AlipayMerchant, receiver: Receiver
) -> None:
    number, path = unique("Q"), f"/{unique('notice')}"
    made = client.api_alipay_trade_precreate(
        out_trade_no=number, total_amount="12.30", subject="tea", notify_url=receiver.url + path
    )
    assert made["code"] == "10000"
    assert number in made["qr_code"]
    assert client.api_alipay_trade_query(out_trade_no=number)["sub_code"] == "ACQ.TRADE_NOT_EXIST"

    assert httpx.get(made["qr_code"]).status_code == 200
    assert client.api_alipay_trade_query(out_trade_no=number)["trade_status"] == "WAIT_BUYER_PAY"

    sandbox.pay(number)
    queried = client.api_alipay_trade_query(out_trade_no=number)
    assert (queried["trade_status"], queried["total_amount"]) == ("TRADE_SUCCESS", "12.30")
    form = receiver.wait(path)[0].form
    assert (form["trade_status"], form["seller_id"], form["app_id"]) == (
        "TRADE_SUCCESS",
        alipay.seller_id,
        alipay.app_id,
    )
    assert client.verify({name: value for name, value in form.items() if name != "sign"}, form["sign"])

    refunded = client.api_alipay_trade_refund(out_trade_no=number, refund_amount="2.30", out_request_no="r1")
    assert (refunded["fund_change"], refunded["refund_fee"]) == ("Y", "2.30")
    again = client.api_alipay_trade_refund(out_trade_no=number, refund_amount="2.30", out_request_no="r1")
    assert (again["fund_change"], again["refund_fee"]) == ("N", "2.30")
    status = client.api_alipay_trade_fastpay_refund_query("r1", out_trade_no=number)
    assert (status["refund_status"], status["refund_amount"]) == ("REFUND_SUCCESS", "2.30")
    assert "refund_status" not in client.api_alipay_trade_fastpay_refund_query("r2", out_trade_no=number)
    after = receiver.wait(path, 2)[1].form
    assert (after["trade_status"], after["refund_fee"], after["out_biz_no"]) == (
        "TRADE_SUCCESS",
        "2.30",
        "r1",
    )


@pytest.mark.parametrize("way", ["page", "wap", "app"])
def test_the_trade_begins_when_the_payer_opens_the_page(
    client: Any, sandbox: SandboxProcess, way: str
) -> None:
    number = unique("P")
    query = getattr(client, f"api_alipay_trade_{way}_pay")(
        subject="<b>tea</b>", out_trade_no=number, total_amount="0.01"
    )
    assert client.api_alipay_trade_query(out_trade_no=number)["sub_code"] == "ACQ.TRADE_NOT_EXIST"
    page = httpx.get(f"{sandbox.url}/gateway.do?{query}")
    assert "&lt;b&gt;tea&lt;/b&gt;" in page.text
    assert client.api_alipay_trade_query(out_trade_no=number)["trade_status"] == "WAIT_BUYER_PAY"


def test_close_cancel_and_transfer(client: Any, sandbox: SandboxProcess) -> None:
    first, second = unique("C"), unique("C")
    for number in (first, second):
        business = {"out_trade_no": number, "total_amount": 5, "subject": "tea", "buyer_id": "2088002"}
        assert client.server_api("alipay.trade.create", business)["code"] == "10000"
    assert client.api_alipay_trade_close(out_trade_no=first)["out_trade_no"] == first
    assert client.api_alipay_trade_query(out_trade_no=first)["trade_status"] == "TRADE_CLOSED"
    assert client.api_alipay_trade_close(out_trade_no=first)["sub_code"] == "ACQ.TRADE_STATUS_ERROR"
    sandbox.pay(second)
    assert client.api_alipay_trade_close(out_trade_no=second)["sub_code"] == "ACQ.TRADE_STATUS_ERROR"
    assert client.api_alipay_trade_cancel(out_trade_no=second)["action"] == "refund"
    assert client.api_alipay_trade_query(out_trade_no=second)["trade_status"] == "TRADE_CLOSED"
    assert client.api_alipay_trade_cancel(out_trade_no=unique("none"))["code"] == "10000"

    number = unique("T")
    business = {
        "out_biz_no": number,
        "trans_amount": "1.50",
        "product_code": "TRANS_ACCOUNT_NO_PWD",
        "biz_scene": "DIRECT_TRANSFER",
        "payee_info": {"identity": "2088123412341234", "identity_type": "ALIPAY_USER_ID"},
    }
    assert client.server_api("alipay.fund.trans.uni.transfer", business)["status"] == "SUCCESS"
    status = client.server_api("alipay.fund.trans.common.query", {"out_biz_no": number})
    assert (status["status"], status["trans_amount"]) == ("SUCCESS", "1.50")


def test_the_client_refuses_an_answer_with_a_bad_signature(client: Any, sandbox: SandboxProcess) -> None:
    number = unique("B")
    sandbox.fault(channel="alipay", operation="query", out_trade_no=number, kind="bad_response_signature")
    with pytest.raises(Exception, match=r".*") as caught:
        client.api_alipay_trade_query(out_trade_no=number)
    assert type(caught.value).__name__ == "AliPayValidationError"


def test_an_unknown_application_gets_an_unsigned_refusal(client: Any) -> None:
    client._appid = "2021000000000000"
    with pytest.raises(AliPayException, match=r"isv\.invalid-app-id"):
        client.api_alipay_trade_query(out_trade_no=unique("X"))
