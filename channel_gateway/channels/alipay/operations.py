"""What can be asked of Alipay besides paying: query, close, refund, payout. Invariant: an answer that speaks
of another number than the one asked about is no answer.

Source: Alipay open platform, alipay.trade.{query,close,refund,fastpay.refund.query} and
alipay.fund.trans.*.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from channel_gateway.channels.alipay.client import AlipayAnswer, AlipayClient
from channel_gateway.channels.alipay.values import read_amount, read_instant, write_amount
from channel_gateway.channels.protocol import PayoutAsked, RefundAsked
from channel_gateway.domain.answer import ChannelAnswer, Failure, Standing, contradicted, left_open, no_answer
from channel_gateway.domain.vocabulary import FailureReason, OutcomeSafety, PayeeIdKind

_OTHER_NUMBER = "answer speaks of another order"
_TRANSFER_PRODUCT = {"product_code": "TRANS_ACCOUNT_NO_PWD", "biz_scene": "DIRECT_TRANSFER"}
_IDENTITY_TYPES = {PayeeIdKind.LOGIN: "ALIPAY_LOGON_ID"}
_ABANDONED = Failure(
    FailureReason.PAYER_ABANDONED, "TRADE_CLOSED", "The trade was closed unpaid.", OutcomeSafety.DECLINED
)


@dataclass(frozen=True, slots=True)
class AlipayOperations:
    """The operations of one account."""

    client: AlipayClient

    async def query_payment(self, channel_order_id: str) -> ChannelAnswer:
        """`alipay.trade.query`."""

        def read(answer: AlipayAnswer) -> ChannelAnswer:
            if not answer.succeeded:
                return _refused_question(answer, "ACQ.TRADE_NOT_EXIST")
            if answer.text("out_trade_no") != channel_order_id:
                return no_answer(_OTHER_NUMBER)
            return trade_answer(
                answer.text("trade_status"),
                trade_no=answer.text("trade_no"),
                amount_text=answer.text("total_amount"),
                paid_text=answer.text("send_pay_date"),
            )

        return await self.client.ask("alipay.trade.query", {"out_trade_no": channel_order_id}, read)

    async def close_payment(self, channel_order_id: str) -> ChannelAnswer:
        """`alipay.trade.close`."""

        def read(answer: AlipayAnswer) -> ChannelAnswer:
            if not answer.succeeded:
                return _absent_or(answer, "ACQ.TRADE_NOT_EXIST")
            if answer.text("out_trade_no") not in ("", channel_order_id):
                return no_answer(_OTHER_NUMBER)
            return ChannelAnswer(
                standing=Standing.CLOSED, channel_transaction_id=answer.text("trade_no"), failure=_ABANDONED
            )

        return await self.client.ask("alipay.trade.close", {"out_trade_no": channel_order_id}, read)

    async def refund(self, asked: RefundAsked) -> ChannelAnswer:
        """`alipay.trade.refund`; without a change of funds in the answer, the refund's own query decides."""
        business = {
            "out_trade_no": asked.payment_channel_order_id,
            "out_request_no": asked.channel_order_id,
            "refund_amount": write_amount(asked.amount),
        }
        if asked.reason:
            business["refund_reason"] = asked.reason

        def read(answer: AlipayAnswer) -> ChannelAnswer:
            if not answer.succeeded:
                return answer.refusal()
            if answer.text("out_trade_no") != asked.payment_channel_order_id:
                return no_answer(_OTHER_NUMBER)
            succeeded = answer.text("fund_change") == "Y"
            return ChannelAnswer(
                standing=Standing.SUCCEEDED if succeeded else Standing.ACCEPTED,
                channel_transaction_id=answer.text("trade_no"),
                succeed_time=read_instant(answer.text("gmt_refund_pay")) if succeeded else None,
            )

        answer = await self.client.ask("alipay.trade.refund", business, read)
        if answer.standing is not Standing.ACCEPTED:
            return answer
        told = await self.query_refund(asked)
        return told if told.standing is Standing.SUCCEEDED else answer

    async def query_refund(self, asked: RefundAsked) -> ChannelAnswer:
        """`alipay.trade.fastpay.refund.query`; an answer without a status says that there is no such refund."""
        business = {"out_trade_no": asked.payment_channel_order_id, "out_request_no": asked.channel_order_id}

        def read(answer: AlipayAnswer) -> ChannelAnswer:
            if not answer.succeeded:
                return _refused_question(answer, "ACQ.TRADE_NOT_EXIST")
            if answer.text("refund_status") != "REFUND_SUCCESS":
                return _ABSENT
            if answer.text("out_request_no") != asked.channel_order_id:
                return no_answer(_OTHER_NUMBER)
            return ChannelAnswer(
                standing=Standing.SUCCEEDED,
                channel_transaction_id=answer.text("trade_no"),
                amount=read_amount(answer.text("refund_amount")),
                succeed_time=read_instant(answer.text("gmt_refund_pay")),
            )

        return await self.client.ask("alipay.trade.fastpay.refund.query", business, read)

    async def payout(self, asked: PayoutAsked) -> ChannelAnswer:
        """`alipay.fund.trans.uni.transfer`."""
        payee = {
            "identity": asked.payee_id,
            "identity_type": _IDENTITY_TYPES.get(
                asked.payee_id_kind, "ALIPAY_USER_ID" if asked.payee_id.isdigit() else "ALIPAY_OPEN_ID"
            ),
        }
        if asked.real_name:
            payee["name"] = asked.real_name
        business = {
            "out_biz_no": asked.channel_order_id,
            "trans_amount": write_amount(asked.amount),
            "order_title": asked.remark or asked.channel_order_id,
            "payee_info": payee,
            **_TRANSFER_PRODUCT,
        }
        if asked.remark:
            business["remark"] = asked.remark

        def read(answer: AlipayAnswer) -> ChannelAnswer:
            if not answer.succeeded:
                return answer.refusal()
            return self._transfer_answer(answer, asked, time_name="trans_date")

        return await self.client.ask("alipay.fund.trans.uni.transfer", business, read)

    async def query_payout(self, asked: PayoutAsked) -> ChannelAnswer:
        """`alipay.fund.trans.common.query`."""

        def read(answer: AlipayAnswer) -> ChannelAnswer:
            if not answer.succeeded:
                return _refused_question(answer, "ORDER_NOT_EXIST")
            told = self._transfer_answer(answer, asked, time_name="pay_date")
            return replace(told, amount=read_amount(answer.text("trans_amount")))

        business = {"out_biz_no": asked.channel_order_id, **_TRANSFER_PRODUCT}
        return await self.client.ask("alipay.fund.trans.common.query", business, read)

    @staticmethod
    def _transfer_answer(answer: AlipayAnswer, asked: PayoutAsked, *, time_name: str) -> ChannelAnswer:
        if answer.text("out_biz_no") != asked.channel_order_id:
            return no_answer(_OTHER_NUMBER)
        number = answer.text("order_id")
        match answer.text("status"):
            case "SUCCESS":
                return ChannelAnswer(
                    standing=Standing.SUCCEEDED,
                    channel_transaction_id=number,
                    succeed_time=read_instant(answer.text(time_name)),
                )
            case "FAIL" | "CLOSED" | "REFUND":
                reason_code = answer.text("error_code") or answer.text("status")
                failure = Failure(
                    FailureReason.PAYEE_INVALID,
                    reason_code,
                    answer.text("fail_reason"),
                    OutcomeSafety.DECLINED,
                )
                return ChannelAnswer(
                    standing=Standing.DECLINED, channel_transaction_id=number, failure=failure
                )
            case "DEALING" | "INIT" | "WAIT_PAY":
                return ChannelAnswer(standing=Standing.ACCEPTED, channel_transaction_id=number)
            case other:
                return no_answer("unknown status of a transfer", channel_code=other)


def trade_answer(status: str, *, trade_no: str, amount_text: str, paid_text: str) -> ChannelAnswer:
    """Returns what the status of a trade means; `paid_text` is the instant of payment where there is one.

    A closed trade that was paid once was refunded outside of the center: a person has to look at it.
    """
    amount = read_amount(amount_text)
    match status:
        case "TRADE_SUCCESS" | "TRADE_FINISHED" if amount is not None:
            return ChannelAnswer(
                standing=Standing.SUCCEEDED,
                channel_transaction_id=trade_no,
                amount=amount,
                succeed_time=read_instant(paid_text),
            )
        case "TRADE_CLOSED" if paid_text:
            return contradicted("Paid and wholly refunded outside of the center.", channel_code=status)
        case "TRADE_CLOSED":
            return ChannelAnswer(
                standing=Standing.CLOSED, channel_transaction_id=trade_no, failure=_ABANDONED
            )
        case "WAIT_BUYER_PAY":
            return ChannelAnswer(standing=Standing.ACCEPTED, channel_transaction_id=trade_no, amount=amount)
        case other:
            return no_answer("unknown status of a trade", channel_code=other)


_ABSENT = ChannelAnswer(
    standing=Standing.NOT_FOUND,
    failure=Failure(
        FailureReason.ORDER_NOT_FOUND, "", "The channel knows no such number.", OutcomeSafety.NOT_SENT
    ),
)


def _refused_question(answer: AlipayAnswer, absent_code: str) -> ChannelAnswer:
    """Returns "not found", else an open outcome: a query that Alipay refused says nothing about its order."""
    told = _absent_or(answer, absent_code)
    return told if told.standing is Standing.NOT_FOUND else left_open(told)


def _absent_or(answer: AlipayAnswer, absent_code: str) -> ChannelAnswer:
    return _ABSENT if answer.text("sub_code") == absent_code else answer.refusal()
