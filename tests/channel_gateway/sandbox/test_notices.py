"""Notices as they should be, and every way in which a fault spoils or disturbs them."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.channel_gateway.sandbox.support import (
    AlipayMerchant,
    Received,
    Receiver,
    SandboxProcess,
    WechatMerchant,
    unique,
    wait_for,
)

FAILED = (500, b'{"code":"FAIL","message":"refused"}')


class AlipayOrder:
    """A waiting Alipay trade with its own notice address."""

    channel = "alipay"

    def __init__(self, merchant: AlipayMerchant, receiver: Receiver) -> None:
        self.merchant, self.sandbox, self.receiver = merchant, merchant.sandbox, receiver
        self.number, self.path = unique("A"), f"/{unique('notice')}"
        merchant.create(self.number, notify_url=receiver.url + self.path)

    def holds(self, received: Received) -> bool:
        return self.merchant.notice_holds(received.form)

    def told(self, received: Received) -> dict[str, Any]:
        form = received.form
        amount = round(float(form["total_amount"]) * 100)
        return {
            "number": form["out_trade_no"],
            "amount": amount,
            "merchant": form["seller_id"],
            "app": form["app_id"],
        }

    def identity(self, received: Received) -> str:
        return received.form["notify_id"]

    def expected(self) -> dict[str, Any]:
        merchant = self.merchant
        return {"number": self.number, "amount": 8888, "merchant": merchant.seller_id, "app": merchant.app_id}


class WechatOrder:
    """A waiting WeChat Pay order with its own notice address."""

    channel = "wechat"

    def __init__(self, merchant: WechatMerchant, receiver: Receiver) -> None:
        self.merchant, self.sandbox, self.receiver = merchant, merchant.sandbox, receiver
        self.number, self.path = unique("W"), f"/{unique('notice')}"
        merchant.create(self.number, notify_url=receiver.url + self.path)

    def holds(self, received: Received) -> bool:
        return self.merchant.message_holds(received.headers, received.body)

    def told(self, received: Received) -> dict[str, Any]:
        resource = self.merchant.resource(received.body)
        return {
            "number": resource["out_trade_no"],
            "amount": resource["amount"]["total"],
            "merchant": resource["mchid"],
            "app": resource["appid"],
        }

    def identity(self, received: Received) -> str:
        return str(json.loads(received.body)["id"])

    def expected(self) -> dict[str, Any]:
        return {
            "number": self.number,
            "amount": 8888,
            "merchant": self.merchant.mchid,
            "app": self.merchant.appid,
        }


Order = AlipayOrder | WechatOrder


@pytest.fixture(params=["alipay", "wechat"])
def order(
    request: pytest.FixtureRequest,
    sandbox: SandboxProcess,
    receiver: Receiver,
    merchant_key: rsa.RSAPrivateKey,
) -> Order:
    if request.param == "alipay":
        return AlipayOrder(AlipayMerchant(sandbox, merchant_key), receiver)
    return WechatOrder(WechatMerchant(sandbox, merchant_key), receiver)


def faulty(order: Order, kind: str, **more: Any) -> None:
    order.sandbox.fault(operation="notice", out_trade_no=order.number, kind=kind, **more)
    order.sandbox.pay(order.number)


def attempts(order: Order, count: int) -> list[dict[str, Any]]:
    def read() -> list[dict[str, Any]] | None:
        found = order.sandbox.notices(order.number)
        listed = list(found[0]["attempts"]) if found else []
        return listed if len(listed) >= count else None

    return wait_for(read)


def test_a_notice_is_true_and_is_sent_once(order: Order) -> None:
    order.sandbox.pay(order.number)
    received = order.receiver.wait(order.path)[0]
    assert order.holds(received)
    assert order.told(received) == order.expected()
    wait_for(lambda: order.sandbox.notices(order.number)[0]["state"] == "DELIVERED")
    time.sleep(0.3)
    assert len(order.receiver.at(order.path)) == 1


def test_a_refused_notice_is_repeated_until_it_is_taken(order: Order) -> None:
    order.receiver.answers[order.path] = FAILED
    order.sandbox.post("/sandbox/settings", {"notice_retry_scale": 0.0005})
    order.sandbox.pay(order.number)
    received = order.receiver.wait(order.path, 3)
    order.receiver.answers[order.path] = (200, b"success")
    assert len({order.identity(each) for each in received}) == 1
    assert all(order.holds(each) for each in received)
    wait_for(lambda: order.sandbox.notices(order.number)[0]["state"] == "DELIVERED")


def test_a_notice_that_nobody_takes_is_given_up_after_the_real_number_of_attempts(order: Order) -> None:
    order.receiver.answers[order.path] = (200, b"fail") if order.channel == "alipay" else FAILED
    order.sandbox.post("/sandbox/settings", {"notice_retry_scale": 0})
    order.sandbox.pay(order.number)
    wait_for(lambda: order.sandbox.notices(order.number)[0]["state"] == "GIVEN_UP")
    assert len(order.receiver.at(order.path)) == (8 if order.channel == "alipay" else 16)


@pytest.mark.parametrize("answer", [(200, b"SUCCESS"), (500, b"success"), (200, b"")])
def test_alipay_takes_nothing_but_the_word_success(
    sandbox: SandboxProcess, alipay: AlipayMerchant, receiver: Receiver, answer: tuple[int, bytes]
) -> None:
    order = AlipayOrder(alipay, receiver)
    receiver.answers[order.path] = answer
    sandbox.pay(order.number)
    assert attempts(order, 1)[0]["accepted"] is False


@pytest.mark.parametrize(("status", "taken"), [(200, True), (204, True), (201, False), (302, False)])
def test_wechat_takes_200_and_204(
    sandbox: SandboxProcess, wechat: WechatMerchant, receiver: Receiver, status: int, taken: bool
) -> None:
    order = WechatOrder(wechat, receiver)
    receiver.answers[order.path] = (status, b"")
    sandbox.pay(order.number)
    assert attempts(order, 1)[0]["accepted"] is taken


def test_a_merchant_that_cannot_be_reached(sandbox: SandboxProcess, wechat: WechatMerchant) -> None:
    number = wechat.paid(notify_url="http://127.0.0.1:9/none")
    found = wait_for(lambda: sandbox.notices(number)[0]["attempts"])
    assert found[0]["error"] == "CONNECTION_REFUSED"


def test_duplicate_notice(order: Order) -> None:
    faulty(order, "duplicate_notice")
    first, second = order.receiver.wait(order.path, 2)
    assert order.identity(first) == order.identity(second)
    assert order.holds(first)
    assert order.holds(second)


def test_late_notice(order: Order) -> None:
    faulty(order, "late_notice", seconds=0.6)
    time.sleep(0.3)
    assert not order.receiver.at(order.path)
    assert order.holds(order.receiver.wait(order.path)[0])


def test_no_notice_until_it_is_sent_by_hand(order: Order) -> None:
    faulty(order, "no_notice")
    wait_for(lambda: order.sandbox.notices(order.number)[0]["state"] == "WITHHELD")
    time.sleep(0.2)
    assert not order.receiver.at(order.path)
    sent = order.sandbox.post(f"/sandbox/notices/{order.number}/resend")
    assert sent["attempt"]["accepted"] is True
    assert order.told(order.receiver.at(order.path)[0]) == order.expected()


@pytest.mark.parametrize("kind", ["forged_notice", "flipped_byte_notice", "unsigned_notice"])
def test_notices_whose_signature_does_not_hold(order: Order, kind: str) -> None:
    faulty(order, kind)
    bad, good = order.receiver.wait(order.path, 2)
    assert not order.holds(bad)
    assert order.holds(good)
    listed = attempts(order, 2)
    assert [each["kind"] for each in listed] == [kind, "true"]
    if order.channel == "wechat" and kind == "flipped_byte_notice":
        with pytest.raises(InvalidTag):
            order.told(bad)


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        ("wrong_amount_notice", "amount"),
        ("other_merchant_notice", "merchant"),
        ("other_order_notice", "number"),
    ],
)
def test_notices_whose_signature_holds_but_whose_content_is_another(
    order: Order, kind: str, field: str
) -> None:
    faulty(order, kind)
    bad, good = order.receiver.wait(order.path, 2)
    assert order.holds(bad)
    different = {name for name, value in order.told(bad).items() if value != order.expected()[name]}
    assert different == ({"merchant", "app"} if field == "merchant" else {field})
    assert order.told(good) == order.expected()


def test_replayed_notice(order: Order) -> None:
    faulty(order, "replayed_notice", seconds=900)
    first, second = order.receiver.wait(order.path, 2)
    assert order.identity(first) == order.identity(second)
    assert order.holds(second)
    if order.channel == "wechat":
        assert time.time() - int(second.headers["wechatpay-timestamp"]) > 890
    else:
        assert second.form["notify_time"] < first.form["notify_time"]


def test_signtest_probe(sandbox: SandboxProcess, wechat: WechatMerchant, receiver: Receiver) -> None:
    order = WechatOrder(wechat, receiver)
    faulty(order, "signtest_probe", channel="wechat")
    probe, good = receiver.wait(order.path, 2)
    assert probe.headers["wechatpay-signature"].startswith("WECHATPAY/SIGNTEST/")
    assert not order.holds(probe)
    assert order.holds(good)


@pytest.mark.parametrize(
    "kind",
    [
        "forged_notice",
        "unsigned_notice",
        "wrong_amount_notice",
        "other_merchant_notice",
        "other_order_notice",
    ],
)
def test_a_lie_about_an_unpaid_order_leaves_no_trace_in_the_books(order: Order, kind: str) -> None:
    sent = order.sandbox.post(f"/sandbox/notices/{order.number}/resend", {"kind": kind})
    assert sent["attempt"]["kind"] == kind
    assert len(order.receiver.at(order.path)) == 1
    assert order.sandbox.notices(order.number) == []
    assert order.sandbox.trade(order.number)["state"] == "WAITING"


def test_there_is_nothing_true_to_send_about_an_unpaid_order(order: Order) -> None:
    order.sandbox.post(f"/sandbox/notices/{order.number}/resend", status=404)


def test_the_amount_that_was_charged_is_the_amount_that_is_told(order: Order) -> None:
    order.sandbox.pay(order.number, amount_minor_units=1)
    assert order.told(order.receiver.wait(order.path)[0]) == order.expected() | {"amount": 1}
    assert order.sandbox.trade(order.number)["paid_minor_units"] == 1
