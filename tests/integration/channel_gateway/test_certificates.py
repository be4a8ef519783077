"""The certificate modes of both channels: Alipay's serials, WeChat Pay's certificates chosen by serial."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from paycenter.channel.v1 import channel_gateway_pb2 as pb

from runtime.ids import new_request_id
from tests.integration.channel_gateway.support import (
    ACCEPTED,
    API_V3_KEY,
    CLOSED,
    QR,
    SUCCEEDED,
    UNKNOWN,
    SandboxProcess,
    Shop,
    private_pem,
    public_pem,
)


def certificate_pem(key: rsa.RSAPrivateKey) -> str:
    names = (
        (NameOID.COUNTRY_NAME, "CN"),
        (NameOID.ORGANIZATION_NAME, "Ant Financial"),
        (NameOID.COMMON_NAME, "Class 2 R1"),
    )
    name = x509.Name([x509.NameAttribute(kind, value) for kind, value in names])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(Encoding.PEM).decode()


async def open_account(shop: Shop, channel: str, settings: dict[str, str], secrets_: dict[str, str]) -> str:
    request = pb.OpenPaymentAccountRequest(
        request_id=new_request_id(),
        merchant_id=shop.merchant_id,
        channel=channel,
        display_name=channel,
        settings=settings,
        secrets=secrets_,
    )
    opened = await shop.gateway.call("OpenPaymentAccount", request)
    return str(opened.payment_account.payment_account_id)


async def pay_and_refund(shop: Shop, sandbox: SandboxProcess, channel: str) -> None:
    order = await shop.pay(channel, QR, 500)
    assert order.state == ACCEPTED
    sandbox.post(f"/sandbox/payments/{order.channel_order_id}/pay")
    await shop.gateway.until(order.channel_order_id, SUCCEEDED)
    refund = await shop.refund(order.channel_order_id, 500)
    await shop.gateway.until(refund.channel_order_id, SUCCEEDED)


async def test_alipay_in_certificate_mode(
    shop: Shop, sandbox: SandboxProcess, merchant_key: rsa.RSAPrivateKey
) -> None:
    mark = str(secrets.randbelow(10**10)).zfill(10)
    own = certificate_pem(merchant_key)
    told = sandbox.post(
        "/sandbox/merchants/alipay", app_id=f"202101{mark}", seller_id=f"2088{mark}01", app_certificate=own
    )
    assert told["app_certificate_serial"]
    shop.alipay = await open_account(
        shop,
        "alipay",
        {"app_id": told["app_id"], "seller_id": told["seller_id"], "gateway_url": told["gateway_url"]},
        {
            "app_private_key": private_pem(merchant_key),
            "app_certificate": own,
            "alipay_certificate": told["alipay_certificate"],
            "alipay_root_certificate": told["alipay_root_certificate"],
        },
    )
    await pay_and_refund(shop, sandbox, "alipay")


async def test_an_answer_under_another_alipay_certificate_is_not_believed(
    shop: Shop, sandbox: SandboxProcess, merchant_key: rsa.RSAPrivateKey
) -> None:
    mark = str(secrets.randbelow(10**10)).zfill(10)
    own = certificate_pem(merchant_key)
    told = sandbox.post(
        "/sandbox/merchants/alipay", app_id=f"202102{mark}", seller_id=f"2088{mark}02", app_certificate=own
    )
    shop.alipay = await open_account(
        shop,
        "alipay",
        {"app_id": told["app_id"], "seller_id": told["seller_id"], "gateway_url": told["gateway_url"]},
        {
            "app_private_key": private_pem(merchant_key),
            "app_certificate": own,
            "alipay_certificate": own,
            "alipay_root_certificate": told["alipay_root_certificate"],
        },
    )
    assert (await shop.pay("alipay", QR, 500)).state == UNKNOWN


async def test_wechat_pay_in_certificate_mode(
    shop: Shop, sandbox: SandboxProcess, merchant_key: rsa.RSAPrivateKey
) -> None:
    mchid = str(secrets.randbelow(10**10)).zfill(10)
    told = sandbox.post(
        "/sandbox/merchants/wechat",
        mchid=mchid,
        appid=f"wx{mchid}",
        certificate_serial="0ABC",
        public_key=public_pem(merchant_key),
        api_v3_key=API_V3_KEY,
        platform_key_mode="certificate",
    )
    shop.wechat = await open_account(
        shop,
        "wechat_pay",
        {
            "mchid": mchid,
            "appid": f"wx{mchid}",
            "api_base_url": told["base_url"],
            "merchant_certificate_serial": "0ABC",
        },
        {
            "merchant_private_key": private_pem(merchant_key),
            "platform_certificates": told["platform_certificate"],
            "api_v3_key": API_V3_KEY,
        },
    )
    await pay_and_refund(shop, sandbox, "wechat_pay")
    order = await shop.pay("wechat_pay", QR, 500)
    assert (await shop.gateway.close_order(order.channel_order_id)).state == CLOSED
