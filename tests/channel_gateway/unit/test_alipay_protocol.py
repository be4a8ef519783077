"""Alipay's signatures against the vendor's own vectors, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st

from channel_gateway.channels import rsa as channel_rsa
from channel_gateway.channels.alipay import notices, settings
from channel_gateway.channels.alipay.client import AlipayAnswer
from channel_gateway.channels.alipay.outcomes import OUTCOMES
from channel_gateway.channels.alipay.settings import AlipayCredentials
from channel_gateway.channels.alipay.signature import (
    certificate_serial,
    notice_is_genuine,
    notice_text,
    read_answer,
    request_text,
    root_certificate_serial,
)
from channel_gateway.channels.protocol import NoticeMessage, NoticeRefused
from channel_gateway.domain.answer import Standing
from channel_gateway.domain.vocabulary import ChannelOrderKind, FailureReason, OutcomeSafety
from runtime.errors import PaycenterError
from runtime.money import Money
from tests.channel_gateway.unit.support import NO_VECTORS, NOW, VECTORS, private_pem, public_pem

FOLDER = VECTORS / "alipay"
needs_vectors = pytest.mark.skipif(not FOLDER.is_dir(), reason=NO_VECTORS)
FIELDS = {
    "notify_type": "trade_status_sync",
    "notify_id": "1",
    "charset": "utf-8",
    "version": "1.0",
    "app_id": "2021",
    "seller_id": "2088",
    "out_trade_no": "C0000000000000000000001",
    "trade_no": "2026112022001",
    "trade_status": "TRADE_SUCCESS",
    "total_amount": "12.30",
    "gmt_payment": "2026-11-20 20:00:00",
    "subject": "一杯咖啡 & tea = good",
    "passback_params": "",
}


def vectors() -> Iterator[Any]:
    if FOLDER.is_dir():
        for number, vector in enumerate(json.loads((FOLDER / "notify_vectors.json").read_text())["vectors"]):
            yield pytest.param(vector, id=f"{number} {vector['name']}")


@needs_vectors
@pytest.mark.parametrize("vector", list(vectors()))
def test_notices_of_the_vendor_verify_as_the_vendor_says(vector: dict[str, Any]) -> None:
    public_key = channel_rsa.read_public_key((FOLDER / vector["public_key_file"]).read_text())
    fields = {
        name: value
        if isinstance(value, str)
        else json.dumps(value, separators=(",", ":"), ensure_ascii=False)
        for name, value in vector["params"].items()
    }
    keep = vector["rule"].startswith("keep sign_type")
    if keep and "sign_type" not in fields:
        fields["sign_type"] = "RSA2"
    assert notice_is_genuine(public_key, fields, keep_sign_type=keep) is vector["expect"]


@needs_vectors
def test_certificate_serials_are_the_vendors() -> None:
    folder = FOLDER / "cert_sn"
    expected = json.loads((folder / "expected.json").read_text())
    for name in ("appCertPublicKey_2021001161683774.crt", "alipayCertPublicKey_RSA2.crt"):
        certificate = x509.load_pem_x509_certificates((folder / name).read_bytes())[0]
        assert certificate_serial(certificate) == expected[name]
    roots = channel_rsa.read_readable_certificates((folder / "alipayRootCert.crt").read_text())
    (root_name,) = (name for name in expected if name.startswith("alipayRootCert"))
    assert root_certificate_serial(roots) == expected[root_name]


def credentials(merchant_key: rsa.RSAPrivateKey, platform_key: rsa.RSAPrivateKey) -> AlipayCredentials:
    return settings.read(
        {"app_id": "2021", "seller_id": "2088", "gateway_url": "https://alipay.example/gateway.do"},
        {"app_private_key": private_pem(merchant_key), "alipay_public_key": public_pem(platform_key)},
    )


def signed(platform_key: rsa.RSAPrivateKey, **changes: str) -> bytes:
    fields = FIELDS | changes
    signature = channel_rsa.sign(platform_key, notice_text(fields).encode())
    return urlencode(fields | {"sign_type": "RSA2", "sign": signature}).encode()


def message(body: bytes) -> NoticeMessage:
    return NoticeMessage({}, body, NOW)


def test_a_true_notice_is_read(merchant_key: rsa.RSAPrivateKey, platform_key: rsa.RSAPrivateKey) -> None:
    content = notices.read_notice(credentials(merchant_key, platform_key), message(signed(platform_key)))
    assert content.kind is ChannelOrderKind.PAY
    assert content.channel_order_id == FIELDS["out_trade_no"]
    assert content.answer.standing is Standing.SUCCEEDED
    assert content.answer.amount == Money(1230, "CNY")
    assert content.answer.succeed_time is not None
    assert content.answer.succeed_time.isoformat() == "2026-11-20T20:00:00+08:00"


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"app_id": "2022"}, "ACCOUNT_MISMATCH"),
        ({"seller_id": "2089"}, "ACCOUNT_MISMATCH"),
        ({"out_trade_no": ""}, "MALFORMED"),
        ({"trade_status": "TRADE_DREAMT"}, "UNSUPPORTED"),
        ({"total_amount": "12.3.0"}, "UNSUPPORTED"),
        ({"notify_type": "dut_user_sign"}, "UNSUPPORTED"),
    ],
)
def test_a_signed_notice_that_does_not_fit_is_refused(
    merchant_key: rsa.RSAPrivateKey, platform_key: rsa.RSAPrivateKey, changes: dict[str, str], refusal: str
) -> None:
    body = signed(platform_key, **changes)
    with pytest.raises(NoticeRefused, match=refusal):
        notices.read_notice(credentials(merchant_key, platform_key), message(body))


def test_a_refund_notice_tells_of_the_refund_and_not_of_a_closed_payment(
    merchant_key: rsa.RSAPrivateKey, platform_key: rsa.RSAPrivateKey
) -> None:
    body = signed(
        platform_key,
        trade_status="TRADE_CLOSED",
        out_biz_no="C0000000000000000000009",
        refund_fee="12.30",
        gmt_refund="2026-11-20 21:00:00.123",
    )
    content = notices.read_notice(credentials(merchant_key, platform_key), message(body))
    assert content.kind is ChannelOrderKind.REFUND
    assert content.channel_order_id == "C0000000000000000000009"
    assert content.payment_channel_order_id == FIELDS["out_trade_no"]
    assert content.amount_is_total


@given(data=st.data())
def test_a_flipped_byte_is_refused(
    merchant_key: rsa.RSAPrivateKey, platform_key: rsa.RSAPrivateKey, data: st.DataObject
) -> None:
    body = bytearray(signed(platform_key))
    position = data.draw(st.integers(0, len(body) - 1))
    body[position] ^= data.draw(st.integers(1, 255))
    if meaning_of(bytes(body)) == meaning_of(signed(platform_key)):
        return
    with pytest.raises(NoticeRefused):
        notices.read_notice(credentials(merchant_key, platform_key), message(bytes(body)))


def meaning_of(body: bytes) -> object:
    """The fields that a body spells: `%2b` and `%2B`, `+` and `%20` say the same."""
    try:
        return parse_qsl(body.decode("ascii"), keep_blank_values=True, strict_parsing=True, errors="strict")
    except ValueError:
        return None


def test_a_request_is_signed_over_its_sorted_filled_parameters() -> None:
    parameters = {"b": "2", "sign": "x", "a": "1", "empty": "", "sign_type": "RSA2"}
    assert request_text(parameters) == "a=1&b=2&sign_type=RSA2"


@pytest.mark.parametrize(
    "body",
    [
        b"<html>502</html>",
        b"",
        b"[]",
        b'{"sign":"x"}',
        b'{"alipay_trade_query_response":{},"alipay_trade_query_response":{},"sign":"x"}',
        b'{"alipay_trade_query_response":{"a":1},"sign":"x"} trailing',
        b'{"alipay_trade_query_response":"text","sign":"x"}',
    ],
)
def test_what_is_no_answer_is_told_apart(body: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        read_answer(body, "alipay.trade.query")


def test_the_signed_bytes_of_an_answer_are_taken_as_they_came() -> None:
    node = '{ "code":"10000", "text":"a \\"}\\" \\u4f60 / \\/ ", "deep":{"x":[1,{"y":"}"}]} }'
    body = f' {{ "alipay_trade_query_response" : {node} , "sign" : "abc=" }} '.encode()
    answer = read_answer(body, "alipay.trade.query")
    assert answer.raw == node.encode()
    assert answer.signature == "abc="
    error = read_answer(b'{"error_response":{"code":"40002"},"sign":"s"}', "alipay.trade.query")
    assert error.content["code"] == "40002"


@pytest.mark.parametrize(
    ("node", "code", "safety", "reason"),
    [
        (
            {"code": "40004", "sub_code": "ACQ.SYSTEM_ERROR"},
            "ACQ.SYSTEM_ERROR",
            "MAYBE_SENT",
            "CHANNEL_FAULT",
        ),
        ({"code": "20000", "sub_code": "isp.brand-new"}, "20000", "MAYBE_SENT", "CHANNEL_FAULT"),
        ({"code": "40002", "sub_code": "isv.brand-new"}, "40002", "DECLINED", "REQUEST_INVALID"),
        ({"code": "40004", "sub_code": "ACQ.BRAND_NEW"}, "ACQ.BRAND_NEW", "MAYBE_SENT", "UNSPECIFIED"),
        (
            {"code": "40004", "sub_code": "ACQ.SELLER_BALANCE_NOT_ENOUGH"},
            "ACQ.SELLER_BALANCE_NOT_ENOUGH",
            "DECLINED",
            "MERCHANT_FUNDS_INSUFFICIENT",
        ),
    ],
)
def test_codes_say_whether_money_may_have_moved(
    node: dict[str, str], code: str, safety: str, reason: str
) -> None:
    failure = AlipayAnswer(node).refusal().failure
    assert failure is not None
    assert failure.channel_code == code
    assert failure.outcome_safety is OutcomeSafety(safety)
    assert failure.reason is FailureReason(reason)


def test_an_unlisted_code_is_open() -> None:
    assert OUTCOMES.refusal("NEVER_HEARD_OF", "").standing is Standing.UNKNOWN


def test_half_of_the_certificate_mode_is_refused(merchant_key: rsa.RSAPrivateKey) -> None:
    with pytest.raises(PaycenterError) as caught:
        settings.check(
            {"app_id": "1", "seller_id": "2", "gateway_url": "https://x.example"},
            {"app_private_key": private_pem(merchant_key), "app_certificate": "nonsense"},
        )
    assert {violation.field for violation in caught.value.violations} == {
        "secrets[app_certificate]",
        "secrets[alipay_certificate]",
        "secrets[alipay_root_certificate]",
    }
