"""Chooses the payment account: the one that the caller named, or the cheapest that can. Invariant: what the gateway
says is remembered for a few seconds per tenant, and a refusal is never remembered."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from typing import Any, Protocol

from core.payment.domain.payment import InvokeMethod
from core.payment.domain.route import PAY, ChannelProfile, PaymentAccount, cheapest
from runtime.clock import Clock
from runtime.context import current_scope
from runtime.errors import PaycenterError, Reason

_REMEMBERED_AT_MOST = 20_000


class Gateway(Protocol):
    """What the route asks of the channel gateway."""

    async def get_payment_account(self, payment_account_id: str) -> PaymentAccount:
        """Raises PaycenterError(PAYMENT_ACCOUNT_NOT_FOUND or TENANT_FORBIDDEN)."""
        ...

    async def list_payment_accounts(self, merchant_id: str) -> Sequence[PaymentAccount]:
        """Raises PaycenterError(MERCHANT_NOT_FOUND or TENANT_FORBIDDEN)."""
        ...

    async def list_channels(self) -> Mapping[str, ChannelProfile]:
        """Returns the channels by name."""
        ...

    async def check_merchant(self, merchant_id: str) -> None:
        """Raises PaycenterError(MERCHANT_NOT_FOUND or TENANT_FORBIDDEN)."""
        ...


class Routing:
    """Answers which payment account takes a payment, with a short memory of what the gateway said."""

    def __init__(
        self, *, gateway: Gateway, clock: Clock, cache_seconds: float, merchant_cache_seconds: float
    ) -> None:
        self._gateway = gateway
        self._routes = _Memory(clock, cache_seconds)
        self._merchants = _Memory(clock, merchant_cache_seconds)

    async def choose(
        self,
        *,
        merchant_id: str,
        payment_account_id: str,
        operation: str,
        invoke_method: InvokeMethod | None,
        currency_code: str,
    ) -> PaymentAccount:
        """Returns the named account after checking it, or the cheapest one when none is named.

        Raises PaycenterError: PAYMENT_ACCOUNT_NOT_FOUND, TENANT_FORBIDDEN, MERCHANT_MISMATCH,
        PAYMENT_ACCOUNT_DISABLED, INVOKE_METHOD_UNSUPPORTED, CURRENCY_UNSUPPORTED for a named account; NO_ROUTE or
        MERCHANT_NOT_FOUND otherwise; DEPENDENCY_UNAVAILABLE when the gateway does not answer.
        """
        channels = await self._channels()
        if payment_account_id:
            account = await self._account(payment_account_id)
            _check_named(account, channels, merchant_id, operation, invoke_method, currency_code)
            return account
        accounts = await self._accounts_of(merchant_id)
        chosen = cheapest(
            accounts,
            channels,
            operation=operation,
            invoke_method=invoke_method,
            currency_code=currency_code,
        )
        if chosen is None:
            raise PaycenterError(
                Reason.NO_ROUTE,
                "No enabled payment account of the merchant can take the payment.",
                field="payment_account_id",
                metadata={
                    "merchantId": merchant_id,
                    "operation": operation,
                    "invokeMethod": invoke_method.value if invoke_method else "",
                    "currencyCode": currency_code,
                },
            )
        return chosen

    async def check_merchant(self, merchant_id: str, *, field: str = "merchant_id") -> None:
        """Raises PaycenterError(MERCHANT_NOT_FOUND or TENANT_FORBIDDEN) unless the merchant is the tenant's.

        `field` is where the caller named the merchant.
        """
        key = (current_scope().platform.tenant_id, merchant_id)
        try:
            await self._merchants.recall(key, lambda: self._gateway.check_merchant(merchant_id))
        except PaycenterError as error:
            if error.reason not in (Reason.MERCHANT_NOT_FOUND, Reason.TENANT_FORBIDDEN):
                raise
            message = (
                "No merchant has this number."
                if error.reason is Reason.MERCHANT_NOT_FOUND
                else "The merchant belongs to another tenant."
            )
            raise PaycenterError(
                error.reason, message, field=field, resource=("merchant", merchant_id[:64])
            ) from error

    async def _account(self, payment_account_id: str) -> PaymentAccount:
        key = ("account", current_scope().platform.tenant_id, payment_account_id)
        account: PaymentAccount = await self._routes.recall(
            key, lambda: self._gateway.get_payment_account(payment_account_id)
        )
        return account

    async def _accounts_of(self, merchant_id: str) -> Sequence[PaymentAccount]:
        key = ("accounts", current_scope().platform.tenant_id, merchant_id)
        accounts: Sequence[PaymentAccount] = await self._routes.recall(
            key, lambda: self._gateway.list_payment_accounts(merchant_id)
        )
        return accounts

    async def _channels(self) -> Mapping[str, ChannelProfile]:
        channels: Mapping[str, ChannelProfile] = await self._routes.recall(
            ("channels",), self._gateway.list_channels
        )
        return channels


def _check_named(
    account: PaymentAccount,
    channels: Mapping[str, ChannelProfile],
    merchant_id: str,
    operation: str,
    invoke_method: InvokeMethod | None,
    currency_code: str,
) -> None:
    if account.merchant_id != merchant_id:
        raise PaycenterError(
            Reason.MERCHANT_MISMATCH,
            "The payment account belongs to another merchant.",
            field="payment_account_id",
        )
    if not account.enabled:
        raise PaycenterError(
            Reason.PAYMENT_ACCOUNT_DISABLED,
            "The payment account is disabled.",
            field="payment_account_id",
            resource=("payment_account", account.payment_account_id),
        )
    channel = channels.get(account.channel)
    if channel is None or not channel.has(operation, invoke_method):
        if operation != PAY:
            raise PaycenterError(
                Reason.NO_ROUTE,
                f"The channel {account.channel} pays nothing out.",
                field="payment_account_id",
                metadata={"channel": account.channel, "operation": operation},
            )
        raise PaycenterError(
            Reason.INVOKE_METHOD_UNSUPPORTED,
            f"The channel {account.channel} has no such invoke method.",
            field="invoke_method",
            metadata={
                "channel": account.channel,
                "invokeMethod": invoke_method.value if invoke_method else "",
            },
        )
    if not channel.takes(operation, invoke_method, currency_code):
        raise PaycenterError(
            Reason.CURRENCY_UNSUPPORTED,
            f"The channel {account.channel} does not take {currency_code} there.",
            field="amount.currency_code",
            metadata={"channel": account.channel, "currencyCode": currency_code},
        )


class _Memory:
    """Remembers answers for a while; callers that ask the same at the same moment share one question."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds
        self._answers: dict[Hashable, tuple[float, Any]] = {}
        self._asked: dict[Hashable, asyncio.Future[Any]] = {}

    async def recall(self, key: Hashable, ask: Callable[[], Awaitable[Any]]) -> Any:
        """Returns the remembered answer, or asks for it; an error is raised to everyone who waits and forgotten."""
        remembered = self._answers.get(key)
        if remembered is not None and self._clock.monotonic_seconds() < remembered[0]:
            return remembered[1]
        asked = self._asked.get(key)
        if asked is None:
            asked = asyncio.ensure_future(ask())
            self._asked[key] = asked
            asked.add_done_callback(lambda done: self._keep(key, done))
        return await asyncio.shield(asked)

    def _keep(self, key: Hashable, done: asyncio.Future[Any]) -> None:
        self._asked.pop(key, None)
        if done.cancelled() or done.exception() is not None:
            return
        if len(self._answers) >= _REMEMBERED_AT_MOST:
            self._answers.clear()
        self._answers[key] = (self._clock.monotonic_seconds() + self._seconds, done.result())
