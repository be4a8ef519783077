"""The words of Alipay's answers: codes, sub codes and their messages.

Source: Alipay open platform, "public error codes" and the error tables of each method.
Invariant: every refusal of the books has one code, one sub code and one message here.
"""

from __future__ import annotations

from channel_gateway.sandbox.refusal import Cause

MISSING = "40001"
INVALID = "40002"
BUSINESS = "40004"
CALL_LIMITED = "40005"
UNAVAILABLE = "20000"

_MESSAGES = {
    MISSING: "Missing Required Arguments",
    INVALID: "Invalid Arguments",
    BUSINESS: "Business Failed",
    CALL_LIMITED: "Call Limited",
    UNAVAILABLE: "Service Currently Unavailable",
}


class AlipayError(Exception):
    """Raised by an operation that Alipay would answer with an error code."""

    def __init__(self, code: str, sub_code: str, sub_message: str) -> None:
        super().__init__(sub_code)
        self.code = code
        self.sub_code = sub_code
        self.sub_message = sub_message

    def node(self) -> dict[str, str]:
        """Returns the JSON node of the answer."""
        return {
            "code": self.code,
            "msg": _MESSAGES[self.code],
            "sub_code": self.sub_code,
            "sub_msg": self.sub_message,
        }


def missing(sub_code: str) -> AlipayError:
    """Returns the error for a common parameter that is not there."""
    return AlipayError(MISSING, f"isv.{sub_code}", "缺少必选参数")


def invalid(sub_code: str, message: str) -> AlipayError:
    """Returns the error for a common parameter that is wrong."""
    return AlipayError(INVALID, f"isv.{sub_code}", message)


def invalid_parameter(name: str) -> AlipayError:
    """Returns the error for a business parameter that is missing or wrong."""
    return AlipayError(BUSINESS, "ACQ.INVALID_PARAMETER", f"参数无效: {name}")


_TRADE_CAUSES = {
    Cause.TRADE_NOT_EXIST: ("ACQ.TRADE_NOT_EXIST", "交易不存在"),
    Cause.TRADE_PAID: ("ACQ.TRADE_HAS_SUCCESS", "交易已被支付"),
    Cause.TRADE_CLOSED: ("ACQ.TRADE_HAS_CLOSE", "交易已经关闭"),
    Cause.TRADE_INCONSISTENT: ("ACQ.CONTEXT_INCONSISTENT", "交易信息被篡改"),
    Cause.TRADE_NOT_PAID: ("ACQ.TRADE_STATUS_ERROR", "交易状态不合法"),
    Cause.TRADE_EXPIRED: ("ACQ.INVALID_PARAMETER", "参数无效: time_expire"),
    Cause.REFUND_EXCEEDS_PAYMENT: ("ACQ.REFUND_AMT_NOT_EQUAL_TOTAL", "退款金额超限"),
    Cause.REFUND_INCONSISTENT: ("ACQ.DISCORDANT_REPEAT_REQUEST", "同一笔退款请求号的金额不一致"),
    Cause.BALANCE_NOT_ENOUGH: ("ACQ.SELLER_BALANCE_NOT_ENOUGH", "商户的支付宝账户中无足够的资金进行退款"),
}
_TRANSFER_CAUSES = {
    Cause.BALANCE_NOT_ENOUGH: ("PAYER_BALANCE_NOT_ENOUGH", "付款方余额不足"),
    Cause.TRANSFER_INCONSISTENT: ("PAYMENT_INFO_INCONSISTENCY", "两次请求商户单号一样,但是参数不一致"),
    Cause.TRANSFER_NOT_EXIST: ("ORDER_NOT_EXIST", "转账订单不存在"),
}


def trade_error(cause: Cause) -> AlipayError:
    """Puts a refusal about a trade or refund into Alipay's words."""
    return AlipayError(BUSINESS, *_TRADE_CAUSES[cause])


def transfer_error(cause: Cause) -> AlipayError:
    """Puts a refusal about a transfer into Alipay's words."""
    return AlipayError(BUSINESS, *_TRANSFER_CAUSES[cause])


def system_error(*, transfer: bool) -> AlipayError:
    """Returns the error after which the caller does not know what happened."""
    return AlipayError(
        BUSINESS if not transfer else UNAVAILABLE,
        "SYSTEM_ERROR" if transfer else "ACQ.SYSTEM_ERROR",
        "系统错误",
    )


def call_limited() -> AlipayError:
    """Returns the error for too many calls."""
    return AlipayError(CALL_LIMITED, "isv.app-call-limited", "应用调用次数超限")
