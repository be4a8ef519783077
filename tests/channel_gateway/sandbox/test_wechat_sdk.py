"""WeChat Pay through wechatpayv3, a client that others wrote."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from wechatpayv3 import WeChatPay, WeChatPayType

from tests.channel_gateway.sandbox.support import (
    Receiver,
    SandboxProcess,
    WechatMerchant,
    private_pem_of,
    unique,
    wait_for,
)


def build(
    merchant: WechatMerchant, key: rsa.RSAPrivateKey, notify_url: str, *, certificates: str | None = None
) -> Any:
    keys: dict[str, Any] = {
        "public_key": merchant.platform["platform_public_key"],
        "public_key_id": merchant.platform["platform_public_key_id"],
    }
    sdk = WeChatPay(
        wechatpay_type=WeChatPayType.JSAPI,
        mchid=merchant.mchid,
        private_key=private_pem_of(key),
        cert_serial_no=merchant.serial,
        appid=merchant.appid,
        apiv3_key=merchant.api_v3_key,
        notify_url=notify_url,
        timeout=(5, 5),
        **keys,
    )
    sdk._core._gate_way = merchant.sandbox.url
    if certificates is not None:
        sdk._core._public_key, sdk._core._public_key_id = None, None
        sdk._core._update_certificates()
    return sdk


def call(answer: tuple[int, str]) -> tuple[int, dict[str, Any]]:
    status, text = answer
    return status, json.loads(text) if text else {}


@pytest.mark.parametrize("mode", ["public_key", "certificate"])
def test_pay_query_refund_notice(
    sandbox: SandboxProcess, merchant_key: rsa.RSAPrivateKey, receiver: Receiver, mode: str
) -> None:
    merchant = WechatMerchant(sandbox, merchant_key, platform_key_mode=mode)
    path = f"/{unique('notice')}"
    certificates = "fetched" if mode == "certificate" else None
    client = build(merchant, merchant_key, receiver.url + path, certificates=certificates)
    number = unique("W")
    status, made = call(
        client.pay("tea", number, {"total": 100, "currency": "CNY"}, payer={"openid": "oUpF8uMuAJO"})
    )
    assert status == 200
    assert made["prepay_id"].startswith("wx")
    assert call(client.query(out_trade_no=number))[1]["trade_state"] == "NOTPAY"

    sandbox.pay(number)
    queried = call(client.query(out_trade_no=number))[1]
    assert (queried["trade_state"], queried["amount"]["total"]) == ("SUCCESS", 100)
    assert call(client.query(transaction_id=queried["transaction_id"]))[1] == queried
    notice = receiver.wait(path)[0]
    told = client.callback(notice.headers, notice.body)
    assert told["event_type"] == "TRANSACTION.SUCCESS"
    assert told["resource"] == queried

    status, refund = call(
        client.refund(
            out_trade_no=number,
            out_refund_no=f"r{number}",
            amount={"total": 100, "refund": 40, "currency": "CNY"},
        )
    )
    assert (status, refund["status"]) == (200, "PROCESSING")
    told = client.callback(receiver.wait(path, 2)[1].headers, receiver.at(path)[1].body)
    assert told["event_type"] == "REFUND.SUCCESS"
    assert told["resource"]["amount"]["refund"] == 40
    assert call(client.query_refund(f"r{number}"))[1]["status"] == "SUCCESS"
    assert call(client.query(out_trade_no=number))[1]["trade_state"] == "REFUND"


@pytest.mark.parametrize(
    ("way", "field"),
    [(WeChatPayType.NATIVE, "code_url"), (WeChatPayType.H5, "h5_url"), (WeChatPayType.APP, "prepay_id")],
)
def test_other_ways_of_paying_and_close(
    wechat: WechatMerchant, merchant_key: rsa.RSAPrivateKey, way: Any, field: str
) -> None:
    client = build(wechat, merchant_key, "https://merchant.example/notice")
    number = unique("W")
    scene = {"payer_client_ip": "127.0.0.1", "h5_info": {"type": "Wap"}} if way == WeChatPayType.H5 else None
    status, made = call(client.pay("tea", number, {"total": 1}, scene_info=scene, pay_type=way))
    assert (status, field in made) == (200, True)
    assert client.close(number)[0] == 204
    assert call(client.query(out_trade_no=number))[1]["trade_state"] == "CLOSED"


def test_transfer_with_a_sealed_name(
    sandbox: SandboxProcess, wechat: WechatMerchant, merchant_key: rsa.RSAPrivateKey, receiver: Receiver
) -> None:
    path = f"/{unique('notice')}"
    client = build(wechat, merchant_key, receiver.url + path)
    number = unique("T")
    status, made = call(
        client.mch_transfer_bills(number, "1000", "oUpF8uMuAJO", 200_000, "reward", user_name="张三")
    )
    assert (status, made["state"]) == (200, "WAIT_USER_CONFIRM")
    told = client.callback(receiver.wait(path)[0].headers, receiver.at(path)[0].body)
    assert told["event_type"] == "MCHTRANSFER.BILL.FINISHED"
    assert (told["resource"]["state"], told["resource"]["transfer_amount"]) == ("SUCCESS", 200_000)
    assert call(client.mch_transfer_bills_query(out_bill_no=number))[1]["state"] == "SUCCESS"
    assert (
        next(
            each["payee_name"]
            for each in sandbox.get("/sandbox/books")["transfers"]
            if each["out_transfer_no"] == number
        )
        == "张三"
    )


def test_a_waiting_transfer_can_be_cancelled(
    sandbox: SandboxProcess, wechat: WechatMerchant, merchant_key: rsa.RSAPrivateKey
) -> None:
    sandbox.post("/sandbox/settings", {"auto_transfer": False})
    client = build(wechat, merchant_key, "https://merchant.example/notice")
    number = unique("T")
    before = sandbox.figures(wechat.mchid)["balance_minor_units"]
    assert client.mch_transfer_bills(number, "1000", "oUpF8uMuAJO", 30, "reward")[0] == 200
    assert sandbox.figures(wechat.mchid)["balance_minor_units"] == before - 30
    assert call(client.mch_transfer_bills_cancel(number))[1]["state"] == "CANCELLED"
    assert sandbox.figures(wechat.mchid)["balance_minor_units"] == before


def test_a_rotated_certificate_is_found_by_its_serial(
    sandbox: SandboxProcess, merchant_key: rsa.RSAPrivateKey
) -> None:
    merchant = WechatMerchant(sandbox, merchant_key, platform_key_mode="certificate")
    client = build(merchant, merchant_key, "https://merchant.example/notice", certificates="fetched")
    old_serial = merchant.platform["platform_certificate_serial"]
    new_serial = sandbox.post("/sandbox/wechat/rotate-certificate")["platform_certificate_serial"]
    assert new_serial != old_serial
    number = unique("W")
    assert client.pay("tea", number, {"total": 1}, payer={"openid": "oUpF8uMuAJO"})[0] == 200
    known = {f"{certificate.serial_number:X}" for certificate in client._core._certificates}
    assert {old_serial, new_serial} <= known


def test_the_client_refuses_an_answer_with_a_bad_signature(
    sandbox: SandboxProcess, wechat: WechatMerchant, merchant_key: rsa.RSAPrivateKey
) -> None:
    number = wechat.paid()
    client = build(wechat, merchant_key, "https://merchant.example/notice")
    sandbox.fault(channel="wechat", operation="query", out_trade_no=number, kind="bad_response_signature")
    with pytest.raises(Exception, match="failed to verify the signature"):
        client.query(out_trade_no=number)
    assert wait_for(lambda: client.query(out_trade_no=number))[0] == 200
