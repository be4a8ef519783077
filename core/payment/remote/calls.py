"""One call to a service below. Invariant: whatever goes wrong becomes a PaycenterError that says whether the command
may have begun there."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TypeVar

import grpc

from runtime.grpc_client import raise_for_rpc

_Response = TypeVar("_Response")


async def answer_of(call: Awaitable[_Response]) -> _Response:
    """Awaits a call and returns its response; raises PaycenterError for a refusal or no answer."""
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        raise raise_for_rpc(error) from error
