"""Whatever goes wrong in a handler, turned into what the caller may know. Invariant: the text of an
exception that is not a `PaycenterError` stays in the server's log."""

from __future__ import annotations

from dataclasses import dataclass

import grpc

from runtime.errors import PaycenterError, Reason
from runtime.logs import get_logger
from runtime.rich_status import INTERNAL_MESSAGE, STATUS_DETAILS_KEY, error_from_rpc, status_of

_RETRY_PUSHBACK_KEY = "grpc-retry-pushback-ms"
_NEVER = "-1"


@dataclass(frozen=True, slots=True)
class Refusal:
    """The answer to a call that failed."""

    error: PaycenterError
    code: grpc.StatusCode
    message: str
    trailing_metadata: tuple[tuple[str, str | bytes], ...]


def refuse(error: PaycenterError, *, trace_id: str, caller_service: str) -> Refusal:
    """Builds the rich answer. The hop below has retried already, so its absence is not retried once more
    above."""
    status = status_of(error, trace_id=trace_id, caller_service=caller_service)
    trailing_metadata: tuple[tuple[str, str | bytes], ...] = (
        (STATUS_DETAILS_KEY, status.SerializeToString()),
    )
    if error.reason is Reason.DEPENDENCY_UNAVAILABLE:
        trailing_metadata += ((_RETRY_PUSHBACK_KEY, _NEVER),)
    return Refusal(error, grpc.StatusCode[error.code.value], status.message, trailing_metadata)


def as_paycenter_error(exception: Exception) -> PaycenterError:
    """Returns the refusal that an exception of a handler means; logs with its stack what no reason
    describes."""
    if isinstance(exception, PaycenterError):
        if exception.reason is Reason.INTERNAL_ERROR:
            get_logger().error("internal error", error=exception.message, exc_info=exception)
        return exception
    if isinstance(exception, grpc.aio.AioRpcError):
        error = error_from_rpc(exception)
        if error.reason is Reason.INTERNAL_ERROR:
            get_logger().error("a service below failed", error=error.message, exc_info=exception)
        return error
    if isinstance(exception, NotImplementedError):
        return PaycenterError(Reason.METHOD_UNIMPLEMENTED, "This release does not serve the method.")
    get_logger().error("unexpected error in a handler", exc_info=exception)
    return PaycenterError(Reason.INTERNAL_ERROR, INTERNAL_MESSAGE)
