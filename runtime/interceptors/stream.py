"""Calls with a stream of answers. Invariant: a stream ends cleanly when its caller goes and at once when the
server drains; its handler is always closed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import grpc

from runtime.context import enter_scope
from runtime.interceptors.entry import Arrival
from runtime.interceptors.messages import Reader
from runtime.interceptors.method import MethodProfile
from runtime.interceptors.open_streams import END, OpenStreams
from runtime.interceptors.outcome import conclude, conclude_cancelled, conclude_refused, server_span
from runtime.interceptors.refusal import Refusal
from runtime.interceptors.unary import abort
from runtime.metrics import server_in_flight


def stream_handler(
    profile: MethodProfile,
    behaviour: Callable[[Any, Any], AsyncGenerator[Any, None]],
    read: Reader,
    streams: OpenStreams,
) -> Callable[[Any, Any], Awaitable[None]]:
    """Returns the handler that gRPC calls; `behaviour` is an async generator of responses."""
    in_flight = server_in_flight(profile.full_name)

    async def feed(arrival: Arrival, raw: Any, servicer_context: Any) -> None:
        if arrival.error is not None:
            raise arrival.error
        messages = behaviour(read(arrival, raw), servicer_context)
        stream = streams.open()
        try:
            while (message := await stream.next(messages)) is not END:
                await servicer_context.write(message.SerializeToString())
        finally:
            streams.close(stream)
            await messages.aclose()

    async def carry_out(arrival: Arrival, raw: Any, servicer_context: Any) -> Refusal | None:
        in_flight.count += 1
        enter_scope(arrival.scope)
        try:
            with server_span(profile) as span:
                try:
                    await feed(arrival, raw, servicer_context)
                except Exception as exception:  # noqa: BLE001  the caller of any failure gets a refusal
                    return conclude_refused(arrival, span, exception)
                except asyncio.CancelledError:
                    conclude_cancelled(arrival, span)
                    raise
                conclude(arrival, span, code="OK")
                return None
        finally:
            in_flight.count -= 1

    async def respond(raw: Any, servicer_context: Any) -> None:
        outcome = await carry_out(Arrival(profile, servicer_context, streaming=True), raw, servicer_context)
        if outcome is not None:
            await abort(servicer_context, outcome)

    return respond


def interruptible(
    behaviour: Callable[[Any, Any], Awaitable[None]], streams: OpenStreams
) -> Callable[[Any, Any], Awaitable[None]]:
    """Wraps a stream of gRPC's own (watching the health), so that a drain need not wait for it."""

    async def respond(request: Any, servicer_context: Any) -> None:
        watched = asyncio.ensure_future(behaviour(request, servicer_context))
        draining = asyncio.ensure_future(streams.drain_event.wait())
        try:
            await asyncio.wait({watched, draining}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            draining.cancel()
            ended = watched.done()
            watched.cancel()
        if ended:
            return await watched
        await asyncio.wait({watched})
        await servicer_context.abort(grpc.StatusCode.UNAVAILABLE, "The server is about to stop.")
        return None

    return respond
