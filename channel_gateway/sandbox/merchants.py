"""The merchants that are registered at the channels, with their keys ready for use.

Invariant: registering the same merchant again with the same keys changes nothing.
"""

from __future__ import annotations

import re

from cryptography.hazmat.primitives.asymmetric import rsa

from channel_gateway.sandbox import rsa_keys
from channel_gateway.sandbox.keys import alipay_certificate_serial, certificate_serial
from channel_gateway.sandbox.records import AlipayApp, WechatMerchant
from channel_gateway.sandbox.store import Store

_SERIAL = re.compile(r"[0-9A-F]{1,64}")


class Merchants:
    """Alipay's applications by app id and WeChat Pay's merchants by merchant number."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.alipay_apps = {app.app_id: app for app in store.load(AlipayApp)}
        self.wechat_merchants = {merchant.mchid: merchant for merchant in store.load(WechatMerchant)}
        self._parsed: dict[str, rsa.RSAPublicKey] = {}

    def register_alipay(
        self, *, app_id: str, seller_id: str, app_public_key: str, app_certificate: str
    ) -> AlipayApp:
        """Registers or updates an application by key or certificate; raises ValueError for a bad one."""
        key = rsa_keys.public_key_from_text(app_certificate or app_public_key)
        serial = alipay_certificate_serial(app_certificate) if app_certificate else ""
        app = AlipayApp(
            app_id=app_id,
            seller_id=seller_id,
            app_public_key_pem=rsa_keys.public_key_to_pem(key),
            app_certificate_serial=serial,
        )
        self.alipay_apps[app_id] = app
        self._store.put(app)
        return app

    def register_wechat(
        self,
        *,
        mchid: str,
        appids: list[str],
        serial: str,
        public_key: str,
        certificate: str,
        api_v3_key: str,
        platform_key_mode: str,
    ) -> WechatMerchant:
        """Registers or updates a merchant; a further certificate serial is added beside the known ones.

        Raises ValueError for a bad key, serial, APIv3 key or mode.
        """
        if certificate:
            serial = certificate_serial(certificate)
        serial = normal_serial(serial)
        if not _SERIAL.fullmatch(serial):
            raise ValueError("the certificate serial must be hexadecimal")
        if len(api_v3_key.encode()) != 32:
            raise ValueError("the APIv3 key must have 32 bytes")
        if platform_key_mode not in ("public_key", "certificate"):
            raise ValueError("platform_key_mode must be public_key or certificate")
        key = rsa_keys.public_key_from_text(certificate or public_key)
        known = self.wechat_merchants.get(mchid)
        merchant = WechatMerchant(
            mchid=mchid,
            appids=list(dict.fromkeys(appids)),
            public_keys={**(known.public_keys if known else {}), serial: rsa_keys.public_key_to_pem(key)},
            api_v3_key=api_v3_key,
            platform_key_mode=platform_key_mode,
        )
        self.wechat_merchants[mchid] = merchant
        self._store.put(merchant)
        return merchant

    def alipay_key(self, app: AlipayApp) -> rsa.RSAPublicKey:
        """Returns an application's public key."""
        return self._parse(app.app_public_key_pem)

    def wechat_key(self, merchant: WechatMerchant, serial: str) -> rsa.RSAPublicKey | None:
        """Returns the key of a merchant's certificate, or None when the serial is not the merchant's."""
        pem = merchant.public_keys.get(normal_serial(serial))
        return self._parse(pem) if pem else None

    def clear(self) -> None:
        """Forgets every merchant."""
        self.alipay_apps.clear()
        self.wechat_merchants.clear()
        self._store.delete_kinds(AlipayApp.__name__, WechatMerchant.__name__)

    def _parse(self, pem: str) -> rsa.RSAPublicKey:
        key = self._parsed.get(pem)
        if key is None:
            key = self._parsed[pem] = rsa_keys.public_key_from_text(pem)
        return key


def normal_serial(serial: str) -> str:
    """Writes a certificate serial in capitals and without leading zeros, so that equal ones compare equal."""
    return serial.strip().upper().lstrip("0")
