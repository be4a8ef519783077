"""What WeChat Pay signs and seals. Invariant: everything is computed over the raw bytes of a body, never over
parsed and re-written JSON.

Source: WeChat Pay API v3, "signature generation", "signature verification", "decryption of notices".
"""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Mapping

from cryptography import x509
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from channel_gateway.channels import rsa

SCHEMA = "WECHATPAY2-SHA256-RSA2048"
TIMESTAMP_WINDOW_SECONDS = 300

# WeChat Pay fixes OAEP with SHA-1 for sensitive fields; the strength of OAEP does not rest on the hash here.
_OAEP = padding.OAEP(mgf=padding.MGF1(hashes.SHA1()), algorithm=hashes.SHA1(), label=None)  # noqa: S303


def new_nonce() -> str:
    """Returns 32 random hexadecimal digits."""
    return secrets.token_hex(16)


def request_text(method: str, url_path: str, timestamp_seconds: int, nonce: str, body: bytes) -> bytes:
    """Returns what a request's signature covers; `url_path` is path and query as they are sent."""
    return f"{method}\n{url_path}\n{timestamp_seconds}\n{nonce}\n".encode() + body + b"\n"


def answer_text(timestamp_text: str, nonce: str, body: bytes) -> bytes:
    """Returns what the signature of an answer or a notice covers."""
    return f"{timestamp_text}\n{nonce}\n".encode() + body + b"\n"


def authorization(
    private_key: RSAPrivateKey,
    *,
    mchid: str,
    certificate_serial: str,
    method: str,
    url_path: str,
    timestamp_seconds: int,
    nonce: str,
    body: bytes,
) -> str:
    """Returns the `Authorization` header of a request."""
    signature = rsa.sign(private_key, request_text(method, url_path, timestamp_seconds, nonce, body))
    return (
        f'{SCHEMA} mchid="{mchid}",nonce_str="{nonce}",timestamp="{timestamp_seconds}",'
        f'serial_no="{certificate_serial}",signature="{signature}"'
    )


def is_genuine(public_keys: Mapping[str, RSAPublicKey], headers: Mapping[str, str], body: bytes) -> bool:
    """Tells whether one of WeChat Pay's keys, the one that `Wechatpay-Serial` names, signed this body.

    Header names are in lower case; the age of the timestamp is the caller's to check.
    """
    key = public_keys.get(normal_serial(headers.get("wechatpay-serial", "")))
    if key is None:
        return False
    text = answer_text(headers.get("wechatpay-timestamp", ""), headers.get("wechatpay-nonce", ""), body)
    return rsa.verify(key, text, headers.get("wechatpay-signature", ""))


def is_fresh(timestamp_text: str, now_seconds: float) -> bool:
    """Tells whether a signed timestamp lies within five minutes of now."""
    if not (timestamp_text.isascii() and timestamp_text.isdigit() and len(timestamp_text) <= 12):
        return False
    return abs(now_seconds - int(timestamp_text)) <= TIMESTAMP_WINDOW_SECONDS


def normal_serial(serial: str) -> str:
    """Writes a serial so that equal ones compare equal: capitals without leading zeros, public key ids as they are."""
    return serial if serial.startswith("PUB_KEY_ID_") else serial.strip().upper().lstrip("0")


def serial_of(certificate: x509.Certificate) -> str:
    """Returns a certificate's serial as the headers name it."""
    return f"{certificate.serial_number:X}"


def unseal(api_v3_key: bytes, *, nonce: str, associated_data: str, ciphertext: str) -> bytes:
    """Opens a sealed resource; raises ValueError when it was sealed with another key or changed since."""
    try:
        sealed = base64.b64decode(ciphertext, validate=True)
        return AESGCM(api_v3_key).decrypt(nonce.encode(), sealed, associated_data.encode())
    except (InvalidTag, binascii.Error, ValueError):
        raise ValueError("the resource cannot be opened") from None


def encrypt_field(public_key: RSAPublicKey, text: str) -> str:
    """Encrypts a sensitive field for WeChat Pay."""
    return base64.b64encode(public_key.encrypt(text.encode(), _OAEP)).decode("ascii")


def pay_sign(private_key: RSAPrivateKey, *parts: str) -> str:
    """Returns the signature by which the payer's device proves an in-app call: each part on a line of its own."""
    return rsa.sign(private_key, "".join(f"{part}\n" for part in parts).encode())
