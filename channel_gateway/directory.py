"""From a payment identifier to an account opened for use: parsed keys, own connection pool. Invariant: an
account is opened once per version, and a changed one is opened anew within the cache's seconds."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

from channel_gateway.channels.protocol import ChannelAccount, ChannelPlugin
from channel_gateway.channels.transport import TransportFactory
from channel_gateway.domain.account import PaymentAccount
from channel_gateway.domain.order import ChannelOrder
from channel_gateway.domain.vocabulary import ChannelOrderKind, PaymentAccountState
from channel_gateway.secret_box import DataBox, SecretBox
from channel_gateway.store import accounts as store
from runtime.clock import Clock
from runtime.context import current_scope
from runtime.database import Database
from runtime.errors import PaycenterError, Reason
from runtime.ids import NumberKind, number_kind, shard_of_number


@dataclass(frozen=True, slots=True)
class OpenedAccount:
    """A payment account and what speaks to its channel."""

    record: PaymentAccount
    plugin: ChannelPlugin
    channel: ChannelAccount
    data_box: DataBox
    notice_url: str

    def appears_when_opened(self, order: ChannelOrder) -> bool:
        """Whether the channel learns of the order only when its payer opens it."""
        if order.kind is not ChannelOrderKind.PAY or order.invoke_method is None:
            return False
        executor = self.channel.executor(order.invoke_method)
        return executor is not None and executor.appears_when_opened

    def require_enabled(self) -> None:
        """Raises PaycenterError(PAYMENT_ACCOUNT_DISABLED) when it takes no new payments."""
        if self.record.state is not PaymentAccountState.ENABLED:
            raise PaycenterError(
                Reason.PAYMENT_ACCOUNT_DISABLED,
                "The payment account is disabled.",
                field="payment_account_id",
                resource=("PaymentAccount", self.record.payment_account_id),
            )

    def require_merchant(self, merchant_id: str) -> None:
        """Raises PaycenterError(MERCHANT_MISMATCH) unless the merchant owns the account."""
        if self.record.merchant_id != merchant_id:
            raise PaycenterError(
                Reason.MERCHANT_MISMATCH,
                "The payment account belongs to another merchant.",
                field="merchant_id",
                metadata={"paymentAccountId": self.record.payment_account_id},
            )


@dataclass(slots=True)
class _Entry:
    opened: OpenedAccount
    checked_at: float


class AccountDirectory:
    """Opens accounts and keeps the most recently used ones open."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        plugins: Mapping[str, ChannelPlugin],
        secret_box: SecretBox,
        transports: TransportFactory,
        *,
        notice_base_url: str,
        cache_seconds: float,
        cache_size: int,
        close_after_seconds: float,
    ) -> None:
        self._database = database
        self._clock = clock
        self._plugins = plugins
        self._secret_box = secret_box
        self._transports = transports
        self._notice_base_url = notice_base_url.rstrip("/")
        self._cache_seconds = cache_seconds
        self._cache_size = cache_size
        self._close_after_seconds = close_after_seconds
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._loading: dict[str, asyncio.Future[OpenedAccount]] = {}
        self._closing: set[asyncio.Task[None]] = set()

    async def of_tenant(self, payment_account_id: str) -> OpenedAccount:
        """Returns an account of the scope's tenant.

        Raises PaycenterError: TENANT_FORBIDDEN for another tenant's, PAYMENT_ACCOUNT_NOT_FOUND,
        CHANNEL_SETTINGS_INVALID when its secrets cannot be opened.
        """
        opened = await self.get(payment_account_id)
        if opened.record.tenant_id != current_scope().platform.tenant_id:
            raise PaycenterError(Reason.TENANT_FORBIDDEN, "The payment account belongs to another tenant.")
        return opened

    async def get(self, payment_account_id: str) -> OpenedAccount:
        """Returns an account whoever asks, for work that the gateway began itself; raises as `of_tenant`."""
        entry = self._entries.get(payment_account_id)
        if entry is not None and self._clock.monotonic_seconds() - entry.checked_at < self._cache_seconds:
            return entry.opened
        loading = self._loading.get(payment_account_id)
        if loading is None:
            loading = asyncio.ensure_future(self._load(payment_account_id))
            self._loading[payment_account_id] = loading
            loading.add_done_callback(lambda _: self._loading.pop(payment_account_id, None))
        return await asyncio.shield(loading)

    def notice_url_of(self, account: PaymentAccount) -> str:
        """Returns the address to which the channel sends its notices for an account."""
        return f"{self._notice_base_url}/notices/{account.channel}/{account.payment_account_id}"

    def forget(self, payment_account_id: str) -> None:
        """Makes the next use of an account read it anew."""
        entry = self._entries.get(payment_account_id)
        if entry is not None:
            entry.checked_at = float("-inf")

    async def close(self) -> None:
        """Closes every account. Idempotent."""
        entries, self._entries = list(self._entries.values()), OrderedDict()
        for task in self._closing:
            task.cancel()
        await asyncio.gather(*(entry.opened.channel.close() for entry in entries), return_exceptions=True)

    async def _load(self, payment_account_id: str) -> OpenedAccount:
        async with self._database.read() as connection:
            stored = await store.get_account(connection, _shard(payment_account_id), payment_account_id)
        if stored is None:
            raise _not_found(payment_account_id)
        entry = self._entries.get(payment_account_id)
        if entry is None or entry.opened.record.version != stored.account.version:
            opened = self._open(stored)
            if entry is not None:
                self._close_later(entry.opened.channel)
            entry = self._entries[payment_account_id] = _Entry(opened, 0.0)
        entry.checked_at = self._clock.monotonic_seconds()
        self._entries.move_to_end(payment_account_id)
        while len(self._entries) > self._cache_size:
            _, oldest = self._entries.popitem(last=False)
            self._close_later(oldest.opened.channel)
        return entry.opened

    def _open(self, stored: store.StoredAccount) -> OpenedAccount:
        record = stored.account
        plugin = self._plugins.get(record.channel)
        if plugin is None:
            raise PaycenterError(
                Reason.CHANNEL_SETTINGS_INVALID,
                "This release does not know the channel of the payment account.",
                field="channel",
                metadata={"channel": record.channel},
            )
        secrets, data_box = self._secret_box.open_secrets(stored.sealed, owner=record.payment_account_id)
        channel = plugin.open_account(record.settings, secrets, self._transports)
        return OpenedAccount(record, plugin, channel, data_box, self.notice_url_of(record))

    def _close_later(self, channel: ChannelAccount) -> None:
        async def close() -> None:
            await self._clock.sleep(self._close_after_seconds)
            await channel.close()

        task = asyncio.ensure_future(close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def _shard(payment_account_id: str) -> int:
    try:
        if number_kind(payment_account_id) is NumberKind.PAYMENT_ACCOUNT:
            return shard_of_number(payment_account_id)
    except ValueError:
        pass
    raise _not_found(payment_account_id)


def _not_found(payment_account_id: str) -> PaycenterError:
    return PaycenterError(
        Reason.PAYMENT_ACCOUNT_NOT_FOUND,
        "No payment account has this identifier.",
        resource=("PaymentAccount", payment_account_id[:64]),
    )
