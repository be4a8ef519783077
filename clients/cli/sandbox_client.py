"""Directs the sandbox from outside, as a person at its admin pages would.

Invariant: payers who pay, notices that lie and faults that befall the channels are all asked for here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import httpx

from clients.cli.failure import CommandFailed

_TIMEOUT_SECONDS = 15.0
_HTTP_ERROR = 400
CHANNEL_AT_SANDBOX = {"alipay": "alipay", "wechat_pay": "wechat"}
"""Name of a channel at the sandbox by its name at the center."""


@dataclass(frozen=True, slots=True)
class SandboxAccount:
    """Where a merchant's money lies at the sandbox: channel by the sandbox's name, and account number."""

    channel: str
    account: str


class SandboxClient:
    """Calls the sandbox's admin interface; every method raises CommandFailed when it refuses."""

    def __init__(self, url: str) -> None:
        self._http = httpx.AsyncClient(base_url=url, timeout=_TIMEOUT_SECONDS, trust_env=False)
        self.url = url.rstrip("/")

    async def register(self, channel: str, registration: Mapping[str, Any]) -> dict[str, Any]:
        """Registers a merchant with its public key and gives the platform's keys. Idempotent."""
        return await self._call(
            "POST", f"/sandbox/merchants/{CHANNEL_AT_SANDBOX[channel]}", dict(registration)
        )

    async def change_settings(self, **settings: Any) -> None:
        """Changes how payers, banks and notices behave by themselves."""
        await self._call("POST", "/sandbox/settings", settings)

    async def visit(self, url: str) -> None:
        """Opens a page in the payer's browser, so that a trade that waits for it begins."""
        await self._send("GET", url)

    async def pay(self, channel_order_id: str, *, force: bool = False) -> None:
        """Lets the payer pay; `force` also after the trade was closed, as when the two cross on the way."""
        await self._call("POST", f"/sandbox/payments/{channel_order_id}/pay", {"force": force})

    async def lie(self, channel_order_id: str, *, kind: str) -> bool:
        """Sends one false notice about a trade now and tells whether the center took it."""
        answer = await self._call("POST", f"/sandbox/notices/{channel_order_id}/resend", {"kind": kind})
        return bool(answer["attempt"]["accepted"])

    async def add_fault(self, **rule: Any) -> str:
        """Makes something go wrong; gives the rule's id."""
        return str((await self._call("POST", "/sandbox/faults", rule))["fault_id"])

    async def fault_has_fired(self, fault_id: str) -> bool:
        """Tells whether a rule has struck."""
        rules = (await self._call("GET", "/sandbox/faults"))["faults"]
        return any(rule["fault_id"] == fault_id and rule["fired"] > 0 for rule in rules)

    async def account_figures(self) -> dict[SandboxAccount, dict[str, Any]]:
        """Reads the channel's own books, added up by account."""
        accounts = (await self._call("GET", "/sandbox/books?totals_only=1"))["accounts"]
        return {SandboxAccount(each["channel"], each["account"]): each for each in accounts}

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> SandboxClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        answer = await self._send(method, path, body)
        content: dict[str, Any] = answer.json()
        if answer.status_code >= _HTTP_ERROR:
            raise CommandFailed(
                f"the sandbox refused {method} {path}: {content.get('message')} (code {content.get('code')})"
            )
        return content

    async def _send(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> httpx.Response:
        try:
            return await self._http.request(method, path, json=body, follow_redirects=True)
        except httpx.HTTPError as error:
            raise CommandFailed(
                f"the sandbox at {self.url} does not answer ({type(error).__name__})"
            ) from error
