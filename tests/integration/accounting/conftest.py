"""A real accounting server, alone on its own PostgreSQL and NATS."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import psycopg
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from paycenter.accounting.v1 import accounting_pb2 as pb
from paycenter.type.v1 import money_pb2
from paycenter_client import AsyncPaycenterClient, Caller, Targets, new_request_id

from runtime.embedded.parts import Parts
from runtime.ids import NumberKind, new_number, shard_of_owner

PROJECT = Path(__file__).resolve().parents[3]


@dataclass(slots=True)
class Ledger:
    """The running server and its database."""

    parts: Parts
    port: int
    process: subprocess.Popen[bytes]

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    def sql(self, statement: str) -> list[tuple[object, ...]]:
        """Runs SQL past the server, as its own role."""
        url = self.parts.database_urls["accounting"].replace("+psycopg", "")
        with psycopg.connect(url, autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def start(self) -> None:
        environment = os.environ | {
            "PAYCENTER_PORT": str(self.port),
            "PAYCENTER_DATABASE_URL": self.parts.database_urls["accounting"],
            "PAYCENTER_NATS_URL": self.parts.nats_url,
            "PAYCENTER_MIGRATE_ON_START": "true",
            "PAYCENTER_TRACE_SAMPLE_RATIO": "0",
            "PAYCENTER_HOLD_EXPIRY_INTERVAL_SECONDS": "0.1",
            "PYTHONPATH": f"{PROJECT}:{PROJECT / 'generated'}",
        }
        log = (self.parts.layout.data_directory / "accounting.log").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "accounting"], env=environment, stdout=log, stderr=log
        )
        self._wait_until_serving()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def _wait_until_serving(self) -> None:
        give_up_at = time.monotonic() + 20
        with grpc.insecure_channel(self.target) as channel:
            stub = health_pb2_grpc.HealthStub(channel)  # type: ignore[no-untyped-call]
            while time.monotonic() < give_up_at:
                assert self.process.poll() is None, "the accounting server ended"
                try:
                    answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=1)
                except grpc.RpcError:
                    time.sleep(0.05)
                    continue
                if answer.status == health_pb2.HealthCheckResponse.SERVING:
                    return
                time.sleep(0.05)
        raise AssertionError("the accounting server does not serve")


@pytest.fixture(scope="session")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    parts = Parts(tmp_path_factory.mktemp("ledger"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    try:
        parts.start()
        running = Ledger(parts=parts, port=port, process=None)  # type: ignore[arg-type]
        running.start()
        try:
            yield running
        finally:
            running.process.terminate()
            running.process.wait(timeout=15)
    finally:
        parts.remove()


@dataclass(slots=True)
class Merchant:
    """A merchant with its four accounts, and short words for what is done with them."""

    client: AsyncPaycenterClient
    merchant_id: str
    payment_account_id: str

    @property
    def clearing(self) -> str:
        return f"1101:{self.payment_account_id}:CNY"

    @property
    def balance(self) -> str:
        return f"2101:{self.merchant_id}:CNY"

    @property
    def transit(self) -> str:
        return f"2201:{self.merchant_id}:CNY"

    @property
    def expense(self) -> str:
        return f"5101:{self.merchant_id}:CNY"

    def number(self) -> str:
        return new_number(NumberKind.PAYMENT, shard=shard_of_owner(self.merchant_id))

    async def open_accounts(self) -> None:
        for subject, owner in (
            ("1101", self.payment_account_id),
            ("2101", self.merchant_id),
            ("2201", self.merchant_id),
            ("5101", self.merchant_id),
        ):
            await self.client.accounting.OpenAccount(
                pb.OpenAccountRequest(
                    request_id=new_request_id(), subject_code=subject, owner_id=owner, currency_code="CNY"
                )
            )

    def event(
        self,
        event_code: str,
        parties: dict[str, str],
        *,
        number: str = "",
        hold_id: str = "",
        request_id: str = "",
        **components: int,
    ) -> pb.PostEventRequest:
        return pb.PostEventRequest(
            request_id=request_id or new_request_id(),
            event_code=event_code,
            business_number=number or self.number(),
            parties=[pb.EventParty(role=role, account_id=account) for role, account in parties.items()],
            components=[
                pb.EventComponent(component=name, amount=yuan(minor_units))
                for name, minor_units in components.items()
            ],
            hold_id=hold_id,
        )

    def recharge(self, minor_units: int, *, fee: int = 0) -> pb.PostEventRequest:
        parties = {
            "channel_clearing": self.clearing,
            "channel_fee_expense": self.expense,
            "beneficiary": self.balance,
        }
        return self.event("RECHARGE", parties, gross=minor_units, fee=fee, net=minor_units - fee)

    def withdrawal(self, minor_units: int, *, hold_id: str = "") -> pb.PostEventRequest:
        parties = {"source": self.balance, "channel_clearing": self.clearing}
        return self.event("WITHDRAWAL", parties, hold_id=hold_id, gross=minor_units)

    async def has(self, minor_units: int) -> None:
        """Fills the merchant's balance."""
        await self.client.accounting.PostEvent(self.recharge(minor_units))

    async def account(self, account_id: str) -> pb.Account:
        return (await self.client.accounting.GetAccount(pb.GetAccountRequest(account_id=account_id))).account

    async def hold(self, minor_units: int, request_id: str = "") -> pb.Hold:
        answer = await self.client.accounting.PlaceHold(
            pb.PlaceHoldRequest(
                request_id=request_id or new_request_id(),
                account_id=self.balance,
                amount=yuan(minor_units),
                business_number=self.number(),
            )
        )
        return answer.hold


def yuan(minor_units: int) -> money_pb2.Money:
    return money_pb2.Money(minor_units=minor_units, currency_code="CNY")


@pytest.fixture
async def client(ledger: Ledger) -> AsyncIterator[AsyncPaycenterClient]:
    caller = Caller(service="payment", tenant_id="tenant-1")
    async with AsyncPaycenterClient(Targets(accounting=ledger.target), caller=caller) as opened:
        yield opened


@pytest.fixture
async def merchant(client: AsyncPaycenterClient) -> Merchant:
    merchant_id = new_number(NumberKind.MERCHANT, shard=7)
    shard = shard_of_owner(merchant_id)
    opened = Merchant(client, merchant_id, new_number(NumberKind.PAYMENT_ACCOUNT, shard=shard))
    await opened.open_accounts()
    return opened
