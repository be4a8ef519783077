"""RSA keys of 2048 bits and SHA256withRSA, which both channels sign with.

Invariant: a signature is accepted only in canonical base64, so that no two texts pass for one signature.
"""

from __future__ import annotations

import base64
import binascii

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

_PADDING = padding.PKCS1v15()
_DIGEST = hashes.SHA256()


def sign(private_key: rsa.RSAPrivateKey, message: bytes) -> str:
    """Returns the base64 SHA256withRSA signature of the message."""
    return base64.b64encode(private_key.sign(message, _PADDING, _DIGEST)).decode()


def verify(public_key: rsa.RSAPublicKey, message: bytes, signature: str) -> bool:
    """Tells whether the base64 signature is the key owner's over exactly this message."""
    try:
        raw = base64.b64decode(signature, validate=True)
    except (binascii.Error, ValueError):
        return False
    if base64.b64encode(raw).decode() != signature:
        return False
    try:
        public_key.verify(raw, message, _PADDING, _DIGEST)
    except InvalidSignature:
        return False
    return True


def generate_private_key() -> rsa.RSAPrivateKey:
    """Makes a fresh RSA key of 2048 bits."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def private_key_to_pem(private_key: rsa.RSAPrivateKey) -> str:
    """Writes a private key as unencrypted PKCS#8 PEM."""
    return private_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def private_key_from_pem(text: str) -> rsa.RSAPrivateKey:
    """Reads an RSA private key from PEM; raises ValueError for another kind of key."""
    key = serialization.load_pem_private_key(text.encode(), password=None)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ValueError("not an RSA private key")
    return key


def public_key_to_pem(public_key: rsa.RSAPublicKey) -> str:
    """Writes a public key as SubjectPublicKeyInfo PEM."""
    return public_key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    ).decode()


def public_key_from_text(text: str) -> rsa.RSAPublicKey:
    """Reads an RSA public key from PEM, bare base64 or a certificate; raises ValueError otherwise."""
    body = text.strip()
    if "BEGIN CERTIFICATE" in body:
        key: object = x509.load_pem_x509_certificate(body.encode()).public_key()
    elif body.startswith("-----BEGIN"):
        key = serialization.load_pem_public_key(body.encode())
    else:
        try:
            der = base64.b64decode("".join(body.split()), validate=True)
        except binascii.Error as error:
            raise ValueError("neither PEM nor base64") from error
        key = serialization.load_der_public_key(der)
    if not isinstance(key, rsa.RSAPublicKey):
        raise ValueError("not an RSA public key")
    return key
