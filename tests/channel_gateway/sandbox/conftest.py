"""One sandbox process, one receiver of notices and one pair of merchant keys for all tests of a worker."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.channel_gateway.sandbox.support import AlipayMerchant, Receiver, SandboxProcess, WechatMerchant

CALM = {
    "auto_pay": False,
    "auto_pay_delay_seconds": 0.05,
    "auto_refund_seconds": 0.05,
    "auto_transfer": True,
    "auto_transfer_seconds": 0.05,
    "notice_retry_scale": 0.001,
    "notice_timeout_seconds": 5,
}


@pytest.fixture(scope="session")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    started = SandboxProcess(tmp_path_factory.mktemp("sandbox"))
    yield started
    assert started.stop() == 0


@pytest.fixture
def sandbox(process: SandboxProcess) -> SandboxProcess:
    """The running sandbox with no faults and quick, calm behaviour."""
    process.http.delete("/sandbox/faults")
    process.post("/sandbox/settings", dict(CALM))
    return process


@pytest.fixture(scope="session")
def receiver() -> Iterator[Receiver]:
    started = Receiver()
    yield started
    started.close()


@pytest.fixture(scope="session")
def merchant_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture
def alipay(sandbox: SandboxProcess, merchant_key: rsa.RSAPrivateKey) -> AlipayMerchant:
    return AlipayMerchant(sandbox, merchant_key)


@pytest.fixture
def wechat(sandbox: SandboxProcess, merchant_key: rsa.RSAPrivateKey) -> WechatMerchant:
    return WechatMerchant(sandbox, merchant_key)
