"""WeChat Pay's signatures and seals against the vendor's own vectors, and what is refused."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from channel_gateway.channels import rsa as channel_rsa
from channel_gateway.channels.protocol import NoticeMessage, NoticeRefused
from channel_gateway.channels.wechat_pay import notices, settings
from channel_gateway.channels.wechat_pay.settings import WechatPayCredentials
from channel_gateway.channels.wechat_pay.signature import (
    answer_text,
    authorization,
    is_fresh,
    normal_serial,
    request_text,
    serial_of,
    unseal,
)
from channel_gateway.domain.answer import Standing
from runtime.money import Money
from tests.channel_gateway.unit.support import (
    API_V3_KEY,
    NO_VECTORS,
    NOW,
    VECTORS,
    private_pem,
    public_pem,
)

FOLDER = VECTORS / "wechatpay_v3"
needs_vectors = pytest.mark.skipif(not FOLDER.is_dir(), reason=NO_VECTORS)
TRANSACTION = {
    "appid": "wx1",
    "mchid": "1900",
    "out_trade_no": "C0000000000000000000001",
    "transaction_id": "4200",
    "trade_state": "SUCCESS",
    "success_time": "2026-11-20T20:00:00+08:00",
    "amount": {"total": 1230, "payer_total": 1230, "currency": "CNY"},
}


def read_json(name: str) -> Any:
    return json.loads((FOLDER / name).read_text())


@needs_vectors
def test_the_vendors_signatures_are_made_and_verified() -> None:
    made, verified = read_json("sign_vectors.json")
    text = (FOLDER / made["private_key_file"]).read_text()
    private_key = channel_rsa.read_private_key(text.replace("TESTING KEY", "PRIVATE KEY"))
    assert channel_rsa.sign(private_key, made["message"].encode()) == made["signature_b64"]
    for vector in (made, verified):
        certificate = (FOLDER / vector["cert_file"]).read_text()
        key = channel_rsa.read_public_key(certificate)
        assert channel_rsa.verify(key, vector["message"].encode(), vector["signature_b64"])
    other = channel_rsa.read_public_key((FOLDER / verified["must_fail_with_public_key_file"]).read_text())
    assert not channel_rsa.verify(other, verified["message"].encode(), verified["signature_b64"])


@needs_vectors
def test_the_vendors_canonical_strings_are_ours() -> None:
    vectors = read_json("canonical_strings.json")
    for vector in vectors[:3]:
        body = vector["body"].encode()
        text = request_text(vector["method"], vector["url"], vector["timestamp"], vector["nonce"], body)
        assert text.decode() == vector["string_to_sign"]
    assert answer_text("1", "n", b"{}") == b"1\nn\n{}\n"


@needs_vectors
def test_the_vendors_seals_open() -> None:
    for vector in read_json("aead_vectors.json"):
        if vector["alg"] != "AES-GCM":
            continue
        plain = unseal(
            vector["key"].encode(),
            nonce=vector["nonce"],
            associated_data=vector["aad"],
            ciphertext=vector["ciphertext_b64"],
        )
        assert plain.decode() == vector["plaintext"]


@needs_vectors
def test_the_vendors_certificate_answer_opens_to_its_certificate() -> None:
    vector = read_json("certificates_response.json")
    sealed = json.loads(vector["response_body"])["data"][0]
    resource = sealed["encrypt_certificate"]
    plain = unseal(
        vector["apiv3_key"].encode(),
        nonce=resource["nonce"],
        associated_data=resource["associated_data"],
        ciphertext=resource["ciphertext"],
    )
    certificate = x509.load_pem_x509_certificate(plain)
    assert normal_serial(serial_of(certificate)) == normal_serial(sealed["serial_no"])


def credentials(merchant_key: rsa.RSAPrivateKey, platform_key: rsa.RSAPrivateKey) -> WechatPayCredentials:
    return settings.read(
        {
            "mchid": "1900",
            "appid": "wx1",
            "api_base_url": "https://api.example",
            "merchant_certificate_serial": "AB",
            "platform_public_key_id": "PUB_KEY_ID_01",
        },
        {
            "merchant_private_key": private_pem(merchant_key),
            "platform_public_key": public_pem(platform_key),
            "api_v3_key": API_V3_KEY,
        },
    )


def notice(
    platform_key: rsa.RSAPrivateKey,
    content: dict[str, Any],
    *,
    event_type: str = "TRANSACTION.SUCCESS",
    api_v3_key: str = API_V3_KEY,
    age_seconds: int = 0,
) -> NoticeMessage:
    sealed = AESGCM(api_v3_key.encode()).encrypt(
        b"0123456789ab", json.dumps(content).encode(), b"transaction"
    )
    body = json.dumps(
        {
            "id": "EV-1",
            "event_type": event_type,
            "resource": {
                "algorithm": "AEAD_AES_256_GCM",
                "ciphertext": base64.b64encode(sealed).decode(),
                "associated_data": "transaction",
                "nonce": "0123456789ab",
            },
        }
    ).encode()
    timestamp = str(int(NOW.timestamp()) - age_seconds)
    headers = {
        "wechatpay-serial": "PUB_KEY_ID_01",
        "wechatpay-timestamp": timestamp,
        "wechatpay-nonce": "n",
        "wechatpay-signature": channel_rsa.sign(platform_key, answer_text(timestamp, "n", body)),
    }
    return NoticeMessage(headers, body, NOW)


def test_a_true_notice_is_read(merchant_key: rsa.RSAPrivateKey, platform_key: rsa.RSAPrivateKey) -> None:
    content = notices.read_notice(credentials(merchant_key, platform_key), notice(platform_key, TRANSACTION))
    assert content.channel_order_id == TRANSACTION["out_trade_no"]
    assert content.answer.standing is Standing.SUCCEEDED
    assert content.answer.amount == Money(1230, "CNY")


@pytest.mark.parametrize(
    ("content", "more", "refusal"),
    [
        ({"mchid": "1901"}, {}, "ACCOUNT_MISMATCH"),
        ({"appid": "wx2"}, {}, "ACCOUNT_MISMATCH"),
        ({"out_trade_no": None}, {}, "MALFORMED"),
        ({"trade_state": "DREAMT"}, {}, "UNSUPPORTED"),
        ({"amount": {"total": "1230"}}, {}, "UNSUPPORTED"),
        ({}, {"event_type": "COUPON.USE"}, "UNSUPPORTED"),
        ({}, {"api_v3_key": "f" * 32}, "SEAL_INVALID"),
        ({}, {"age_seconds": 301}, "TIMESTAMP_STALE"),
        ({}, {"age_seconds": -301}, "TIMESTAMP_STALE"),
    ],
)
def test_a_signed_notice_that_does_not_fit_is_refused(
    merchant_key: rsa.RSAPrivateKey,
    platform_key: rsa.RSAPrivateKey,
    content: dict[str, Any],
    more: dict[str, Any],
    refusal: str,
) -> None:
    told = notice(platform_key, TRANSACTION | content, **more)
    with pytest.raises(NoticeRefused, match=refusal):
        notices.read_notice(credentials(merchant_key, platform_key), told)


@pytest.mark.parametrize("missing", ["wechatpay-serial", "wechatpay-timestamp", "wechatpay-nonce"])
def test_a_notice_without_a_signed_header_is_refused(
    merchant_key: rsa.RSAPrivateKey, platform_key: rsa.RSAPrivateKey, missing: str
) -> None:
    told = notice(platform_key, TRANSACTION)
    headers = {name: value for name, value in told.headers.items() if name != missing}
    with pytest.raises(NoticeRefused, match="SIGNATURE_INVALID"):
        notices.read_notice(credentials(merchant_key, platform_key), NoticeMessage(headers, told.body, NOW))


def test_a_probe_of_the_platform_is_refused(
    merchant_key: rsa.RSAPrivateKey, platform_key: rsa.RSAPrivateKey
) -> None:
    told = notice(platform_key, TRANSACTION)
    headers = dict(told.headers) | {"wechatpay-signature": "WECHATPAY/SIGNTEST/AAAA"}
    with pytest.raises(NoticeRefused, match="SIGNATURE_INVALID"):
        notices.read_notice(credentials(merchant_key, platform_key), NoticeMessage(headers, told.body, NOW))


@given(data=st.data())
def test_a_flipped_byte_is_refused(
    merchant_key: rsa.RSAPrivateKey, platform_key: rsa.RSAPrivateKey, data: st.DataObject
) -> None:
    told = notice(platform_key, TRANSACTION)
    place = data.draw(
        st.sampled_from(["body", "wechatpay-timestamp", "wechatpay-nonce", "wechatpay-signature"])
    )
    raw = bytearray(told.body if place == "body" else told.headers[place].encode())
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 127))
    headers = dict(told.headers)
    body = told.body
    if place == "body":
        body = bytes(raw)
    else:
        headers[place] = raw.decode("latin-1")
    with pytest.raises(NoticeRefused):
        notices.read_notice(credentials(merchant_key, platform_key), NoticeMessage(headers, body, NOW))


def test_the_authorization_header_carries_what_was_signed(merchant_key: rsa.RSAPrivateKey) -> None:
    header = authorization(
        merchant_key,
        mchid="1900",
        certificate_serial="AB",
        method="GET",
        url_path="/v3/x?mchid=1900",
        timestamp_seconds=7,
        nonce="n",
        body=b"",
    )
    schema, _, fields = header.partition(" ")
    parts = dict(part.split("=", 1) for part in fields.split(","))
    assert schema == "WECHATPAY2-SHA256-RSA2048"
    assert (parts["mchid"], parts["serial_no"], parts["timestamp"]) == ('"1900"', '"AB"', '"7"')
    text = request_text("GET", "/v3/x?mchid=1900", 7, "n", b"")
    assert channel_rsa.verify(merchant_key.public_key(), text, parts["signature"].strip('"'))


@pytest.mark.parametrize(
    ("text", "fresh"),
    [("1000", True), ("700", True), ("699", False), ("1301", False), ("", False), ("+1000", False)],
)
def test_five_minutes_are_fresh(text: str, fresh: bool) -> None:
    assert is_fresh(text, 1000.0) is fresh


def test_certificates_are_chosen_by_serial(merchant_key: rsa.RSAPrivateKey) -> None:
    assert normal_serial("00ab") == normal_serial("AB")
    assert normal_serial("PUB_KEY_ID_0ab") == "PUB_KEY_ID_0ab"
