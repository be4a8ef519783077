"""Gives a merchant its payment accounts at the sandbox's channels and at the center.

Invariant: it may run at every start; what is there already is taken as it is, only addresses are brought up to date.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from google.type import decimal_pb2
from paycenter.channel.v1 import channel_gateway_pb2 as channel
from paycenter_client import AsyncPaycenterClient, new_request_id

from clients.cli.merchant_keys import MerchantKeys
from clients.cli.sandbox_client import CHANNEL_AT_SANDBOX, SandboxAccount, SandboxClient

_REQUEST_NAMESPACE = uuid.UUID("3c0f6a52-7f1e-4c0e-9a53-0d5f5d4d2b1a")


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountPlan:
    """One payment account to have.

    Attributes:
        name: Short name; the keys are kept under it.
        channel: Channel by the center's name.
        account: The merchant's number at the channel: Alipay's seller id, WeChat Pay's mchid.
        app_id: The application's number at the channel.
        fee_ratio: What the channel keeps, as a ratio of the amount.
    """

    name: str
    channel: str
    account: str
    app_id: str
    fee_ratio: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvisionedAccount:
    """A payment account that can be used, with its place at the sandbox."""

    plan: AccountPlan
    payment_account_id: str
    sandbox_account: SandboxAccount


@dataclass(frozen=True, slots=True)
class ProvisionedMerchant:
    """A merchant that can be paid, with its accounts in the order of the plans."""

    merchant_id: str
    accounts: tuple[ProvisionedAccount, ...]

    def account_at(self, channel_name: str) -> ProvisionedAccount:
        """The first account at a channel."""
        return next(each for each in self.accounts if each.plan.channel == channel_name)


async def provision(
    client: AsyncPaycenterClient,
    sandbox: SandboxClient,
    keys: MerchantKeys,
    *,
    merchant_number: str,
    display_name: str,
    plans: Sequence[AccountPlan],
) -> ProvisionedMerchant:
    """Creates the merchant and opens its accounts where they are missing. Idempotent.

    Raises PaycenterError when the center refuses, CommandFailed when the sandbox does.
    """
    merchant_id = await _merchant_id(client, merchant_number, display_name)
    request = channel.ListPaymentAccountsRequest(merchant_id=merchant_id, page_size=500)
    existing = [
        account
        async for page in client.pages(client.channel.ListPaymentAccounts, request)
        for account in page.payment_accounts
    ]
    accounts = []
    for plan in plans:
        settings, secrets = await _register(sandbox, keys, plan)
        account = _find(existing, plan, settings)
        if account is None:
            account = await _open(client, merchant_id, plan, settings, secrets)
        elif dict(account.settings) != settings:
            account = await _update(client, account, settings)
        accounts.append(
            ProvisionedAccount(
                plan=plan,
                payment_account_id=account.payment_account_id,
                sandbox_account=SandboxAccount(CHANNEL_AT_SANDBOX[plan.channel], plan.account),
            )
        )
    return ProvisionedMerchant(merchant_id, tuple(accounts))


async def _merchant_id(client: AsyncPaycenterClient, number: str, display_name: str) -> str:
    found = await client.channel.ListMerchants(channel.ListMerchantsRequest(tenant_merchant_number=number))
    if found.merchants:
        return found.merchants[0].merchant_id
    request = channel.CreateMerchantRequest(
        request_id=str(uuid.uuid5(_REQUEST_NAMESPACE, number)),
        tenant_merchant_number=number,
        display_name=display_name,
    )
    return (await client.channel.CreateMerchant(request)).merchant.merchant_id


async def _register(
    sandbox: SandboxClient, keys: MerchantKeys, plan: AccountPlan
) -> tuple[dict[str, str], dict[str, str]]:
    """Makes the merchant known at the sandbox; gives the account's settings and secrets for the center."""
    public_key = keys.public_key_pem(plan.name)
    registration: dict[str, Any]
    if plan.channel == "alipay":
        registration = {"app_id": plan.app_id, "seller_id": plan.account, "app_public_key": public_key}
        answer = await sandbox.register(plan.channel, registration | {"fee_rate": str(plan.fee_ratio)})
        settings = {
            "app_id": plan.app_id,
            "seller_id": plan.account,
            "gateway_url": str(answer["gateway_url"]),
        }
        secrets = {
            "app_private_key": keys.private_key_pem(plan.name),
            "alipay_public_key": str(answer["alipay_public_key"]),
        }
        return settings, secrets
    registration = {
        "mchid": plan.account,
        "appid": plan.app_id,
        "certificate_serial": keys.certificate_serial(plan.name),
        "public_key": public_key,
        "api_v3_key": keys.symmetric_key(plan.name),
    }
    answer = await sandbox.register(plan.channel, registration | {"fee_rate": str(plan.fee_ratio)})
    settings = {
        "mchid": plan.account,
        "appid": plan.app_id,
        "api_base_url": str(answer["base_url"]),
        "merchant_certificate_serial": keys.certificate_serial(plan.name),
        "platform_public_key_id": str(answer["platform_public_key_id"]),
    }
    secrets = {
        "merchant_private_key": keys.private_key_pem(plan.name),
        "api_v3_key": keys.symmetric_key(plan.name),
        "platform_public_key": str(answer["platform_public_key"]),
    }
    return settings, secrets


def _find(
    existing: Sequence[channel.PaymentAccount], plan: AccountPlan, settings: Mapping[str, str]
) -> channel.PaymentAccount | None:
    number = "seller_id" if plan.channel == "alipay" else "mchid"
    for account in existing:
        if account.channel == plan.channel and account.settings.get(number) == settings[number]:
            return account
    return None


async def _open(
    client: AsyncPaycenterClient,
    merchant_id: str,
    plan: AccountPlan,
    settings: Mapping[str, str],
    secrets: Mapping[str, str],
) -> channel.PaymentAccount:
    request = channel.OpenPaymentAccountRequest(
        request_id=new_request_id(),
        merchant_id=merchant_id,
        channel=plan.channel,
        display_name=f"{plan.channel} {plan.account}",
        settings=settings,
        secrets=secrets,
        fee_ratio=decimal_pb2.Decimal(value=format(plan.fee_ratio.normalize(), "f")),
    )
    return (await client.channel.OpenPaymentAccount(request)).payment_account


async def _update(
    client: AsyncPaycenterClient, account: channel.PaymentAccount, settings: Mapping[str, str]
) -> channel.PaymentAccount:
    request = channel.UpdatePaymentAccountRequest(
        request_id=new_request_id(),
        payment_account_id=account.payment_account_id,
        etag=account.etag,
        settings=settings,
    )
    return (await client.channel.UpdatePaymentAccount(request)).payment_account
