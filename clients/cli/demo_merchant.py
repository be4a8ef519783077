"""The merchant of the demonstration and of `paycenter pay`: one account at each channel."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

from paycenter_client import AsyncPaycenterClient

from clients.cli.merchant_keys import MerchantKeys
from clients.cli.provisioning import AccountPlan, ProvisionedMerchant, provision
from clients.cli.sandbox_client import SandboxClient

_FEE_RATIO = Decimal("0.006")
_PLANS = (
    AccountPlan(
        name="demo_alipay",
        channel="alipay",
        account="2088102146225135",
        app_id="2021000118600001",
        fee_ratio=_FEE_RATIO,
    ),
    AccountPlan(
        name="demo_wechat_pay",
        channel="wechat_pay",
        account="1900000109",
        app_id="wx8888888888888888",
        fee_ratio=_FEE_RATIO,
    ),
)


def merchant_keys(callback_public_key_file: Path) -> MerchantKeys:
    """The merchants' keys of a center; they lie beside the center's own."""
    return MerchantKeys(callback_public_key_file.parent)


async def provision_demo_merchant(
    client: AsyncPaycenterClient, sandbox: SandboxClient, keys: MerchantKeys
) -> ProvisionedMerchant:
    """Gives the demonstration's merchant its accounts. Idempotent."""
    return await provision(
        client,
        sandbox,
        keys,
        merchant_number="DEMO-0001",
        display_name="Demonstration shop",
        plans=_PLANS,
    )
