"""The gateway's surroundings: the real sandbox, the real server, a caller and what a merchant has at the channels."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import grpc
import httpx
import psycopg
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from paycenter.channel.v1 import channel_gateway_pb2 as pb
from paycenter.channel.v1.channel_gateway_pb2_grpc import ChannelGatewayStub
from paycenter.type.v1 import credential_pb2, money_pb2, party_pb2

from runtime.context import PLATFORM_CONTEXT_KEY, PlatformContext, TraceContext, encode_platform
from runtime.embedded.parts import Parts
from runtime.errors import PaycenterError
from runtime.ids import NumberKind, new_number, new_request_id, shard_of_owner
from runtime.rich_status import error_from_rpc

PROJECT = Path(__file__).resolve().parents[3]
KEY_ENCRYPTION_KEY = "5a" * 32
API_V3_KEY = "sandbox-api-v3-key-of-32-bytes!!"
Value = TypeVar("Value")

PAY = pb.ChannelOrderKind.CHANNEL_ORDER_KIND_PAY
SENT = pb.ChannelOrderState.CHANNEL_ORDER_STATE_SENT
ACCEPTED = pb.ChannelOrderState.CHANNEL_ORDER_STATE_ACCEPTED
SUCCEEDED = pb.ChannelOrderState.CHANNEL_ORDER_STATE_SUCCEEDED
DECLINED = pb.ChannelOrderState.CHANNEL_ORDER_STATE_DECLINED
NOT_SENT = pb.ChannelOrderState.CHANNEL_ORDER_STATE_NOT_SENT
UNKNOWN = pb.ChannelOrderState.CHANNEL_ORDER_STATE_UNKNOWN
CLOSED = pb.ChannelOrderState.CHANNEL_ORDER_STATE_CLOSED
PC = credential_pb2.InvokeMethod.INVOKE_METHOD_PC
WAP = credential_pb2.InvokeMethod.INVOKE_METHOD_WAP
APP = credential_pb2.InvokeMethod.INVOKE_METHOD_APP
QR = credential_pb2.InvokeMethod.INVOKE_METHOD_QR
MINI_PROGRAM = credential_pb2.InvokeMethod.INVOKE_METHOD_MINI_PROGRAM
BARCODE = credential_pb2.InvokeMethod.INVOKE_METHOD_BARCODE


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(read: Callable[[], bool], *, seconds: float = 90.0) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if read():
            return
        time.sleep(0.02)
    raise AssertionError("did not happen in time")


async def eventually(
    read: Callable[[], Awaitable[Value]], holds: Callable[[Value], bool], *, seconds: float = 40.0
) -> Value:
    deadline = time.monotonic() + seconds
    while True:
        value = await read()
        if holds(value):
            return value
        assert time.monotonic() < deadline, f"did not happen in time; last seen: {value}"
        await asyncio.sleep(0.03)


class SandboxProcess:
    """The real sandbox in its own process, directed over HTTP."""

    def __init__(self, data_directory: Path) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.http = httpx.Client(base_url=self.url, timeout=10, trust_env=False)
        environment = os.environ | {
            "PAYCENTER_SANDBOX_PORT": str(port),
            "PAYCENTER_DATA_DIRECTORY": str(data_directory),
        }
        self._log = (data_directory / "sandbox.log").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "channel_gateway.sandbox"],
            cwd=PROJECT,
            env=environment,
            stdout=self._log,
            stderr=self._log,
        )
        wait_for(self._serves)

    def _serves(self) -> bool:
        assert self.process.poll() is None, "the sandbox ended"
        try:
            return self.http.get("/sandbox/health").status_code == 200
        except httpx.TransportError:
            return False

    def get(self, path: str, **query: str) -> dict[str, Any]:
        answer = self.http.get(path, params=query)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def post(self, path: str, **body: Any) -> dict[str, Any]:
        answer = self.http.post(path, json=body)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def fault(self, channel: str, operation: str, kind: str, **more: Any) -> None:
        self.post("/sandbox/faults", channel=channel, operation=operation, kind=kind, **more)

    def attempts(self, number: str, event_prefix: str = "") -> list[dict[str, Any]]:
        notices = self.get("/sandbox/notices", out_trade_no=number)["notices"]
        return [
            attempt
            for notice in notices
            if notice["event_type"].startswith(event_prefix)
            for attempt in notice["attempts"]
        ]

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=15)
        self.http.close()
        self._log.close()


@dataclass(slots=True)
class GatewayProcess:
    """The real server in its own process on its own database."""

    parts: Parts
    port: int = field(default_factory=free_port)
    notice_port: int = field(default_factory=free_port)
    settings: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def database_url(self) -> str:
        return self.parts.database_urls["channel"]

    @property
    def log_file(self) -> Path:
        return self.parts.layout.data_directory / f"channel-{self.port}.log"

    def environment(self) -> dict[str, str]:
        return {
            "PAYCENTER_PORT": str(self.port),
            "PAYCENTER_NOTICE_PORT": str(self.notice_port),
            "PAYCENTER_NOTICE_BASE_URL": f"http://127.0.0.1:{self.notice_port}",
            "PAYCENTER_DATABASE_URL": self.database_url,
            "PAYCENTER_MIGRATE_ON_START": "true",
            "PAYCENTER_NATS_URL": self.parts.nats_url,
            "PAYCENTER_KEY_ENCRYPTION_KEY": KEY_ENCRYPTION_KEY,
            "PAYCENTER_TRACE_SAMPLE_RATIO": "0",
            "PAYCENTER_DRAIN_GRACE_SECONDS": "3",
            "PAYCENTER_CHANNEL_CALL_TIMEOUT_SECONDS": "5",
            "PAYCENTER_CHANNEL_CONNECT_TIMEOUT_SECONDS": "2",
            "PAYCENTER_CHANNEL_SEND_ATTEMPTS": "2",
            "PAYCENTER_UNKNOWN_QUERY_SCHEDULE_SECONDS": "[0.2, 0.3]",
            "PAYCENTER_WORKING_QUERY_SCHEDULE_SECONDS": "[0.3]",
            "PAYCENTER_WAITING_QUERY_SCHEDULE_SECONDS": "[600]",
            "PAYCENTER_NOT_FOUND_PROOF_SECONDS": "1.5",
            "PAYCENTER_REPAIR_IDLE_SECONDS": "0.05",
            "PAYCENTER_ACCOUNT_CACHE_SECONDS": "0.2",
            **self.settings,
        }

    def start(self) -> None:
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "channel_gateway"],
                cwd=PROJECT,
                env=os.environ | {"PYTHONPATH": f"{PROJECT}:{PROJECT / 'generated'}"} | self.environment(),
                stdout=log,
                stderr=log,
            )
        wait_for(self._serves)

    def _serves(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log_file.read_text()[-3000:]
        try:
            httpx.get(f"http://127.0.0.1:{self.notice_port}/", timeout=1, trust_env=False)
        except httpx.TransportError:
            return False
        with grpc.insecure_channel(f"127.0.0.1:{self.port}") as channel:
            try:
                grpc.channel_ready_future(channel).result(timeout=1)
            except grpc.FutureTimeoutError:
                return False
        return True

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(timeout=15)

    def sql(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        url = self.database_url.replace("+psycopg", "")
        with psycopg.connect(url, autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), parameters)
            return cursor.fetchall() if cursor.description else []

    def look_now(self, channel_order_id: str) -> None:
        """Lets the repair worker look at an order at once."""
        self.sql(
            "UPDATE channel_order SET next_step_time = now() WHERE channel_order_id = %s", channel_order_id
        )

    def notices(self, channel_order_id: str) -> list[tuple[str, str, int]]:
        """State, refusal and receive count of every notice about an order, oldest first."""
        return self.sql(
            "SELECT state, refusal, receive_count FROM notice WHERE channel_order_id = %s"
            " ORDER BY create_time, notice_id",
            channel_order_id,
        )


@dataclass(slots=True)
class Gateway:
    """A caller of the server for one tenant and business identifier."""

    target: str
    tenant_id: str
    business_id: str = ""
    caller_service: str = "payment"
    operator: str = ""
    trace: TraceContext = field(default_factory=lambda: TraceContext.new(sampled=False))
    channel: grpc.aio.Channel | None = None
    replayed: bool = False

    async def call(self, method: str, request: Any, *, timeout: float = 60.0) -> Any:
        """Calls a method; raises PaycenterError for a refusal."""
        if self.channel is None:
            self.channel = grpc.aio.insecure_channel(self.target)
        platform = PlatformContext(
            caller_service=self.caller_service,
            tenant_id=self.tenant_id,
            business_id=self.business_id,
            operator=self.operator,
        )
        call = getattr(ChannelGatewayStub(self.channel), method)(
            request,
            timeout=timeout,
            metadata=(
                (PLATFORM_CONTEXT_KEY, encode_platform(platform)),
                ("traceparent", self.trace.format()),
            ),
        )
        try:
            response = await call
        except grpc.aio.AioRpcError as error:
            raise error_from_rpc(error) from None
        self.replayed = ("x-idempotent-replay", "true") in [
            tuple(pair) for pair in await call.initial_metadata()
        ]
        return response

    def was_replayed(self) -> bool:
        return self.replayed

    async def order(self, number: str) -> Any:
        response = await self.call("GetChannelOrder", pb.GetChannelOrderRequest(channel_order_id=number))
        return response.channel_order

    async def query(self, number: str) -> Any:
        response = await self.call("QueryChannelOrder", pb.QueryChannelOrderRequest(channel_order_id=number))
        return response.channel_order

    async def close_order(self, number: str, request_id: str = "") -> Any:
        request = pb.CloseChannelOrderRequest(
            request_id=request_id or new_request_id(), channel_order_id=number
        )
        return (await self.call("CloseChannelOrder", request)).channel_order

    async def until(self, number: str, state: int, *, seconds: float = 40.0) -> Any:
        return await eventually(
            lambda: self.order(number), lambda order: bool(order.state == state), seconds=seconds
        )

    async def shut(self) -> None:
        if self.channel is not None:
            await self.channel.close()


@dataclass(slots=True)
class Shop:
    """A merchant with an account at each channel."""

    gateway: Gateway
    merchant_id: str
    alipay: str
    wechat: str
    app_id: str
    seller_id: str
    mchid: str
    appid: str

    def payment_id(self) -> str:
        return new_number(NumberKind.PAYMENT, shard=shard_of_owner(self.merchant_id))

    def payment_request(
        self, channel: str, invoke_method: Any, minor_units: int = 100, **more: Any
    ) -> pb.CreateChannelPaymentRequest:
        fields: dict[str, Any] = {
            "request_id": new_request_id(),
            "payment_id": self.payment_id(),
            "merchant_id": self.merchant_id,
            "payment_account_id": self.alipay if channel == "alipay" else self.wechat,
            "invoke_method": invoke_method,
            "amount": money(minor_units),
            "subject": "一杯咖啡 & tea",
            "payer": party_pb2.Payer(channel_payer_id="2088102146225135", client_ip="127.0.0.1"),
        }
        return pb.CreateChannelPaymentRequest(**fields | more)

    async def pay(self, channel: str, invoke_method: Any, minor_units: int = 100, **more: Any) -> Any:
        request = self.payment_request(channel, invoke_method, minor_units, **more)
        return (await self.gateway.call("CreateChannelPayment", request)).channel_order

    async def refund(self, channel_order_id: str, minor_units: int, **more: Any) -> Any:
        fields: dict[str, Any] = {
            "request_id": new_request_id(),
            "payment_id": self.payment_id(),
            "channel_order_id": channel_order_id,
            "amount": money(minor_units),
            "reason": "不想要了",
        }
        request = pb.CreateChannelRefundRequest(**fields | more)
        return (await self.gateway.call("CreateChannelRefund", request)).channel_order

    async def payout(self, channel: str, minor_units: int, **more: Any) -> Any:
        fields: dict[str, Any] = {
            "request_id": new_request_id(),
            "payment_id": self.payment_id(),
            "merchant_id": self.merchant_id,
            "payment_account_id": self.alipay if channel == "alipay" else self.wechat,
            "amount": money(minor_units),
            "payee": party_pb2.Payee(channel_payee_id="2088102146225135", real_name="张三"),
            "remark": "提现",
        }
        request = pb.CreateChannelPayoutRequest(**fields | more)
        return (await self.gateway.call("CreateChannelPayout", request)).channel_order


def money(minor_units: int, currency_code: str = "CNY") -> money_pb2.Money:
    return money_pb2.Money(minor_units=minor_units, currency_code=currency_code)


def private_pem(key: rsa.RSAPrivateKey) -> str:
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(encoding, form, serialization.NoEncryption()).decode()


def public_pem(key: rsa.RSAPrivateKey) -> str:
    encoding, form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(encoding, form).decode()


async def open_shop(gateway: Gateway, sandbox: SandboxProcess, key: rsa.RSAPrivateKey) -> Shop:
    """Registers a fresh merchant at both channels and opens its accounts in the gateway."""
    mark = str(secrets.randbelow(10**10)).zfill(10)
    app_id, seller_id, mchid, appid = f"202100{mark}", f"2088{mark}00", mark, f"wx{mark}"
    alipay = sandbox.post(
        "/sandbox/merchants/alipay",
        app_id=app_id,
        seller_id=seller_id,
        app_public_key=public_pem(key),
        opening_balance_minor_units=1_000_000,
    )
    wechat = sandbox.post(
        "/sandbox/merchants/wechat",
        mchid=mchid,
        appid=appid,
        certificate_serial="5F1C72E2A8931B72",
        public_key=public_pem(key),
        api_v3_key=API_V3_KEY,
        opening_balance_minor_units=1_000_000,
    )
    made = await gateway.call(
        "CreateMerchant",
        pb.CreateMerchantRequest(
            request_id=new_request_id(), tenant_merchant_number=f"shop-{mark}", display_name="Shop"
        ),
    )
    merchant_id = made.merchant.merchant_id

    async def open_account(channel: str, settings: dict[str, str], secrets_: dict[str, str]) -> str:
        request = pb.OpenPaymentAccountRequest(
            request_id=new_request_id(),
            merchant_id=merchant_id,
            channel=channel,
            display_name=channel,
            settings=settings,
            secrets=secrets_,
        )
        request.fee_ratio.value = "0.006"
        opened = await gateway.call("OpenPaymentAccount", request)
        return str(opened.payment_account.payment_account_id)

    alipay_id = await open_account(
        "alipay",
        {"app_id": app_id, "seller_id": seller_id, "gateway_url": alipay["gateway_url"]},
        {"app_private_key": private_pem(key), "alipay_public_key": alipay["alipay_public_key"]},
    )
    wechat_id = await open_account(
        "wechat_pay",
        {
            "mchid": mchid,
            "appid": appid,
            "api_base_url": wechat["base_url"],
            "merchant_certificate_serial": "5F1C72E2A8931B72",
            "platform_public_key_id": wechat["platform_public_key_id"],
        },
        {
            "merchant_private_key": private_pem(key),
            "platform_public_key": wechat["platform_public_key"],
            "api_v3_key": API_V3_KEY,
        },
    )
    return Shop(gateway, merchant_id, alipay_id, wechat_id, app_id, seller_id, mchid, appid)


async def refusal_of(call: Awaitable[Any]) -> PaycenterError:
    try:
        answer = await call
    except PaycenterError as error:
        return error
    raise AssertionError(f"was not refused: {answer}")
