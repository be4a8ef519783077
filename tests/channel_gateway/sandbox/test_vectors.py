"""The sandbox's signatures and encryption against the vendors' own published vectors."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag

from channel_gateway.sandbox import rsa_keys
from channel_gateway.sandbox.alipay.signature import NOTICE_EXCLUDES, REQUEST_EXCLUDES, verify_notice
from channel_gateway.sandbox.keys import alipay_certificate_serial, certificate_serial
from channel_gateway.sandbox.wechat.signature import answer_text, request_text, seal, unseal
from tests.channel_gateway.sandbox.support import VECTORS

pytestmark = pytest.mark.skipif(
    not VECTORS.is_dir(), reason=f"the vendors' vectors are not here: {VECTORS} is missing"
)
ALIPAY = VECTORS / "alipay"
WECHAT = VECTORS / "wechatpay_v3"


def read(path: Path) -> Any:
    return json.loads(path.read_text()) if path.exists() else []


def named(vectors: list[dict[str, Any]]) -> list[Any]:
    return [
        pytest.param(vector, id=f"{index}-{vector['source'][:40]}") for index, vector in enumerate(vectors)
    ]


AEAD = [vector for vector in read(WECHAT / "aead_vectors.json") if vector["alg"] == "AES-GCM"]
NOTICES = (read(ALIPAY / "notify_vectors.json") or {"vectors": []})["vectors"]


@pytest.mark.parametrize("vector", named(AEAD))
def test_resources_are_sealed_as_the_vendors_libraries_do(vector: dict[str, Any]) -> None:
    key, nonce, data = vector["key"].encode(), vector["nonce"], vector["aad"]
    assert unseal(key, nonce, data, vector["ciphertext_b64"]).decode() == vector["plaintext"]
    assert seal(key, nonce, data, vector["plaintext"].encode()) == vector["ciphertext_b64"]
    broken = bytearray(base64.b64decode(vector["ciphertext_b64"]))
    broken[0] ^= 1
    with pytest.raises(InvalidTag):
        unseal(key, nonce, data, base64.b64encode(broken).decode())


@pytest.mark.parametrize("vector", named(read(WECHAT / "sign_vectors.json")))
def test_signatures_of_the_vendors_libraries_hold(vector: dict[str, Any]) -> None:
    message, signature = vector["message"].encode(), vector["signature_b64"]
    certificate = (WECHAT / vector["cert_file"]).read_text()
    assert rsa_keys.verify(rsa_keys.public_key_from_text(certificate), message, signature)
    assert not rsa_keys.verify(rsa_keys.public_key_from_text(certificate), message + b"x", signature)
    if "private_key_file" in vector:
        pem = (WECHAT / vector["private_key_file"]).read_text().replace("TESTING KEY", "PRIVATE KEY")
        private_key = rsa_keys.private_key_from_pem(pem)
        assert rsa_keys.sign(private_key, message) == signature
    if "public_key_file" in vector:
        public_key = rsa_keys.public_key_from_text((WECHAT / vector["public_key_file"]).read_text())
        assert rsa_keys.verify(public_key, message, signature)
    if "must_fail_with_public_key_file" in vector:
        other = rsa_keys.public_key_from_text((WECHAT / vector["must_fail_with_public_key_file"]).read_text())
        assert not rsa_keys.verify(other, message, signature)
    if vector["cert_file"].startswith("java"):
        assert certificate_serial(certificate) == vector["serial"]


@pytest.mark.parametrize("vector", named(read(WECHAT / "canonical_strings.json")))
def test_texts_to_sign_are_the_vendors(vector: dict[str, Any]) -> None:
    if "string_to_sign" in vector:
        text = request_text(
            vector["method"],
            vector["url"],
            str(vector["timestamp"]),
            vector["nonce"],
            vector["body"].encode(),
        )
        assert text.decode() == vector["string_to_sign"]
    else:
        assert vector["string_to_verify"] == "{Wechatpay-Timestamp}\n{Wechatpay-Nonce}\n{raw body}\n"
        assert answer_text("1", "n", b"{}") == b"1\nn\n{}\n"


def test_the_vendors_certificate_list_decrypts_to_the_platform_certificate() -> None:
    vector = read(WECHAT / "certificates_response.json")
    entry = json.loads(vector["response_body"])["data"][0]
    sealed = entry["encrypt_certificate"]
    key = vector["apiv3_key"].encode()
    certificate = unseal(key, sealed["nonce"], sealed["associated_data"], sealed["ciphertext"]).decode()
    assert certificate.strip() == (WECHAT / "tencent_testing_platform_cert.pem").read_text().strip()
    resealed = seal(key, sealed["nonce"], sealed["associated_data"], certificate.encode())
    assert resealed == sealed["ciphertext"]


@pytest.mark.parametrize("vector", [pytest.param(each, id=f"{index}") for index, each in enumerate(NOTICES)])
def test_alipay_notices_verify_as_in_the_vendors_library(vector: dict[str, Any]) -> None:
    public_key = rsa_keys.public_key_from_text((ALIPAY / vector["public_key_file"]).read_text())
    parameters = {
        name: value
        if isinstance(value, str)
        else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        for name, value in vector["params"].items()
    }
    excludes = REQUEST_EXCLUDES if vector["rule"].startswith("keep sign_type") else NOTICE_EXCLUDES
    if "sign_type" not in parameters and excludes is REQUEST_EXCLUDES:
        parameters["sign_type"] = "RSA2"
    assert verify_notice(public_key, parameters, excludes=excludes) is vector["expect"]
    if vector["expect"]:
        for name in sorted(set(parameters) - {"sign", "sign_type"}):
            changed = {**parameters, name: parameters[name] + "x"}
            assert not verify_notice(public_key, changed, excludes=excludes)


@pytest.mark.parametrize("name", ["appCertPublicKey_2021001161683774.crt", "alipayCertPublicKey_RSA2.crt"])
def test_alipay_certificate_serials_are_the_vendors(name: str) -> None:
    expected = read(ALIPAY / "cert_sn" / "expected.json")[name]
    assert alipay_certificate_serial((ALIPAY / "cert_sn" / name).read_text()) == expected
