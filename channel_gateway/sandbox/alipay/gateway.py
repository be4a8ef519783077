"""Alipay's gateway: checks the common parameters and the signature, calls the operation, signs the answer.

Source: Alipay open platform, "common request parameters" and "public error codes".
Invariant: no operation runs for a request whose signature does not hold; the signed bytes are the bytes sent.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from channel_gateway.sandbox import rsa_keys
from channel_gateway.sandbox.alipay import refunds, trades, transfers
from channel_gateway.sandbox.alipay.answers import AlipayError, call_limited, invalid, missing, system_error
from channel_gateway.sandbox.alipay.call import Call
from channel_gateway.sandbox.alipay.parameters import (
    check_common_parameters,
    read_business_parameters,
    read_parameters,
)
from channel_gateway.sandbox.alipay.signature import verify_request
from channel_gateway.sandbox.cashier import cashier_page, failure_page
from channel_gateway.sandbox.faults import FaultKind, Operation
from channel_gateway.sandbox.records import Channel, Fault
from channel_gateway.sandbox.transport import NoAnswer, bad_gateway

if TYPE_CHECKING:
    from channel_gateway.sandbox.sandbox import Sandbox

_NUMBER_FIELDS = ("out_trade_no", "trade_no", "out_request_no", "out_biz_no")
_MEDIA_TYPE = "text/html;charset=utf-8"


@dataclass(frozen=True, slots=True)
class Method:
    """One method of the gateway: which faults it meets and what carries it out."""

    operation: Operation
    run: Callable[[Call], dict[str, Any]]
    page: str = ""


def _no_node(_call: Call) -> dict[str, Any]:
    return {}


METHODS = {
    "alipay.trade.page.pay": Method(Operation.PAY, _no_node, page="page"),
    "alipay.trade.wap.pay": Method(Operation.PAY, _no_node, page="wap"),
    "alipay.trade.app.pay": Method(Operation.PAY, _no_node, page="app"),
    "alipay.trade.precreate": Method(Operation.PAY, trades.precreate),
    "alipay.trade.create": Method(Operation.PAY, trades.create),
    "alipay.trade.query": Method(Operation.QUERY, trades.query),
    "alipay.trade.close": Method(Operation.CLOSE, trades.close),
    "alipay.trade.cancel": Method(Operation.CLOSE, trades.cancel),
    "alipay.trade.refund": Method(Operation.REFUND, refunds.refund),
    "alipay.trade.fastpay.refund.query": Method(Operation.REFUND_QUERY, refunds.refund_query),
    "alipay.fund.trans.uni.transfer": Method(Operation.TRANSFER, transfers.transfer),
    "alipay.fund.trans.common.query": Method(Operation.TRANSFER_QUERY, transfers.transfer_query),
}


class AlipayGateway:
    """The one address that every Alipay method is called at."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    async def handle(self, request: Request) -> Response:
        """Answers one call."""
        body = await request.body() if request.method == "POST" else b""
        try:
            parameters = read_parameters(request.scope["query_string"], body)
        except ValueError:
            return self._answer("error", invalid("invalid-parameter", "参数无效").node(), {}, signed=False)
        name = parameters.get("method", "")
        method = METHODS.get(name)
        if method is None:
            error = invalid("invalid-method", "不存在的方法名") if name else missing("missing-method")
            return self._answer("error", error.node(), parameters, signed=False)
        try:
            call = self._verified_call(parameters)
        except AlipayError as error:
            if method.page:
                return HTMLResponse(failure_page(error.sub_code, error.sub_message))
            signed = error.sub_code != "isv.invalid-app-id"
            return self._answer(name, error.node(), parameters, signed=signed)
        numbers = [str(call.business[field]) for field in _NUMBER_FIELDS if call.business.get(field)]
        fault = self._sandbox.faults.take(Channel.ALIPAY, method.operation, numbers)
        if fault is None:
            return self._page(call, method) if method.page else self._run(name, method, call)
        return self._faulty(name, method, call, fault)

    def _faulty(self, name: str, method: Method, call: Call, fault: Fault) -> Response:
        kind = FaultKind(fault.kind)
        if kind is FaultKind.TIMEOUT_BEFORE:
            return NoAnswer(seconds=fault.seconds)
        if kind is FaultKind.CONNECTION_RESET:
            return NoAnswer(seconds=0)
        if kind is FaultKind.BAD_GATEWAY_HTML:
            return bad_gateway()
        if kind in (FaultKind.SYSTEM_ERROR, FaultKind.RATE_LIMITED):
            transfer = method.operation in (Operation.TRANSFER, Operation.TRANSFER_QUERY)
            error = call_limited() if kind is FaultKind.RATE_LIMITED else system_error(transfer=transfer)
            if method.page:
                return HTMLResponse(failure_page(error.sub_code, error.sub_message))
            return self._answer(name, error.node(), call.parameters)
        bad_signature = kind is FaultKind.BAD_RESPONSE_SIGNATURE
        answer = (
            self._page(call, method)
            if method.page
            else self._run(name, method, call, bad_signature=bad_signature)
        )
        if kind is FaultKind.TIMEOUT_AFTER_CHARGE:
            if method.operation is Operation.PAY:
                trade = call.known_trade()
                if trade is not None:
                    self._sandbox.payments.pay_when_open(trade)
            return NoAnswer(seconds=fault.seconds)
        return bad_gateway() if kind is FaultKind.BAD_GATEWAY_AFTER else answer

    def _run(self, name: str, method: Method, call: Call, *, bad_signature: bool = False) -> Response:
        try:
            node = {"code": "10000", "msg": "Success", **method.run(call)}
        except AlipayError as error:
            node = error.node()
        return self._answer(name, node, call.parameters, bad_signature=bad_signature)

    def _page(self, call: Call, method: Method) -> Response:
        try:
            trade = trades.open_trade(call, invoke_method=method.page)
        except AlipayError as error:
            return HTMLResponse(failure_page(error.sub_code, error.sub_message))
        return HTMLResponse(cashier_page(trade))

    def _verified_call(self, parameters: dict[str, str]) -> Call:
        if not parameters.get("app_id"):
            raise missing("missing-app-id")
        app = self._sandbox.merchants.alipay_apps.get(parameters["app_id"])
        if app is None:
            raise invalid("invalid-app-id", "无效的AppID参数")
        check_common_parameters(parameters)
        serial = parameters.get("app_cert_sn")
        if serial and serial != app.app_certificate_serial:
            raise invalid("invalid-app-cert-sn", "应用公钥证书序列号不匹配")
        if not verify_request(self._sandbox.merchants.alipay_key(app), parameters):
            raise invalid("invalid-signature", "验签出错,请检查密钥、签名内容与字符集")
        business = read_business_parameters(parameters)
        return Call(sandbox=self._sandbox, app=app, parameters=parameters, business=business)

    def _answer(
        self,
        name: str,
        node: dict[str, Any],
        parameters: dict[str, str],
        *,
        signed: bool = True,
        bad_signature: bool = False,
    ) -> Response:
        keys = self._sandbox.keys
        text = json.dumps(node, ensure_ascii=False, separators=(",", ":"))
        body = f'{{"{name.replace(".", "_")}_response":{text}'
        if parameters.get("app_cert_sn"):
            body += f',"alipay_cert_sn":"{keys.alipay_certificate_serial}"'
        if signed:
            signature = rsa_keys.sign(
                keys.alipay_private_key, text.encode() + (b" " if bad_signature else b"")
            )
            body += f',"sign":"{signature}"'
        return Response(f"{body}}}".encode(), media_type=_MEDIA_TYPE)
