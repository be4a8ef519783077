"""Every refusal of Alipay, with its code and sub code, and that nothing has changed after it."""

from __future__ import annotations

import hashlib
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from tests.channel_gateway.sandbox.support import (
    AlipayMerchant,
    Receiver,
    SandboxProcess,
    make_signature,
    node_of,
    unique,
)


def codes(node: dict[str, Any]) -> tuple[str, str]:
    return node["code"], node.get("sub_code", "")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"sign": "AAAA"}, ("40002", "isv.invalid-signature")),
        ({"sign": ""}, ("40001", "isv.missing-signature")),
        ({"sign_type": "RSA"}, ("40002", "isv.invalid-signature-type")),
        ({"sign_type": ""}, ("40001", "isv.missing-signature-type")),
        ({"timestamp": ""}, ("40001", "isv.missing-timestamp")),
        ({"timestamp": "today"}, ("40002", "isv.invalid-timestamp")),
        ({"version": ""}, ("40001", "isv.missing-version")),
        ({"charset": "gbk"}, ("40002", "isv.invalid-charset")),
        ({"app_id": ""}, ("40001", "isv.missing-app-id")),
        ({"app_id": "2021000000000000"}, ("40002", "isv.invalid-app-id")),
        ({"method": "alipay.trade.vanish"}, ("40002", "isv.invalid-method")),
        ({"method": ""}, ("40001", "isv.missing-method")),
        ({"biz_content": '{"out_trade_no":"other"}'}, ("40002", "isv.invalid-signature")),
        ({"notify_url": "https://attacker.example"}, ("40002", "isv.invalid-signature")),
    ],
)
def test_common_parameters(alipay: AlipayMerchant, change: dict[str, str], expected: tuple[str, str]) -> None:
    parameters = alipay.signed("alipay.trade.query", {"out_trade_no": unique("A")}) | change
    assert codes(node_of(alipay.send(parameters).content)) == expected


def test_a_parameter_given_twice_is_refused(alipay: AlipayMerchant) -> None:
    parameters = alipay.signed("alipay.trade.query", {"out_trade_no": unique("A")})
    answer = alipay.sandbox.http.post("/gateway.do?app_id=1", data=parameters)
    assert codes(node_of(answer.content)) == ("40002", "isv.invalid-parameter")


def test_business_parameters_that_are_no_json_object(alipay: AlipayMerchant) -> None:
    parameters = alipay.signed("alipay.trade.query", {})
    for text in ("[1]", "{"):
        changed = {name: value for name, value in parameters.items() if name != "sign"} | {
            "biz_content": text
        }
        message = "&".join(f"{name}={value}" for name, value in sorted(changed.items()))
        changed["sign"] = make_signature(alipay.key, message.encode())
        assert codes(node_of(alipay.send(changed).content)) == ("40002", "isv.invalid-parameter")


@pytest.mark.parametrize(
    "change",
    [
        {"out_trade_no": ""},
        {"out_trade_no": "no spaces"},
        {"out_trade_no": "x" * 65},
        {"total_amount": "0"},
        {"total_amount": "-1"},
        {"total_amount": "1.234"},
        {"total_amount": "1e3"},
        {"subject": ""},
        {"buyer_id": ""},
        {"seller_id": "2088000000000000"},
        {"timeout_express": "soon"},
        {"time_expire": "2026"},
        {"time_expire": "2020-01-01 00:00:00"},
    ],
)
def test_business_parameters(alipay: AlipayMerchant, change: dict[str, str]) -> None:
    business = {"out_trade_no": unique("A"), "total_amount": "1.00", "subject": "tea", "buyer_id": "2088002"}
    node = alipay.call("alipay.trade.create", business | change)
    assert codes(node) == ("40004", "ACQ.INVALID_PARAMETER")
    assert alipay.sandbox.figures(alipay.seller_id)["trade_count"] == 0


def test_creating_the_same_number_again(alipay: AlipayMerchant) -> None:
    number = unique("A")
    first = alipay.create(number)
    assert alipay.create(number)["trade_no"] == first["trade_no"]
    assert codes(alipay.create(number, "88.89")) == ("40004", "ACQ.CONTEXT_INCONSISTENT")
    alipay.sandbox.pay(number)
    assert codes(alipay.create(number)) == ("40004", "ACQ.TRADE_HAS_SUCCESS")
    closed = unique("A")
    alipay.create(closed)
    alipay.call("alipay.trade.close", {"out_trade_no": closed})
    assert codes(alipay.create(closed)) == ("40004", "ACQ.TRADE_HAS_CLOSE")


def test_trades_that_do_not_exist(alipay: AlipayMerchant, merchant_key: rsa.RSAPrivateKey) -> None:
    business = {"out_trade_no": unique("none"), "refund_amount": "1.00", "out_request_no": "r"}
    for method in ("query", "close", "refund", "fastpay.refund.query"):
        assert codes(alipay.call(f"alipay.trade.{method}", business)) == ("40004", "ACQ.TRADE_NOT_EXIST")
    stranger = AlipayMerchant(alipay.sandbox, merchant_key)
    assert codes(stranger.query(alipay.paid())) == ("40004", "ACQ.TRADE_NOT_EXIST")
    assert codes(alipay.call("alipay.trade.query", {})) == ("40004", "ACQ.INVALID_PARAMETER")


def test_refunds(sandbox: SandboxProcess, alipay: AlipayMerchant) -> None:
    waiting = unique("A")
    alipay.create(waiting)
    assert codes(alipay.refund(waiting, "1.00", "r1")) == ("40004", "ACQ.TRADE_STATUS_ERROR")
    number = alipay.paid("10.00")
    assert codes(alipay.refund(number, "10.01", "r1")) == ("40004", "ACQ.REFUND_AMT_NOT_EQUAL_TOTAL")
    assert alipay.refund(number, "6.00", "r1")["fund_change"] == "Y"
    assert codes(alipay.refund(number, "6.00", "r2")) == ("40004", "ACQ.REFUND_AMT_NOT_EQUAL_TOTAL")
    assert codes(alipay.refund(number, "5.00", "r1")) == ("40004", "ACQ.DISCORDANT_REPEAT_REQUEST")
    assert alipay.refund(number, "4.00", "r3")["refund_fee"] == "10.00"
    assert alipay.query(number)["trade_status"] == "TRADE_CLOSED"
    assert sandbox.trade(number)["refunded_minor_units"] == 1000


def test_a_refund_that_the_balance_does_not_cover(
    sandbox: SandboxProcess, merchant_key: rsa.RSAPrivateKey
) -> None:
    merchant = AlipayMerchant(sandbox, merchant_key, opening_balance_minor_units=0, fee_rate="0.01")
    number = merchant.paid("100.00")
    assert merchant.transfer(unique("T"), "99.00")["status"] == "SUCCESS"
    assert codes(merchant.refund(number, "1.00", "r1")) == ("40004", "ACQ.SELLER_BALANCE_NOT_ENOUGH")
    assert codes(merchant.transfer(unique("T"), "1.00")) == ("40004", "PAYER_BALANCE_NOT_ENOUGH")
    assert sandbox.trade(number)["refunded_minor_units"] == 0


def test_transfers(alipay: AlipayMerchant) -> None:
    number = unique("T")
    first = alipay.transfer(number, "5.00")
    assert alipay.transfer(number, "5.00")["order_id"] == first["order_id"]
    assert codes(alipay.transfer(number, "5.01")) == ("40004", "PAYMENT_INFO_INCONSISTENCY")
    assert codes(alipay.transfer(unique("T"), "0.09")) == ("40004", "EXCEED_LIMIT_SM_MIN_AMOUNT")
    unknown = alipay.call("alipay.fund.trans.common.query", {"out_biz_no": unique("none")})
    assert codes(unknown) == ("40004", "ORDER_NOT_EXIST")
    wrong = alipay.call(
        "alipay.fund.trans.uni.transfer", {"out_biz_no": "x1", "product_code": "OTHER", "biz_scene": "x"}
    )
    assert codes(wrong) == ("40004", "INVALID_PARAMETER")


def test_a_failed_transfer_gives_the_money_back(sandbox: SandboxProcess, alipay: AlipayMerchant) -> None:
    sandbox.post("/sandbox/settings", {"auto_transfer": False})
    number = unique("T")
    assert alipay.transfer(number, "5.00")["status"] == "DEALING"
    sandbox.post(f"/sandbox/transfers/{number}/fail", {"reason": "PAYEE_ACCOUNT_STATUS_ERROR"})
    known = alipay.call("alipay.fund.trans.common.query", {"out_biz_no": number})
    assert (known["status"], known["error_code"]) == ("FAIL", "PAYEE_ACCOUNT_STATUS_ERROR")
    assert sandbox.figures(alipay.seller_id)["balance_minor_units"] == 100_000_000


def test_a_trade_expires_and_says_so(
    sandbox: SandboxProcess, alipay: AlipayMerchant, receiver: Receiver
) -> None:
    number, path = unique("A"), f"/{unique('notice')}"
    expiry = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(time.time() + 8 * 3600 + 2))
    business = {
        "out_trade_no": number,
        "total_amount": "1.00",
        "subject": "t",
        "buyer_id": "1",
        "time_expire": expiry,
    }
    assert alipay.call("alipay.trade.create", business, notify_url=receiver.url + path)["code"] == "10000"
    form = receiver.wait(path)[0].form
    assert alipay.notice_holds(form)
    assert form["trade_status"] == "TRADE_CLOSED"
    assert sandbox.post(f"/sandbox/payments/{number}/pay", status=409)["code"] == "TRADE_CLOSED"
    assert alipay.query(number)["trade_status"] == "TRADE_CLOSED"
    sandbox.pay(number, force=True)
    assert receiver.wait(path, 2)[1].form["trade_status"] == "TRADE_SUCCESS"


def test_certificate_mode(sandbox: SandboxProcess, alipay: AlipayMerchant) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name(
        [x509.NameAttribute(NameOID.COMMON_NAME, "Test CA"), x509.NameAttribute(NameOID.COUNTRY_NAME, "CN")]
    )
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(4711)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    serial = hashlib.md5(b"CN=Test CA,C=CN4711").hexdigest()
    registration = {
        "app_id": alipay.app_id,
        "seller_id": alipay.seller_id,
        "app_certificate": certificate.public_bytes(serialization.Encoding.PEM).decode(),
    }
    assert sandbox.post("/sandbox/merchants/alipay", registration)["app_certificate_serial"] == serial
    alipay.key = key
    common = {"app_cert_sn": serial, "alipay_root_cert_sn": alipay.platform["alipay_root_certificate_serial"]}
    answer = alipay.send(alipay.signed("alipay.trade.query", {"out_trade_no": "x1"}, **common))
    assert alipay.answer_holds(answer.content)
    assert answer.json()["alipay_cert_sn"] == alipay.platform["alipay_certificate_serial"]
    assert codes(node_of(answer.content)) == ("40004", "ACQ.TRADE_NOT_EXIST")
    common["app_cert_sn"] = "0" * 32
    answer = alipay.send(alipay.signed("alipay.trade.query", {"out_trade_no": "x1"}, **common))
    assert codes(node_of(answer.content)) == ("40002", "isv.invalid-app-cert-sn")
