"""How an Alipay payer is met: page, mobile page, app, QR code, mini-program. Invariant: pages and the app's
order are only signed here, and such a trade exists at Alipay once its payer opens it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from channel_gateway.channels.alipay.client import AlipayAnswer, AlipayClient
from channel_gateway.channels.alipay.values import CURRENCY, write_amount, write_instant
from channel_gateway.channels.protocol import PayExecutor, PaymentAsked
from channel_gateway.domain.answer import ChannelAnswer, Standing, no_answer
from channel_gateway.domain.credential import InAppCall, QrCode, Redirect
from channel_gateway.domain.vocabulary import InvokeMethod
from runtime.errors import PaycenterError, Reason

_LIFETIME = timedelta(days=15)
_QR_LIFETIME = timedelta(hours=2)


def business_content(asked: PaymentAsked, product_code: str) -> dict[str, Any]:
    """Returns the fields that every way of paying shares."""
    return {
        "out_trade_no": asked.channel_order_id,
        "total_amount": write_amount(asked.amount),
        "subject": asked.subject,
        "product_code": product_code,
        "time_expire": write_instant(asked.expire_time),
    }


@dataclass(frozen=True, slots=True)
class PageExecutor:
    """`alipay.trade.page.pay` and `alipay.trade.wap.pay`: a signed address for the payer's browser."""

    client: AlipayClient
    method: str
    product_code: str
    calls_channel: bool = False
    appears_when_opened: bool = True
    default_lifetime: timedelta = _LIFETIME

    def check(self, asked: PaymentAsked) -> None:
        """Accepts every payment in CNY."""
        check_currency(asked)

    async def pay(self, asked: PaymentAsked) -> ChannelAnswer:
        """Signs the address; nothing goes over the network."""
        parameters = self.client.signed_parameters(
            self.method,
            business_content(asked, self.product_code),
            notify_url=asked.notice_url,
            return_url=asked.return_url,
        )
        credential = Redirect(http_method="GET", url=self.client.page_url(parameters))
        return ChannelAnswer(standing=Standing.ACCEPTED, credential=credential)


@dataclass(frozen=True, slots=True)
class AppExecutor:
    """`alipay.trade.app.pay`: a signed order for the SDK in the merchant's app."""

    client: AlipayClient
    calls_channel: bool = False
    appears_when_opened: bool = True
    default_lifetime: timedelta = _LIFETIME

    def check(self, asked: PaymentAsked) -> None:
        """Accepts every payment in CNY."""
        check_currency(asked)

    async def pay(self, asked: PaymentAsked) -> ChannelAnswer:
        """Signs the order; nothing goes over the network."""
        parameters = self.client.signed_parameters(
            "alipay.trade.app.pay",
            business_content(asked, "QUICK_MSECURITY_PAY"),
            notify_url=asked.notice_url,
        )
        credential = InAppCall(parameters={"orderStr": urlencode(parameters)})
        return ChannelAnswer(standing=Standing.ACCEPTED, credential=credential)


@dataclass(frozen=True, slots=True)
class QrExecutor:
    """`alipay.trade.precreate`: a code; the trade exists once somebody scans it."""

    client: AlipayClient
    calls_channel: bool = True
    appears_when_opened: bool = True
    default_lifetime: timedelta = _QR_LIFETIME

    def check(self, asked: PaymentAsked) -> None:
        """Accepts every payment in CNY."""
        check_currency(asked)

    async def pay(self, asked: PaymentAsked) -> ChannelAnswer:
        """Asks for the text of the code."""

        def read(answer: AlipayAnswer) -> ChannelAnswer:
            if not answer.succeeded:
                return answer.refusal()
            if answer.text("out_trade_no") != asked.channel_order_id or not answer.text("qr_code"):
                return no_answer("answer speaks of another order")
            return ChannelAnswer(
                standing=Standing.ACCEPTED, credential=QrCode(code_url=answer.text("qr_code"))
            )

        return await self.client.ask(
            "alipay.trade.precreate",
            business_content(asked, "FACE_TO_FACE_PAYMENT"),
            read,
            notify_url=asked.notice_url,
        )


@dataclass(frozen=True, slots=True)
class MiniProgramExecutor:
    """`alipay.trade.create`: a trade whose number the mini-program hands to the payment call."""

    client: AlipayClient
    app_id: str
    calls_channel: bool = True
    appears_when_opened: bool = False
    default_lifetime: timedelta = _QR_LIFETIME

    def check(self, asked: PaymentAsked) -> None:
        """Requires the payer's id at Alipay."""
        check_currency(asked)
        if not asked.channel_payer_id:
            raise PaycenterError(
                Reason.FIELD_INVALID,
                "The payer's id at the channel is required for a payment inside its app.",
                field="payer.channel_payer_id",
            )

    async def pay(self, asked: PaymentAsked) -> ChannelAnswer:
        """Asks for the trade."""
        business = business_content(asked, "JSAPI_PAY")
        payer_field = "buyer_id" if _is_user_id(asked.channel_payer_id) else "buyer_open_id"
        business[payer_field] = asked.channel_payer_id
        business["op_app_id"] = self.app_id

        def read(answer: AlipayAnswer) -> ChannelAnswer:
            if not answer.succeeded:
                return answer.refusal()
            number = answer.text("trade_no")
            if answer.text("out_trade_no") != asked.channel_order_id or not number:
                return no_answer("answer speaks of another order")
            return ChannelAnswer(
                standing=Standing.ACCEPTED,
                channel_transaction_id=number,
                credential=InAppCall(parameters={"tradeNO": number}),
            )

        return await self.client.ask("alipay.trade.create", business, read, notify_url=asked.notice_url)


def executors(client: AlipayClient, *, app_id: str) -> Mapping[InvokeMethod, PayExecutor]:
    """Returns the executors of an account by invoke method."""
    return {
        InvokeMethod.PC: PageExecutor(client, "alipay.trade.page.pay", "FAST_INSTANT_TRADE_PAY"),
        InvokeMethod.WAP: PageExecutor(client, "alipay.trade.wap.pay", "QUICK_WAP_WAY"),
        InvokeMethod.APP: AppExecutor(client),
        InvokeMethod.QR: QrExecutor(client),
        InvokeMethod.MINI_PROGRAM: MiniProgramExecutor(client, app_id),
    }


def check_currency(asked: PaymentAsked) -> None:
    """Raises PaycenterError(CURRENCY_UNSUPPORTED) unless the amount is in the one currency that Alipay takes here."""
    if asked.amount.currency_code != CURRENCY:
        raise PaycenterError(
            Reason.CURRENCY_UNSUPPORTED,
            f"The channel takes {CURRENCY} only.",
            field="amount.currency_code",
            metadata={"currencyCode": asked.amount.currency_code},
        )


def _is_user_id(payer_id: str) -> bool:
    return len(payer_id) == 16 and payer_id.isdigit() and payer_id.startswith("2088")
