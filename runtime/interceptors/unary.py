"""Calls with one answer. Invariant: a mutating call is carried out to its end whatever its caller does; a
read ends with its caller or its cap."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

from runtime.context import enter_scope
from runtime.errors import PaycenterError, Reason
from runtime.interceptors.admission import Admission
from runtime.interceptors.detached import DetachedWork
from runtime.interceptors.entry import Arrival
from runtime.interceptors.messages import Reader
from runtime.interceptors.method import MethodProfile
from runtime.interceptors.outcome import conclude, conclude_cancelled, conclude_refused, server_span
from runtime.interceptors.refusal import Refusal, refuse
from runtime.metrics import server_in_flight

_REPLAYED = (("x-idempotent-replay", "true"),)


class _CancelledFromWithin(Exception):
    """A handler that was cancelled although its caller is still there."""


def unary_handler(
    profile: MethodProfile,
    behaviour: Callable[[Any, Any], Awaitable[Any]],
    read: Reader,
    admission: Admission,
    detached: DetachedWork | None,
) -> Callable[[Any, Any], Awaitable[bytes]]:
    """Returns the handler that gRPC calls with the raw request; `detached` is None for reads and streamed
    requests."""
    in_flight = server_in_flight(profile.full_name)

    async def carry_out(arrival: Arrival, raw: Any, servicer_context: Any) -> bytes | Refusal:
        admission.calls_in_flight += 1
        in_flight.count += 1
        enter_scope(arrival.scope)
        try:
            with server_span(profile) as span:
                try:
                    admission.check(arrival)
                    work = behaviour(read(arrival, raw), servicer_context)
                    response = await (work if detached is not None else _within_cap(arrival, work))
                    body: bytes = response.SerializeToString()
                except Exception as exception:  # noqa: BLE001  the caller of any failure gets a refusal
                    return conclude_refused(arrival, span, exception)
                except asyncio.CancelledError:
                    if detached is not None or not _is_being_cancelled():
                        return conclude_refused(arrival, span, _CancelledFromWithin())
                    conclude_cancelled(arrival, span)
                    raise
                conclude(arrival, span, code="OK")
                return body
        finally:
            in_flight.count -= 1
            admission.calls_in_flight -= 1

    async def respond(raw: Any, servicer_context: Any) -> bytes:
        arrival = Arrival(profile, servicer_context)
        work = carry_out(arrival, raw, servicer_context)
        outcome = await (work if detached is None else _detach(detached, arrival, work))
        if isinstance(outcome, Refusal):
            await abort(servicer_context, outcome)
        if arrival.record.replayed:
            await servicer_context.send_initial_metadata(_REPLAYED)
        return outcome

    return respond


async def abort(servicer_context: Any, refusal: Refusal) -> NoReturn:
    """Ends the call with its rich refusal."""
    await servicer_context.abort(refusal.code, refusal.message, refusal.trailing_metadata)
    raise AssertionError("abort always raises")


def _is_being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def _within_cap(arrival: Arrival, work: Awaitable[Any]) -> Any:
    if arrival.cap_seconds is None:
        return await work
    try:
        async with asyncio.timeout(arrival.cap_seconds) as timer:
            return await work
    except TimeoutError:
        if timer.expired():
            raise _took_too_long(arrival.cap_seconds) from None
        raise


async def _detach(detached: DetachedWork, arrival: Arrival, work: Any) -> bytes | Refusal:
    try:
        return await detached.run(work, wait_seconds=arrival.cap_seconds)
    except asyncio.CancelledError:
        arrival.record.caller_gone = True
        raise
    except TimeoutError:
        arrival.record.caller_gone = True
        scope = arrival.scope
        return refuse(
            _took_too_long(arrival.cap_seconds or 0.0),
            trace_id=scope.trace.trace_id,
            caller_service=scope.platform.caller_service,
        )


def _took_too_long(cap_seconds: float) -> PaycenterError:
    return PaycenterError(
        Reason.DEADLINE_TOO_SHORT,
        f"The method did not end within its cap of {cap_seconds:g} s; the command may have begun.",
        metadata={"capSeconds": f"{cap_seconds:g}"},
    )
