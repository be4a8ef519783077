"""A merchant's side of both channels, written apart from the sandbox: process, receiver of notices, signed calls."""

from __future__ import annotations

import base64
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import httpx
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

PROJECT_ROOT = Path(__file__).resolve().parents[3]
VECTORS = PROJECT_ROOT.parent / "shared" / "vectors"
Value = TypeVar("Value")


def unique(prefix: str) -> str:
    return f"{prefix}{secrets.token_hex(8)}"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(read: Callable[[], Value | None], *, seconds: float = 10.0) -> Value:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = read()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError("did not happen in time")


def pem_of(key: rsa.RSAPublicKey) -> str:
    encoding, form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_bytes(encoding, form).decode()


def private_pem_of(key: rsa.RSAPrivateKey) -> str:
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(encoding, form, serialization.NoEncryption()).decode()


def load_public(pem: str) -> rsa.RSAPublicKey:
    key = serialization.load_pem_public_key(pem.encode())
    assert isinstance(key, rsa.RSAPublicKey)
    return key


def signature_holds(key: rsa.RSAPublicKey, message: bytes, signature: str) -> bool:
    try:
        key.verify(base64.b64decode(signature), message, padding.PKCS1v15(), hashes.SHA256())
    except (InvalidSignature, ValueError):
        return False
    return True


def make_signature(key: rsa.RSAPrivateKey, message: bytes) -> str:
    return base64.b64encode(key.sign(message, padding.PKCS1v15(), hashes.SHA256())).decode()


class SandboxProcess:
    """The real sandbox in its own process."""

    def __init__(self, data_directory: Path, port: int | None = None) -> None:
        self.data_directory = data_directory
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.http = httpx.Client(base_url=self.url, timeout=10, trust_env=False)
        self.start()

    def command(self) -> subprocess.Popen[bytes]:
        environment = {
            **os.environ,
            "PAYCENTER_SANDBOX_PORT": str(self.port),
            "PAYCENTER_DATA_DIRECTORY": str(self.data_directory),
        }
        log = (self.data_directory / "sandbox.log").open("ab")
        return subprocess.Popen(
            [sys.executable, "-m", "channel_gateway.sandbox"],
            cwd=PROJECT_ROOT,
            env=environment,
            stdout=log,
            stderr=log,
        )

    def start(self) -> None:
        self.process = self.command()
        wait_for(self._serves, seconds=30)

    def _serves(self) -> bool:
        assert self.process.poll() is None, (self.data_directory / "sandbox.log").read_text()
        try:
            return self.http.get("/sandbox/health").status_code == 200
        except httpx.TransportError:
            return False

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(timeout=15)

    def get(self, path: str, **query: str) -> dict[str, Any]:
        answer = self.http.get(path, params=query)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def post(self, path: str, body: dict[str, Any] | None = None, *, status: int = 200) -> dict[str, Any]:
        answer = self.http.post(path, json=body or {})
        assert answer.status_code == status, answer.text
        return dict(answer.json())

    def pay(self, number: str, **body: Any) -> dict[str, Any]:
        return self.post(f"/sandbox/payments/{number}/pay", body)

    def fault(self, **body: Any) -> dict[str, Any]:
        return self.post("/sandbox/faults", body)

    def notices(self, number: str) -> list[dict[str, Any]]:
        return list(self.get("/sandbox/notices", out_trade_no=number)["notices"])

    def trade(self, number: str) -> dict[str, Any]:
        return self.get(f"/sandbox/payments/{number}")

    def figures(self, account: str) -> dict[str, Any]:
        rows = self.get("/sandbox/books", totals_only="1")["accounts"]
        return next(dict(row) for row in rows if row["account"] == account)


@dataclass
class Received:
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def form(self) -> dict[str, str]:
        return dict(parse_qsl(self.body.decode(), keep_blank_values=True))


@dataclass
class Receiver:
    """A merchant's HTTP server that keeps every notice and answers as told for its path."""

    answers: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    received: list[Received] = field(default_factory=list)

    def __post_init__(self) -> None:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.received.append(Received(self.path, headers, body))
                status, text = receiver.answers.get(self.path, (200, b"success"))
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def at(self, path: str) -> list[Received]:
        return [each for each in self.received if each.path == path]

    def wait(self, path: str, count: int = 1, *, seconds: float = 10.0) -> list[Received]:
        wait_for(lambda: len(self.at(path)) >= count, seconds=seconds)
        return self.at(path)

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class AlipayMerchant:
    """An application that signs its own calls and checks every answer's signature."""

    def __init__(self, sandbox: SandboxProcess, key: rsa.RSAPrivateKey, **registration: Any) -> None:
        self.sandbox = sandbox
        self.key = key
        self.app_id = f"2021{secrets.randbelow(10**12):012d}"
        self.seller_id = f"2088{secrets.randbelow(10**12):012d}"
        self.platform = sandbox.post(
            "/sandbox/merchants/alipay",
            {
                "app_id": self.app_id,
                "seller_id": self.seller_id,
                "app_public_key": pem_of(key.public_key()),
                **registration,
            },
        )
        self.platform_key = load_public(self.platform["alipay_public_key"])

    def signed(self, method: str, business: dict[str, Any], **common: str) -> dict[str, str]:
        parameters = {
            "app_id": self.app_id,
            "method": method,
            "charset": "utf-8",
            "sign_type": "RSA2",
            "timestamp": datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S"),
            "version": "1.0",
            "biz_content": json.dumps(business, ensure_ascii=False),
            **common,
        }
        text = "&".join(f"{name}={value}" for name, value in sorted(parameters.items()))
        return {**parameters, "sign": make_signature(self.key, text.encode())}

    def send(self, parameters: dict[str, str], *, timeout: float = 10) -> httpx.Response:
        return self.sandbox.http.post("/gateway.do", data=parameters, timeout=timeout)

    def call(self, method: str, business: dict[str, Any], **common: str) -> dict[str, Any]:
        answer = self.send(self.signed(method, business, **common))
        assert answer.status_code == 200, answer.text
        assert self.answer_holds(answer.content)
        return node_of(answer.content)

    def answer_holds(self, raw: bytes) -> bool:
        start = raw.index(b'_response":') + len(b'_response":')
        end = raw.rindex(b',"sign":"')
        if b',"alipay_cert_sn"' in raw:
            end = raw.rindex(b',"alipay_cert_sn"')
        return signature_holds(self.platform_key, raw[start:end], json.loads(raw)["sign"])

    def notice_holds(self, form: dict[str, str]) -> bool:
        text = "&".join(f"{name}={form[name]}" for name in sorted(form) if name not in ("sign", "sign_type"))
        return signature_holds(self.platform_key, text.encode(), form.get("sign", ""))

    def create(self, number: str, amount: str = "88.88", **common: str) -> dict[str, Any]:
        business = {
            "out_trade_no": number,
            "total_amount": amount,
            "subject": "茶 & tea",
            "buyer_id": "2088002",
        }
        return self.call("alipay.trade.create", business, **common)

    def paid(self, amount: str = "88.88", **common: str) -> str:
        number = unique("A")
        self.create(number, amount, **common)
        self.sandbox.pay(number)
        return number

    def query(self, number: str) -> dict[str, Any]:
        return self.call("alipay.trade.query", {"out_trade_no": number})

    def refund(self, number: str, amount: str, request_number: str) -> dict[str, Any]:
        business = {"out_trade_no": number, "refund_amount": amount, "out_request_no": request_number}
        return self.call("alipay.trade.refund", business)

    def transfer(self, number: str, amount: str) -> dict[str, Any]:
        return self.call(
            "alipay.fund.trans.uni.transfer",
            {
                "out_biz_no": number,
                "trans_amount": amount,
                "product_code": "TRANS_ACCOUNT_NO_PWD",
                "biz_scene": "DIRECT_TRANSFER",
                "payee_info": {"identity": "2088123412341234", "identity_type": "ALIPAY_USER_ID"},
            },
        )


def node_of(raw: bytes) -> dict[str, Any]:
    return next(dict(value) for name, value in json.loads(raw).items() if name.endswith("_response"))


class WechatMerchant:
    """A merchant that signs its own calls and checks every answer's signature."""

    def __init__(self, sandbox: SandboxProcess, key: rsa.RSAPrivateKey, **registration: Any) -> None:
        self.sandbox = sandbox
        self.key = key
        self.mchid = f"19{secrets.randbelow(10**8):08d}"
        self.appid = f"wx{secrets.token_hex(8)}"
        self.serial = secrets.token_hex(20).upper()
        self.api_v3_key = secrets.token_hex(16)
        self.platform = sandbox.post(
            "/sandbox/merchants/wechat",
            {
                "mchid": self.mchid,
                "appid": self.appid,
                "certificate_serial": self.serial,
                "public_key": pem_of(key.public_key()),
                "api_v3_key": self.api_v3_key,
                **registration,
            },
        )
        self.platform_key = load_public(self.platform["platform_public_key"])

    def authorization(
        self, method: str, url: str, body: bytes, *, age_seconds: int = 0, parts: dict[str, str] | None = None
    ) -> str:
        timestamp = str(int(time.time()) - age_seconds)
        nonce = secrets.token_hex(16)
        text = f"{method}\n{url}\n{timestamp}\n{nonce}\n".encode() + body + b"\n"
        fields = {
            "mchid": self.mchid,
            "nonce_str": nonce,
            "timestamp": timestamp,
            "serial_no": self.serial,
            "signature": make_signature(self.key, text),
            **(parts or {}),
        }
        return "WECHATPAY2-SHA256-RSA2048 " + ",".join(f'{name}="{value}"' for name, value in fields.items())

    def send(
        self,
        method: str,
        url: str,
        body: dict[str, Any] | None = None,
        *,
        authorization: str | None = None,
        timeout: float = 10,
        headers: dict[str, str] | None = None,
    ) -> httpx.Response:
        raw = b"" if body is None else json.dumps(body).encode()
        return self.sandbox.http.request(
            method,
            url,
            content=raw,
            timeout=timeout,
            headers={
                "Authorization": authorization or self.authorization(method, url, raw),
                "Content-Type": "application/json",
                "Accept": "application/json",
                **(headers or {}),
            },
        )

    def call(self, method: str, url: str, body: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        answer = self.send(method, url, body)
        assert self.message_holds(dict(answer.headers), answer.content)
        return answer.status_code, dict(answer.json()) if answer.content else {}

    def message_holds(self, headers: dict[str, str], body: bytes) -> bool:
        names = ("wechatpay-timestamp", "wechatpay-nonce", "wechatpay-signature", "wechatpay-serial")
        if any(name not in headers for name in names):
            return False
        assert headers["wechatpay-serial"] == self.platform["platform_public_key_id"]
        text = f"{headers['wechatpay-timestamp']}\n{headers['wechatpay-nonce']}\n".encode() + body + b"\n"
        return signature_holds(self.platform_key, text, headers["wechatpay-signature"])

    def resource(self, body: bytes) -> dict[str, Any]:
        resource = json.loads(body)["resource"]
        plaintext = AESGCM(self.api_v3_key.encode()).decrypt(
            resource["nonce"].encode(),
            base64.b64decode(resource["ciphertext"]),
            resource["associated_data"].encode(),
        )
        return dict(json.loads(plaintext))

    def order(self, number: str, total: int = 8888, **fields: Any) -> dict[str, Any]:
        return {
            "appid": self.appid,
            "mchid": self.mchid,
            "description": "茶 & tea",
            "out_trade_no": number,
            "notify_url": "http://127.0.0.1:9/none",
            "amount": {"total": total, "currency": "CNY"},
            "payer": {"openid": "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o"},
            **fields,
        }

    def create(self, number: str, total: int = 8888, **fields: Any) -> tuple[int, dict[str, Any]]:
        return self.call("POST", "/v3/pay/transactions/jsapi", self.order(number, total, **fields))

    def paid(self, total: int = 8888, **fields: Any) -> str:
        number = unique("W")
        assert self.create(number, total, **fields)[0] == 200
        self.sandbox.pay(number)
        return number

    def query(self, number: str) -> tuple[int, dict[str, Any]]:
        return self.call("GET", f"/v3/pay/transactions/out-trade-no/{number}?mchid={self.mchid}")

    def close(self, number: str) -> tuple[int, dict[str, Any]]:
        return self.call("POST", f"/v3/pay/transactions/out-trade-no/{number}/close", {"mchid": self.mchid})

    def refund(
        self, number: str, amount: int, refund_number: str, total: int = 8888, **fields: Any
    ) -> tuple[int, dict[str, Any]]:
        return self.call(
            "POST",
            "/v3/refund/domestic/refunds",
            {
                "out_trade_no": number,
                "out_refund_no": refund_number,
                "amount": {"refund": amount, "total": total, "currency": "CNY"},
                **fields,
            },
        )

    def transfer(self, number: str, amount: int, **fields: Any) -> tuple[int, dict[str, Any]]:
        return self.call(
            "POST",
            "/v3/fund-app/mch-transfer/transfer-bills",
            {
                "appid": self.appid,
                "out_bill_no": number,
                "transfer_scene_id": "1000",
                "openid": "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o",
                "transfer_amount": amount,
                "transfer_remark": "reward",
                **fields,
            },
        )
