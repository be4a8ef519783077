"""kill -9 and lost steps: whatever was left in the middle is found and finished, once."""

from __future__ import annotations

import asyncio
import os
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from paycenter.channel.v1 import channel_gateway_pb2 as pb

from channel_gateway.inbox import Inbox, InboxRepair
from channel_gateway.parts import GatewayParts
from channel_gateway.server import open_parts
from channel_gateway.settings import ChannelGatewaySettings
from channel_gateway.store.tables import metadata
from runtime.embedded.parts import Parts
from runtime.errors import PaycenterError
from runtime.ids import new_request_id
from runtime.migrations import schema_differences
from tests.integration.channel_gateway.support import (
    ACCEPTED,
    KEY_ENCRYPTION_KEY,
    NOT_SENT,
    PROJECT,
    QR,
    SUCCEEDED,
    Gateway,
    GatewayProcess,
    SandboxProcess,
    Shop,
    open_shop,
)


@pytest.fixture
async def mortal(parts: Parts, server: GatewayProcess) -> AsyncIterator[GatewayProcess]:
    """A second server on the same database, to be killed; it waits long for its channel."""
    process = GatewayProcess(parts, settings={"PAYCENTER_CHANNEL_CALL_TIMEOUT_SECONDS": "5"})
    process.start()
    yield process
    process.stop()


@pytest.fixture
async def own_parts(server: GatewayProcess) -> AsyncIterator[GatewayParts]:
    """The gateway's parts inside the test, without its workers."""
    async with AsyncExitStack() as resources:
        settings = ChannelGatewaySettings(
            database_url=server.database_url,
            key_encryption_key=KEY_ENCRYPTION_KEY,
            account_cache_seconds=0,
        )
        yield open_parts(settings, resources, notice_base_url=f"http://127.0.0.1:{server.notice_port}")


async def test_the_migrations_make_the_tables(server: GatewayProcess) -> None:
    assert schema_differences(server.database_url, metadata) == []


async def test_a_server_killed_while_the_channel_is_asked_converges(
    mortal: GatewayProcess, sandbox: SandboxProcess, merchant_key: rsa.RSAPrivateKey, server: GatewayProcess
) -> None:
    mark = secrets.token_hex(4)
    caller = Gateway(f"127.0.0.1:{mortal.port}", tenant_id=f"tenant-{mark}", business_id=f"case-{mark}")
    shop = await open_shop(caller, sandbox, merchant_key)
    sandbox.fault("wechat", "notice", "no_notice", count=1)
    sandbox.fault("wechat", "pay", "timeout_after_charge", count=1, seconds=6)
    request = shop.payment_request("wechat_pay", QR, 500)
    asking = asyncio.ensure_future(caller.call("CreateChannelPayment", request))
    while not server.sql(
        "SELECT 1 FROM channel_order WHERE payment_id = %s AND state = 'SENT'", request.payment_id
    ):
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.3)
    mortal.kill()
    with pytest.raises(Exception, match=r".+"):
        await asking
    await caller.shut()

    survivor = Gateway(f"127.0.0.1:{server.port}", tenant_id=caller.tenant_id, business_id=caller.business_id)
    ((number, state),) = server.sql(
        "SELECT channel_order_id, state FROM channel_order WHERE payment_id = %s", request.payment_id
    )
    assert state == "SENT"
    again = (await survivor.call("CreateChannelPayment", request)).channel_order
    assert again.channel_order_id == number
    assert again.state == SUCCEEDED
    assert (await survivor.call("CreateChannelPayment", request)).channel_order == again
    await survivor.shut()


async def test_an_order_left_sent_is_found_by_the_repair_worker(shop: Shop, server: GatewayProcess) -> None:
    order = await shop.pay("wechat_pay", QR, 500)
    server.sql(
        "UPDATE channel_order SET state = 'SENT', credential = NULL, next_step_time = now()"
        " WHERE channel_order_id = %s",
        order.channel_order_id,
    )
    found = await shop.gateway.until(order.channel_order_id, ACCEPTED)
    assert found.version == order.version + 1


async def test_an_order_that_never_left_is_not_sent_after_proof(
    shop: Shop, sandbox: SandboxProcess, server: GatewayProcess
) -> None:
    sandbox.fault("wechat", "pay", "connection_reset", count=1)
    order = await shop.pay("wechat_pay", QR, 500)
    server.sql(
        "UPDATE channel_order SET state = 'SENT', next_step_time = now() WHERE channel_order_id = %s",
        order.channel_order_id,
    )
    await shop.gateway.until(order.channel_order_id, NOT_SENT)


async def test_a_notice_that_could_not_be_applied_is_kept_and_applied_later(
    shop: Shop,
    sandbox: SandboxProcess,
    server: GatewayProcess,
    own_parts: GatewayParts,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    order = await shop.pay("alipay", QR, 500)
    number = order.channel_order_id
    sandbox.post(f"/sandbox/payments/{number}/pay")
    await shop.gateway.until(number, SUCCEEDED)
    ((body,),) = server.sql("SELECT body FROM notice WHERE channel_order_id = %s", number)
    server.sql("DELETE FROM notice WHERE channel_order_id = %s", number)
    server.sql(
        "UPDATE channel_order SET state = 'ACCEPTED', succeed_time = NULL,"
        " next_step_time = now() + interval '1 hour' WHERE channel_order_id = %s",
        number,
    )
    account = await own_parts.accounts.get(shop.alipay)
    inbox = Inbox(own_parts)

    async def broken(*_arguments: object, **_more: object) -> None:
        raise RuntimeError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr("channel_gateway.inbox.write_change", broken)
        verdict = await inbox.take_in(account, {}, bytes(body))
    assert not verdict.is_accepted
    states = "SELECT state FROM notice WHERE payment_account_id = %s"
    assert server.sql(states, shop.alipay) == [("RECEIVED",)]
    assert (await shop.gateway.order(number)).state == ACCEPTED

    server.sql("UPDATE notice SET next_step_time = now() WHERE payment_account_id = %s", shop.alipay)
    await InboxRepair(own_parts, inbox).step()
    await shop.gateway.until(number, SUCCEEDED)
    assert server.sql(states, shop.alipay) == [("APPLIED",)]


async def test_a_caller_that_gives_up_cancels_nothing(
    shop: Shop, sandbox: SandboxProcess, server: GatewayProcess
) -> None:
    request = shop.payment_request("wechat_pay", QR, 500)
    sandbox.fault("wechat", "notice", "no_notice", count=1)
    sandbox.fault("wechat", "pay", "timeout_after_charge", count=1, seconds=1)
    with pytest.raises(PaycenterError, match=r".+"):
        await shop.gateway.call("CreateChannelPayment", request, timeout=0.5)
    rows = server.sql(
        "SELECT channel_order_id, state FROM channel_order WHERE payment_id = %s", request.payment_id
    )
    assert [state for _, state in rows] == ["SENT"]
    await shop.gateway.until(rows[0][0], SUCCEEDED)
    ((response,),) = server.sql("SELECT response FROM idempotency_record WHERE resource_id = %s", rows[0][0])
    assert response is not None


def test_a_second_start_on_the_same_port_says_so(server: GatewayProcess, parts: Parts) -> None:
    for double in (
        GatewayProcess(parts, port=server.port),
        GatewayProcess(parts, notice_port=server.notice_port),
    ):
        ended = subprocess.run(
            [sys.executable, "-m", "channel_gateway"],
            cwd=PROJECT,
            env=os.environ | {"PYTHONPATH": f"{PROJECT}:{PROJECT / 'generated'}"} | double.environment(),
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert ended.returncode == 1
        assert "the port is taken" in ended.stderr
        assert "Traceback" not in ended.stderr


async def test_the_same_answer_after_a_restart(
    mortal: GatewayProcess, sandbox: SandboxProcess, merchant_key: rsa.RSAPrivateKey
) -> None:
    caller = Gateway(f"127.0.0.1:{mortal.port}", tenant_id=f"tenant-{secrets.token_hex(4)}")
    shop = await open_shop(caller, sandbox, merchant_key)
    request = shop.payment_request("wechat_pay", QR, 500)
    first = await caller.call("CreateChannelPayment", request)
    close = pb.CloseChannelOrderRequest(
        request_id=new_request_id(), channel_order_id=first.channel_order.channel_order_id
    )
    closed = await caller.call("CloseChannelOrder", close)
    await caller.shut()
    caller.channel = None
    mortal.kill()
    mortal.start()
    assert await caller.call("CreateChannelPayment", request) == first
    assert await caller.call("CloseChannelOrder", close) == closed
    assert caller.was_replayed()
    await caller.shut()
