"""The platform context and the W3C trace survive every hop, and nothing malformed passes."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from runtime.context import (
    CallRecord,
    CallScope,
    PlatformContext,
    TraceContext,
    current_scope,
    decode_platform,
    encode_platform,
    mark_replayed,
    scope_or_none,
    use_scope,
    with_business_id,
)

FULL = PlatformContext(
    caller_service="shop",
    tenant_id="tenant-1",
    business_line="fees",
    business_id="O-1",
    operator="clerk-7",
    locale="en-GB",
    origin="pos",
    shadow=True,
)
TRACE = TraceContext("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", sampled=True)


def test_every_field_of_the_context_survives_a_hop() -> None:
    assert decode_platform(encode_platform(FULL)) == FULL


def test_a_context_without_locale_reads_chinese() -> None:
    assert decode_platform(encode_platform(replace(FULL, locale=""))).locale == "zh-CN"


@pytest.mark.parametrize("flags", ["00", "01"])
def test_a_traceparent_survives_a_hop(flags: str) -> None:
    text = f"00-{TRACE.trace_id}-{TRACE.span_id}-{flags}"
    trace = TraceContext.parse(text)

    assert trace == replace(TRACE, sampled=flags == "01")
    assert trace is not None
    assert trace.format() == text


@pytest.mark.parametrize(
    "malformed",
    [
        "",
        "garbage",
        f"00-{TRACE.trace_id}-{TRACE.span_id}",
        f"00-{TRACE.trace_id.upper()}-{TRACE.span_id}-01",
        f"00-{'0' * 32}-{TRACE.span_id}-01",
        f"00-{TRACE.trace_id}-{'0' * 16}-01",
        f"ff-{TRACE.trace_id}-{TRACE.span_id}-01",
        f"00-{TRACE.trace_id}-{TRACE.span_id}-01-more",
        f"00-{TRACE.trace_id}-{TRACE.span_id}-01\n",
    ],
)
def test_a_malformed_traceparent_is_no_trace(malformed: str) -> None:
    assert TraceContext.parse(malformed) is None


def test_a_later_version_of_traceparent_is_read_as_far_as_it_is_known() -> None:
    assert TraceContext.parse(f"01-{TRACE.trace_id}-{TRACE.span_id}-01-more") == TRACE


def test_a_trace_state_that_is_too_long_is_left_behind() -> None:
    traceparent = TRACE.format()

    assert TraceContext.parse(traceparent, "vendor=1") == replace(TRACE, trace_state="vendor=1")
    assert TraceContext.parse(traceparent, "v" * 513) == TRACE


def test_a_new_trace_has_no_span_and_still_goes_out_well_formed() -> None:
    trace = TraceContext.new(sampled=False)

    assert not trace.has_span
    read = TraceContext.parse(trace.format())
    assert read is not None
    assert (read.trace_id, read.sampled) == (trace.trace_id, False)
    assert TraceContext.new(sampled=False).trace_id != trace.trace_id


def test_outside_of_a_call_there_is_no_scope() -> None:
    assert scope_or_none() is None
    with pytest.raises(LookupError):
        current_scope()
    mark_replayed()


def test_a_command_that_finds_its_business_id_carries_it_below_and_is_logged_under_it() -> None:
    record = CallRecord(method="m", business_id="")
    with use_scope(CallScope(FULL, TRACE, 9.0, record)):
        with with_business_id("O-4711"):
            inner = current_scope()
        outer = current_scope()

    assert inner == CallScope(replace(FULL, business_id="O-4711"), TRACE, 9.0, record)
    assert outer.platform == FULL
    assert record.business_id == "O-4711"


async def test_calls_side_by_side_do_not_see_each_other() -> None:
    async def call(tenant_id: str) -> str:
        with use_scope(CallScope(replace(FULL, tenant_id=tenant_id), TRACE)):
            await asyncio.sleep(0.01)
            return current_scope().platform.tenant_id

    assert await asyncio.gather(*(call(f"t{n}") for n in range(20))) == [f"t{n}" for n in range(20)]
