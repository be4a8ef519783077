"""The words in which the gateway speaks of every channel. Invariant: each name equals the contract's enum
value without its prefix, so that a stored word reads like the contract."""

from __future__ import annotations

from enum import StrEnum


class ChannelOrderKind(StrEnum):
    """What kind of movement of money a channel order is."""

    PAY = "PAY"
    REFUND = "REFUND"
    PAYOUT = "PAYOUT"
    AUTHORIZATION = "AUTHORIZATION"
    CAPTURE = "CAPTURE"


class ChannelOrderState(StrEnum):
    """Where a channel order stands."""

    PREPARED = "PREPARED"
    SENT = "SENT"
    ACCEPTED = "ACCEPTED"
    SUCCEEDED = "SUCCEEDED"
    DECLINED = "DECLINED"
    NOT_SENT = "NOT_SENT"
    UNKNOWN = "UNKNOWN"
    CLOSED = "CLOSED"


class OutcomeSafety(StrEnum):
    """Whether money may have moved when a channel was asked; it alone drives retry and compensation."""

    NOT_SENT = "NOT_SENT"
    MAYBE_SENT = "MAYBE_SENT"
    DECLINED = "DECLINED"
    SUCCEEDED = "SUCCEEDED"


class FailureReason(StrEnum):
    """Why a channel order did not succeed, in one vocabulary for all channels."""

    UNSPECIFIED = "UNSPECIFIED"
    REQUEST_INVALID = "REQUEST_INVALID"
    SIGNATURE_INVALID = "SIGNATURE_INVALID"
    PERMISSION_MISSING = "PERMISSION_MISSING"
    MERCHANT_FUNDS_INSUFFICIENT = "MERCHANT_FUNDS_INSUFFICIENT"
    PAYER_FUNDS_INSUFFICIENT = "PAYER_FUNDS_INSUFFICIENT"
    ORDER_NOT_FOUND = "ORDER_NOT_FOUND"
    ORDER_PAID = "ORDER_PAID"
    ORDER_CLOSED = "ORDER_CLOSED"
    AMOUNT_LIMIT = "AMOUNT_LIMIT"
    PAYEE_INVALID = "PAYEE_INVALID"
    RATE_LIMITED = "RATE_LIMITED"
    CHANNEL_FAULT = "CHANNEL_FAULT"
    NO_ANSWER = "NO_ANSWER"
    NOT_REACHED = "NOT_REACHED"
    SWITCHED_OFF = "SWITCHED_OFF"
    PAYER_ABANDONED = "PAYER_ABANDONED"
    MISMATCH = "MISMATCH"
    RISK_REFUSED = "RISK_REFUSED"


class InvokeMethod(StrEnum):
    """How the payer meets the channel."""

    MINI_PROGRAM = "MINI_PROGRAM"
    PC = "PC"
    WAP = "WAP"
    APP = "APP"
    QR = "QR"
    BARCODE = "BARCODE"
    AGREEMENT = "AGREEMENT"
    BALANCE = "BALANCE"


class PayeeIdKind(StrEnum):
    """How the id of a payee is to be read."""

    CHANNEL_USER = "CHANNEL_USER"
    LOGIN = "LOGIN"
    CARD_TOKEN = "CARD_TOKEN"


class NoticeState(StrEnum):
    """What became of a notice."""

    RECEIVED = "RECEIVED"
    APPLIED = "APPLIED"
    REPEATED = "REPEATED"
    REFUSED = "REFUSED"


class MerchantState(StrEnum):
    """Whether a merchant may be paid."""

    ACTIVE = "ACTIVE"
    DISABLED = "DISABLED"


class PaymentAccountState(StrEnum):
    """Whether a payment account takes new payments."""

    ENABLED = "ENABLED"
    DISABLED = "DISABLED"


class Operation(StrEnum):
    """What can be asked of a channel; the value is the name in capability tables and switches."""

    PAY = "pay"
    QUERY = "query"
    CLOSE = "close"
    REFUND = "refund"
    REFUND_QUERY = "refund_query"
    PAYOUT = "payout"
    PAYOUT_QUERY = "payout_query"


class EventType(StrEnum):
    """What happened to a channel order, as told on the bus."""

    CHANNEL_ORDER_CREATED = "CHANNEL_ORDER_CREATED"
    CHANNEL_ORDER_CHANGED = "CHANNEL_ORDER_CHANGED"
    CHANNEL_ORDER_SUCCEEDED = "CHANNEL_ORDER_SUCCEEDED"
    CHANNEL_ORDER_FAILED = "CHANNEL_ORDER_FAILED"
