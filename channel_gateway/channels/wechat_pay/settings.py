"""What a WeChat Pay account is opened with. Invariant: at least one key of the platform is known, by public
key id or by certificate serial; keys are parsed once and kept out of every text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

from channel_gateway.channels import rsa
from channel_gateway.channels.accounts import AccountChecker
from channel_gateway.channels.wechat_pay.signature import normal_serial, serial_of

CHANNEL = "wechat_pay"
REQUIRED_SETTINGS = ("mchid", "appid", "api_base_url", "merchant_certificate_serial")
OPTIONAL_SETTINGS = ("platform_public_key_id", "transfer_scene_id")
REQUIRED_SECRETS = ("merchant_private_key", "api_v3_key")
PLATFORM_KEY_SECRETS = ("platform_public_key", "platform_certificates")
API_V3_KEY_BYTES = 32

_DEFAULT_TRANSFER_SCENE = "1000"


@dataclass(frozen=True, slots=True)
class WechatPayCredentials:
    """An account's numbers and parsed keys; `platform_keys` holds each key of WeChat Pay by its serial."""

    mchid: str
    appid: str
    origin: str
    path_prefix: str
    certificate_serial: str
    transfer_scene_id: str
    preferred_serial: str
    private_key: RSAPrivateKey = field(repr=False)
    platform_keys: Mapping[str, RSAPublicKey] = field(repr=False)
    api_v3_key: bytes = field(repr=False)


def check(settings: Mapping[str, str], secrets: Mapping[str, str]) -> None:
    """Raises PaycenterError(CHANNEL_SETTINGS_INVALID) naming each setting or secret that is missing or unreadable."""
    checker = AccountChecker(CHANNEL, settings, secrets)
    checker.require_settings(REQUIRED_SETTINGS, optional=OPTIONAL_SETTINGS)
    checker.require_secrets(REQUIRED_SECRETS, optional=PLATFORM_KEY_SECRETS)
    checker.check_words("mchid", "appid", "merchant_certificate_serial", *OPTIONAL_SETTINGS)
    checker.check_url("api_base_url")
    checker.check_secret("merchant_private_key", lambda text: rsa.read_private_key(text, prove=True))
    checker.check_secret("platform_public_key", rsa.read_public_key)
    checker.check_secret("platform_certificates", rsa.read_certificates)
    checker.check_secret("api_v3_key", _read_api_v3_key)
    if not any(secrets.get(name) for name in PLATFORM_KEY_SECRETS):
        checker.refuse("secrets[platform_public_key]", "is required unless platform_certificates are given")
    if secrets.get("platform_public_key") and not settings.get("platform_public_key_id"):
        checker.refuse("settings[platform_public_key_id]", "is required with platform_public_key")
    checker.raise_if_any()


def read(settings: Mapping[str, str], secrets: Mapping[str, str]) -> WechatPayCredentials:
    """Parses what passed `check`."""
    keys: dict[str, RSAPublicKey] = {}
    if secrets.get("platform_public_key"):
        key_id = normal_serial(settings["platform_public_key_id"])
        keys[key_id] = rsa.read_public_key(secrets["platform_public_key"])
    if secrets.get("platform_certificates"):
        for certificate in rsa.read_certificates(secrets["platform_certificates"]):
            public_key = certificate.public_key()
            if isinstance(public_key, RSAPublicKey):
                keys[normal_serial(serial_of(certificate))] = public_key
    address = urlsplit(settings["api_base_url"])
    return WechatPayCredentials(
        mchid=settings["mchid"],
        appid=settings["appid"],
        origin=f"{address.scheme}://{address.netloc}",
        path_prefix=address.path.rstrip("/"),
        certificate_serial=settings["merchant_certificate_serial"].strip().upper(),
        transfer_scene_id=settings.get("transfer_scene_id") or _DEFAULT_TRANSFER_SCENE,
        preferred_serial=next(iter(keys)),
        private_key=rsa.read_private_key(secrets["merchant_private_key"]),
        platform_keys=keys,
        api_v3_key=_read_api_v3_key(secrets["api_v3_key"]),
    )


def _read_api_v3_key(text: str) -> bytes:
    key = text.encode()
    if len(key) != API_V3_KEY_BYTES:
        raise ValueError(f"must have {API_V3_KEY_BYTES} bytes")
    return key
