"""Signing on behalf of WeChat Pay's platform, by certificate or by public-key id.

Invariant: the Wechatpay-Serial header names the key that made the Wechatpay-Signature.
"""

from __future__ import annotations

import secrets

from cryptography.hazmat.primitives.asymmetric import rsa

from channel_gateway.sandbox import rsa_keys
from channel_gateway.sandbox.keys import PlatformKeys
from channel_gateway.sandbox.records import WechatMerchant
from channel_gateway.sandbox.wechat.signature import SCHEME, answer_text


def choose_key(
    keys: PlatformKeys, merchant: WechatMerchant | None, asked: str = ""
) -> tuple[str, rsa.RSAPrivateKey]:
    """Returns serial and key: those that a request's Wechatpay-Serial asks for, else the merchant's mode."""
    by_public_key = merchant is None or merchant.platform_key_mode == "public_key"
    if asked:
        by_public_key = asked == keys.wechat_public_key_id
    if by_public_key:
        return keys.wechat_public_key_id, keys.wechat_public_key_private
    return keys.wechat_certificate.serial, keys.wechat_certificate.private_key


def signed_headers(
    serial: str, private_key: rsa.RSAPrivateKey, body: bytes, *, sign_milliseconds: int
) -> dict[str, str]:
    """Returns the headers that sign a body as of an instant."""
    timestamp = str(sign_milliseconds // 1000)
    nonce = secrets.token_hex(16)
    return {
        "Wechatpay-Timestamp": timestamp,
        "Wechatpay-Nonce": nonce,
        "Wechatpay-Signature": rsa_keys.sign(private_key, answer_text(timestamp, nonce, body)),
        "Wechatpay-Signature-Type": SCHEME,
        "Wechatpay-Serial": serial,
    }
