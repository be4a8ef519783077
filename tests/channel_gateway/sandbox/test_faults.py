"""Every fault of a request, once: what the caller sees, and what the channel did or did not do."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest

from channel_gateway.sandbox.faults import decision
from tests.channel_gateway.sandbox.support import (
    AlipayMerchant,
    Receiver,
    SandboxProcess,
    WechatMerchant,
    node_of,
    unique,
)

CREATE = "alipay.trade.create"


def create_business(number: str) -> dict[str, Any]:
    return {"out_trade_no": number, "total_amount": "1.00", "subject": "tea", "buyer_id": "2088002"}


def send_alipay(merchant: AlipayMerchant, number: str, *, timeout: float = 5) -> httpx.Response:
    return merchant.send(merchant.signed(CREATE, create_business(number)), timeout=timeout)


def send_wechat(merchant: WechatMerchant, number: str, *, timeout: float = 5) -> httpx.Response:
    return merchant.send("POST", "/v3/pay/transactions/jsapi", merchant.order(number), timeout=timeout)


def test_timeout_after_charge_charges_and_never_answers(
    sandbox: SandboxProcess, alipay: AlipayMerchant, wechat: WechatMerchant, receiver: Receiver
) -> None:
    first, second, path = unique("A"), unique("W"), f"/{unique('notice')}"
    for number in (first, second):
        sandbox.fault(operation="pay", out_trade_no=number, kind="timeout_after_charge", seconds=30)
    parameters = alipay.signed(CREATE, create_business(first), notify_url=receiver.url + path)
    with pytest.raises(httpx.ReadTimeout):
        alipay.send(parameters, timeout=0.4)
    with pytest.raises(httpx.ReadTimeout):
        send_wechat(wechat, second, timeout=0.4)
    assert alipay.query(first)["trade_status"] == "TRADE_SUCCESS"
    assert wechat.query(second)[1]["trade_state"] == "SUCCESS"
    assert receiver.wait(path)[0].form["out_trade_no"] == first
    assert [fault["fired"] for fault in sandbox.get("/sandbox/faults")["faults"]] == [1, 1]


def test_the_connection_closes_when_nobody_gives_up(sandbox: SandboxProcess, wechat: WechatMerchant) -> None:
    number = unique("W")
    sandbox.fault(operation="pay", out_trade_no=number, kind="timeout_before", seconds=0.3)
    started = time.monotonic()
    with pytest.raises(httpx.RemoteProtocolError):
        send_wechat(wechat, number)
    assert 0.25 < time.monotonic() - started < 3
    assert wechat.query(number)[0] == 404
    assert send_wechat(wechat, number).status_code == 200


@pytest.mark.parametrize(("kind", "done"), [("bad_gateway_html", False), ("bad_gateway_after", True)])
def test_bad_gateways(
    sandbox: SandboxProcess, alipay: AlipayMerchant, wechat: WechatMerchant, kind: str, done: bool
) -> None:
    first, second = unique("A"), unique("W")
    for number in (first, second):
        sandbox.fault(operation="pay", out_trade_no=number, kind=kind)
    for answer in (send_alipay(alipay, first), send_wechat(wechat, second)):
        assert answer.status_code == 502
        assert answer.headers["content-type"].startswith("text/html")
        assert b"502 Bad Gateway" in answer.content
    assert (alipay.query(first)["code"] == "10000") is done
    assert (wechat.query(second)[0] == 200) is done


def test_connection_reset(sandbox: SandboxProcess, alipay: AlipayMerchant, wechat: WechatMerchant) -> None:
    first, second = unique("A"), unique("W")
    for number in (first, second):
        sandbox.fault(operation="pay", out_trade_no=number, kind="connection_reset")
    with pytest.raises(httpx.ReadError, match="reset by peer"):
        send_alipay(alipay, first)
    with pytest.raises(httpx.ReadError, match="reset by peer"):
        send_wechat(wechat, second)
    assert alipay.query(first)["sub_code"] == "ACQ.TRADE_NOT_EXIST"
    assert wechat.query(second)[0] == 404


@pytest.mark.parametrize(
    ("kind", "sub_code", "status", "code"),
    [
        ("system_error", "ACQ.SYSTEM_ERROR", 500, "SYSTEM_ERROR"),
        ("rate_limited", "isv.app-call-limited", 429, "FREQUENCY_LIMITED"),
    ],
)
def test_errors_of_the_channel(
    sandbox: SandboxProcess,
    alipay: AlipayMerchant,
    wechat: WechatMerchant,
    kind: str,
    sub_code: str,
    status: int,
    code: str,
) -> None:
    first, second = unique("A"), unique("W")
    for number in (first, second):
        sandbox.fault(operation="pay", out_trade_no=number, kind=kind)
    answer = send_alipay(alipay, first)
    assert alipay.answer_holds(answer.content)
    assert node_of(answer.content)["sub_code"] == sub_code
    assert wechat.create(second) == (status, {"code": code, "message": wechat_message(code)})
    assert alipay.query(first)["sub_code"] == "ACQ.TRADE_NOT_EXIST"
    assert wechat.query(second)[0] == 404


def wechat_message(code: str) -> str:
    return {"SYSTEM_ERROR": "系统异常,请稍后重试", "FREQUENCY_LIMITED": "请求过于频繁,请降低频率后重试"}[code]


def test_bad_response_signature(
    sandbox: SandboxProcess, alipay: AlipayMerchant, wechat: WechatMerchant
) -> None:
    first, second = unique("A"), unique("W")
    for number in (first, second):
        sandbox.fault(operation="pay", out_trade_no=number, kind="bad_response_signature")
    assert not alipay.answer_holds(send_alipay(alipay, first).content)
    answer = send_wechat(wechat, second)
    assert not wechat.message_holds(dict(answer.headers), answer.content)
    assert alipay.query(first)["trade_status"] == "WAIT_BUYER_PAY"
    assert wechat.query(second)[1]["trade_state"] == "NOTPAY"


def test_every_operation_meets_its_faults(
    sandbox: SandboxProcess, alipay: AlipayMerchant, wechat: WechatMerchant
) -> None:
    first, second = alipay.paid(), wechat.paid()
    transfer = unique("T")
    for number in (first, second, transfer):
        for operation in ("query", "close", "refund", "refund_query", "transfer", "transfer_query"):
            sandbox.fault(operation=operation, out_trade_no=number, kind="system_error")
    assert alipay.query(first)["sub_code"] == "ACQ.SYSTEM_ERROR"
    assert alipay.query(first)["code"] == "10000"
    assert alipay.call("alipay.trade.close", {"out_trade_no": first})["sub_code"] == "ACQ.SYSTEM_ERROR"
    assert alipay.refund(first, "1.00", first)["sub_code"] == "ACQ.SYSTEM_ERROR"
    known = {"out_trade_no": first, "out_request_no": first}
    assert alipay.call("alipay.trade.fastpay.refund.query", known)["sub_code"] == "ACQ.SYSTEM_ERROR"
    assert alipay.transfer(transfer, "1.00")["sub_code"] == "SYSTEM_ERROR"
    assert (
        alipay.call("alipay.fund.trans.common.query", {"out_biz_no": transfer})["sub_code"] == "SYSTEM_ERROR"
    )
    assert wechat.query(second)[0] == 500
    assert wechat.close(second)[0] == 500
    assert wechat.refund(second, 1, second)[0] == 500
    assert wechat.call("GET", f"/v3/refund/domestic/refunds/{second}")[0] == 500
    assert sandbox.trade(first)["refunded_minor_units"] == 0


def test_a_refund_that_times_out_after_it_was_made(sandbox: SandboxProcess, alipay: AlipayMerchant) -> None:
    number = alipay.paid("5.00")
    sandbox.fault(operation="refund", out_trade_no="refund_1", kind="timeout_after_charge", seconds=10)
    business = {"out_trade_no": number, "refund_amount": "2.00", "out_request_no": "refund_1"}
    with pytest.raises(httpx.ReadTimeout):
        alipay.send(alipay.signed("alipay.trade.refund", business), timeout=0.3)
    assert alipay.refund(number, "2.00", "refund_1")["fund_change"] == "N"
    assert sandbox.trade(number)["refunded_minor_units"] == 200


def hits(sandbox: SandboxProcess, wechat: WechatMerchant, seed: int) -> list[bool]:
    sandbox.http.delete("/sandbox/faults")
    sandbox.fault(channel="wechat", operation="query", rate=0.4, seed=seed, kind="system_error")
    return [wechat.query(unique("none"))[0] == 500 for _ in range(30)]


def test_the_same_seed_makes_the_same_decisions(sandbox: SandboxProcess, wechat: WechatMerchant) -> None:
    first = hits(sandbox, wechat, 7)
    assert first == [decision(7, position, 0.4) for position in range(30)]
    assert first == hits(sandbox, wechat, 7)
    assert first != hits(sandbox, wechat, 8)
    assert 3 <= sum(first) <= 24


def test_a_fault_is_limited_to_its_channel_and_count(
    sandbox: SandboxProcess, alipay: AlipayMerchant, wechat: WechatMerchant
) -> None:
    sandbox.fault(channel="wechat", operation="query", kind="system_error", count=2)
    assert alipay.query(unique("none"))["sub_code"] == "ACQ.TRADE_NOT_EXIST"
    assert [wechat.query(unique("none"))[0] for _ in range(3)] == [500, 500, 404]
    assert sandbox.http.delete("/sandbox/faults").json() == {"removed": 1}


@pytest.mark.parametrize(
    "body",
    [
        {"operation": "pay", "kind": "no_notice"},
        {"operation": "notice", "kind": "system_error"},
        {"operation": "barter", "kind": "system_error"},
        {"operation": "pay", "kind": "earthquake"},
        {"operation": "pay"},
        {"operation": "pay", "kind": "system_error", "rate": 1.1},
        {"operation": "pay", "kind": "system_error", "rate": 0.5, "out_trade_no": "x"},
        {"operation": "pay", "kind": "system_error", "count": 0},
        {"operation": "pay", "kind": "timeout_before", "seconds": -1},
        {"operation": "notice", "kind": "signtest_probe", "channel": "alipay"},
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(sandbox: SandboxProcess, body: dict[str, Any]) -> None:
    assert sandbox.post("/sandbox/faults", body, status=400)["code"] == "INVALID"
    assert sandbox.get("/sandbox/faults")["faults"] == []
