"""Signs callbacks so that a business system knows who sent them. Invariant: what is signed is the instant, the
notification's number and the exact body; the private key is readable by the server's user alone."""

from __future__ import annotations

import base64
import hashlib
import os
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from runtime.startup import StartupError

DEFAULT_KEY_NAME = "callback_signing_key.pem"
ID_HEADER = "x-paycenter-notification-id"
TIMESTAMP_HEADER = "x-paycenter-timestamp"
KEY_ID_HEADER = "x-paycenter-key-id"
SIGNATURE_HEADER = "x-paycenter-signature"


class CallbackSigner:
    """Signs with one Ed25519 key; `key_id` tells business systems which public key to verify with."""

    def __init__(self, private_key: Ed25519PrivateKey, *, key_id: str = "") -> None:
        self._private_key = private_key
        public_bytes = private_key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.key_id = key_id or hashlib.sha256(public_bytes).hexdigest()[:16]

    def headers(self, *, notification_id: str, timestamp_seconds: int, body: bytes) -> dict[str, str]:
        """Returns the headers that go with a body; the signature is over `timestamp.notification_id.body`, base64."""
        signed = f"{timestamp_seconds}.{notification_id}.".encode() + body
        return {
            ID_HEADER: notification_id,
            TIMESTAMP_HEADER: str(timestamp_seconds),
            KEY_ID_HEADER: self.key_id,
            SIGNATURE_HEADER: base64.b64encode(self._private_key.sign(signed)).decode(),
        }


def load_signer(key_file: Path | None, *, data_directory: Path, key_id: str) -> CallbackSigner:
    """Reads the signing key; without a file of its own the center makes one in its data directory, once.

    Raises StartupError when a named file is missing, unreadable or no Ed25519 key in PEM form.
    """
    path = key_file or data_directory / DEFAULT_KEY_NAME
    if key_file is None and not path.exists():
        _make_key(path)
    try:
        private_key = load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise StartupError(f"cannot read the callback signing key {path}: {error.strerror}") from None
    except (ValueError, TypeError):
        raise StartupError(f"the callback signing key {path} is not an unencrypted PEM key") from None
    if not isinstance(private_key, Ed25519PrivateKey):
        raise StartupError(f"the callback signing key {path} is not an Ed25519 key")
    return CallbackSigner(private_key, key_id=key_id)


def _make_key(path: Path) -> None:
    """Writes a new key beside its place and links it in: of two processes that start at once one wins."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    unfinished = path.with_suffix(f".{os.getpid()}.unfinished")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)
    try:
        path.hardlink_to(unfinished)
    except FileExistsError:
        return
    finally:
        unfinished.unlink()
