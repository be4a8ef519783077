"""Asks a channel something, seen from outside: a span, a figure, and an answer whatever happens. Invariant:
an error inside a plugin is an open outcome, never a failed payment."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from tenacity import AsyncRetrying, retry_if_result, stop_after_attempt, wait_random_exponential

from channel_gateway import metrics
from channel_gateway.directory import OpenedAccount
from channel_gateway.domain.answer import ChannelAnswer, no_answer
from channel_gateway.domain.vocabulary import Operation
from runtime.logs import get_logger
from runtime.telemetry import span

_FIRST_WAIT_SECONDS = 0.05
_LONGEST_WAIT_SECONDS = 0.5

Ask = Callable[[], Awaitable[ChannelAnswer]]


async def ask_channel(
    account: OpenedAccount, operation: Operation, ask: Ask, *, attempts: int = 1
) -> ChannelAnswer:
    """Asks, and asks again up to `attempts` times while the channel provably did nothing."""
    attributes = {"paycenter.channel": account.record.channel, "paycenter.operation": operation.value}
    with span("invoke_channel", kind="client", attributes=attributes) as current:
        answer = await _ask_once(account, operation, ask)
        if attempts > 1 and answer.may_be_sent_again:
            answer = await _ask_again(account, operation, ask, attempts - 1)
        current.set_attribute("paycenter.standing", answer.standing.value)
        if answer.failure is not None and answer.failure.channel_code:
            current.set_attribute("paycenter.channel_code", answer.failure.channel_code)
    return answer


async def _ask_again(account: OpenedAccount, operation: Operation, ask: Ask, attempts: int) -> ChannelAnswer:
    await asyncio.sleep(_FIRST_WAIT_SECONDS)
    retrying = AsyncRetrying(
        stop=stop_after_attempt(attempts),
        wait=wait_random_exponential(multiplier=_FIRST_WAIT_SECONDS, max=_LONGEST_WAIT_SECONDS),
        retry=retry_if_result(lambda answer: answer.may_be_sent_again),
        retry_error_callback=lambda state: state.outcome.result() if state.outcome else None,
    )
    answer: ChannelAnswer = await retrying(_ask_once, account, operation, ask)
    return answer


async def _ask_once(account: OpenedAccount, operation: Operation, ask: Ask) -> ChannelAnswer:
    started = time.monotonic()
    try:
        answer = await ask()
    except Exception as error:  # noqa: BLE001  whatever a plugin does wrong, the money may have moved
        get_logger().exception(
            "channel plugin failed", channel=account.record.channel, operation=operation.value
        )
        answer = no_answer(type(error).__name__)
    seconds = time.monotonic() - started
    metrics.channel_called(account.record.channel, operation.value, answer.standing.value, seconds)
    return answer
