"""How a WeChat payer is met: mini-program and JSAPI, app, mobile page, QR code. Invariant: the order exists
at WeChat Pay from the moment it is asked for.

Source: WeChat Pay API v3, /v3/pay/transactions/{jsapi,app,h5,native} and "invoking the payment".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from channel_gateway.channels.protocol import PayExecutor, PaymentAsked
from channel_gateway.channels.wechat_pay.client import WechatPayAnswer, WechatPayClient
from channel_gateway.channels.wechat_pay.settings import WechatPayCredentials
from channel_gateway.channels.wechat_pay.signature import new_nonce, pay_sign
from channel_gateway.channels.wechat_pay.values import CURRENCY, write_instant
from channel_gateway.domain.answer import ChannelAnswer, Standing, no_answer
from channel_gateway.domain.credential import Credential, InAppCall, QrCode, Redirect
from channel_gateway.domain.vocabulary import InvokeMethod
from runtime.errors import PaycenterError, Reason

# A prepay_id and a code_url are good for two hours.
_LIFETIME = timedelta(hours=2)

CredentialBuilder = Callable[[str, PaymentAsked], Credential]


@dataclass(frozen=True, slots=True)
class TransactionExecutor:
    """One interface under /v3/pay/transactions: what it asks besides the common fields, and what it gives back."""

    client: WechatPayClient
    credentials: WechatPayCredentials
    interface: str
    answer_field: str
    build_credential: CredentialBuilder
    extra_fields: Callable[[PaymentAsked], Mapping[str, Any]]
    required_payer_field: str = ""
    calls_channel: bool = True
    appears_when_opened: bool = False
    default_lifetime: timedelta = _LIFETIME

    def check(self, asked: PaymentAsked) -> None:
        """Requires CNY and whatever of the payer this interface needs."""
        if asked.amount.currency_code != CURRENCY:
            raise PaycenterError(
                Reason.CURRENCY_UNSUPPORTED,
                f"The channel takes {CURRENCY} only.",
                field="amount.currency_code",
                metadata={"currencyCode": asked.amount.currency_code},
            )
        if self.required_payer_field and not getattr(asked, self.required_payer_field):
            raise PaycenterError(
                Reason.FIELD_INVALID,
                "The channel needs this field of the payer for the invoke method.",
                field=f"payer.{self.required_payer_field}",
            )

    async def pay(self, asked: PaymentAsked) -> ChannelAnswer:
        """Asks for the order."""
        content = {
            "appid": self.credentials.appid,
            "mchid": self.credentials.mchid,
            "description": asked.subject,
            "out_trade_no": asked.channel_order_id,
            "time_expire": write_instant(asked.expire_time),
            "notify_url": asked.notice_url,
            "amount": {"total": asked.amount.minor_units, "currency": asked.amount.currency_code},
            **self.extra_fields(asked),
        }

        def read(answer: WechatPayAnswer) -> ChannelAnswer:
            if not answer.succeeded:
                return answer.refusal()
            token = answer.text(self.answer_field)
            if not token:
                return no_answer(f"answer lacks {self.answer_field}")
            return ChannelAnswer(standing=Standing.ACCEPTED, credential=self.build_credential(token, asked))

        return await self.client.ask("POST", f"/v3/pay/transactions/{self.interface}", read, content)


def executors(
    client: WechatPayClient, credentials: WechatPayCredentials
) -> Mapping[InvokeMethod, PayExecutor]:
    """Returns the executors of an account by invoke method."""

    def in_mini_program(prepay_id: str, _asked: PaymentAsked) -> Credential:
        timestamp, nonce, package = str(client.timestamp_seconds()), new_nonce(), f"prepay_id={prepay_id}"
        signature = pay_sign(credentials.private_key, credentials.appid, timestamp, nonce, package)
        return InAppCall(
            parameters={
                "appId": credentials.appid,
                "timeStamp": timestamp,
                "nonceStr": nonce,
                "package": package,
                "signType": "RSA",
                "paySign": signature,
            }
        )

    def in_app(prepay_id: str, _asked: PaymentAsked) -> Credential:
        timestamp, nonce = str(client.timestamp_seconds()), new_nonce()
        signature = pay_sign(credentials.private_key, credentials.appid, timestamp, nonce, prepay_id)
        return InAppCall(
            parameters={
                "appid": credentials.appid,
                "partnerid": credentials.mchid,
                "prepayid": prepay_id,
                "package": "Sign=WXPay",
                "noncestr": nonce,
                "timestamp": timestamp,
                "sign": signature,
            }
        )

    def on_mobile_page(address: str, _asked: PaymentAsked) -> Credential:
        return Redirect(http_method="GET", url=address)

    def as_code(code_url: str, _asked: PaymentAsked) -> Credential:
        return QrCode(code_url=code_url)

    def payer(asked: PaymentAsked) -> Mapping[str, Any]:
        return {"payer": {"openid": asked.channel_payer_id}}

    def scene(asked: PaymentAsked) -> Mapping[str, Any]:
        return {"scene_info": {"payer_client_ip": asked.client_ip, "h5_info": {"type": "Wap"}}}

    def nothing(_asked: PaymentAsked) -> Mapping[str, Any]:
        return {}

    def executor(
        interface: str,
        answer_field: str,
        build_credential: CredentialBuilder,
        extra_fields: Callable[[PaymentAsked], Mapping[str, Any]] = nothing,
        required_payer_field: str = "",
    ) -> TransactionExecutor:
        return TransactionExecutor(
            client, credentials, interface, answer_field, build_credential, extra_fields, required_payer_field
        )

    return {
        InvokeMethod.MINI_PROGRAM: executor("jsapi", "prepay_id", in_mini_program, payer, "channel_payer_id"),
        InvokeMethod.APP: executor("app", "prepay_id", in_app),
        InvokeMethod.WAP: executor("h5", "h5_url", on_mobile_page, scene, "client_ip"),
        InvokeMethod.QR: executor("native", "code_url", as_code),
    }
