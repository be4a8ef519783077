"""Requests from bytes, checked against the contract's rules. Invariant: no handler sees a request that
breaks a rule, nor the error of a parser."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

from google.protobuf.message import DecodeError

from runtime import validation
from runtime.errors import PaycenterError, Reason
from runtime.interceptors.entry import Arrival
from runtime.interceptors.method import MethodProfile

Parse = Callable[[bytes], Any]
Reader = Callable[[Arrival, Any], Any]


def request_reader(profile: MethodProfile, parse: Parse) -> Reader:
    """Returns a reader of one request, which also notes its `request_id` for the canonical line."""
    has_request_id = profile.has_request_id

    def read(arrival: Arrival, raw: bytes) -> Any:
        request = _parse(parse, raw)
        if has_request_id:
            arrival.record.request_id = request.request_id
        validation.check(request)
        return request

    return read


def stream_reader(parse: Parse) -> Reader:
    """Returns a reader of a stream of requests, each checked as it comes."""

    async def read_each(raw_requests: AsyncIterator[bytes]) -> AsyncIterator[Any]:
        async for raw in raw_requests:
            request = _parse(parse, raw)
            validation.check(request)
            yield request

    def read(_arrival: Arrival, raw_requests: AsyncIterator[bytes]) -> AsyncIterator[Any]:
        return read_each(raw_requests)

    return read


def _parse(parse: Parse, raw: bytes) -> Any:
    try:
        return parse(raw)
    except DecodeError:
        raise PaycenterError(Reason.FIELD_INVALID, "The request cannot be parsed.") from None
