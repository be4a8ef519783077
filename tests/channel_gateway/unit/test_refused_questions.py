"""A query that a channel refuses says nothing about its order; only "not found" says something."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest

from channel_gateway.channels.alipay.client import AlipayAnswer, AlipayClient
from channel_gateway.channels.alipay.operations import AlipayOperations
from channel_gateway.channels.alipay.outcomes import OUTCOMES as ALIPAY_OUTCOMES
from channel_gateway.channels.protocol import PayoutAsked, RefundAsked
from channel_gateway.channels.wechat_pay.client import WechatPayAnswer, WechatPayClient
from channel_gateway.channels.wechat_pay.operations import WechatPayOperations
from channel_gateway.channels.wechat_pay.outcomes import OUTCOMES as WECHAT_OUTCOMES
from channel_gateway.channels.wechat_pay.settings import WechatPayCredentials
from channel_gateway.domain.answer import ChannelAnswer, Standing
from channel_gateway.domain.vocabulary import FailureReason, OutcomeSafety, PayeeIdKind
from runtime.money import Money

REFUND = RefundAsked(
    channel_order_id="C2",
    payment_channel_order_id="C1",
    payment_transaction_id="T1",
    amount=Money(40, "CNY"),
    payment_amount=Money(100, "CNY"),
    reason="",
    notice_url="",
)
PAYOUT = PayoutAsked(
    channel_order_id="C3",
    amount=Money(70, "CNY"),
    payee_id="2088",
    payee_id_kind=PayeeIdKind.CHANNEL_USER,
    real_name="",
    remark="",
    notice_url="",
)
Operations = AlipayOperations | WechatPayOperations
Query = Callable[[Operations], Awaitable[ChannelAnswer]]
QUERIES: list[Query] = [
    lambda operations: operations.query_payment("C1"),
    lambda operations: operations.query_refund(REFUND),
    lambda operations: operations.query_payout(PAYOUT),
]


class AnswersWith:
    """A channel's client that has one verified answer for everything."""

    def __init__(self, answer: AlipayAnswer | WechatPayAnswer) -> None:
        self._answer = answer

    async def ask(self, *arguments: Any, **_more: Any) -> ChannelAnswer:
        (read,) = (each for each in arguments if callable(each))
        return cast("ChannelAnswer", read(self._answer))


class Mchid:
    """Credentials of which only the merchant number is looked at."""

    mchid = "1900"


def at_alipay(**node: str) -> AlipayOperations:
    return AlipayOperations(cast("AlipayClient", AnswersWith(AlipayAnswer(node))))


def at_wechat_pay(status_code: int, code: str) -> WechatPayOperations:
    client = AnswersWith(WechatPayAnswer(status_code, {"code": code, "message": "no"}))
    return WechatPayOperations(cast("WechatPayClient", client), cast("WechatPayCredentials", Mchid()))


REFUSED = [
    pytest.param(at_wechat_pay(429, "FREQUENCY_LIMITED"), "FREQUENCY_LIMITED", "RATE_LIMITED"),
    pytest.param(at_wechat_pay(401, "SIGN_ERROR"), "SIGN_ERROR", "SIGNATURE_INVALID"),
    pytest.param(at_wechat_pay(403, "NO_AUTH"), "NO_AUTH", "PERMISSION_MISSING"),
    pytest.param(at_wechat_pay(400, "PARAM_ERROR"), "PARAM_ERROR", "REQUEST_INVALID"),
    pytest.param(at_wechat_pay(500, "SYSTEM_ERROR"), "SYSTEM_ERROR", "CHANNEL_FAULT"),
    pytest.param(at_wechat_pay(404, ""), "HTTP_404", "UNSPECIFIED"),
    pytest.param(at_alipay(code="40005"), "40005", "RATE_LIMITED"),
    pytest.param(
        at_alipay(code="40002", sub_code="isv.invalid-signature"),
        "isv.invalid-signature",
        "SIGNATURE_INVALID",
    ),
    pytest.param(at_alipay(code="40006"), "40006", "PERMISSION_MISSING"),
    pytest.param(at_alipay(code="40004", sub_code="ACQ.SYSTEM_ERROR"), "ACQ.SYSTEM_ERROR", "CHANNEL_FAULT"),
]


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize(("operations", "code", "reason"), REFUSED)
async def test_a_refused_question_is_open_and_keeps_the_channels_code(
    operations: Operations, code: str, reason: str, query: Query
) -> None:
    answer = await query(operations)
    assert answer.standing is Standing.UNKNOWN
    assert answer.failure is not None
    assert answer.failure.channel_code == code
    assert answer.failure.reason is FailureReason(reason)
    assert answer.failure.outcome_safety is OutcomeSafety.MAYBE_SENT


@pytest.mark.parametrize("query", QUERIES)
async def test_no_listed_code_declines_an_order_by_a_question(query: Query) -> None:
    for code in _codes_of(WECHAT_OUTCOMES):
        answer = await query(at_wechat_pay(400, code))
        assert answer.standing in (Standing.UNKNOWN, Standing.NOT_FOUND)
    for code in _codes_of(ALIPAY_OUTCOMES):
        for node in ({"code": code}, {"code": "40004", "sub_code": code}):
            if node["code"] != "10000":
                answer = await query(at_alipay(**node))
                assert answer.standing in (Standing.UNKNOWN, Standing.NOT_FOUND)


@pytest.mark.parametrize(
    ("query", "absent_code"),
    list(zip(QUERIES, ("ACQ.TRADE_NOT_EXIST", "ACQ.TRADE_NOT_EXIST", "ORDER_NOT_EXIST"), strict=True)),
)
async def test_absent_is_told_apart(query: Query, absent_code: str) -> None:
    told = [
        await query(at_wechat_pay(404, "RESOURCE_NOT_EXISTS")),
        await query(at_alipay(code="40004", sub_code=absent_code)),
    ]
    assert [answer.standing for answer in told] == [Standing.NOT_FOUND] * 2


def _codes_of(table: Any) -> list[str]:
    return list(table._meanings)
