"""Pieces that unit tests of this folder share: keys as text, settings, an order, where the vectors are."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from channel_gateway.domain.order import ChannelOrder
from channel_gateway.domain.vocabulary import ChannelOrderKind, ChannelOrderState, InvokeMethod
from runtime.money import Money

VECTORS = Path(__file__).resolve().parents[4] / "shared" / "vectors"
NO_VECTORS = f"the vendors' vectors are not there: {VECTORS}"
NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
API_V3_KEY = "0123456789abcdef0123456789abcdef"


def private_pem(key: rsa.RSAPrivateKey) -> str:
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(encoding, form, serialization.NoEncryption()).decode()


def public_pem(key: rsa.RSAPrivateKey) -> str:
    encoding, form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(encoding, form).decode()


def order(**fields: Any) -> ChannelOrder:
    """A payment that waits for its payer, with whatever a test changes."""
    defaults: dict[str, Any] = {
        "shard": 1,
        "channel_order_id": "C1",
        "tenant_id": "t",
        "payment_id": "P1",
        "kind": ChannelOrderKind.PAY,
        "merchant_id": "M1",
        "payment_account_id": "K1",
        "channel": "alipay",
        "invoke_method": InvokeMethod.QR,
        "amount": Money(100, "CNY"),
        "channel_fee": Money(1, "CNY"),
        "state": ChannelOrderState.ACCEPTED,
        "channel_transaction_id": "",
        "refunded_channel_order_id": "",
        "reserved_refund_minor_units": 0,
        "failure": None,
        "credential": None,
        "asked": {},
        "sealed_asked": None,
        "expire_time": None,
        "succeed_time": None,
        "close_requested": False,
        "step_count": 0,
        "business_id": "B1",
        "traceparent": "",
        "platform": b"",
        "version": 1,
        "create_time": NOW,
        "update_time": NOW,
    }
    return ChannelOrder(**defaults | fields)
