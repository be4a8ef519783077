"""PaymentCore as a process of its own, with its workers and a real bus."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from paycenter.channel.v1 import channel_gateway_pb2 as channel_pb
from paycenter.payment.v1 import payment_core_pb2 as pb
from paycenter.payment.v1.payment_core_pb2_grpc import PaymentCoreStub

from runtime.bus import Bus
from runtime.context import PlatformContext, TraceContext, encode_platform
from runtime.embedded.parts import Parts
from runtime.grpc_client import open_channel
from runtime.ids import NumberKind, new_number
from runtime.outbox import StoredEvent
from tests.integration.payment.desk import CALLER, TENANT, Desk, open_desk

PROJECT = Path(__file__).resolve().parents[3]
STARTS_WITHIN_SECONDS = 90.0
SUCCEEDED = channel_pb.CHANNEL_ORDER_STATE_SUCCEEDED


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def start_server(environment: dict[str, str], *, stderr: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "core.payment"],
        cwd=PROJECT,
        env=os.environ | environment | {"PYTHONPATH": f"{PROJECT}:{PROJECT / 'generated'}"},
        stdout=subprocess.DEVNULL,
        stderr=stderr,
    )


@pytest.fixture
async def served(database_url: str, embedded: Parts) -> AsyncIterator[tuple[Desk, subprocess.Popen[bytes]]]:
    """A desk whose PaymentCore is a process; the fakes below stay in the test."""
    async with AsyncExitStack() as stack:
        desk = await open_desk(database_url, stack)
        port = free_port()
        process = start_server(
            {
                "PAYCENTER_PORT": str(port),
                "PAYCENTER_DATABASE_URL": database_url,
                "PAYCENTER_NATS_URL": embedded.nats_url,
                "PAYCENTER_CHANNEL_TARGET": f"127.0.0.1:{desk.gateway_port}",
                "PAYCENTER_ACCOUNTING_TARGET": f"127.0.0.1:{desk.ledger_port}",
                "PAYCENTER_PENDING_SCHEDULE_SECONDS": "[60]",
            }
        )
        try:
            await wait_until_serving(port, process)
            channel = open_channel(f"127.0.0.1:{port}", caller_service=CALLER)
            stack.push_async_callback(channel.close)
            desk.stub = PaymentCoreStub(channel)
            yield desk, process
        finally:
            end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    if process.stderr is not None:
        process.stderr.close()


async def wait_until_serving(port: int, process: subprocess.Popen[bytes]) -> None:
    async with (
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
        asyncio.timeout(STARTS_WITHIN_SECONDS),
    ):
        health = health_pb2_grpc.HealthStub(channel)  # type: ignore[no-untyped-call]
        while True:
            assert process.poll() is None, "the server ended"
            try:
                answer = await health.Check(health_pb2.HealthCheckRequest(service=""))
            except grpc.aio.AioRpcError:
                await asyncio.sleep(0.05)
                continue
            if answer.status == health_pb2.HealthCheckResponse.SERVING:
                return


def channel_event(desk: Desk, payment_id: str, *, revision: int) -> StoredEvent:
    order = desk.gateway.order_of(payment_id)
    event_id = new_number(NumberKind.EVENT, shard=1)
    return StoredEvent(
        revision=revision,
        shard=1,
        event_id=event_id,
        subject="paycenter.channel.1.channel_order_succeeded",
        event_type="CHANNEL_ORDER_SUCCEEDED",
        resource_id=order.channel_order_id,
        resource_version=order.version,
        business_id=order.business_id,
        payload=channel_pb.ChannelEvent(event_id=event_id, channel_order=order).SerializeToString(),
        traceparent=TraceContext.new(sampled=False).format(),
        platform=encode_platform(PlatformContext(caller_service="channel", tenant_id=TENANT)),
        created_time=datetime.now(UTC),
        published_time=None,
    )


async def test_a_channel_event_on_the_bus_settles_the_payment_and_a_watcher_hears_of_it(
    served: tuple[Desk, subprocess.Popen[bytes]], embedded: Parts
) -> None:
    desk, process = served
    pending = await desk.recharge()
    desk.gateway.move(pending.payment_id, SUCCEEDED)
    bus = await Bus.connect(embedded.nats_url, wait_seconds=10)
    try:
        await bus.ensure_stream("channel")
        await bus.publish([channel_event(desk, pending.payment_id, revision=1)])
        await wait_for_state(desk, pending.payment_id, pb.PAYMENT_STATE_SUCCEEDED)
    finally:
        await bus.close()
    assert desk.ledger.balances[desk.transit] == 10_000
    async with asyncio.timeout(10):
        while True:
            page = await desk.call(desk.stub.ListPaymentEvents, pb.ListPaymentEventsRequest())
            if len(page.events) == 3:
                break
            await asyncio.sleep(0.05)
    assert [event.event_type for event in page.events][-1] == pb.PAYMENT_EVENT_TYPE_PAYMENT_SUCCEEDED

    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 0


async def wait_for_state(desk: Desk, payment_id: str, state: pb.PaymentState.ValueType) -> None:
    async with asyncio.timeout(20):
        while (await desk.get(payment_id)).state != state:
            await asyncio.sleep(0.02)


async def test_a_process_that_was_killed_finishes_after_its_restart(
    served: tuple[Desk, subprocess.Popen[bytes]], embedded: Parts, database_url: str
) -> None:
    desk, process = served
    desk.gateway.faults.slow_seconds["CreateChannelPayment"] = 1.0
    request = desk.recharge_request()
    attempt = asyncio.ensure_future(desk.call(desk.stub.CreateRecharge, request))
    async with asyncio.timeout(STARTS_WITHIN_SECONDS):
        while not desk.gateway.faults.calls["CreateChannelPayment"]:
            await asyncio.sleep(0.01)
    end(process)
    await asyncio.gather(attempt, return_exceptions=True)
    rows = await desk.sql("SELECT payment_id, state FROM payment")
    assert [row[1] for row in rows] == ["SUBMITTING"]

    desk.gateway.faults.slow_seconds.clear()
    port = free_port()
    second = start_server(
        {
            "PAYCENTER_PORT": str(port),
            "PAYCENTER_DATABASE_URL": database_url,
            "PAYCENTER_NATS_URL": embedded.nats_url,
            "PAYCENTER_CHANNEL_TARGET": f"127.0.0.1:{desk.gateway_port}",
            "PAYCENTER_ACCOUNTING_TARGET": f"127.0.0.1:{desk.ledger_port}",
        }
    )
    try:
        await wait_until_serving(port, second)
        channel = open_channel(f"127.0.0.1:{port}", caller_service=CALLER)
        stub = PaymentCoreStub(channel)
        answer = await desk.call(stub.CreateRecharge, request)
        await channel.close()
    finally:
        end(second)
    assert answer.payment.payment_id == rows[0][0]
    assert answer.payment.state == pb.PAYMENT_STATE_PENDING
    assert len(desk.gateway.orders) == 1


async def test_a_port_that_is_taken_is_told_in_one_sentence(database_url: str, embedded: Parts) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        process = start_server(
            {
                "PAYCENTER_PORT": str(taken.getsockname()[1]),
                "PAYCENTER_DATABASE_URL": database_url,
                "PAYCENTER_NATS_URL": embedded.nats_url,
            },
            stderr=subprocess.PIPE,
        )
        _, errors = await asyncio.to_thread(process.communicate, timeout=STARTS_WITHIN_SECONDS)
    assert process.returncode == 1
    assert b"the port is taken" in errors
    assert b"Traceback" not in errors
