"""WeChat Pay as the gateway sees it: settings in, an opened account out. Invariant: this is the only way into
the folder."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from channel_gateway.channels.protocol import (
    Capability,
    ChannelAccount,
    ChannelPlugin,
    NoticeContent,
    NoticeMessage,
    NoticeReply,
    PayExecutor,
    PayoutAsked,
    RefundAsked,
)
from channel_gateway.channels.transport import TransportFactory
from channel_gateway.channels.wechat_pay import notices, settings
from channel_gateway.channels.wechat_pay.client import WechatPayClient
from channel_gateway.channels.wechat_pay.executors import executors
from channel_gateway.channels.wechat_pay.operations import WechatPayOperations
from channel_gateway.domain.answer import ChannelAnswer
from channel_gateway.domain.vocabulary import InvokeMethod, Operation

_REFUND_WINDOW = timedelta(days=365)
_NOT_FOUND_PROOF = timedelta(minutes=5)
_PAY_METHODS = (InvokeMethod.MINI_PROGRAM, InvokeMethod.APP, InvokeMethod.WAP, InvokeMethod.QR)


class WechatPayAccount:
    """A WeChat Pay merchant opened for use."""

    def __init__(self, credentials: settings.WechatPayCredentials, transports: TransportFactory) -> None:
        self._credentials = credentials
        self._client = WechatPayClient(credentials, transports())
        self._operations = WechatPayOperations(self._client, credentials)
        self._executors = executors(self._client, credentials)

    def executor(self, invoke_method: InvokeMethod) -> PayExecutor | None:
        """Returns the executor of an invoke method, or None when WeChat Pay has none here."""
        return self._executors.get(invoke_method)

    async def query_payment(self, channel_order_id: str) -> ChannelAnswer:
        """Asks where an order stands."""
        return await self._operations.query_payment(channel_order_id)

    async def close_payment(self, channel_order_id: str) -> ChannelAnswer:
        """Asks to close an unpaid order."""
        return await self._operations.close_payment(channel_order_id)

    async def refund(self, asked: RefundAsked) -> ChannelAnswer:
        """Asks for a refund; idempotent by its number."""
        return await self._operations.refund(asked)

    async def query_refund(self, asked: RefundAsked) -> ChannelAnswer:
        """Asks where a refund stands."""
        return await self._operations.query_refund(asked)

    async def payout(self, asked: PayoutAsked) -> ChannelAnswer:
        """Asks for a transfer to a person; idempotent by its number."""
        return await self._operations.payout(asked)

    async def query_payout(self, asked: PayoutAsked) -> ChannelAnswer:
        """Asks where a transfer stands."""
        return await self._operations.query_payout(asked)

    def read_notice(self, message: NoticeMessage) -> NoticeContent:
        """Verifies and decodes a notice; raises NoticeRefused."""
        return notices.read_notice(self._credentials, message)

    def notice_reply(self, *, accepted: bool) -> NoticeReply:
        """Returns WeChat Pay's own word of success or of failure."""
        return notices.notice_reply(accepted=accepted)

    async def close(self) -> None:
        """Closes the connections. Idempotent."""
        await self._client.close()


class WechatPayPlugin:
    """The channel `wechat_pay`."""

    name = settings.CHANNEL
    display_name = "WeChat Pay"
    capabilities = (
        *(Capability(Operation.PAY, method, not_found_proof=_NOT_FOUND_PROOF) for method in _PAY_METHODS),
        Capability(Operation.QUERY),
        Capability(Operation.CLOSE),
        Capability(Operation.REFUND, refund_window=_REFUND_WINDOW, not_found_proof=_NOT_FOUND_PROOF),
        Capability(Operation.REFUND_QUERY),
        Capability(Operation.PAYOUT, not_found_proof=_NOT_FOUND_PROOF),
        Capability(Operation.PAYOUT_QUERY),
    )
    required_settings = settings.REQUIRED_SETTINGS
    required_secrets = (*settings.REQUIRED_SECRETS, settings.PLATFORM_KEY_SECRETS[0])
    notice_headers = notices.NOTICE_HEADERS

    def check(self, settings_given: Mapping[str, str], secrets_given: Mapping[str, str]) -> None:
        """Raises PaycenterError(CHANNEL_SETTINGS_INVALID) naming what is missing or unreadable."""
        settings.check(settings_given, secrets_given)

    def open_account(
        self,
        settings_given: Mapping[str, str],
        secrets_given: Mapping[str, str],
        transports: TransportFactory,
    ) -> ChannelAccount:
        """Opens an account whose settings passed `check`."""
        return WechatPayAccount(settings.read(settings_given, secrets_given), transports)


PLUGIN: ChannelPlugin = WechatPayPlugin()
