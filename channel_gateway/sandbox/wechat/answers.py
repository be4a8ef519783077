"""The words of WeChat Pay's refusals: HTTP status, code and message.

Source: WeChat Pay API v3, "common error codes" and the error tables of each interface.
Invariant: every refusal of the books has one status, one code and one message here.
"""

from __future__ import annotations

from typing import Any

from channel_gateway.sandbox.refusal import Cause


class WechatError(Exception):
    """Raised by an operation that WeChat Pay would answer with an error body."""

    def __init__(self, status: int, code: str, message: str, detail: dict[str, Any] | None = None) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.message = message
        self.detail = detail

    def body(self) -> dict[str, Any]:
        """Returns the JSON body of the answer."""
        body: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.detail:
            body["detail"] = self.detail
        return body


_TRADE_CAUSES = {
    Cause.TRADE_NOT_EXIST: (404, "ORDER_NOT_EXIST", "订单不存在"),
    Cause.TRADE_PAID: (400, "ORDERPAID", "该订单已支付"),
    Cause.TRADE_CLOSED: (400, "ORDER_CLOSED", "该订单已关闭"),
    Cause.TRADE_INCONSISTENT: (400, "INVALID_REQUEST", "请求重入时,参数与首次请求时不一致"),
    Cause.TRADE_EXPIRED: (400, "PARAM_ERROR", "time_expire时间过短,刷卡至少1分钟,其他5分钟"),
}
_REFUND_CAUSES = {
    Cause.TRADE_NOT_EXIST: (404, "RESOURCE_NOT_EXISTS", "订单不存在"),
    Cause.TRADE_NOT_PAID: (400, "INVALID_REQUEST", "订单未支付"),
    Cause.REFUND_EXCEEDS_PAYMENT: (400, "INVALID_REQUEST", "累计退款金额大于支付金额"),
    Cause.REFUND_INCONSISTENT: (400, "INVALID_REQUEST", "请求重入时,参数与首次请求时不一致"),
    Cause.REFUND_NOT_EXIST: (404, "RESOURCE_NOT_EXISTS", "退款单不存在"),
    Cause.BALANCE_NOT_ENOUGH: (403, "NOT_ENOUGH", "基本账户余额不足,请充值后重新发起"),
}
_TRANSFER_CAUSES = {
    Cause.TRANSFER_NOT_EXIST: (404, "NOT_FOUND", "记录不存在"),
    Cause.TRANSFER_INCONSISTENT: (400, "ALREADY_EXISTS", "商户单号已存在,请核对参数后更换单号重试"),
    Cause.TRANSFER_FINAL: (400, "INVALID_REQUEST", "单据状态不支持撤销"),
    Cause.BALANCE_NOT_ENOUGH: (403, "NOT_ENOUGH", "商户账户余额不足"),
}


def trade_error(cause: Cause) -> WechatError:
    """Puts a refusal about a trade into WeChat Pay's words."""
    return WechatError(*_TRADE_CAUSES[cause])


def refund_error(cause: Cause) -> WechatError:
    """Puts a refusal about a refund into WeChat Pay's words."""
    return WechatError(*_REFUND_CAUSES[cause])


def transfer_error(cause: Cause) -> WechatError:
    """Puts a refusal about a transfer into WeChat Pay's words."""
    return WechatError(*_TRANSFER_CAUSES[cause])


def sign_error(issue: str) -> WechatError:
    """Returns the error for a request whose signature does not hold."""
    detail = {"field": "signature", "issue": issue, "location": "authorization"}
    return WechatError(401, "SIGN_ERROR", "签名错误,请检查后再试", detail)


def parameter_error(field: str, issue: str, *, location: str = "body") -> WechatError:
    """Returns the error for a parameter that is missing or wrong."""
    detail = {"field": field, "issue": issue, "location": location}
    return WechatError(400, "PARAM_ERROR", f"参数错误: {field}", detail)


def system_error() -> WechatError:
    """Returns the error after which the caller does not know what happened."""
    return WechatError(500, "SYSTEM_ERROR", "系统异常,请稍后重试")


def frequency_limited() -> WechatError:
    """Returns the error for too many calls."""
    return WechatError(429, "FREQUENCY_LIMITED", "请求过于频繁,请降低频率后重试")
