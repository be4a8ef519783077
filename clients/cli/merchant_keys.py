"""RSA keys of the demonstration's merchants. Invariant: a key is made once, and only its owner can read it."""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

_KEY_BITS = 2048
_OWNER_ONLY = 0o600
_SYMMETRIC_KEY_BYTES = 32


class MerchantKeys:
    """The keys in one folder, each made when it is first asked for.

    Args:
        folder: The data directory's folder of keys.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def private_key_pem(self, name: str) -> str:
        """The private key of this name, PKCS #8. Idempotent."""
        file = self._folder / f"merchant_{name}.pem"
        if not file.exists():
            key = rsa.generate_private_key(public_exponent=65537, key_size=_KEY_BITS)
            pem = key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            _write_once(file, pem.decode())
        return file.read_text()

    def public_key_pem(self, name: str) -> str:
        """The public half of a private key."""
        key = serialization.load_pem_private_key(self.private_key_pem(name).encode(), password=None)
        return (
            key.public_key()
            .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
            .decode()
        )

    def certificate_serial(self, name: str) -> str:
        """The serial under which the platform knows the public key; here its fingerprint, 40 digits."""
        return hashlib.sha256(self.public_key_pem(name).encode()).hexdigest()[:40].upper()

    def symmetric_key(self, name: str) -> str:
        """A secret of 32 letters and digits, as WeChat Pay's APIv3 key is. Idempotent."""
        file = self._folder / f"merchant_{name}.key"
        if not file.exists():
            _write_once(file, secrets.token_hex(_SYMMETRIC_KEY_BYTES // 2))
        return file.read_text()


def _write_once(file: Path, content: str) -> None:
    unfinished = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(content)
    unfinished.replace(file)
