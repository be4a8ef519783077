"""Delivery of notices to merchants: each channel's retry schedule, every attempt kept, faults applied.

Invariant: only a true notice that the merchant accepted ends the retries; a spoilt one never does.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Protocol

from channel_gateway.sandbox.behaviour import Behaviour
from channel_gateway.sandbox.clock import now_milliseconds
from channel_gateway.sandbox.delivery import Delivery, DeliveryError
from channel_gateway.sandbox.faults import FaultBook, FaultKind, Operation
from channel_gateway.sandbox.records import Fault, Notice, NoticeState
from channel_gateway.sandbox.schedule import Schedule
from channel_gateway.sandbox.store import Store

logger = logging.getLogger(__name__)

SPOILING_KINDS = frozenset(
    {
        FaultKind.FORGED_NOTICE,
        FaultKind.FLIPPED_BYTE_NOTICE,
        FaultKind.UNSIGNED_NOTICE,
        FaultKind.WRONG_AMOUNT_NOTICE,
        FaultKind.OTHER_MERCHANT_NOTICE,
        FaultKind.OTHER_ORDER_NOTICE,
        FaultKind.SIGNTEST_PROBE,
    }
)
_ANSWER_LENGTH = 200


@dataclass(frozen=True, slots=True)
class Message:
    """A notice as it goes over the wire."""

    headers: dict[str, str]
    body: bytes


class Courier(Protocol):
    """How one channel writes its notices and reads the answers."""

    retry_delays_seconds: tuple[float, ...]

    def render(
        self, notice: Notice, *, spoil: FaultKind | None, other: str, sign_milliseconds: int
    ) -> Message:
        """Writes and signs a notice as of an instant, spoilt in the named way."""
        ...

    def accepts(self, status: int, body: bytes) -> bool:
        """Tells whether an answer means that the merchant took the notice."""
        ...


class Notices:
    """Every notice ever written, and the deliveries under way."""

    def __init__(
        self,
        *,
        store: Store,
        behaviour: Behaviour,
        faults: FaultBook,
        schedule: Schedule,
        delivery: Delivery,
    ) -> None:
        self._store = store
        self._behaviour = behaviour
        self._faults = faults
        self._schedule = schedule
        self._delivery = delivery
        self._couriers: dict[str, Courier] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._by_number: defaultdict[str, list[Notice]] = defaultdict(list)
        self.notices: dict[str, Notice] = {}
        for notice in store.load(Notice):
            self._index(notice)

    def add_courier(self, channel: str, courier: Courier) -> None:
        """Names who writes a channel's notices."""
        self._couriers[channel] = courier

    def resume(self) -> None:
        """Schedules every notice that was not delivered when the process ended."""
        for notice in self.notices.values():
            if notice.state == NoticeState.DUE:
                self._schedule_attempt(notice)

    def enqueue(self, notice: Notice) -> None:
        """Keeps a new notice and sends it at once."""
        notice.next_attempt_milliseconds = now_milliseconds()
        self._index(notice)
        self._store.put(notice)
        self._schedule_attempt(notice)

    def numbered(self, number: str) -> list[Notice]:
        """Returns the notices about an order, refund or transfer number, oldest first."""
        return list(self._by_number.get(number, ()))

    async def send_now(self, notice: Notice, *, spoil: FaultKind | None, other: str) -> dict[str, Any]:
        """Sends a notice outside of its schedule; returns the attempt, which ends the retries if taken."""
        accepted, attempt = await self._send(
            notice, spoil=spoil, other=other, sign_milliseconds=now_milliseconds()
        )
        if accepted and spoil is None:
            notice.state = NoticeState.DELIVERED
        self._store.put(notice)
        return attempt

    async def send_once(self, notice: Notice, *, spoil: FaultKind, other: str) -> dict[str, Any]:
        """Sends a spoilt notice that is kept nowhere, since nothing happened that it could be true of."""
        _, attempt = await self._send(notice, spoil=spoil, other=other, sign_milliseconds=now_milliseconds())
        return attempt

    async def stop(self) -> None:
        """Ends the deliveries under way; they are due again after a restart."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def clear(self) -> None:
        """Forgets every notice and ends the deliveries under way."""
        for task in self._tasks:
            task.cancel()
        self.notices.clear()
        self._by_number.clear()
        self._store.delete_kinds(Notice.__name__)

    def _index(self, notice: Notice) -> None:
        self.notices[notice.notice_id] = notice
        for number in notice.numbers:
            self._by_number[number].append(notice)

    def _schedule_attempt(self, notice: Notice) -> None:
        self._schedule.at(notice.next_attempt_milliseconds, lambda: self._spawn(self._attempt(notice)))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.error("a delivery failed", exc_info=task.exception())

    async def _attempt(self, notice: Notice) -> None:
        if notice.state != NoticeState.DUE:
            return
        fault = self._faults.take(notice.channel, Operation.NOTICE, notice.numbers)
        kind = FaultKind(fault.kind) if fault else None
        if kind is FaultKind.NO_NOTICE:
            notice.state = NoticeState.WITHHELD
            self._store.put(notice)
            return
        if fault is not None and kind is FaultKind.LATE_NOTICE and not notice.delayed:
            notice.delayed = True
            notice.next_attempt_milliseconds = now_milliseconds() + round(fault.seconds * 1000)
            self._store.put(notice)
            self._schedule_attempt(notice)
            return
        if fault is not None and kind in SPOILING_KINDS and kind is not FaultKind.SIGNTEST_PROBE:
            await self._send(notice, spoil=kind, other=fault.other, sign_milliseconds=now_milliseconds())
            self._retry_later(notice)
            return
        if kind is FaultKind.SIGNTEST_PROBE:
            await self._send(notice, spoil=kind, other="", sign_milliseconds=now_milliseconds())
        await self._deliver(notice, fault, kind)

    async def _deliver(self, notice: Notice, fault: Fault | None, kind: FaultKind | None) -> None:
        now = now_milliseconds()
        if kind is FaultKind.DUPLICATE_NOTICE:
            results = await asyncio.gather(
                self._send(notice, spoil=None, other="", sign_milliseconds=now),
                self._send(notice, spoil=None, other="", sign_milliseconds=now),
            )
            accepted = any(result for result, _ in results)
        else:
            accepted, _ = await self._send(notice, spoil=None, other="", sign_milliseconds=now)
        if accepted:
            notice.state = NoticeState.DELIVERED
            self._store.put(notice)
        else:
            self._retry_later(notice)
        if fault is not None and kind is FaultKind.REPLAYED_NOTICE:
            old = now_milliseconds() - round(fault.seconds * 1000)
            await self._send(notice, spoil=None, other="", sign_milliseconds=old, label=kind)
            self._store.put(notice)

    def _retry_later(self, notice: Notice) -> None:
        delays = self._couriers[notice.channel].retry_delays_seconds
        if notice.retries >= len(delays):
            notice.state = NoticeState.GIVEN_UP
        else:
            delay_seconds = delays[notice.retries] * self._behaviour.notice_retry_scale
            notice.retries += 1
            notice.next_attempt_milliseconds = now_milliseconds() + round(delay_seconds * 1000)
            self._schedule_attempt(notice)
        self._store.put(notice)

    async def _send(
        self,
        notice: Notice,
        *,
        spoil: FaultKind | None,
        other: str,
        sign_milliseconds: int,
        label: str | None = None,
    ) -> tuple[bool, dict[str, Any]]:
        courier = self._couriers[notice.channel]
        message = courier.render(notice, spoil=spoil, other=other, sign_milliseconds=sign_milliseconds)
        attempt: dict[str, Any] = {"time_milliseconds": now_milliseconds(), "kind": label or spoil or "true"}
        started = time.monotonic()
        accepted = False
        try:
            status, answer = await self._delivery.post(
                notice.url,
                headers=message.headers,
                body=message.body,
                timeout_seconds=self._behaviour.notice_timeout_seconds,
            )
        except DeliveryError as error:
            attempt["error"] = str(error)
        else:
            accepted = courier.accepts(status, answer)
            attempt["http_status"] = status
            attempt["answer"] = answer.decode("utf-8", "replace")[:_ANSWER_LENGTH]
        attempt["accepted"] = accepted
        attempt["elapsed_milliseconds"] = round((time.monotonic() - started) * 1000, 1)
        notice.attempts.append(attempt)
        return accepted, attempt
