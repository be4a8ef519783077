"""Secrets at rest: AES-256-GCM with a data key of each account, itself sealed by the key encryption key.
Invariant: a sealed text opens only for the record it was sealed for, and neither key nor secret ever gets
into a text or a log."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from runtime.errors import PaycenterError, Reason

KEY_BYTES = 32
_NONCE_BYTES = 12


@dataclass(frozen=True, slots=True)
class SealedSecrets:
    """What is stored of an account's secrets."""

    key_encryption_key_id: str
    sealed_data_key: bytes
    sealed_secrets: bytes


class SealBroken(Exception):
    """A sealed text does not open: another key, another record, or changed bytes."""


class SecretBox:
    """Seals and opens with one key encryption key; `key_id` tells which one without telling the key."""

    def __init__(self, key_encryption_key: bytes) -> None:
        if len(key_encryption_key) != KEY_BYTES:
            raise ValueError(f"a key encryption key has {KEY_BYTES} bytes")
        self._key_encryption = AESGCM(key_encryption_key)
        self.key_id = sha256(b"paycenter key id" + key_encryption_key).hexdigest()[:16]

    def seal_secrets(self, secrets: Mapping[str, str], *, owner: str) -> SealedSecrets:
        """Seals an account's secrets with a fresh data key; `owner` is the account's number."""
        data_key = os.urandom(KEY_BYTES)
        return SealedSecrets(
            key_encryption_key_id=self.key_id,
            sealed_data_key=_seal(self._key_encryption, data_key, owner),
            sealed_secrets=_seal(AESGCM(data_key), json.dumps(dict(secrets)).encode(), owner),
        )

    def open_secrets(self, sealed: SealedSecrets, *, owner: str) -> tuple[dict[str, str], DataBox]:
        """Opens an account's secrets; raises PaycenterError(CHANNEL_SETTINGS_INVALID) when they do not open."""
        try:
            data_key = _open(self._key_encryption, sealed.sealed_data_key, owner)
            secrets: dict[str, str] = json.loads(_open(AESGCM(data_key), sealed.sealed_secrets, owner))
        except SealBroken:
            raise PaycenterError(
                Reason.CHANNEL_SETTINGS_INVALID,
                "The secrets of the payment account cannot be opened with the server's key encryption key.",
                field="secrets",
                metadata={"paymentAccountId": owner, "keyEncryptionKeyId": sealed.key_encryption_key_id},
            ) from None
        return secrets, DataBox(data_key)


class DataBox:
    """Seals single sensitive values with an account's data key."""

    __slots__ = ("_cipher",)

    def __init__(self, data_key: bytes) -> None:
        self._cipher = AESGCM(data_key)

    def seal(self, text: str, *, owner: str) -> bytes:
        """Seals a text for the record `owner`."""
        return _seal(self._cipher, text.encode(), owner)

    def open(self, sealed: bytes, *, owner: str) -> str:
        """Opens what `seal` made for the same record; raises SealBroken."""
        return _open(self._cipher, sealed, owner).decode()


def _seal(cipher: AESGCM, plain: bytes, owner: str) -> bytes:
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + cipher.encrypt(nonce, plain, owner.encode())


def _open(cipher: AESGCM, sealed: bytes, owner: str) -> bytes:
    try:
        return cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], owner.encode())
    except (InvalidTag, ValueError):
        raise SealBroken from None
