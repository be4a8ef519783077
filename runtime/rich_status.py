"""`PaycenterError` to and from `google.rpc.Status`. Invariant: the details stay below 4 KiB, always hold an
ErrorInfo, and no exception text gets into them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError, Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

from runtime.errors import Code, FieldViolation, PaycenterError, Reason

_MessageT = TypeVar("_MessageT", bound=Message)

STATUS_DETAILS_KEY = "grpc-status-details-bin"
STATUS_LIMIT_BYTES = 4096
INTERNAL_MESSAGE = "The server failed; report the trace id."

_MESSAGE_LIMIT = 500
_VALUE_LIMIT = 256
_DOMAIN_SUFFIX = ".paycenter"
_RETRY_AFTER_SECONDS: Mapping[Code, float] = {
    Code.ABORTED: 0.2,
    Code.RESOURCE_EXHAUSTED: 1.0,
    Code.UNAVAILABLE: 1.0,
}
_PRESERVED_CODES = frozenset(
    {
        Code.INVALID_ARGUMENT,
        Code.NOT_FOUND,
        Code.ALREADY_EXISTS,
        Code.PERMISSION_DENIED,
        Code.FAILED_PRECONDITION,
        Code.ABORTED,
        Code.OUT_OF_RANGE,
        Code.RESOURCE_EXHAUSTED,
        Code.UNIMPLEMENTED,
    }
)
_MAYBE_BEGUN_CODES = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED"})
_REFUSED_BEFORE_BEGIN = frozenset({Reason.SERVER_DRAINING, Reason.OVERLOADED, Reason.RATE_LIMITED})


def status_of(error: PaycenterError, *, trace_id: str, caller_service: str) -> status_pb2.Status:
    """Returns the rich status that the caller gets: ErrorInfo, a Help link and what belongs to the code."""
    if error.reason is Reason.INTERNAL_ERROR:
        error = PaycenterError(Reason.INTERNAL_ERROR, INTERNAL_MESSAGE)
    violations = error.violations
    status = _build(error, violations, trace_id, caller_service)
    while status.ByteSize() > STATUS_LIMIT_BYTES and violations:
        violations = violations[: len(violations) // 2]
        status = _build(error, violations, trace_id, caller_service)
    if status.ByteSize() > STATUS_LIMIT_BYTES:
        bare = PaycenterError(error.reason, error.message, retry_after_seconds=error.retry_after_seconds)
        status = _build(bare, (), trace_id, caller_service)
    return status


def error_from_rpc(error: grpc.aio.AioRpcError) -> PaycenterError:
    """Returns what a refusal by a service below means to the server that called it.

    A business refusal keeps its reason, metadata, violations and resource. A service that cannot be reached,
    or that did not answer in time, becomes DEPENDENCY_UNAVAILABLE; anything else INTERNAL_ERROR.
    `may_have_begun` is False only when the command provably had no effect below.
    """
    code_name = error.code().name
    details = _Details.read(error)
    reason = details.reason
    if reason is not None and (code_name in _PRESERVED_CODES or reason is Reason.CHANNEL_NOT_CONTACTED):
        return details.error(reason)
    if code_name in _MAYBE_BEGUN_CODES:
        return PaycenterError(
            Reason.DEPENDENCY_UNAVAILABLE,
            "A service that this command depends on did not answer.",
            metadata={"dependencyCode": code_name, "dependencyReason": reason.value if reason else ""},
            retry_after_seconds=details.retry_after_seconds,
            may_have_begun=reason not in _REFUSED_BEFORE_BEGIN,
        )
    return PaycenterError(
        Reason.INTERNAL_ERROR,
        f"a service below answered {code_name}",
        may_have_begun=code_name in {"INTERNAL", "UNKNOWN", "DATA_LOSS"},
    )


def _build(
    error: PaycenterError, violations: tuple[FieldViolation, ...], trace_id: str, caller_service: str
) -> status_pb2.Status:
    message = error.message[:_MESSAGE_LIMIT]
    metadata = {key: value[:_VALUE_LIMIT] for key, value in error.metadata.items()}
    omitted = len(error.violations) - len(violations)
    if omitted:
        metadata["violationsOmitted"] = str(omitted)
    metadata["traceId"] = trace_id
    status = status_pb2.Status(code=code_pb2.Code.Value(error.code.value), message=message)
    _attach(
        status,
        error_details_pb2.ErrorInfo(reason=error.reason.value, domain=error.domain, metadata=metadata),
    )
    for detail in _details_of(error, violations, message, caller_service):
        _attach(status, detail)
    link = error_details_pb2.Help.Link(
        description=f"What {error.reason.value} means and what to do",
        url=f"docs/errors.md#{error.reason.value}",
    )
    _attach(status, error_details_pb2.Help(links=[link]))
    return status


def _details_of(
    error: PaycenterError, violations: tuple[FieldViolation, ...], message: str, caller_service: str
) -> list[Message]:
    details: list[Message] = []
    code = error.code
    if violations:
        details.append(
            error_details_pb2.BadRequest(
                field_violations=[
                    error_details_pb2.BadRequest.FieldViolation(
                        field=violation.field,
                        description=violation.description[:_VALUE_LIMIT],
                        reason=violation.rule.upper().replace(".", "_"),
                    )
                    for violation in violations
                ]
            )
        )
    resource_type, resource_name = error.resource or ("", "")
    if code is Code.FAILED_PRECONDITION:
        broken = error_details_pb2.PreconditionFailure.Violation(
            type=error.reason.value, subject=resource_name or error.field or "", description=message
        )
        details.append(error_details_pb2.PreconditionFailure(violations=[broken]))
    if error.resource is not None:
        details.append(
            error_details_pb2.ResourceInfo(
                resource_type=resource_type, resource_name=resource_name, description=message
            )
        )
    if code is Code.RESOURCE_EXHAUSTED:
        quota = error_details_pb2.QuotaFailure.Violation(
            subject=f"caller:{caller_service}", description=message
        )
        details.append(error_details_pb2.QuotaFailure(violations=[quota]))
    retry_after_seconds = error.retry_after_seconds
    if retry_after_seconds is None:
        retry_after_seconds = _RETRY_AFTER_SECONDS.get(code)
    if retry_after_seconds is not None:
        delay = Duration()
        delay.FromMilliseconds(round(retry_after_seconds * 1000))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    return details


def _attach(status: status_pb2.Status, detail: Message) -> None:
    status.details.add().Pack(detail)


class _Details:
    """What the trailers of a refused call tell."""

    def __init__(self) -> None:
        self.message = ""
        self.reason: Reason | None = None
        self.metadata: dict[str, str] = {}
        self.violations: tuple[FieldViolation, ...] = ()
        self.resource: tuple[str, str] | None = None
        self.retry_after_seconds: float | None = None

    @classmethod
    def read(cls, error: grpc.aio.AioRpcError) -> _Details:
        """Reads the rich status; empty when there is none of ours."""
        details = cls()
        for key, value in error.trailing_metadata() or ():
            if key == STATUS_DETAILS_KEY and isinstance(value, bytes):
                try:
                    details._take(status_pb2.Status.FromString(value))
                except DecodeError:
                    return cls()
        return details

    def error(self, reason: Reason) -> PaycenterError:
        """Returns the refusal as the service below meant it."""
        return PaycenterError(
            reason,
            self.message,
            violations=self.violations,
            metadata=self.metadata,
            retry_after_seconds=self.retry_after_seconds,
            resource=self.resource,
        )

    def _take(self, status: status_pb2.Status) -> None:
        self.message = status.message
        for detail in status.details:
            match detail.TypeName():
                case "google.rpc.ErrorInfo":
                    self._take_error_info(_unpack(detail, error_details_pb2.ErrorInfo()))
                case "google.rpc.BadRequest":
                    self._take_violations(_unpack(detail, error_details_pb2.BadRequest()))
                case "google.rpc.ResourceInfo":
                    resource = _unpack(detail, error_details_pb2.ResourceInfo())
                    self.resource = (resource.resource_type, resource.resource_name)
                case "google.rpc.RetryInfo":
                    delay = _unpack(detail, error_details_pb2.RetryInfo()).retry_delay
                    self.retry_after_seconds = delay.ToMilliseconds() / 1000
                case _:
                    pass

    def _take_error_info(self, info: error_details_pb2.ErrorInfo) -> None:
        if info.domain.endswith(_DOMAIN_SUFFIX) and info.reason in Reason.__members__:
            self.reason = Reason(info.reason)
            self.metadata = {key: value for key, value in info.metadata.items() if key != "traceId"}

    def _take_violations(self, bad_request: error_details_pb2.BadRequest) -> None:
        self.violations = tuple(
            FieldViolation(field=violation.field, description=violation.description, rule=violation.reason)
            for violation in bad_request.field_violations
        )


def _unpack(detail: Any, message: _MessageT) -> _MessageT:
    detail.Unpack(message)
    return message
