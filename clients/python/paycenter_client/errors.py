"""What a call can raise; every refusal keeps its reason, fields and trace id.

PaycenterError
├── InvalidRequest       INVALID_ARGUMENT     fix the named fields, do not retry as it is
├── CallerRejected       UNAUTHENTICATED, PERMISSION_DENIED   fix who calls or for whom
├── NotFound             NOT_FOUND            the number names nothing
├── AlreadyExists        ALREADY_EXISTS       read the existing record, its number is in `metadata`
├── PreconditionFailed   FAILED_PRECONDITION  change the state first
├── Conflict             ABORTED              read again or retry after `retry_after_seconds`
├── RevisionCompacted    OUT_OF_RANGE         list again, then watch
├── Overloaded           RESOURCE_EXHAUSTED   back off for `retry_after_seconds`
├── Unavailable          UNAVAILABLE          retry the same request_id
├── OutcomeUnknown       DEADLINE_EXCEEDED, CANCELLED   retry the same request_id, or read the record
├── Unimplemented        UNIMPLEMENTED        this release does not serve the method
└── InternalError        everything else      report `trace_id`
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import grpc
from google.rpc import error_details_pb2, status_pb2

_STATUS_KEY = "grpc-status-details-bin"


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One field of the request that breaks its rule: dotted path and what is wrong with it."""

    field: str
    description: str


class PaycenterError(Exception):
    """A call was refused or its outcome is not known.

    Attributes:
        code: gRPC code.
        reason: Stable reason, a name of `paycenter.errors.v1.ErrorReason` without prefix; empty when the
            error did not come from the center itself (a connection that broke, say).
        message: English text with a stable meaning.
        metadata: Dynamic parts of the message by name.
        violations: Fields at fault.
        retry_after_seconds: How long to wait before a retry; None when none is advised.
        trace_id: Trace of the call, 32 hexadecimal digits; what to report to the operations desk.
    """

    def __init__(
        self,
        *,
        code: grpc.StatusCode,
        reason: str,
        message: str,
        metadata: Mapping[str, str],
        violations: Sequence[FieldViolation],
        retry_after_seconds: float | None,
    ) -> None:
        fields = ", ".join(f"{violation.field}: {violation.description}" for violation in violations)
        super().__init__(f"{reason or code.name}: {message}" + (f" ({fields})" if fields else ""))
        self.code = code
        self.reason = reason
        self.message = message
        self.metadata = dict(metadata)
        self.violations = tuple(violations)
        self.retry_after_seconds = retry_after_seconds
        self.trace_id = self.metadata.get("traceId", "")

    @property
    def field(self) -> str:
        """Path of the first field at fault; empty when none is named."""
        return self.violations[0].field if self.violations else ""


class InvalidRequest(PaycenterError):
    """The request breaks a rule of the contract; it changed nothing."""


class CallerRejected(PaycenterError):
    """The caller is not known, or may not act for this tenant or merchant; nothing changed."""


class NotFound(PaycenterError):
    """The number names no record."""


class AlreadyExists(PaycenterError):
    """Another record holds the unique number; its own number is in `metadata`."""


class PreconditionFailed(PaycenterError):
    """The state does not allow the command; nothing changed."""


class Conflict(PaycenterError):
    """The record changed, or the same request is being carried out, at this moment."""


class RevisionCompacted(PaycenterError):
    """The start revision of a watch is older than what the server keeps."""


class Overloaded(PaycenterError):
    """The center has more work than it accepts; nothing changed."""


class Unavailable(PaycenterError):
    """The center cannot be reached; repeating the same request_id is harmless."""


class OutcomeUnknown(PaycenterError):
    """Time ran out: the command may have begun. Repeat the same request_id or read the record."""


class Unimplemented(PaycenterError):
    """This release does not serve the method."""


class InternalError(PaycenterError):
    """Something failed that no reason describes; report `trace_id`."""


_CLASS_BY_CODE: dict[grpc.StatusCode, type[PaycenterError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequest,
    grpc.StatusCode.UNAUTHENTICATED: CallerRejected,
    grpc.StatusCode.PERMISSION_DENIED: CallerRejected,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.ALREADY_EXISTS: AlreadyExists,
    grpc.StatusCode.FAILED_PRECONDITION: PreconditionFailed,
    grpc.StatusCode.ABORTED: Conflict,
    grpc.StatusCode.OUT_OF_RANGE: RevisionCompacted,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Overloaded,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: OutcomeUnknown,
    grpc.StatusCode.CANCELLED: OutcomeUnknown,
    grpc.StatusCode.UNIMPLEMENTED: Unimplemented,
}


def error_from_status(
    code: grpc.StatusCode, message: str, trailing_metadata: Sequence[tuple[str, str | bytes]]
) -> PaycenterError:
    """Builds the typed error of a failed call from its code and the rich status in its trailers."""
    reason, metadata, violations, retry_after = "", {}, [], None
    for key, value in trailing_metadata:
        if key != _STATUS_KEY or not isinstance(value, bytes):
            continue
        for detail in status_pb2.Status.FromString(value).details:
            info = error_details_pb2.ErrorInfo()
            fields = error_details_pb2.BadRequest()
            retry = error_details_pb2.RetryInfo()
            if detail.Unpack(info):
                reason, metadata = info.reason, dict(info.metadata)
            elif detail.Unpack(fields):
                violations = [
                    FieldViolation(item.field, item.description) for item in fields.field_violations
                ]
            elif detail.Unpack(retry):
                retry_after = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
    return _CLASS_BY_CODE.get(code, InternalError)(
        code=code,
        reason=reason,
        message=message,
        metadata=metadata,
        violations=violations,
        retry_after_seconds=retry_after,
    )
