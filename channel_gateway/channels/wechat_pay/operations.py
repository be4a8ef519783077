"""What can be asked of WeChat Pay besides paying: query, close, refund, payout. Invariant: an answer that
speaks of another number or merchant than asked about is no answer.

Source: WeChat Pay API v3, /v3/pay/transactions/out-trade-no, /v3/refund/domestic/refunds and /v3/fund-
app/mch-transfer/transfer-bills.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from channel_gateway.channels.protocol import PayoutAsked, RefundAsked
from channel_gateway.channels.wechat_pay.client import WechatPayAnswer, WechatPayClient
from channel_gateway.channels.wechat_pay.settings import WechatPayCredentials
from channel_gateway.channels.wechat_pay.signature import encrypt_field
from channel_gateway.channels.wechat_pay.values import read_amount, read_instant
from channel_gateway.domain.answer import ChannelAnswer, Failure, Standing, left_open, no_answer
from channel_gateway.domain.vocabulary import FailureReason, OutcomeSafety

_OTHER_NUMBER = "answer speaks of another order"
_TRANSFER_BILLS = "/v3/fund-app/mch-transfer/transfer-bills"
_REMARK_LENGTH = 32
_LEAST_NAMED_MINOR_UNITS = 30
_ABSENT_CODES = ("ORDER_NOT_EXIST", "ORDERNOTEXIST", "RESOURCE_NOT_EXISTS", "NOT_FOUND")


@dataclass(frozen=True, slots=True)
class WechatPayOperations:
    """The operations of one account."""

    client: WechatPayClient
    credentials: WechatPayCredentials

    async def query_payment(self, channel_order_id: str) -> ChannelAnswer:
        """Asks by the merchant's number."""

        def read(answer: WechatPayAnswer) -> ChannelAnswer:
            if not answer.succeeded:
                return _refused_question(answer)
            if (answer.text("out_trade_no"), answer.text("mchid")) != (
                channel_order_id,
                self.credentials.mchid,
            ):
                return no_answer(_OTHER_NUMBER)
            return transaction_answer(answer.content)

        path = f"/v3/pay/transactions/out-trade-no/{channel_order_id}?mchid={self.credentials.mchid}"
        return await self.client.ask("GET", path, read)

    async def close_payment(self, channel_order_id: str) -> ChannelAnswer:
        """Asks to close; WeChat Pay acknowledges with 204."""

        def read(answer: WechatPayAnswer) -> ChannelAnswer:
            if answer.succeeded:
                return ChannelAnswer(standing=Standing.CLOSED, failure=_abandoned("CLOSED"))
            return _absent_or(answer)

        path = f"/v3/pay/transactions/out-trade-no/{channel_order_id}/close"
        return await self.client.ask("POST", path, read, {"mchid": self.credentials.mchid})

    async def refund(self, asked: RefundAsked) -> ChannelAnswer:
        """Asks for a refund, which WeChat Pay finishes later."""
        content: dict[str, Any] = {
            "out_trade_no": asked.payment_channel_order_id,
            "out_refund_no": asked.channel_order_id,
            "notify_url": asked.notice_url,
            "amount": {
                "refund": asked.amount.minor_units,
                "total": asked.payment_amount.minor_units,
                "currency": asked.amount.currency_code,
            },
        }
        if asked.reason:
            content["reason"] = asked.reason

        def read(answer: WechatPayAnswer) -> ChannelAnswer:
            return refund_answer(answer.content, asked) if answer.succeeded else answer.refusal()

        return await self.client.ask("POST", "/v3/refund/domestic/refunds", read, content)

    async def query_refund(self, asked: RefundAsked) -> ChannelAnswer:
        """Asks by the refund's number."""

        def read(answer: WechatPayAnswer) -> ChannelAnswer:
            return refund_answer(answer.content, asked) if answer.succeeded else _refused_question(answer)

        return await self.client.ask("GET", f"/v3/refund/domestic/refunds/{asked.channel_order_id}", read)

    async def payout(self, asked: PayoutAsked) -> ChannelAnswer:
        """Asks for a transfer to a person; the name is encrypted for WeChat Pay."""
        credentials = self.credentials
        content: dict[str, Any] = {
            "appid": credentials.appid,
            "out_bill_no": asked.channel_order_id,
            "transfer_scene_id": credentials.transfer_scene_id,
            "openid": asked.payee_id,
            "transfer_amount": asked.amount.minor_units,
            "transfer_remark": (asked.remark or asked.channel_order_id)[:_REMARK_LENGTH],
            "notify_url": asked.notice_url,
        }
        key_serial = credentials.preferred_serial
        if asked.real_name and asked.amount.minor_units >= _LEAST_NAMED_MINOR_UNITS:
            content["user_name"] = encrypt_field(credentials.platform_keys[key_serial], asked.real_name)

        def read(answer: WechatPayAnswer) -> ChannelAnswer:
            if not answer.succeeded:
                return answer.refusal()
            return transfer_answer(answer.content, asked.channel_order_id)

        return await self.client.ask("POST", _TRANSFER_BILLS, read, content, key_serial=key_serial)

    async def query_payout(self, asked: PayoutAsked) -> ChannelAnswer:
        """Asks by the payout's number."""

        def read(answer: WechatPayAnswer) -> ChannelAnswer:
            if not answer.succeeded:
                return _refused_question(answer)
            return transfer_answer(answer.content, asked.channel_order_id)

        return await self.client.ask("GET", f"{_TRANSFER_BILLS}/out-bill-no/{asked.channel_order_id}", read)


def transaction_answer(content: Mapping[str, Any]) -> ChannelAnswer:
    """Returns what the state of a transaction means; a refund on it says that it was paid."""
    amount = read_amount(content.get("amount"), "total")
    number = str(content.get("transaction_id") or "")
    state = str(content.get("trade_state") or "")
    match state:
        case "SUCCESS" | "REFUND" if amount is not None:
            return ChannelAnswer(
                standing=Standing.SUCCEEDED,
                channel_transaction_id=number,
                amount=amount,
                succeed_time=read_instant(content.get("success_time")),
            )
        case "NOTPAY" | "USERPAYING" | "ACCEPT":
            return ChannelAnswer(standing=Standing.ACCEPTED, channel_transaction_id=number, amount=amount)
        case "CLOSED" | "REVOKED":
            return ChannelAnswer(
                standing=Standing.CLOSED, channel_transaction_id=number, failure=_abandoned(state)
            )
        case "PAYERROR":
            # The payer may try again until the order is closed.
            return ChannelAnswer(standing=Standing.ACCEPTED, channel_transaction_id=number, amount=amount)
        case other:
            return no_answer("unknown state of a transaction", channel_code=other)


def refund_answer(content: Mapping[str, Any], asked: RefundAsked) -> ChannelAnswer:
    """Returns what the status of a refund means; ABNORMAL waits for the merchant to pay it back another way."""
    numbers = (content.get("out_refund_no"), content.get("out_trade_no"))
    if numbers != (asked.channel_order_id, asked.payment_channel_order_id):
        return no_answer(_OTHER_NUMBER)
    return refund_status_answer(str(content.get("status") or ""), content)


def refund_status_answer(status: str, content: Mapping[str, Any]) -> ChannelAnswer:
    """Returns what a refund's status word means, in an answer or in a notice."""
    amount = read_amount(content.get("amount"), "refund")
    number = str(content.get("refund_id") or "")
    match status:
        case "SUCCESS" if amount is not None:
            return ChannelAnswer(
                standing=Standing.SUCCEEDED,
                channel_transaction_id=number,
                amount=amount,
                succeed_time=read_instant(content.get("success_time")),
            )
        case "PROCESSING":
            return ChannelAnswer(standing=Standing.ACCEPTED, channel_transaction_id=number, amount=amount)
        case "ABNORMAL":
            failure = Failure(
                FailureReason.PAYEE_INVALID,
                status,
                "The payer's account took no refund; the merchant has to choose another way.",
                OutcomeSafety.MAYBE_SENT,
            )
            return ChannelAnswer(standing=Standing.ACCEPTED, channel_transaction_id=number, failure=failure)
        case "CLOSED":
            failure = Failure(
                FailureReason.ORDER_CLOSED, status, "The channel closed the refund.", OutcomeSafety.DECLINED
            )
            return ChannelAnswer(standing=Standing.DECLINED, channel_transaction_id=number, failure=failure)
        case other:
            return no_answer("unknown status of a refund", channel_code=other)


def transfer_answer(content: Mapping[str, Any], channel_order_id: str) -> ChannelAnswer:
    """Returns what the state of a transfer means."""
    if content.get("out_bill_no") != channel_order_id:
        return no_answer(_OTHER_NUMBER)
    number = str(content.get("transfer_bill_no") or "")
    amount = read_amount(dict(content), "transfer_amount")
    state = str(content.get("state") or "")
    match state:
        case "SUCCESS":
            return ChannelAnswer(
                standing=Standing.SUCCEEDED,
                channel_transaction_id=number,
                amount=amount,
                succeed_time=read_instant(content.get("update_time")),
            )
        case "FAIL" | "CANCELLED":
            code = str(content.get("fail_reason") or state)
            reason = FailureReason.PAYEE_INVALID if state == "FAIL" else FailureReason.PAYER_ABANDONED
            failure = Failure(reason, code, "The transfer ended without paying.", OutcomeSafety.DECLINED)
            return ChannelAnswer(standing=Standing.DECLINED, channel_transaction_id=number, failure=failure)
        case "ACCEPTED" | "PROCESSING" | "WAIT_USER_CONFIRM" | "TRANSFERING" | "CANCELING":
            return ChannelAnswer(standing=Standing.ACCEPTED, channel_transaction_id=number)
        case other:
            return no_answer("unknown state of a transfer", channel_code=other)


def _abandoned(code: str) -> Failure:
    return Failure(
        FailureReason.PAYER_ABANDONED, code, "The order was closed unpaid.", OutcomeSafety.DECLINED
    )


def _refused_question(answer: WechatPayAnswer) -> ChannelAnswer:
    """Returns "not found", else an open outcome: a query that WeChat Pay refused says nothing about its order."""
    told = _absent_or(answer)
    return told if told.standing is Standing.NOT_FOUND else left_open(told)


def _absent_or(answer: WechatPayAnswer) -> ChannelAnswer:
    if answer.text("code") not in _ABSENT_CODES:
        return answer.refusal()
    failure = Failure(
        FailureReason.ORDER_NOT_FOUND, answer.text("code"), answer.text("message"), OutcomeSafety.NOT_SENT
    )
    return ChannelAnswer(standing=Standing.NOT_FOUND, failure=failure)
