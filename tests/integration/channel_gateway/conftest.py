"""One PostgreSQL, NATS, sandbox and gateway for all tests of a worker; each test has its own tenant and merchant."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from runtime.embedded.parts import Parts
from tests.integration.channel_gateway.support import (
    Gateway,
    GatewayProcess,
    SandboxProcess,
    Shop,
    open_shop,
)

CALM = {
    "auto_pay": False,
    "auto_pay_delay_seconds": 0.0,
    "auto_refund_seconds": 0.1,
    "auto_transfer": True,
    "auto_transfer_seconds": 0.1,
    "notice_retry_scale": 0.001,
    "notice_timeout_seconds": 5,
}


@pytest.fixture(scope="session")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    with Parts(tmp_path_factory.mktemp("channel")) as started:
        yield started


@pytest.fixture(scope="session")
def sandbox_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    process = SandboxProcess(tmp_path_factory.mktemp("sandbox"))
    yield process
    process.stop()


@pytest.fixture
def sandbox(sandbox_process: SandboxProcess) -> SandboxProcess:
    sandbox_process.http.delete("/sandbox/faults")
    sandbox_process.post("/sandbox/settings", **CALM)
    return sandbox_process


@pytest.fixture(scope="session")
def server(parts: Parts) -> Iterator[GatewayProcess]:
    process = GatewayProcess(parts)
    process.start()
    yield process
    assert process.stop() == 0


@pytest.fixture(scope="session")
def merchant_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture
async def gateway(server: GatewayProcess) -> AsyncIterator[Gateway]:
    mark = secrets.token_hex(6)
    caller = Gateway(f"127.0.0.1:{server.port}", tenant_id=f"tenant-{mark}", business_id=f"case-{mark}")
    yield caller
    await caller.shut()


@pytest.fixture
async def shop(gateway: Gateway, sandbox: SandboxProcess, merchant_key: rsa.RSAPrivateKey) -> Shop:
    return await open_shop(gateway, sandbox, merchant_key)
