"""WeChat Pay's platform certificates, sealed with the merchant's APIv3 key.

Source: WeChat Pay API v3, GET /v3/certificates.
Invariant: every certificate that ever signed stays in the list, newest last.
"""

from __future__ import annotations

import secrets
from typing import Any

from cryptography import x509

from channel_gateway.sandbox.clock import rfc3339_text
from channel_gateway.sandbox.keys import WechatCertificate
from channel_gateway.sandbox.wechat.call import Call
from channel_gateway.sandbox.wechat.signature import seal

_ASSOCIATED_DATA = "certificate"


def list_certificates(call: Call) -> tuple[int, dict[str, Any]]:
    """Returns the platform certificates."""
    key = call.merchant.api_v3_key.encode()
    return 200, {"data": [_entry(certificate, key) for certificate in call.sandbox.keys.wechat_certificates]}


def _entry(certificate: WechatCertificate, key: bytes) -> dict[str, Any]:
    parsed = x509.load_pem_x509_certificate(certificate.certificate_pem.encode())
    nonce = secrets.token_hex(6)
    return {
        "serial_no": certificate.serial,
        "effective_time": rfc3339_text(int(parsed.not_valid_before_utc.timestamp() * 1000)),
        "expire_time": rfc3339_text(int(parsed.not_valid_after_utc.timestamp() * 1000)),
        "encrypt_certificate": {
            "algorithm": "AEAD_AES_256_GCM",
            "nonce": nonce,
            "associated_data": _ASSOCIATED_DATA,
            "ciphertext": seal(key, nonce, _ASSOCIATED_DATA, certificate.certificate_pem.encode()),
        },
    }
