"""The one error type that use cases raise and the table of every reason. Invariant: pure, no I/O, no gRPC;
the table equals the options on `paycenter.errors.v1.ErrorReason` (a test compares them)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class Code(StrEnum):
    """Canonical gRPC status codes by name, so that pure code needs no gRPC import."""

    CANCELLED = "CANCELLED"
    UNKNOWN = "UNKNOWN"
    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    NOT_FOUND = "NOT_FOUND"
    ALREADY_EXISTS = "ALREADY_EXISTS"
    PERMISSION_DENIED = "PERMISSION_DENIED"
    RESOURCE_EXHAUSTED = "RESOURCE_EXHAUSTED"
    FAILED_PRECONDITION = "FAILED_PRECONDITION"
    ABORTED = "ABORTED"
    OUT_OF_RANGE = "OUT_OF_RANGE"
    UNIMPLEMENTED = "UNIMPLEMENTED"
    INTERNAL = "INTERNAL"
    UNAVAILABLE = "UNAVAILABLE"
    DATA_LOSS = "DATA_LOSS"
    UNAUTHENTICATED = "UNAUTHENTICATED"


class Reason(StrEnum):
    """Why a call was refused; the value is the `reason` of `google.rpc.ErrorInfo`."""

    FIELD_INVALID = "FIELD_INVALID"
    IDEMPOTENCY_KEY_REUSED = "IDEMPOTENCY_KEY_REUSED"
    PAGE_TOKEN_INVALID = "PAGE_TOKEN_INVALID"
    CURRENCY_UNSUPPORTED = "CURRENCY_UNSUPPORTED"
    CURRENCY_MISMATCH = "CURRENCY_MISMATCH"
    CONTEXT_MISSING = "CONTEXT_MISSING"
    CONTEXT_INVALID = "CONTEXT_INVALID"
    CALLER_UNKNOWN = "CALLER_UNKNOWN"
    TENANT_FORBIDDEN = "TENANT_FORBIDDEN"
    MERCHANT_MISMATCH = "MERCHANT_MISMATCH"
    NUMBER_NOT_FOUND = "NUMBER_NOT_FOUND"
    ETAG_MISMATCH = "ETAG_MISMATCH"
    REQUEST_IN_PROGRESS = "REQUEST_IN_PROGRESS"
    LOCK_CONFLICT = "LOCK_CONFLICT"
    REVISION_COMPACTED = "REVISION_COMPACTED"
    RATE_LIMITED = "RATE_LIMITED"
    OVERLOADED = "OVERLOADED"
    SERVER_DRAINING = "SERVER_DRAINING"
    DATABASE_UNAVAILABLE = "DATABASE_UNAVAILABLE"
    DEPENDENCY_UNAVAILABLE = "DEPENDENCY_UNAVAILABLE"
    DEADLINE_TOO_SHORT = "DEADLINE_TOO_SHORT"
    METHOD_UNIMPLEMENTED = "METHOD_UNIMPLEMENTED"
    INTERNAL_ERROR = "INTERNAL_ERROR"
    ORDER_NOT_FOUND = "ORDER_NOT_FOUND"
    MERCHANT_ORDER_EXISTS = "MERCHANT_ORDER_EXISTS"
    ORDER_STATE_INVALID = "ORDER_STATE_INVALID"
    ATTEMPT_IN_PROGRESS = "ATTEMPT_IN_PROGRESS"
    REFUND_NOT_FOUND = "REFUND_NOT_FOUND"
    REFUND_EXCEEDS_PAID = "REFUND_EXCEEDS_PAID"
    NOTIFICATION_NOT_FOUND = "NOTIFICATION_NOT_FOUND"
    PAYMENT_NOT_FOUND = "PAYMENT_NOT_FOUND"
    PAYMENT_STATE_INVALID = "PAYMENT_STATE_INVALID"
    AMOUNT_EXCEEDS_CAPTURABLE = "AMOUNT_EXCEEDS_CAPTURABLE"
    AMOUNT_EXCEEDS_REFUNDABLE = "AMOUNT_EXCEEDS_REFUNDABLE"
    RISK_BLOCKED = "RISK_BLOCKED"
    NO_ROUTE = "NO_ROUTE"
    AGREEMENT_NOT_FOUND = "AGREEMENT_NOT_FOUND"
    MERCHANT_NOT_FOUND = "MERCHANT_NOT_FOUND"
    PAYMENT_ACCOUNT_NOT_FOUND = "PAYMENT_ACCOUNT_NOT_FOUND"
    PAYMENT_ACCOUNT_DISABLED = "PAYMENT_ACCOUNT_DISABLED"
    INVOKE_METHOD_UNSUPPORTED = "INVOKE_METHOD_UNSUPPORTED"
    CHANNEL_SETTINGS_INVALID = "CHANNEL_SETTINGS_INVALID"
    CHANNEL_ORDER_NOT_FOUND = "CHANNEL_ORDER_NOT_FOUND"
    CHANNEL_ORDER_STATE_INVALID = "CHANNEL_ORDER_STATE_INVALID"
    CHANNEL_NOT_CONTACTED = "CHANNEL_NOT_CONTACTED"
    ACCOUNT_NOT_FOUND = "ACCOUNT_NOT_FOUND"
    ACCOUNT_EXISTS = "ACCOUNT_EXISTS"
    SUBJECT_NOT_FOUND = "SUBJECT_NOT_FOUND"
    SUBJECT_NOT_LEAF = "SUBJECT_NOT_LEAF"
    ACCOUNT_STATE_INVALID = "ACCOUNT_STATE_INVALID"
    JOURNAL_UNBALANCED = "JOURNAL_UNBALANCED"
    JOURNAL_NOT_FOUND = "JOURNAL_NOT_FOUND"
    JOURNAL_EXISTS = "JOURNAL_EXISTS"
    JOURNAL_NOT_REVERSIBLE = "JOURNAL_NOT_REVERSIBLE"
    POSTING_RULE_NOT_FOUND = "POSTING_RULE_NOT_FOUND"
    INSUFFICIENT_FUNDS = "INSUFFICIENT_FUNDS"
    BALANCE_OVERFLOW = "BALANCE_OVERFLOW"
    VERSION_MISMATCH = "VERSION_MISMATCH"
    HOLD_NOT_FOUND = "HOLD_NOT_FOUND"
    HOLD_STATE_INVALID = "HOLD_STATE_INVALID"
    HOLD_AMOUNT_EXCEEDED = "HOLD_AMOUNT_EXCEEDED"
    LEDGER_PERIOD_CLOSED = "LEDGER_PERIOD_CLOSED"
    SHADOW_MIXED = "SHADOW_MIXED"


_REASONS: Mapping[Reason, tuple[Code, str]] = {
    Reason.FIELD_INVALID: (Code.INVALID_ARGUMENT, "platform"),
    Reason.IDEMPOTENCY_KEY_REUSED: (Code.INVALID_ARGUMENT, "platform"),
    Reason.PAGE_TOKEN_INVALID: (Code.INVALID_ARGUMENT, "platform"),
    Reason.CURRENCY_UNSUPPORTED: (Code.INVALID_ARGUMENT, "platform"),
    Reason.CURRENCY_MISMATCH: (Code.INVALID_ARGUMENT, "platform"),
    Reason.CONTEXT_MISSING: (Code.UNAUTHENTICATED, "platform"),
    Reason.CONTEXT_INVALID: (Code.INVALID_ARGUMENT, "platform"),
    Reason.CALLER_UNKNOWN: (Code.UNAUTHENTICATED, "platform"),
    Reason.TENANT_FORBIDDEN: (Code.PERMISSION_DENIED, "platform"),
    Reason.MERCHANT_MISMATCH: (Code.PERMISSION_DENIED, "platform"),
    Reason.NUMBER_NOT_FOUND: (Code.NOT_FOUND, "platform"),
    Reason.ETAG_MISMATCH: (Code.ABORTED, "platform"),
    Reason.REQUEST_IN_PROGRESS: (Code.ABORTED, "platform"),
    Reason.LOCK_CONFLICT: (Code.ABORTED, "platform"),
    Reason.REVISION_COMPACTED: (Code.OUT_OF_RANGE, "platform"),
    Reason.RATE_LIMITED: (Code.RESOURCE_EXHAUSTED, "platform"),
    Reason.OVERLOADED: (Code.RESOURCE_EXHAUSTED, "platform"),
    Reason.SERVER_DRAINING: (Code.UNAVAILABLE, "platform"),
    Reason.DATABASE_UNAVAILABLE: (Code.UNAVAILABLE, "platform"),
    Reason.DEPENDENCY_UNAVAILABLE: (Code.UNAVAILABLE, "platform"),
    Reason.DEADLINE_TOO_SHORT: (Code.DEADLINE_EXCEEDED, "platform"),
    Reason.METHOD_UNIMPLEMENTED: (Code.UNIMPLEMENTED, "platform"),
    Reason.INTERNAL_ERROR: (Code.INTERNAL, "platform"),
    Reason.ORDER_NOT_FOUND: (Code.NOT_FOUND, "transaction"),
    Reason.MERCHANT_ORDER_EXISTS: (Code.ALREADY_EXISTS, "transaction"),
    Reason.ORDER_STATE_INVALID: (Code.FAILED_PRECONDITION, "transaction"),
    Reason.ATTEMPT_IN_PROGRESS: (Code.FAILED_PRECONDITION, "transaction"),
    Reason.REFUND_NOT_FOUND: (Code.NOT_FOUND, "transaction"),
    Reason.REFUND_EXCEEDS_PAID: (Code.FAILED_PRECONDITION, "transaction"),
    Reason.NOTIFICATION_NOT_FOUND: (Code.NOT_FOUND, "transaction"),
    Reason.PAYMENT_NOT_FOUND: (Code.NOT_FOUND, "payment"),
    Reason.PAYMENT_STATE_INVALID: (Code.FAILED_PRECONDITION, "payment"),
    Reason.AMOUNT_EXCEEDS_CAPTURABLE: (Code.FAILED_PRECONDITION, "payment"),
    Reason.AMOUNT_EXCEEDS_REFUNDABLE: (Code.FAILED_PRECONDITION, "payment"),
    Reason.RISK_BLOCKED: (Code.FAILED_PRECONDITION, "payment"),
    Reason.NO_ROUTE: (Code.FAILED_PRECONDITION, "payment"),
    Reason.AGREEMENT_NOT_FOUND: (Code.NOT_FOUND, "payment"),
    Reason.MERCHANT_NOT_FOUND: (Code.NOT_FOUND, "channel"),
    Reason.PAYMENT_ACCOUNT_NOT_FOUND: (Code.NOT_FOUND, "channel"),
    Reason.PAYMENT_ACCOUNT_DISABLED: (Code.FAILED_PRECONDITION, "channel"),
    Reason.INVOKE_METHOD_UNSUPPORTED: (Code.INVALID_ARGUMENT, "channel"),
    Reason.CHANNEL_SETTINGS_INVALID: (Code.INVALID_ARGUMENT, "channel"),
    Reason.CHANNEL_ORDER_NOT_FOUND: (Code.NOT_FOUND, "channel"),
    Reason.CHANNEL_ORDER_STATE_INVALID: (Code.FAILED_PRECONDITION, "channel"),
    Reason.CHANNEL_NOT_CONTACTED: (Code.UNAVAILABLE, "channel"),
    Reason.ACCOUNT_NOT_FOUND: (Code.NOT_FOUND, "accounting"),
    Reason.ACCOUNT_EXISTS: (Code.ALREADY_EXISTS, "accounting"),
    Reason.SUBJECT_NOT_FOUND: (Code.NOT_FOUND, "accounting"),
    Reason.SUBJECT_NOT_LEAF: (Code.FAILED_PRECONDITION, "accounting"),
    Reason.ACCOUNT_STATE_INVALID: (Code.FAILED_PRECONDITION, "accounting"),
    Reason.JOURNAL_UNBALANCED: (Code.INVALID_ARGUMENT, "accounting"),
    Reason.JOURNAL_NOT_FOUND: (Code.NOT_FOUND, "accounting"),
    Reason.JOURNAL_EXISTS: (Code.ALREADY_EXISTS, "accounting"),
    Reason.JOURNAL_NOT_REVERSIBLE: (Code.FAILED_PRECONDITION, "accounting"),
    Reason.POSTING_RULE_NOT_FOUND: (Code.NOT_FOUND, "accounting"),
    Reason.INSUFFICIENT_FUNDS: (Code.FAILED_PRECONDITION, "accounting"),
    Reason.BALANCE_OVERFLOW: (Code.FAILED_PRECONDITION, "accounting"),
    Reason.VERSION_MISMATCH: (Code.ABORTED, "accounting"),
    Reason.HOLD_NOT_FOUND: (Code.NOT_FOUND, "accounting"),
    Reason.HOLD_STATE_INVALID: (Code.FAILED_PRECONDITION, "accounting"),
    Reason.HOLD_AMOUNT_EXCEEDED: (Code.FAILED_PRECONDITION, "accounting"),
    Reason.LEDGER_PERIOD_CLOSED: (Code.FAILED_PRECONDITION, "accounting"),
    Reason.SHADOW_MIXED: (Code.INVALID_ARGUMENT, "accounting"),
}

SERVER_FAULT_CODES = frozenset(
    {
        Code.UNKNOWN,
        Code.DEADLINE_EXCEEDED,
        Code.UNIMPLEMENTED,
        Code.INTERNAL,
        Code.UNAVAILABLE,
        Code.DATA_LOSS,
    }
)
"""Codes that count as a failure of the server rather than of the caller (OpenTelemetry's rpc conventions)."""


def code_of(reason: Reason) -> Code:
    """Returns the gRPC code that carries `reason`."""
    return _REASONS[reason][0]


def area_of(reason: Reason) -> str:
    """Returns the area of `reason`: `platform`, `transaction`, `payment`, `channel` or `accounting`."""
    return _REASONS[reason][1]


def domain_of(reason: Reason) -> str:
    """Returns the `domain` of `google.rpc.ErrorInfo` for `reason`, for example `payment.paycenter`."""
    return f"{_REASONS[reason][1]}.paycenter"


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One field of a request that breaks a rule.

    `field` is the dotted path with indexes (`lines[2].amount.minor_units`), `description` never repeats the
    value, `rule` names the rule where there is one (`string.min_len`).
    """

    field: str
    description: str
    rule: str = ""


class PaycenterError(Exception):
    """A refusal with a reason of the contract; the server turns it into a rich `google.rpc.Status`.

    `message` is English and goes to the caller: it never holds a sensitive value. `metadata` repeats every
    dynamic part of the message (camelCase keys). `retry_after_seconds` is the least wait before another try.
    `resource` is (type, name) of the record that is missing, exists already or stands in the way.
    `may_have_begun` is set on errors that a service below reported: False only when the command provably had
    no effect there.
    """

    def __init__(
        self,
        reason: Reason,
        message: str,
        *,
        field: str | None = None,
        violations: Sequence[FieldViolation] = (),
        metadata: Mapping[str, str] | None = None,
        retry_after_seconds: float | None = None,
        resource: tuple[str, str] | None = None,
        may_have_begun: bool = False,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.field = field
        own_violation = () if field is None else (FieldViolation(field=field, description=message),)
        self.violations: tuple[FieldViolation, ...] = (*own_violation, *violations)
        self.metadata: Mapping[str, str] = MappingProxyType(dict(metadata or {}))
        self.retry_after_seconds = retry_after_seconds
        self.resource = resource
        self.may_have_begun = may_have_begun

    @property
    def code(self) -> Code:
        """The gRPC code that carries this error."""
        return code_of(self.reason)

    @property
    def domain(self) -> str:
        """The domain that this error is reported under."""
        return domain_of(self.reason)

    @property
    def is_server_fault(self) -> bool:
        """Whether the code counts as a failure of the server."""
        return code_of(self.reason) in SERVER_FAULT_CODES

    def __repr__(self) -> str:
        return f"PaycenterError({self.reason.value}, {self.message!r})"
