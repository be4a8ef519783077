"""One verified call of a merchant: who calls, what is asked, and checked access to its fields.

Invariant: an operation sees only calls whose signature was verified.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from channel_gateway.sandbox.records import WechatMerchant
from channel_gateway.sandbox.wechat.answers import WechatError, parameter_error

if TYPE_CHECKING:
    from channel_gateway.sandbox.sandbox import Sandbox

_LARGEST_AMOUNT_MINOR_UNITS = 10_000_000_000


@dataclass(frozen=True, slots=True)
class Call:
    """A verified request."""

    sandbox: Sandbox
    merchant: WechatMerchant
    path: Mapping[str, Any]
    query: Mapping[str, str]
    body: dict[str, Any]
    platform_serial: str

    def text(
        self, name: str, *, pattern: re.Pattern[str] | None = None, longest: int = 256, required: bool = True
    ) -> str:
        """Returns a text of the body; raises WechatError when it is missing, too long or of another form."""
        value = self.body.get(name)
        if value is None and not required:
            return ""
        if not isinstance(value, str) or len(value) > longest or (required and not value):
            raise parameter_error(f"/body/{name}", "missing, too long or not a string")
        if pattern is not None and value and not pattern.fullmatch(value):
            raise parameter_error(f"/body/{name}", "another form is required")
        return value

    def notify_url(self, *, required: bool) -> str:
        """Returns the notice address, an absolute one without a query."""
        url = self.text("notify_url", required=required)
        if url and (not url.startswith(("http://", "https://")) or "?" in url):
            raise parameter_error("/body/notify_url", "must be an absolute address without a query")
        return url

    def amount(self, name: str, field: str) -> int:
        """Returns an amount in minor units from an object of the body; an empty name means the body."""
        holder = self.body.get(name) if name else self.body
        value = holder.get(field) if isinstance(holder, dict) else None
        if (
            not isinstance(value, int)
            or isinstance(value, bool)
            or not 0 < value <= _LARGEST_AMOUNT_MINOR_UNITS
        ):
            raise parameter_error(
                f"/body/{name}/{field}" if name else f"/body/{field}", "must be a positive integer"
            )
        return value

    def require_chinese_currency(self, name: str, *, required: bool) -> None:
        """Refuses an amount in another currency than CNY."""
        amount = self.body.get(name)
        currency = amount.get("currency") if isinstance(amount, dict) else None
        if currency != "CNY" and (required or currency is not None):
            raise parameter_error(f"/body/{name}/currency", "must be CNY")

    def require_own_number(self, mchid: object, *, location: str) -> None:
        """Refuses a merchant number that is not the one that signed."""
        if mchid != self.merchant.mchid:
            raise parameter_error(f"/{location}/mchid", "is not the merchant that signed", location=location)

    def require_own_application(self, appid: str) -> None:
        """Refuses an application that is not bound to the merchant."""
        if appid not in self.merchant.appids:
            raise WechatError(400, "APPID_MCHID_NOT_MATCH", "商户号mchid与appid不匹配")


def parse_body(raw: bytes) -> dict[str, Any]:
    """Reads a JSON object; raises WechatError for anything else."""
    if not raw:
        return {}
    try:
        body = json.loads(raw)
    except ValueError as error:
        raise parameter_error("/body", "not JSON") from error
    if not isinstance(body, dict):
        raise parameter_error("/body", "not a JSON object")
    return body
