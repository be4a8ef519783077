"""WeChat Pay's v3 API: verifies every request over its raw bytes, calls the operation, signs every answer.

The signed url is path and query exactly as the client sends them; the API is mounted at the root.
Source: WeChat Pay API v3, "signature generation", "signature verification", "common error codes".
Invariant: no operation runs for a request whose signature does not hold.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric import rsa
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from channel_gateway.sandbox import rsa_keys
from channel_gateway.sandbox.clock import now_milliseconds
from channel_gateway.sandbox.faults import FaultKind, Operation
from channel_gateway.sandbox.records import Channel, WechatMerchant
from channel_gateway.sandbox.transport import NoAnswer, bad_gateway
from channel_gateway.sandbox.wechat import refunds, transactions, transfers
from channel_gateway.sandbox.wechat.answers import WechatError, frequency_limited, sign_error, system_error
from channel_gateway.sandbox.wechat.call import Call, parse_body
from channel_gateway.sandbox.wechat.certificates import list_certificates
from channel_gateway.sandbox.wechat.platform import choose_key, signed_headers
from channel_gateway.sandbox.wechat.signature import parse_authorization, request_text

if TYPE_CHECKING:
    from channel_gateway.sandbox.sandbox import Sandbox

_TIMESTAMP_WINDOW_SECONDS = 300
_NUMBER_FIELDS = ("out_trade_no", "transaction_id", "out_refund_no", "out_bill_no", "transfer_bill_no")
Outcome = tuple[int, dict[str, Any] | None]


@dataclass(frozen=True, slots=True)
class Interface:
    """One interface of the API: where it is, which faults it meets and what carries it out."""

    method: str
    path: str
    operation: Operation | None
    run: Callable[[Call], Outcome]


_TRANSFER_BILLS = "/v3/fund-app/mch-transfer/transfer-bills"
INTERFACES = (
    Interface("POST", "/v3/pay/transactions/{invoke_method}", Operation.PAY, transactions.open_order),
    Interface(
        "GET",
        "/v3/pay/transactions/out-trade-no/{out_trade_no}",
        Operation.QUERY,
        transactions.query_by_number,
    ),
    Interface("GET", "/v3/pay/transactions/id/{transaction_id}", Operation.QUERY, transactions.query_by_id),
    Interface(
        "POST",
        "/v3/pay/transactions/out-trade-no/{out_trade_no}/close",
        Operation.CLOSE,
        transactions.close_order,
    ),
    Interface("POST", "/v3/refund/domestic/refunds", Operation.REFUND, refunds.create_refund),
    Interface(
        "GET", "/v3/refund/domestic/refunds/{out_refund_no}", Operation.REFUND_QUERY, refunds.query_refund
    ),
    Interface("POST", _TRANSFER_BILLS, Operation.TRANSFER, transfers.create_transfer),
    Interface(
        "GET",
        f"{_TRANSFER_BILLS}/out-bill-no/{{out_bill_no}}",
        Operation.TRANSFER_QUERY,
        transfers.query_transfer,
    ),
    Interface(
        "GET",
        f"{_TRANSFER_BILLS}/transfer-bill-no/{{transfer_bill_no}}",
        Operation.TRANSFER_QUERY,
        transfers.query_transfer,
    ),
    Interface(
        "POST",
        f"{_TRANSFER_BILLS}/out-bill-no/{{out_bill_no}}/cancel",
        Operation.TRANSFER,
        transfers.cancel_transfer,
    ),
    Interface("GET", "/v3/certificates", None, list_certificates),
)


class WechatApi:
    """All interfaces of the v3 API."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    def routes(self) -> list[Route]:
        """Returns one route per interface."""
        return [
            Route(interface.path, self._endpoint(interface), methods=[interface.method])
            for interface in INTERFACES
        ]

    def _endpoint(self, interface: Interface) -> Callable[[Request], Any]:
        async def endpoint(request: Request) -> Response:
            return await self._handle(request, interface)

        return endpoint

    async def _handle(self, request: Request, interface: Interface) -> Response:
        raw = await request.body()
        merchant: WechatMerchant | None = None
        asked_serial = request.headers.get("wechatpay-serial", "")
        try:
            merchant = self._authenticate(request, raw)
            call = Call(
                sandbox=self._sandbox,
                merchant=merchant,
                path=request.path_params,
                query=request.query_params,
                body=parse_body(raw),
                platform_serial=asked_serial,
            )
            self._require_known_way(interface, call)
        except WechatError as error:
            return self._answer(
                error.status, error.body(), choose_key(self._sandbox.keys, merchant, asked_serial)
            )
        key = choose_key(self._sandbox.keys, merchant, asked_serial)
        if interface.operation is None:
            return self._run(interface, call, key)
        return self._run_with_faults(interface, interface.operation, call, key)

    def _run_with_faults(
        self, interface: Interface, operation: Operation, call: Call, key: tuple[str, rsa.RSAPrivateKey]
    ) -> Response:
        holders = (call.path, call.body)
        numbers = [str(holder[name]) for holder in holders for name in _NUMBER_FIELDS if holder.get(name)]
        fault = self._sandbox.faults.take(Channel.WECHAT, operation, numbers)
        if fault is None:
            return self._run(interface, call, key)
        kind = FaultKind(fault.kind)
        if kind is FaultKind.TIMEOUT_BEFORE:
            return NoAnswer(seconds=fault.seconds)
        if kind is FaultKind.CONNECTION_RESET:
            return NoAnswer(seconds=0)
        if kind is FaultKind.BAD_GATEWAY_HTML:
            return bad_gateway()
        if kind in (FaultKind.SYSTEM_ERROR, FaultKind.RATE_LIMITED):
            error = frequency_limited() if kind is FaultKind.RATE_LIMITED else system_error()
            return self._answer(error.status, error.body(), key)
        answer = self._run(interface, call, key, bad_signature=kind is FaultKind.BAD_RESPONSE_SIGNATURE)
        if kind is FaultKind.TIMEOUT_AFTER_CHARGE:
            if operation is Operation.PAY:
                self._pay_at_once(call)
            return NoAnswer(seconds=fault.seconds)
        return bad_gateway() if kind is FaultKind.BAD_GATEWAY_AFTER else answer

    def _pay_at_once(self, call: Call) -> None:
        number = str(call.body.get("out_trade_no"))
        trade = self._sandbox.books.trade(Channel.WECHAT, call.merchant.mchid, number)
        if trade is not None:
            self._sandbox.payments.pay_when_open(trade)

    def _run(
        self,
        interface: Interface,
        call: Call,
        key: tuple[str, rsa.RSAPrivateKey],
        *,
        bad_signature: bool = False,
    ) -> Response:
        try:
            status, body = interface.run(call)
        except WechatError as error:
            status, body = error.status, error.body()
        return self._answer(status, body, key, bad_signature=bad_signature)

    @staticmethod
    def _require_known_way(interface: Interface, call: Call) -> None:
        way = call.path.get("invoke_method")
        if way is not None and way not in transactions.TRADE_TYPES:
            raise WechatError(404, "RESOURCE_NOT_EXISTS", f"no interface {interface.method} {way}")

    def _authenticate(self, request: Request, raw: bytes) -> WechatMerchant:
        try:
            authorization = parse_authorization(request.headers.get("authorization", ""))
        except ValueError as error:
            raise sign_error("Http头Authorization不存在或格式不正确") from error
        merchant = self._sandbox.merchants.wechat_merchants.get(authorization.mchid)
        if merchant is None:
            raise sign_error("商户号不存在")
        public_key = self._sandbox.merchants.wechat_key(merchant, authorization.serial)
        if public_key is None:
            raise sign_error("商户证书序列号有误")
        age_seconds = now_milliseconds() / 1000 - _timestamp_seconds(authorization.timestamp)
        if abs(age_seconds) > _TIMESTAMP_WINDOW_SECONDS:
            raise sign_error("Authorization里的时间戳过期")
        url = request.scope["raw_path"].decode("latin-1")
        query = request.scope["query_string"].decode("latin-1")
        if query:
            url = f"{url}?{query}"
        text = request_text(request.method, url, authorization.timestamp, authorization.nonce, raw)
        if not rsa_keys.verify(public_key, text, authorization.signature):
            raise sign_error("sign not match")
        return merchant

    @staticmethod
    def _answer(
        status: int,
        body: dict[str, Any] | None,
        key: tuple[str, rsa.RSAPrivateKey],
        *,
        bad_signature: bool = False,
    ) -> Response:
        raw = b"" if body is None else json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
        serial, private_key = key
        signed = raw + b" " if bad_signature else raw
        headers = signed_headers(serial, private_key, signed, sign_milliseconds=now_milliseconds())
        headers["Request-ID"] = f"08{secrets.token_hex(16).upper()}-0"
        return Response(raw, status_code=status, media_type="application/json", headers=headers)


def _timestamp_seconds(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 12:
        raise sign_error("Authorization里的时间戳不正确")
    return int(text)
