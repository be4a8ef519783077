"""Passwords and keys of one data directory. Invariant: each is made once, at random, and only its owner reads it."""

from __future__ import annotations

import json
import secrets
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from runtime.embedded.errors import EmbeddedError
from runtime.embedded.files import write_private

_KEY_ENCRYPTION_KEY_BYTES = 32


class Keys:
    """The secrets in one folder; those that are missing are made when they are asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def passwords_file(self) -> Path:
        """Role to password, as JSON."""
        return self._folder / "passwords.json"

    @property
    def callback_signing_key_file(self) -> Path:
        """Ed25519 private key (PEM) that signs callbacks to business systems."""
        return self._folder / "callback_signing_key.pem"

    @property
    def callback_public_key_file(self) -> Path:
        """The public half (PEM), with which business systems check callbacks."""
        return self._folder / "callback_public_key.pem"

    def password(self, role: str) -> str:
        """The password of a role of PostgreSQL or a user of NATS. Idempotent."""
        passwords = self._passwords()
        if role not in passwords:
            passwords[role] = secrets.token_urlsafe(24)
            write_private(self.passwords_file, json.dumps(passwords, indent=2) + "\n")
        return passwords[role]

    def key_encryption_key(self) -> str:
        """Key that encrypts the channels' keys in the database: 32 random bytes in hexadecimal. Idempotent."""
        file = self._folder / "key_encryption_key"
        if not file.exists():
            write_private(file, secrets.token_hex(_KEY_ENCRYPTION_KEY_BYTES) + "\n")
        return file.read_text().strip()

    def make_callback_signing_key(self) -> None:
        """Make the pair of keys for callbacks when it is missing. Idempotent."""
        if self.callback_signing_key_file.exists() and self.callback_public_key_file.exists():
            return
        private_key = Ed25519PrivateKey.generate()
        public_pem = private_key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        private_pem = private_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        write_private(self.callback_public_key_file, public_pem.decode())
        write_private(self.callback_signing_key_file, private_pem.decode())

    def _passwords(self) -> dict[str, str]:
        try:
            return dict(json.loads(self.passwords_file.read_text()))
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise EmbeddedError(f"{self.passwords_file} is damaged: it is not JSON") from error
