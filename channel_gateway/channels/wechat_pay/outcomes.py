"""What WeChat Pay's codes mean. Invariant: a code that is not in the table leaves the outcome open and is
counted.

Source: WeChat Pay API v3, "common error codes" and the error tables of each interface used here.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from channel_gateway.channels.outcomes import Meaning, OutcomeTable
from channel_gateway.domain.vocabulary import FailureReason as Reason
from channel_gateway.domain.vocabulary import OutcomeSafety as Safety

_DECLINED: Mapping[str, Reason] = MappingProxyType(
    {
        "PARAM_ERROR": Reason.REQUEST_INVALID,
        "INVALID_REQUEST": Reason.REQUEST_INVALID,
        "SIGN_ERROR": Reason.SIGNATURE_INVALID,
        "NO_AUTH": Reason.PERMISSION_MISSING,
        "NOAUTH": Reason.PERMISSION_MISSING,
        "RULE_LIMIT": Reason.PERMISSION_MISSING,
        "RULELIMIT": Reason.PERMISSION_MISSING,
        "MCH_NOT_EXISTS": Reason.PERMISSION_MISSING,
        "APPID_MCHID_NOT_MATCH": Reason.PERMISSION_MISSING,
        "CONTRACT_NOT_EXIST": Reason.PERMISSION_MISSING,
        "ACCOUNT_ERROR": Reason.RISK_REFUSED,
        "ACCOUNTERROR": Reason.RISK_REFUSED,
        "USER_ACCOUNT_ABNORMAL": Reason.PAYEE_INVALID,
        "USER_NOT_EXISTS": Reason.PAYEE_INVALID,
        "OPENID_MISMATCH": Reason.PAYEE_INVALID,
        "NAME_NOT_CORRECT": Reason.PAYEE_INVALID,
        "PAYEE_ACCOUNT_ABNORMAL": Reason.PAYEE_INVALID,
        "NOT_ENOUGH": Reason.MERCHANT_FUNDS_INSUFFICIENT,
        "NOTENOUGH": Reason.PAYER_FUNDS_INSUFFICIENT,
        "FREQUENCY_LIMITED": Reason.RATE_LIMITED,
        "FREQUENCY_LIMIT_EXCEED": Reason.RATE_LIMITED,
        "RATELIMIT_EXCEEDED": Reason.RATE_LIMITED,
        "QUOTA_EXCEED": Reason.AMOUNT_LIMIT,
        "EXCEED_PAYEE_LIMIT": Reason.AMOUNT_LIMIT,
        "ORDERPAID": Reason.ORDER_PAID,
        "ORDER_CLOSED": Reason.ORDER_CLOSED,
        "ORDERCLOSED": Reason.ORDER_CLOSED,
        "ORDER_NOT_EXIST": Reason.ORDER_NOT_FOUND,
        "ORDERNOTEXIST": Reason.ORDER_NOT_FOUND,
        "RESOURCE_NOT_EXISTS": Reason.ORDER_NOT_FOUND,
        "NOT_FOUND": Reason.ORDER_NOT_FOUND,
        "OUT_TRADE_NO_USED": Reason.MISMATCH,
        "ALREADY_EXISTS": Reason.MISMATCH,
        "TRADE_ERROR": Reason.RISK_REFUSED,
        "RISK_CONTROL": Reason.RISK_REFUSED,
    }
)
_OPEN: Mapping[str, Reason] = MappingProxyType(
    {
        "SYSTEM_ERROR": Reason.CHANNEL_FAULT,
        "SYSTEMERROR": Reason.CHANNEL_FAULT,
        "BIZERR_NEED_RETRY": Reason.CHANNEL_FAULT,
        "BANK_ERROR": Reason.CHANNEL_FAULT,
        "USERPAYING": Reason.CHANNEL_FAULT,
        "IN_PROGRESS": Reason.CHANNEL_FAULT,
    }
)

OUTCOMES = OutcomeTable(
    "wechat_pay",
    {code: Meaning(Safety.DECLINED, reason) for code, reason in _DECLINED.items()}
    | {code: Meaning(Safety.MAYBE_SENT, reason) for code, reason in _OPEN.items()},
)
