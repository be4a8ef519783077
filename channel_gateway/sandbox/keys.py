"""The platforms' own keys and certificates, made at the first start and kept in one file of mode 600.

Invariant: a restart answers with the keys that merchants already know.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from channel_gateway.sandbox import rsa_keys

_VALIDITY = datetime.timedelta(days=5 * 365)
_ISSUER_ATTRIBUTES = (
    ("CN", NameOID.COMMON_NAME),
    ("OU", NameOID.ORGANIZATIONAL_UNIT_NAME),
    ("O", NameOID.ORGANIZATION_NAME),
    ("C", NameOID.COUNTRY_NAME),
)


@dataclass(frozen=True, slots=True)
class WechatCertificate:
    """One platform certificate of WeChat Pay with its private key."""

    serial: str
    private_key: rsa.RSAPrivateKey
    certificate_pem: str


class PlatformKeys:
    """Everything that the two platforms sign with.

    Alipay has one RSA2 key, published bare (key mode) and in a certificate below a root (certificate mode).
    WeChat Pay has certificates, of which the newest signs, and one public key with an id (public-key mode).
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        if not path.exists():
            self._write(_generate_pems())
        self._load(json.loads(path.read_text()))

    def _load(self, pems: dict[str, list[str]]) -> None:
        self._pems = pems
        self.alipay_private_key = rsa_keys.private_key_from_pem(pems["alipay"][0])
        self.alipay_certificate_pem, self.alipay_root_certificate_pem = pems["alipay_certificates"]
        self.alipay_certificate_serial = alipay_certificate_serial(self.alipay_certificate_pem)
        self.alipay_root_certificate_serial = alipay_certificate_serial(self.alipay_root_certificate_pem)
        self.alipay_public_key_pem = rsa_keys.public_key_to_pem(self.alipay_private_key.public_key())
        self.wechat_public_key_id, wechat_pem = pems["wechat_public_key"]
        self.wechat_public_key_private = rsa_keys.private_key_from_pem(wechat_pem)
        self.wechat_public_key_pem = rsa_keys.public_key_to_pem(self.wechat_public_key_private.public_key())
        pairs = zip(pems["wechat_keys"], pems["wechat_certificates"], strict=True)
        self.wechat_certificates = [
            WechatCertificate(
                certificate_serial(certificate), rsa_keys.private_key_from_pem(key), certificate
            )
            for key, certificate in pairs
        ]

    @property
    def wechat_certificate(self) -> WechatCertificate:
        """The platform certificate that signs now."""
        return self.wechat_certificates[-1]

    def rotate_wechat_certificate(self) -> WechatCertificate:
        """Adds a platform certificate that signs from now on; the older ones stay published."""
        key, certificate = _wechat_certificate()
        self._pems["wechat_keys"].append(key)
        self._pems["wechat_certificates"].append(certificate)
        self._write(self._pems)
        self._load(self._pems)
        return self.wechat_certificate

    def _write(self, pems: dict[str, list[str]]) -> None:
        temporary = self._path.with_suffix(".new")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(pems, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path)


def certificate_serial(certificate_pem: str) -> str:
    """Returns a certificate's serial number in WeChat Pay's form: capital hexadecimal digits."""
    return f"{x509.load_pem_x509_certificate(certificate_pem.encode()).serial_number:X}"


def alipay_certificate_serial(certificate_pem: str) -> str:
    """Returns Alipay's serial of a certificate: the MD5 of its issuer's name and serial number."""
    certificate = x509.load_pem_x509_certificate(certificate_pem.encode())
    parts = []
    for label, identifier in _ISSUER_ATTRIBUTES:
        values = certificate.issuer.get_attributes_for_oid(identifier)
        if values:
            parts.append(f"{label}={values[0].value!s}")
    text = ",".join(parts) + str(certificate.serial_number)
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def _generate_pems() -> dict[str, list[str]]:
    root_key, platform_key = rsa_keys.generate_private_key(), rsa_keys.generate_private_key()
    root = _certificate("Sandbox Alipay Root", "Sandbox Alipay Root", root_key, root_key)
    platform = _certificate("Sandbox Alipay", "Sandbox Alipay Root", platform_key, root_key)
    wechat_key, wechat_certificate = _wechat_certificate()
    return {
        "alipay": [rsa_keys.private_key_to_pem(platform_key)],
        "alipay_certificates": [platform, root],
        "wechat_keys": [wechat_key],
        "wechat_certificates": [wechat_certificate],
        "wechat_public_key": [
            f"PUB_KEY_ID_0{secrets.randbelow(10**33):033d}",
            rsa_keys.private_key_to_pem(rsa_keys.generate_private_key()),
        ],
    }


def _wechat_certificate() -> tuple[str, str]:
    key = rsa_keys.generate_private_key()
    name = "Sandbox Tenpay.com Root CA"
    return rsa_keys.private_key_to_pem(key), _certificate(name, name, key, key)


def _certificate(subject: str, issuer: str, key: rsa.RSAPrivateKey, signing_key: rsa.RSAPrivateKey) -> str:
    now = datetime.datetime.now(datetime.UTC)
    # The top bit is set so that every serial number has forty hexadecimal digits, as the real ones do.
    serial_number = secrets.randbits(158) | (1 << 158)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(serial_number)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + _VALIDITY)
        .add_extension(x509.BasicConstraints(ca=key is signing_key, path_length=None), critical=True)
    )
    certificate = builder.sign(signing_key, hashes.SHA256())
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _name(common_name: str) -> x509.Name:
    values = {"CN": common_name, "OU": "Sandbox", "O": "paycenter", "C": "CN"}
    return x509.Name(
        [x509.NameAttribute(identifier, values[label]) for label, identifier in reversed(_ISSUER_ATTRIBUTES)]
    )
