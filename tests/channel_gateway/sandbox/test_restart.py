"""What survives kill -9, and what a second start on the same folder or port does."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.channel_gateway.sandbox.support import (
    AlipayMerchant,
    Receiver,
    SandboxProcess,
    WechatMerchant,
    unique,
    wait_for,
)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[SandboxProcess]:
    started = SandboxProcess(tmp_path)
    yield started
    started.kill()


def test_kill_loses_no_charge(
    own: SandboxProcess, merchant_key: rsa.RSAPrivateKey, receiver: Receiver
) -> None:
    own.post("/sandbox/settings", {"notice_retry_scale": 0.004, "auto_refund_seconds": 0.1})
    alipay, wechat = AlipayMerchant(own, merchant_key), WechatMerchant(own, merchant_key)
    path, refused, refund = f"/{unique('notice')}", f"/{unique('notice')}", unique("r")
    receiver.answers[refused] = (500, b"")
    paid = [alipay.paid() for _ in range(5)]
    waiting = unique("W")
    wechat.create(waiting)
    undelivered = alipay.paid(notify_url=receiver.url + refused)
    refunded = wechat.paid(1000)
    receiver.wait(refused)
    own.fault(operation="query", kind="system_error", rate=0.5, seed=3)
    wechat.refund(refunded, 400, refund, 1000, notify_url=receiver.url + path)
    own.kill()
    receiver.answers[refused] = (200, b"success")
    own.start()
    own.http.delete("/sandbox/faults")

    assert [alipay.query(number)["trade_status"] for number in paid] == ["TRADE_SUCCESS"] * 5
    assert wechat.query(waiting)[1]["trade_state"] == "NOTPAY"
    assert wechat.resource(receiver.wait(path)[0].body)["refund_status"] == "SUCCESS"
    wait_for(lambda: own.notices(undelivered)[0]["state"] == "DELIVERED")
    for account in (alipay.seller_id, wechat.mchid):
        figures = own.figures(account)
        assert figures["balance_minor_units"] == figures["running_balance_minor_units"]
    assert own.get("/sandbox/settings")["auto_refund_seconds"] == 0.1


def test_an_automatic_payment_that_was_due_is_made_after_the_restart(
    own: SandboxProcess, merchant_key: rsa.RSAPrivateKey
) -> None:
    own.post("/sandbox/settings", {"auto_pay": True, "auto_pay_delay_seconds": 0.5})
    wechat = WechatMerchant(own, merchant_key)
    number = unique("W")
    wechat.create(number)
    own.kill()
    own.start()
    wait_for(lambda: wechat.query(number)[1]["trade_state"] == "SUCCESS")


def test_the_platform_keys_stay_and_are_private(own: SandboxProcess, merchant_key: rsa.RSAPrivateKey) -> None:
    before = WechatMerchant(own, merchant_key).platform, AlipayMerchant(own, merchant_key).platform
    own.kill()
    own.start()
    after = WechatMerchant(own, merchant_key).platform, AlipayMerchant(own, merchant_key).platform
    names = ("platform_public_key_id", "platform_public_key", "platform_certificate")
    assert [before[0][name] for name in names] == [after[0][name] for name in names]
    assert before[1]["alipay_public_key"] == after[1]["alipay_public_key"]
    folder = own.data_directory / "sandbox"
    for path in folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_second_start_is_refused(own: SandboxProcess, tmp_path_factory: pytest.TempPathFactory) -> None:
    same_folder = own.command()
    assert same_folder.wait(timeout=20) == 1
    assert "another sandbox runs on" in (own.data_directory / "sandbox.log").read_text()
    folder = own.data_directory
    own.data_directory = tmp_path_factory.mktemp("elsewhere")
    same_port = own.command()
    assert same_port.wait(timeout=20) == 1
    assert "cannot listen on" in (own.data_directory / "sandbox.log").read_text()
    own.data_directory = folder


def test_a_port_that_is_no_number(own: SandboxProcess) -> None:
    port, own.port = own.port, 0
    assert own.command().wait(timeout=20) == 1
    own.port = port


def test_reset_keeps_merchants_unless_asked(own: SandboxProcess, merchant_key: rsa.RSAPrivateKey) -> None:
    wechat = WechatMerchant(own, merchant_key)
    number = wechat.paid()
    own.post("/sandbox/reset")
    assert wechat.query(number)[0] == 404
    assert own.figures(wechat.mchid)["balance_minor_units"] == 100_000_000
    own.post("/sandbox/reset", {"merchants": True})
    assert wechat.send("GET", "/v3/certificates").status_code == 401
    assert own.get("/sandbox/books")["accounts"] == []
