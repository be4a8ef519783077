"""What Alipay's codes mean. Invariant: a code that is not in the table leaves the outcome open and is
counted.

Source: Alipay open platform, "public error codes" and the error tables of each method used here.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from channel_gateway.channels.outcomes import Meaning, OutcomeTable
from channel_gateway.domain.vocabulary import FailureReason as Reason
from channel_gateway.domain.vocabulary import OutcomeSafety as Safety

SUCCESS = "10000"

_DECLINED: Mapping[str, Reason] = MappingProxyType(
    {
        "40001": Reason.REQUEST_INVALID,
        "40002": Reason.REQUEST_INVALID,
        "40003": Reason.REQUEST_INVALID,
        "40005": Reason.RATE_LIMITED,
        "40006": Reason.PERMISSION_MISSING,
        "20001": Reason.PERMISSION_MISSING,
        "isv.invalid-signature": Reason.SIGNATURE_INVALID,
        "isv.missing-signature": Reason.SIGNATURE_INVALID,
        "isv.invalid-signature-type": Reason.SIGNATURE_INVALID,
        "isv.invalid-app-id": Reason.PERMISSION_MISSING,
        "isv.invalid-app-cert-sn": Reason.SIGNATURE_INVALID,
        "isv.insufficient-isv-permissions": Reason.PERMISSION_MISSING,
        "isv.app-call-limited": Reason.RATE_LIMITED,
        "isv.invalid-parameter": Reason.REQUEST_INVALID,
        "isv.missing-method": Reason.REQUEST_INVALID,
        "isv.invalid-timestamp": Reason.REQUEST_INVALID,
        "ACQ.INVALID_PARAMETER": Reason.REQUEST_INVALID,
        "ACQ.ACCESS_FORBIDDEN": Reason.PERMISSION_MISSING,
        "ACQ.PARTNER_ERROR": Reason.PERMISSION_MISSING,
        "ACQ.TOTAL_FEE_EXCEED": Reason.AMOUNT_LIMIT,
        "ACQ.EXIST_FORBIDDEN_WORD": Reason.REQUEST_INVALID,
        "ACQ.CONTEXT_INCONSISTENT": Reason.MISMATCH,
        "ACQ.TRADE_HAS_SUCCESS": Reason.ORDER_PAID,
        "ACQ.TRADE_HAS_CLOSE": Reason.ORDER_CLOSED,
        "ACQ.TRADE_NOT_EXIST": Reason.ORDER_NOT_FOUND,
        "ACQ.TRADE_STATUS_ERROR": Reason.ORDER_CLOSED,
        "ACQ.REASON_TRADE_STATUS_INVALID": Reason.ORDER_PAID,
        "ACQ.BUYER_BALANCE_NOT_ENOUGH": Reason.PAYER_FUNDS_INSUFFICIENT,
        "ACQ.BUYER_BANKCARD_BALANCE_NOT_ENOUGH": Reason.PAYER_FUNDS_INSUFFICIENT,
        "ACQ.ERROR_BALANCE_PAYMENT_DISABLE": Reason.PAYER_FUNDS_INSUFFICIENT,
        "ACQ.BUYER_SELLER_EQUAL": Reason.REQUEST_INVALID,
        "ACQ.TRADE_BUYER_NOT_MATCH": Reason.MISMATCH,
        "ACQ.BUYER_ENABLE_STATUS_FORBID": Reason.RISK_REFUSED,
        "ACQ.BUYER_PAYMENT_AMOUNT_DAY_LIMIT_ERROR": Reason.AMOUNT_LIMIT,
        "ACQ.BUYER_PAYMENT_AMOUNT_MONTH_LIMIT_ERROR": Reason.AMOUNT_LIMIT,
        "ACQ.PAYMENT_FAIL": Reason.RISK_REFUSED,
        "ACQ.PAYMENT_REQUEST_HAS_RISK": Reason.RISK_REFUSED,
        "ACQ.SELLER_BALANCE_NOT_ENOUGH": Reason.MERCHANT_FUNDS_INSUFFICIENT,
        "ACQ.REFUND_AMT_NOT_EQUAL_TOTAL": Reason.AMOUNT_LIMIT,
        "ACQ.REFUND_FEE_ERROR": Reason.AMOUNT_LIMIT,
        "ACQ.TRADE_HAS_FINISHED": Reason.ORDER_CLOSED,
        "ACQ.DISCORDANT_REPEAT_REQUEST": Reason.MISMATCH,
        "ACQ.REASON_TRADE_REFUND_FEE_ERR": Reason.AMOUNT_LIMIT,
        "ACQ.TRADE_NOT_ALLOW_REFUND": Reason.RISK_REFUSED,
        "ACQ.ONLINE_TRADE_VOUCHER_NOT_ALLOW_REFUND": Reason.RISK_REFUSED,
        "INVALID_PARAMETER": Reason.REQUEST_INVALID,
        "PAYEE_NOT_EXIST": Reason.PAYEE_INVALID,
        "PAYEE_ACC_OCUPIED": Reason.PAYEE_INVALID,
        "PAYEE_USER_INFO_ERROR": Reason.PAYEE_INVALID,
        "PAYEE_USERINFO_STATUS_ERROR": Reason.PAYEE_INVALID,
        "PAYEE_CERT_INFO_ERROR": Reason.PAYEE_INVALID,
        "PERM_AML_NOT_REALNAME_REV": Reason.PAYEE_INVALID,
        "PAYER_BALANCE_NOT_ENOUGH": Reason.MERCHANT_FUNDS_INSUFFICIENT,
        "BALANCE_IS_NOT_ENOUGH": Reason.MERCHANT_FUNDS_INSUFFICIENT,
        "PAYER_STATUS_ERROR": Reason.PERMISSION_MISSING,
        "PERMIT_NON_BANK_LIMIT_PAYEE": Reason.PAYEE_INVALID,
        "PERMIT_CHECK_PERM_LIMITED": Reason.PERMISSION_MISSING,
        "EXCEED_LIMIT_SM_MIN_AMOUNT": Reason.AMOUNT_LIMIT,
        "EXCEED_LIMIT_SM_AMOUNT": Reason.AMOUNT_LIMIT,
        "EXCEED_LIMIT_DM_MAX_AMOUNT": Reason.AMOUNT_LIMIT,
        "EXCEED_LIMIT_UNRN_DM_AMOUNT": Reason.AMOUNT_LIMIT,
        "PAYMENT_INFO_INCONSISTENCY": Reason.MISMATCH,
        "ORDER_NOT_EXIST": Reason.ORDER_NOT_FOUND,
        "SECURITY_CHECK_FAILED": Reason.RISK_REFUSED,
        "PAYCARD_UNABLE_PAYMENT": Reason.RISK_REFUSED,
    }
)
_OPEN: Mapping[str, Reason] = MappingProxyType(
    {
        "20000": Reason.CHANNEL_FAULT,
        "isp.unknow-error": Reason.CHANNEL_FAULT,
        "isp.unknown-error": Reason.CHANNEL_FAULT,
        "aop.unknow-error": Reason.CHANNEL_FAULT,
        "ACQ.SYSTEM_ERROR": Reason.CHANNEL_FAULT,
        "SYSTEM_ERROR": Reason.CHANNEL_FAULT,
        "ACQ.REFUND_ROLLBACK": Reason.CHANNEL_FAULT,
        "REQUEST_PROCESSING": Reason.CHANNEL_FAULT,
        "10003": Reason.CHANNEL_FAULT,
    }
)

OUTCOMES = OutcomeTable(
    "alipay",
    {code: Meaning(Safety.DECLINED, reason) for code, reason in _DECLINED.items()}
    | {code: Meaning(Safety.MAYBE_SENT, reason) for code, reason in _OPEN.items()},
)
