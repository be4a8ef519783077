"""How a caller that may rely on request ids behaves: it repeats the same call until it has an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from paycenter_client import Conflict, OutcomeUnknown, PaycenterError, Unavailable

from clients.cli.failure import CommandFailed

PATIENCE_SECONDS = 150.0
"""Longest time for which one call is repeated: far more than any outage of these scenarios."""

Answer = TypeVar("Answer")

_PAUSE_SECONDS = 0.1
_COME_AGAIN = frozenset({"REQUEST_IN_PROGRESS", "LOCK_CONFLICT"})


async def insist(call: Callable[[], Awaitable[Answer]]) -> Answer:
    """Repeats a call for as long as its answer only says that it may be repeated; `call` sends the same request."""
    give_up_at = asyncio.get_running_loop().time() + PATIENCE_SECONDS
    while True:
        try:
            return await call()
        except PaycenterError as error:
            if not _may_be_repeated(error) or asyncio.get_running_loop().time() > give_up_at:
                raise
        await asyncio.sleep(_PAUSE_SECONDS)


async def insist_at_sandbox(call: Callable[[], Awaitable[Answer]]) -> Answer | str:
    """Repeats a payer's act while the sandbox is away; gives its refusal's code when it says no."""
    give_up_at = asyncio.get_running_loop().time() + PATIENCE_SECONDS
    while True:
        try:
            return await call()
        except CommandFailed as failure:
            said = str(failure)
            if "(code " in said:
                return said.partition("(code ")[2].rstrip(")")
            if asyncio.get_running_loop().time() > give_up_at:
                raise
        await asyncio.sleep(_PAUSE_SECONDS)


def _may_be_repeated(error: PaycenterError) -> bool:
    if isinstance(error, Conflict):
        return error.reason in _COME_AGAIN
    return isinstance(error, Unavailable | OutcomeUnknown)
