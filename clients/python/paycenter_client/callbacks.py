"""Verifies that a callback came from the payment center, unchanged, and reads it.

A business system acts on a callback only after `read_callback` or `verify_callback` returned.
"""

from __future__ import annotations

import base64
import binascii
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from google.protobuf import json_format
from paycenter.transaction.v1 import transaction_core_pb2

ID_HEADER = "x-paycenter-notification-id"
TIMESTAMP_HEADER = "x-paycenter-timestamp"
SIGNATURE_HEADER = "x-paycenter-signature"


class CallbackInvalid(ValueError):
    """The callback is unsigned, altered, too old, signed by another key, or cannot be read."""


@dataclass(frozen=True, slots=True)
class Callback:
    """What the center tells by one callback.

    Attributes:
        notification_id: Equal on every delivery of one notification; handle each once.
        event_type: Name of the `TransactionEventType` without prefix, for example `ORDER_PAID`; may grow.
        order: The order after the change.
    """

    notification_id: str
    event_type: str
    order: transaction_core_pb2.Order


def read_callback(
    headers: Mapping[str, str],
    body: bytes,
    public_key: Ed25519PublicKey,
    *,
    tolerance_seconds: float = 300.0,
    now_seconds: float | None = None,
) -> Callback:
    """Verifies a callback and reads it; fields that a newer center adds are skipped.

    The arguments are those of `verify_callback`.

    Raises:
        CallbackInvalid: It is not genuine, or its body is not what the center sends.
    """
    notification_id = verify_callback(
        headers, body, public_key, tolerance_seconds=tolerance_seconds, now_seconds=now_seconds
    )
    try:
        content = json.loads(body)
        order = json_format.ParseDict(
            content["order"], transaction_core_pb2.Order(), ignore_unknown_fields=True
        )
        event_type = str(content["event_type"])
    except (ValueError, KeyError, TypeError, json_format.ParseError) as error:
        raise CallbackInvalid("the body cannot be read") from error
    return Callback(notification_id=notification_id, event_type=event_type, order=order)


def verify_callback(
    headers: Mapping[str, str],
    body: bytes,
    public_key: Ed25519PublicKey,
    *,
    tolerance_seconds: float = 300.0,
    now_seconds: float | None = None,
) -> str:
    """Verifies a callback and returns its notification id, equal on every delivery of one notification.

    Args:
        headers: HTTP headers by lower-case name.
        body: Raw body, before any parsing.
        public_key: The center's Ed25519 key.
        tolerance_seconds: Most that the callback's clock may differ from now.
        now_seconds: Unix time to compare with. Default: the system's clock.

    Raises:
        CallbackInvalid: A header is absent, the instant is out of tolerance or the signature does not fit.
    """
    try:
        notification_id, timestamp = headers[ID_HEADER], headers[TIMESTAMP_HEADER]
        signature = base64.b64decode(headers[SIGNATURE_HEADER], validate=True)
        sent_seconds = int(timestamp)
    except (KeyError, ValueError, binascii.Error) as error:
        raise CallbackInvalid("a signature header is absent or malformed") from error
    if abs((time.time() if now_seconds is None else now_seconds) - sent_seconds) > tolerance_seconds:
        raise CallbackInvalid("the callback is too old")
    try:
        public_key.verify(signature, f"{timestamp}.{notification_id}.".encode() + body)
    except InvalidSignature as error:
        raise CallbackInvalid("the signature does not fit") from error
    return notification_id
