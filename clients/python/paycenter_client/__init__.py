"""Typed clients of the payment center for business systems.

A call either returns the contract's response or raises a `PaycenterError` that says what to do next.

    with PaycenterClient(targets, caller=Caller(service="shop", tenant_id="t1")) as center:
        order = center.transaction.CreateOrder(CreateOrderRequest(request_id=new_request_id(), ...)).order

The exception tree and the meaning of each class stand in `paycenter_client.errors`.
"""

from paycenter_client.aio import AsyncPaycenterClient
from paycenter_client.amounts import decimal_amount, format_money, money
from paycenter_client.callbacks import Callback, CallbackInvalid, read_callback, verify_callback
from paycenter_client.calls import business_case
from paycenter_client.client import PaycenterClient
from paycenter_client.context import Caller, Targets, new_request_id, new_traceparent
from paycenter_client.errors import (
    AlreadyExists,
    CallerRejected,
    Conflict,
    InternalError,
    InvalidRequest,
    NotFound,
    OutcomeUnknown,
    Overloaded,
    PaycenterError,
    PreconditionFailed,
    RevisionCompacted,
    Unavailable,
    Unimplemented,
)

__all__ = [
    "AlreadyExists",
    "AsyncPaycenterClient",
    "Callback",
    "CallbackInvalid",
    "Caller",
    "CallerRejected",
    "Conflict",
    "InternalError",
    "InvalidRequest",
    "NotFound",
    "OutcomeUnknown",
    "Overloaded",
    "PaycenterClient",
    "PaycenterError",
    "PreconditionFailed",
    "RevisionCompacted",
    "Targets",
    "Unavailable",
    "Unimplemented",
    "business_case",
    "decimal_amount",
    "format_money",
    "money",
    "new_request_id",
    "new_traceparent",
    "read_callback",
    "verify_callback",
]
