"""What WeChat Pay v3 signs and encrypts: requests, answers and notices, and AEAD_AES_256_GCM resources.

Source: WeChat Pay API v3, "signature generation", "signature verification", "decrypting notices".
Invariant: the text covers the bytes as they came over the wire, never a parsed form of them.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

SCHEME = "WECHATPAY2-SHA256-RSA2048"
_PAIR = re.compile(r'\s*([a-z_]+)="([^"]*)"\s*')


@dataclass(frozen=True, slots=True)
class Authorization:
    """The parts of an Authorization header."""

    mchid: str
    nonce: str
    timestamp: str
    serial: str
    signature: str


def request_text(method: str, url: str, timestamp: str, nonce: str, body: bytes) -> bytes:
    """Returns what a merchant signs; url is path and query exactly as sent."""
    return f"{method}\n{url}\n{timestamp}\n{nonce}\n".encode() + body + b"\n"


def answer_text(timestamp: str, nonce: str, body: bytes) -> bytes:
    """Returns what the platform signs, for answers and notices alike."""
    return f"{timestamp}\n{nonce}\n".encode() + body + b"\n"


def parse_authorization(header: str) -> Authorization:
    """Reads the header; raises ValueError for another scheme or a missing, doubled or unknown part."""
    scheme, _, rest = header.partition(" ")
    if scheme != SCHEME:
        raise ValueError("another scheme")
    parts: dict[str, str] = {}
    for piece in rest.split(","):
        match = _PAIR.fullmatch(piece)
        if match is None or match[1] in parts:
            raise ValueError("malformed")
        parts[match[1]] = match[2]
    if set(parts) != {"mchid", "nonce_str", "timestamp", "serial_no", "signature"}:
        raise ValueError("parts missing or unknown")
    return Authorization(
        mchid=parts["mchid"],
        nonce=parts["nonce_str"],
        timestamp=parts["timestamp"],
        serial=parts["serial_no"],
        signature=parts["signature"],
    )


def seal(key: bytes, nonce: str, associated_data: str, plaintext: bytes) -> str:
    """Encrypts with AES-GCM and returns base64 of ciphertext and tag."""
    return base64.b64encode(AESGCM(key).encrypt(nonce.encode(), plaintext, associated_data.encode())).decode()


def unseal(key: bytes, nonce: str, associated_data: str, ciphertext: str) -> bytes:
    """Undoes seal; raises cryptography's InvalidTag when key, nonce, data or ciphertext was changed."""
    return AESGCM(key).decrypt(nonce.encode(), base64.b64decode(ciphertext), associated_data.encode())
