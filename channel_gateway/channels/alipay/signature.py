"""What Alipay signs and how it is checked. Invariant: answers are verified over the very bytes that came,
notices over every field but `sign` and `sign_type`.

Source: Alipay open platform, "signature" and "verification of asynchronous notices".
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

from channel_gateway.channels import rsa

_RSA_SIGNATURE_OIDS = "1.2.840.113549.1.1."
_DECODER = json.JSONDecoder()


def request_text(parameters: Mapping[str, str]) -> str:
    """Returns what a request's signature covers: all parameters with a value but `sign`, sorted, joined by `&`."""
    return "&".join(
        f"{name}={parameters[name]}" for name in sorted(parameters) if name != "sign" and parameters[name]
    )


def sign_request(private_key: RSAPrivateKey, parameters: Mapping[str, str]) -> str:
    """Returns the RSA2 signature of a request."""
    return rsa.sign(private_key, request_text(parameters).encode())


def notice_text(fields: Mapping[str, str], *, keep_sign_type: bool = False) -> str:
    """Returns what a notice's signature covers: every field but `sign` and, save for services-market notices,
    `sign_type`, sorted, `k=v` joined by `&`."""
    dropped = ("sign",) if keep_sign_type else ("sign", "sign_type")
    return "&".join(f"{name}={fields[name]}" for name in sorted(fields) if name not in dropped)


def notice_is_genuine(
    public_key: RSAPublicKey, fields: Mapping[str, str], *, keep_sign_type: bool = False
) -> bool:
    """Tells whether a notice's fields carry Alipay's RSA2 signature."""
    signature = fields.get("sign", "")
    return rsa.verify(public_key, notice_text(fields, keep_sign_type=keep_sign_type).encode(), signature)


def read_form(body: bytes) -> dict[str, str]:
    """Reads a form of UTF-8 fields; raises ValueError when it is malformed or names a field twice."""
    pairs = parse_qsl(
        body.decode("ascii"), keep_blank_values=True, strict_parsing=True, encoding="utf-8", errors="strict"
    )
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a field is given twice")
    return fields


@dataclass(frozen=True, slots=True)
class SignedNode:
    """The node of an answer that carries its content, with the bytes that were signed."""

    content: Mapping[str, Any]
    raw: bytes
    signature: str
    certificate_serial: str


def read_answer(body: bytes, method: str) -> SignedNode:
    """Splits an answer into its content, the raw bytes of that content and the signature.

    Raises ValueError when it is no JSON object, names a member twice or lacks the method's node.
    """
    members = _members(body.decode("utf-8"))
    node = members.get(f"{method.replace('.', '_')}_response") or members.get("error_response")
    if node is None or not isinstance(node[0], dict):
        raise ValueError("no node of the method")
    signature, _ = members.get("sign", ("", ""))
    serial, _ = members.get("alipay_cert_sn", ("", ""))
    return SignedNode(
        content=node[0], raw=node[1].encode(), signature=str(signature), certificate_serial=str(serial)
    )


def certificate_serial(certificate: x509.Certificate) -> str:
    """Returns the serial by which Alipay names a certificate: MD5 of the issuer and the serial number."""
    issuer = ",".join(
        ",".join(f"{attribute.rfc4514_attribute_name}={attribute.value!s}" for attribute in part)
        for part in reversed(certificate.issuer.rdns)
    )
    text = f"{issuer}{certificate.serial_number}"
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def root_certificate_serial(certificates: Sequence[x509.Certificate]) -> str:
    """Returns the serial of Alipay's root file: those of its RSA certificates, joined by `_`."""
    return "_".join(
        certificate_serial(certificate)
        for certificate in certificates
        if certificate.signature_algorithm_oid.dotted_string.startswith(_RSA_SIGNATURE_OIDS)
    )


def _members(text: str) -> dict[str, tuple[Any, str]]:
    members: dict[str, tuple[Any, str]] = {}
    position = _skip_space(text, 0)
    if text[position : position + 1] != "{":
        raise ValueError("not a JSON object")
    position = _skip_space(text, position + 1)
    while text[position : position + 1] == '"':
        name, position = _DECODER.raw_decode(text, position)
        position = _skip_space(text, position)
        if text[position : position + 1] != ":" or name in members:
            raise ValueError("malformed member")
        start = _skip_space(text, position + 1)
        value, position = _DECODER.raw_decode(text, start)
        members[name] = (value, text[start:position])
        position = _skip_space(text, position)
        if text[position : position + 1] != ",":
            break
        position = _skip_space(text, position + 1)
    if text[position : position + 1] != "}" or text[position + 1 :].strip():
        raise ValueError("malformed object")
    return members


def _skip_space(text: str, position: int) -> int:
    while text[position : position + 1] in (" ", "\n", "\r", "\t"):
        position += 1
    return position
