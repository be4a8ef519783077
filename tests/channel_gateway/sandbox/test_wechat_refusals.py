"""Every refusal of WeChat Pay, with its HTTP status and code, and that nothing has changed after it."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.channel_gateway.sandbox.support import Receiver, SandboxProcess, WechatMerchant, unique, wait_for


def code(answer: tuple[int, dict[str, Any]]) -> tuple[int, str]:
    return answer[0], answer[1].get("code", "")


@pytest.mark.parametrize(
    "parts",
    [
        {"signature": "AAAA"},
        {"mchid": "1900000000"},
        {"serial_no": "ABCDEF"},
        {"nonce_str": "another"},
        {"timestamp": "1"},
        {"timestamp": "yesterday"},
        {"extra": "1"},
    ],
)
def test_authorization(wechat: WechatMerchant, parts: dict[str, str]) -> None:
    url = f"/v3/pay/transactions/out-trade-no/x?mchid={wechat.mchid}"
    answer = wechat.send("GET", url, authorization=wechat.authorization("GET", url, b"", parts=parts))
    assert (answer.status_code, answer.json()["code"]) == (401, "SIGN_ERROR")
    assert set(answer.json()) == {"code", "message", "detail"}


def test_another_scheme_or_none_at_all(wechat: WechatMerchant) -> None:
    url = "/v3/certificates"
    good = wechat.authorization("GET", url, b"")
    for header in ("Basic abc", good.replace("RSA2048", "RSA4096"), good.replace(",", ";")):
        answer = wechat.send("GET", url, authorization=header)
        assert (answer.status_code, answer.json()["code"]) == (401, "SIGN_ERROR")


@pytest.mark.parametrize(("age_seconds", "status"), [(280, 200), (320, 401), (-280, 200), (-320, 401)])
def test_the_window_of_the_timestamp(wechat: WechatMerchant, age_seconds: int, status: int) -> None:
    url = "/v3/certificates"
    header = wechat.authorization("GET", url, b"", age_seconds=age_seconds)
    assert wechat.send("GET", url, authorization=header).status_code == status


def test_the_query_is_part_of_what_is_signed(wechat: WechatMerchant) -> None:
    url = f"/v3/pay/transactions/out-trade-no/x?mchid={wechat.mchid}"
    header = wechat.authorization("GET", url.partition("?")[0], b"")
    assert wechat.send("GET", url, authorization=header).status_code == 401


@pytest.mark.parametrize(
    "change",
    [
        {"out_trade_no": "short"},
        {"out_trade_no": "x" * 33},
        {"out_trade_no": None},
        {"description": ""},
        {"notify_url": "ftp://merchant.example"},
        {"notify_url": "https://merchant.example/?a=1"},
        {"notify_url": None},
        {"amount": {"total": 0}},
        {"amount": {"total": -1}},
        {"amount": {"total": "1"}},
        {"amount": {"total": 1.5}},
        {"amount": {"total": True}},
        {"amount": None},
        {"amount": {"total": 1, "currency": "USD"}},
        {"payer": None},
        {"time_expire": "tomorrow"},
        {"time_expire": "2020-01-01T00:00:00+08:00"},
        {"mchid": "1900000000"},
    ],
)
def test_parameters_of_an_order(wechat: WechatMerchant, change: dict[str, Any]) -> None:
    body = wechat.order(unique("W")) | change
    answer = wechat.call("POST", "/v3/pay/transactions/jsapi", body)
    assert code(answer) == (400, "PARAM_ERROR")
    assert wechat.sandbox.figures(wechat.mchid)["trade_count"] == 0


def test_an_application_of_another_merchant(wechat: WechatMerchant) -> None:
    answer = wechat.call("POST", "/v3/pay/transactions/native", wechat.order(unique("W")) | {"appid": "wx0"})
    assert code(answer) == (400, "APPID_MCHID_NOT_MATCH")


def test_an_unknown_way_of_paying_and_a_body_that_is_no_object(wechat: WechatMerchant) -> None:
    assert wechat.call("POST", "/v3/pay/transactions/barter", wechat.order(unique("W")))[0] == 404
    raw = b"[1]"
    header = wechat.authorization("POST", "/v3/pay/transactions/jsapi", raw)
    answer = wechat.sandbox.http.post(
        "/v3/pay/transactions/jsapi", content=raw, headers={"Authorization": header}
    )
    assert (answer.status_code, answer.json()["code"]) == (400, "PARAM_ERROR")
    assert wechat.call("POST", "/v3/pay/transactions/h5", wechat.order(unique("W")))[0] == 400


def test_creating_the_same_number_again(wechat: WechatMerchant) -> None:
    number = unique("W")
    assert wechat.create(number) == wechat.create(number)
    assert code(wechat.create(number, 1)) == (400, "INVALID_REQUEST")
    wechat.sandbox.pay(number)
    assert code(wechat.create(number)) == (400, "ORDERPAID")
    assert code(wechat.close(number)) == (400, "ORDERPAID")


def test_closed_orders(wechat: WechatMerchant) -> None:
    number = unique("W")
    wechat.create(number)
    assert wechat.close(number) == (204, {})
    assert code(wechat.close(number)) == (400, "ORDER_CLOSED")
    assert code(wechat.create(number)) == (400, "ORDER_CLOSED")
    assert wechat.sandbox.post(f"/sandbox/payments/{number}/pay", status=409)["code"] == "TRADE_CLOSED"
    wechat.sandbox.pay(number, force=True)
    assert wechat.query(number)[1]["trade_state"] == "SUCCESS"


def test_orders_that_do_not_exist(wechat: WechatMerchant, merchant_key: rsa.RSAPrivateKey) -> None:
    assert code(wechat.query(unique("none"))) == (404, "ORDER_NOT_EXIST")
    assert code(wechat.close(unique("none"))) == (404, "ORDER_NOT_EXIST")
    by_id = f"/v3/pay/transactions/id/42000?mchid={wechat.mchid}"
    assert code(wechat.call("GET", by_id)) == (404, "ORDER_NOT_EXIST")
    stranger = WechatMerchant(wechat.sandbox, merchant_key)
    number = wechat.paid()
    assert code(stranger.query(number)) == (404, "ORDER_NOT_EXIST")
    foreign = f"/v3/pay/transactions/out-trade-no/{number}?mchid={wechat.mchid}"
    assert code(stranger.call("GET", foreign)) == (400, "PARAM_ERROR")


def test_refunds(sandbox: SandboxProcess, wechat: WechatMerchant) -> None:
    number, refund = wechat.paid(1000), unique("r")
    assert code(wechat.refund(unique("none"), 1, refund, 1000)) == (404, "RESOURCE_NOT_EXISTS")
    assert code(wechat.refund(number, 1001, refund, 1000)) == (400, "INVALID_REQUEST")
    assert code(wechat.refund(number, 1, refund, 999)) == (400, "INVALID_REQUEST")
    assert code(wechat.refund(number, 0, refund, 1000)) == (400, "PARAM_ERROR")
    first = wechat.refund(number, 600, refund, 1000)
    assert first[0] == 200
    assert wechat.refund(number, 600, refund, 1000)[1]["refund_id"] == first[1]["refund_id"]
    assert code(wechat.refund(number, 500, refund, 1000)) == (400, "INVALID_REQUEST")
    assert code(wechat.refund(number, 600, unique("r"), 1000)) == (400, "INVALID_REQUEST")
    wait_for(lambda: sandbox.trade(number)["refunded_minor_units"] == 600)
    unknown = f"/v3/refund/domestic/refunds/{unique('none')}"
    assert code(wechat.call("GET", unknown)) == (404, "RESOURCE_NOT_EXISTS")
    waiting = unique("W")
    wechat.create(waiting)
    assert code(wechat.refund(waiting, 1, unique("r"), 8888)) == (400, "INVALID_REQUEST")


@pytest.mark.parametrize(
    ("action", "body", "word"),
    [("succeed", {}, "SUCCESS"), ("fail", {}, "CLOSED"), ("fail", {"as": "ABNORMAL"}, "ABNORMAL")],
)
def test_a_refund_ends_by_hand(
    sandbox: SandboxProcess,
    wechat: WechatMerchant,
    receiver: Receiver,
    action: str,
    body: dict[str, str],
    word: str,
) -> None:
    sandbox.post("/sandbox/settings", {"auto_refund_seconds": None})
    number, refund, path = wechat.paid(1000), unique("r"), f"/{unique('notice')}"
    before = sandbox.figures(wechat.mchid)["balance_minor_units"]
    wechat.refund(number, 600, refund, 1000, notify_url=receiver.url + path)
    sandbox.post(f"/sandbox/refunds/{refund}/{action}", body)
    notice = receiver.wait(path)[0]
    assert wechat.message_holds(notice.headers, notice.body)
    assert wechat.resource(notice.body)["refund_status"] == word
    assert wechat.call("GET", f"/v3/refund/domestic/refunds/{refund}")[1]["status"] == word
    assert (sandbox.figures(wechat.mchid)["balance_minor_units"] == before) is (word == "CLOSED")
    if word != "ABNORMAL":
        assert sandbox.post(f"/sandbox/refunds/{refund}/succeed", status=409)["code"] == "REFUND_FINAL"


def test_the_balance_does_not_cover(sandbox: SandboxProcess, merchant_key: rsa.RSAPrivateKey) -> None:
    merchant = WechatMerchant(sandbox, merchant_key, opening_balance_minor_units=0, fee_rate=0.01)
    number = merchant.paid(10_000)
    assert merchant.transfer(unique("T"), 9_900)[0] == 200
    assert code(merchant.refund(number, 100, unique("r"), 10_000)) == (403, "NOT_ENOUGH")
    assert code(merchant.transfer(unique("T"), 100)) == (403, "NOT_ENOUGH")


def test_transfers(wechat: WechatMerchant) -> None:
    number = unique("T")
    first = wechat.transfer(number, 100)
    assert wechat.transfer(number, 100)[1]["transfer_bill_no"] == first[1]["transfer_bill_no"]
    assert code(wechat.transfer(number, 101)) == (400, "ALREADY_EXISTS")
    assert code(wechat.transfer("a b", 100)) == (400, "PARAM_ERROR")
    assert code(wechat.transfer(unique("T"), 200_000)) == (400, "PARAM_ERROR")
    assert code(wechat.transfer(unique("T"), 200_000, user_name="张三")) == (400, "PARAM_ERROR")
    unknown = f"/v3/fund-app/mch-transfer/transfer-bills/out-bill-no/{unique('T')}"
    assert code(wechat.call("GET", unknown)) == (404, "NOT_FOUND")
    bill = f"/v3/fund-app/mch-transfer/transfer-bills/out-bill-no/{number}"
    wait_for(lambda: wechat.call("GET", bill)[1]["state"] == "SUCCESS")
    assert code(wechat.call("POST", f"{bill}/cancel")) == (400, "INVALID_REQUEST")


def test_an_order_expires_and_the_payer_can_fail(sandbox: SandboxProcess, wechat: WechatMerchant) -> None:
    number = unique("W")
    expiry = (datetime.now(UTC) + timedelta(seconds=2)).isoformat(timespec="seconds")
    assert wechat.create(number, time_expire=expiry)[0] == 200
    deadline = time.monotonic() + 5
    while wechat.query(number)[1]["trade_state"] == "NOTPAY" and time.monotonic() < deadline:
        time.sleep(0.05)
    assert wechat.query(number)[1]["trade_state"] == "CLOSED"
    failing = unique("W")
    wechat.create(failing)
    sandbox.post(f"/sandbox/payments/{failing}/fail")
    assert wechat.query(failing)[1]["trade_state"] == "PAYERROR"
    sandbox.pay(failing)
    assert wechat.query(failing)[1]["trade_state"] == "SUCCESS"
