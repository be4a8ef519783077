"""Payments end to end: four servers, the sandbox, PostgreSQL and NATS, all on this machine with the callers."""

from __future__ import annotations

import asyncio
import statistics
import time
import uuid
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import uvloop
from paycenter.transaction.v1 import transaction_core_pb2 as tc
from paycenter.type.v1 import credential_pb2, money_pb2
from paycenter_client import AsyncPaycenterClient, Caller, Targets, new_request_id

from clients.cli.merchant_keys import MerchantKeys
from clients.cli.provisioning import AccountPlan, provision
from clients.cli.sandbox_client import SandboxClient
from invariants import check_center
from runtime.embedded.stack import Stack, StackOptions
from tests.benchmarks.callbacks import CallbackSink
from tests.benchmarks.machine import processor_seconds

CALLERS = 32
MERCHANTS = 4
WARM_UP_PAYMENTS = 100
MEASURED_PAYMENTS = 1000
TRACED_RATIO = 0.01
LONGEST_PAYMENT_SECONDS = 60.0


def measure(folder: Path, *, payments: int = MEASURED_PAYMENTS) -> dict[str, Any]:
    """Starts a center, pays, stops it; gives the figures."""
    options = StackOptions(
        trace_sample_ratio=TRACED_RATIO,
        log_level="WARNING",
        environment={"PAYCENTER_RISK_RULES": "[]"},
    )
    stack = Stack(folder / "data", options=options)
    try:
        stack.start()
        return uvloop.run(_run(stack, folder, payments))
    finally:
        stack.remove()


async def _run(stack: Stack, folder: Path, payments: int) -> dict[str, Any]:
    endpoints = stack.endpoints
    arrived: dict[str, asyncio.Future[float]] = {}
    loop = asyncio.get_running_loop()
    sink = await loop.create_server(lambda: CallbackSink(arrived), "127.0.0.1", 0)
    notify_url = f"http://127.0.0.1:{sink.sockets[0].getsockname()[1]}/callback"
    targets = Targets(
        transaction=endpoints.transaction_target,
        payment=endpoints.payment_target,
        channel=endpoints.channel_target,
        accounting=endpoints.accounting_target,
    )
    caller = Caller(service="benchmark", tenant_id="benchmark")
    async with AsyncPaycenterClient(targets, caller=caller) as client:
        async with SandboxClient(endpoints.sandbox_base_url) as sandbox:
            shops = await _shops(client, sandbox, MerchantKeys(folder))
            await sandbox.change_settings(auto_pay=True, auto_pay_delay_seconds=0.0)
        payer = _Payer(client, shops, notify_url, arrived)
        await _at_once(payer, WARM_UP_PAYMENTS)
        before = _processor_seconds(stack)
        started = time.perf_counter()
        latencies = await _at_once(payer, payments)
        elapsed_seconds = time.perf_counter() - started
        after = _processor_seconds(stack)
    sink.close()
    report = await asyncio.to_thread(check_center, endpoints.readonly_database_urls)
    if not report.all_hold:
        raise RuntimeError("the invariants do not hold after the run; its figures mean nothing")
    return {
        "payments": payments,
        "callers": CALLERS,
        "payments_per_second": round(payments / elapsed_seconds, 1),
        "pay_to_callback_p50_ms": round(_percentile(latencies, 50) * 1000, 1),
        "pay_to_callback_p99_ms": round(_percentile(latencies, 99) * 1000, 1),
        "processor_ms_per_payment": {
            name: round((after[name] - before[name]) / payments * 1000, 2) for name in after
        },
        "traced_ratio": TRACED_RATIO,
    }


async def _shops(
    client: AsyncPaycenterClient, sandbox: SandboxClient, keys: MerchantKeys
) -> list[tuple[str, str]]:
    """Opens merchants with an account at each channel; gives (merchant, payment account) pairs."""
    shops = []
    for index in range(MERCHANTS):
        number = uuid.uuid4().hex[:12]
        plans = [
            AccountPlan(
                name="benchmark-alipay",
                channel="alipay",
                account=f"2088{int(number, 16) % 10**12:012d}",
                app_id=f"2021{number}",
                fee_ratio=Decimal("0.006"),
            ),
            AccountPlan(
                name="benchmark-wechat",
                channel="wechat_pay",
                account=f"16{int(number, 16) % 10**12:012d}",
                app_id=f"wx{number}",
                fee_ratio=Decimal("0.006"),
            ),
        ]
        merchant = await provision(
            client, sandbox, keys, merchant_number=number, display_name=f"Benchmark {index}", plans=plans
        )
        shops += [(merchant.merchant_id, account.payment_account_id) for account in merchant.accounts]
    return shops


class _Payer:
    """Takes an order in, has it paid, waits for the callback; gives the seconds from Pay to callback."""

    def __init__(
        self,
        client: AsyncPaycenterClient,
        shops: list[tuple[str, str]],
        notify_url: str,
        arrived: dict[str, asyncio.Future[float]],
    ) -> None:
        self._client = client
        self._shops = shops
        self._notify_url = notify_url
        self._arrived = arrived

    async def pay(self, index: int) -> float:
        """One payment."""
        merchant_id, payment_account_id = self._shops[index % len(self._shops)]
        order = (
            await self._client.transaction.CreateOrder(
                tc.CreateOrderRequest(
                    request_id=new_request_id(),
                    merchant_id=merchant_id,
                    merchant_order_id=uuid.uuid4().hex,
                    amount=money_pb2.Money(minor_units=1000 + index % 977, currency_code="CNY"),
                    subject="benchmark",
                    purchase=tc.Purchase(),
                    notify_url=self._notify_url,
                ),
                timeout=30,
            )
        ).order
        waiting = asyncio.get_running_loop().create_future()
        self._arrived[order.order_id] = waiting
        started = time.perf_counter()
        await self._client.transaction.PayOrder(
            tc.PayOrderRequest(
                request_id=new_request_id(),
                merchant_id=merchant_id,
                order_id=order.order_id,
                payment_account_id=payment_account_id,
                invoke_method=credential_pb2.INVOKE_METHOD_QR,
            ),
            timeout=30,
        )
        told_at: float = await asyncio.wait_for(waiting, LONGEST_PAYMENT_SECONDS)
        del self._arrived[order.order_id]
        return told_at - started


async def _at_once(payer: _Payer, payments: int) -> list[float]:
    """Pays with the callers at once, each beginning the next payment when its callback has come."""
    numbers = iter(range(payments))
    latencies: list[float] = []

    async def caller() -> None:
        for number in numbers:
            latencies.append(await payer.pay(number))  # noqa: PERF401 - each payment begins when its callback came

    await asyncio.gather(*[caller() for _ in range(CALLERS)])
    return latencies


def _processor_seconds(stack: Stack) -> Mapping[str, float]:
    used = {
        name: processor_seconds(process.pid)
        for name, process in stack.status().items()
        if process.pid is not None
    }
    return used | {"callers": time.process_time()}


def _percentile(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100)[percent - 1]


def run() -> dict[str, Any]:
    """Measures in a folder that is removed afterwards."""
    with TemporaryDirectory(prefix="paycenter-benchmark-") as folder:
        return measure(Path(folder))
