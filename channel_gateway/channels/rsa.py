"""SHA256withRSA as channels use it. Invariant: a signature is accepted in one spelling only (canonical
base64), so that no two texts pass for one signature."""

from __future__ import annotations

import base64
import binascii
import re

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

LEAST_KEY_BITS = 2048

_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_PADDING = padding.PKCS1v15()
_SHA256 = hashes.SHA256()


def sign(private_key: RSAPrivateKey, text: bytes) -> str:
    """Returns the base64 signature over `text`; deterministic, about a millisecond for 2048 bits."""
    return base64.b64encode(private_key.sign(text, _PADDING, _SHA256)).decode("ascii")


def verify(public_key: RSAPublicKey, text: bytes, signature: str) -> bool:
    """Tells whether `signature` is the key owner's over exactly `text`."""
    try:
        raw = base64.b64decode(signature.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error):
        return False
    if base64.b64encode(raw).decode("ascii") != signature:
        return False
    try:
        public_key.verify(raw, text, _PADDING, _SHA256)
    except InvalidSignature:
        return False
    return True


def read_private_key(text: str, *, prove: bool = False) -> RSAPrivateKey:
    """Reads an RSA private key in PEM, or the bare base64 of its DER (PKCS#8 or PKCS#1).

    `prove` checks the numbers of the key too, which takes tens of milliseconds. Raises ValueError, whose text never
    holds any of the key.
    """
    try:
        key = serialization.load_der_private_key(
            _der_of(text), password=None, unsafe_skip_rsa_key_validation=not prove
        )
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError("is not a private key in PEM or base64") from None
    if not isinstance(key, RSAPrivateKey):
        raise ValueError("is not an RSA key")
    if key.key_size < LEAST_KEY_BITS:
        raise ValueError(f"has fewer than {LEAST_KEY_BITS} bits")
    return key


def read_public_key(text: str) -> RSAPublicKey:
    """Reads an RSA public key in PEM, the bare base64 of its DER, or a certificate in PEM. Raises ValueError."""
    try:
        if "BEGIN CERTIFICATE" in text:
            key: object = x509.load_pem_x509_certificate(text.encode()).public_key()
        else:
            key = serialization.load_der_public_key(_der_of(text))
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError("is not a public key in PEM or base64") from None
    if not isinstance(key, RSAPublicKey):
        raise ValueError("is not an RSA key")
    if key.key_size < LEAST_KEY_BITS:
        raise ValueError(f"has fewer than {LEAST_KEY_BITS} bits")
    return key


def read_certificates(text: str) -> list[x509.Certificate]:
    """Reads every certificate of a PEM text. Raises ValueError when there is none."""
    try:
        return x509.load_pem_x509_certificates(text.encode())
    except ValueError:
        raise ValueError("holds no certificate in PEM") from None


def read_readable_certificates(text: str) -> list[x509.Certificate]:
    """Reads the certificates of a PEM text that can be read, leaving out those of other algorithms.

    Raises ValueError when there is none.
    """
    found = []
    for block in _CERTIFICATE.findall(text):
        try:
            found.append(x509.load_pem_x509_certificate(block.encode()))
        except ValueError:
            continue
    if not found:
        raise ValueError("holds no certificate in PEM that can be read")
    return found


def _der_of(text: str) -> bytes:
    lines = [line.strip() for line in text.strip().splitlines()]
    body = "".join(line for line in lines if line and not line.startswith("-----"))
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error:
        raise ValueError("is not base64") from None
