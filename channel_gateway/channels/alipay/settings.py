"""What an Alipay account is opened with. Invariant: key mode or certificate mode, never half of each; keys
are parsed once and kept out of every text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

from channel_gateway.channels import rsa
from channel_gateway.channels.accounts import AccountChecker
from channel_gateway.channels.alipay.signature import certificate_serial, root_certificate_serial

CHANNEL = "alipay"
REQUIRED_SETTINGS = ("app_id", "seller_id", "gateway_url")
REQUIRED_SECRETS = ("app_private_key",)
KEY_MODE_SECRET = "alipay_public_key"
CERTIFICATE_MODE_SECRETS = ("app_certificate", "alipay_certificate", "alipay_root_certificate")


@dataclass(frozen=True, slots=True)
class CertificateSerials:
    """The serials that certificate mode puts into each request, and the one that answers must carry."""

    app: str
    root: str
    alipay: str


@dataclass(frozen=True, slots=True)
class AlipayCredentials:
    """An account's numbers and parsed keys."""

    app_id: str
    seller_id: str
    gateway_url: str
    private_key: RSAPrivateKey = field(repr=False)
    alipay_public_key: RSAPublicKey = field(repr=False)
    serials: CertificateSerials | None


def check(settings: Mapping[str, str], secrets: Mapping[str, str]) -> None:
    """Raises PaycenterError(CHANNEL_SETTINGS_INVALID) naming each setting or secret that is missing or unreadable."""
    checker = AccountChecker(CHANNEL, settings, secrets)
    checker.require_settings(REQUIRED_SETTINGS)
    checker.require_secrets(REQUIRED_SECRETS, optional=(KEY_MODE_SECRET, *CERTIFICATE_MODE_SECRETS))
    checker.check_words("app_id", "seller_id")
    checker.check_url("gateway_url")
    checker.check_secret("app_private_key", lambda text: rsa.read_private_key(text, prove=True))
    checker.check_secret(KEY_MODE_SECRET, rsa.read_public_key)
    given = [name for name in CERTIFICATE_MODE_SECRETS if secrets.get(name)]
    if given:
        for name in CERTIFICATE_MODE_SECRETS:
            if name not in given:
                checker.refuse(f"secrets[{name}]", "is required in certificate mode")
            is_root = name == "alipay_root_certificate"
            checker.check_secret(name, rsa.read_readable_certificates if is_root else rsa.read_certificates)
    elif not secrets.get(KEY_MODE_SECRET):
        checker.refuse(f"secrets[{KEY_MODE_SECRET}]", "is required unless certificates are given")
    checker.raise_if_any()
    _check_certificate_belongs(checker, secrets)
    checker.raise_if_any()


def read(settings: Mapping[str, str], secrets: Mapping[str, str]) -> AlipayCredentials:
    """Parses what passed `check`."""
    serials = None
    public_key_text = secrets.get(KEY_MODE_SECRET, "")
    if secrets.get("app_certificate"):
        public_key_text = secrets["alipay_certificate"]
        serials = CertificateSerials(
            app=certificate_serial(_leaf(secrets["app_certificate"])),
            root=root_certificate_serial(rsa.read_readable_certificates(secrets["alipay_root_certificate"])),
            alipay=certificate_serial(_leaf(public_key_text)),
        )
    return AlipayCredentials(
        app_id=settings["app_id"],
        seller_id=settings["seller_id"],
        gateway_url=urlsplit(settings["gateway_url"]).geturl(),
        private_key=rsa.read_private_key(secrets["app_private_key"]),
        alipay_public_key=rsa.read_public_key(public_key_text),
        serials=serials,
    )


def _check_certificate_belongs(checker: AccountChecker, secrets: Mapping[str, str]) -> None:
    if not secrets.get("app_certificate"):
        return
    own = rsa.read_private_key(secrets["app_private_key"]).public_key()
    if _leaf(secrets["app_certificate"]).public_key() != own:
        checker.refuse("secrets[app_certificate]", "is not the certificate of the private key")


def _leaf(text: str) -> x509.Certificate:
    return rsa.read_certificates(text)[0]
