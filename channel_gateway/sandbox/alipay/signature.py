"""What Alipay signs: requests and notices as sorted pairs, answers as the bytes of one JSON node.

Source: Alipay open platform, "signature rules" (RSA2 = SHA256withRSA).
Invariant: the text is built from decoded values, so two encodings of one value sign the same.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from cryptography.hazmat.primitives.asymmetric import rsa

from channel_gateway.sandbox import rsa_keys

REQUEST_EXCLUDES = frozenset({"sign"})
NOTICE_EXCLUDES = frozenset({"sign", "sign_type"})


def signing_text(parameters: Mapping[str, str], *, excludes: Collection[str]) -> bytes:
    """Joins the parameters that are not empty as k=v, sorted by name, with ampersands."""
    pairs = (
        f"{name}={parameters[name]}"
        for name in sorted(parameters)
        if name not in excludes and parameters[name]
    )
    return "&".join(pairs).encode()


def verify_request(public_key: rsa.RSAPublicKey, parameters: Mapping[str, str]) -> bool:
    """Tells whether a request carries the application's signature over all of its other parameters."""
    text = signing_text(parameters, excludes=REQUEST_EXCLUDES)
    return rsa_keys.verify(public_key, text, parameters.get("sign", ""))


def sign_notice(private_key: rsa.RSAPrivateKey, parameters: Mapping[str, str]) -> str:
    """Signs a notice, whose signature covers neither sign nor sign_type."""
    return rsa_keys.sign(private_key, signing_text(parameters, excludes=NOTICE_EXCLUDES))


def verify_notice(
    public_key: rsa.RSAPublicKey,
    parameters: Mapping[str, str],
    *,
    excludes: Collection[str] = NOTICE_EXCLUDES,
) -> bool:
    """Tells whether a notice carries the platform's signature; services-market notices exclude sign alone."""
    text = signing_text(parameters, excludes=excludes)
    return rsa_keys.verify(public_key, text, parameters.get("sign", ""))
