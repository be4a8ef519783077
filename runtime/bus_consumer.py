"""Handling of events from the bus, at least once each. Invariant: a message is acknowledged only after its
handler has returned, and a message whose handler fails is tried again for as long as the stream keeps it.

Handlers are idempotent and look at versions: the bus may deliver twice, late or out of order. Within one
process the messages of one resource are handled one after another.
"""

from __future__ import annotations

import asyncio
import json
import random
from base64 import b64decode
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import nats.errors
import nats.js.errors
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from prometheus_client import Counter, Gauge, Histogram

from runtime import bus_connection as bus_names
from runtime.bus_connection import Bus, BusState, BusUnavailableError, stream_of
from runtime.clock import Clock
from runtime.context import use_scope
from runtime.errors import PaycenterError
from runtime.logs import get_logger
from runtime.telemetry import scope_from_stored, span

CONCURRENCY: Final = 16
"""Most messages that one consumer handles at once."""
ACKNOWLEDGE_WAIT_SECONDS: Final = 30.0
"""How long the server waits for an acknowledgement before it delivers again."""
DEAD_LETTER_DELIVERIES: Final = 10
"""Deliveries after which a message is told as a dead letter and tried only at the long interval."""
DEAD_LETTER_RETRY_SECONDS: Final = 300.0

_WINDOW_MESSAGES: Final = 64
_MOST_UNACKNOWLEDGED: Final = 1024
_PULL_SECONDS: Final = 10.0
_PULL_MARGIN_SECONDS: Final = 2.0
_EXTEND_EVERY_SECONDS: Final = 5.0
_BIND_AGAIN_AFTER_SECONDS: Final = 0.2
_FIRST_RETRY_SECONDS: Final = 0.2
_LONGEST_RETRY_SECONDS: Final = 30.0

_handled = Counter("paycenter_bus_messages_total", "Messages handled, by outcome.", ("consumer", "outcome"))
_dead_letters = Counter(
    "paycenter_bus_dead_letters_total", "Deliveries of messages that failed many times.", ("consumer",)
)
_waiting = Gauge("paycenter_bus_messages_held", "Messages fetched and not yet acknowledged.", ("consumer",))
_duration = Histogram(
    "paycenter_bus_handling_seconds",
    "Time that a handler took.",
    ("consumer",),
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BusMessage:
    """An event as it arrives; `delivery_count` is 1 for the first time, `payload` the serialized event
    message."""

    subject: str
    event_id: str
    event_type: str
    resource_id: str
    resource_version: int
    revision: int
    business_id: str
    traceparent: str
    platform: bytes
    payload: bytes
    delivery_count: int


Handler = Callable[[BusMessage], Awaitable[None]]


@dataclass(slots=True)
class _Held:
    """A message between its arrival and its acknowledgement."""

    message: Msg
    resource_id: str
    progress_at_seconds: float


class Consumer:
    """A durable pull consumer of one service's stream, run as a worker.

    `stream` is the producing service (`payment`), `durable` the name under which the server remembers what
    was acknowledged (one per consuming service and purpose), `subjects` filters made by `subject_filter`.
    Processes with the same durable share the messages. The handler runs in the stored scope of its message,
    inside a span of kind consumer that is linked to the span that made the event.
    """

    idle_seconds = 0.0

    def __init__(
        self,
        bus: Bus,
        stream: str,
        durable: str,
        subjects: Sequence[str],
        handler: Handler,
        clock: Clock,
        *,
        concurrency: int = CONCURRENCY,
        wait_seconds: float = 1.0,
        dead_letter_deliveries: int = DEAD_LETTER_DELIVERIES,
    ) -> None:
        self.name = f"consumer-{durable}"
        self._bus = bus
        self._service = stream
        self._durable = durable
        self._subjects = tuple(subjects)
        self._handler = handler
        self._clock = clock
        self._concurrency = concurrency
        self._wait_seconds = wait_seconds
        self._dead_letter_deliveries = dead_letter_deliveries
        self._state: BusState | None = None
        self._subscription: Subscription | None = None
        self._inbox = ""
        self._pull_number = 0
        self._pull_left = 0
        self._pull_until_seconds = float("-inf")
        self._queue: deque[_Held] = deque()
        self._lanes: dict[str, deque[_Held]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._extended_at_seconds = float("-inf")
        self._bound_at_seconds = float("-inf")
        self._finished = 0
        self._is_closing = False
        self._changed = asyncio.Event()
        _waiting.labels(durable).set_function(lambda: self.held_count)

    @property
    def held_count(self) -> int:
        """How many messages were fetched and wait for their handler or are in it."""
        return len(self._queue) + sum(len(lane) for lane in self._lanes.values())

    async def step(self) -> int:
        """Fetches, starts handlers, and returns how many messages came to an end since the last step.

        Waits up to `wait_seconds` when nothing happens, then returns 0. Raises BusUnavailableError when
        NATS does not answer; handlers that run go on, and what they cannot acknowledge comes again.
        """
        await self._ensure_bound()
        await self._pull()
        self._start_handlers()
        if not self._finished:
            self._changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._wait_seconds):
                    await self._changed.wait()
            await self._extend()
        finished, self._finished = self._finished, 0
        return finished

    async def close(self) -> None:
        """Gives back what no handler has begun, lets running handlers end, and leaves. Idempotent."""
        self._is_closing = True
        subscription, self._subscription = self._subscription, None
        if subscription is not None and self._bus.is_connected:
            with suppress(nats.errors.Error, TimeoutError):
                await subscription.drain()  # type: ignore[no-untyped-call]
        not_begun, self._queue = list(self._queue), deque()
        for lane in self._lanes.values():
            while len(lane) > 1:
                not_begun.append(lane.pop())
        for held in not_begun:
            await self._answer(held.message.nak())
        if self._tasks:
            await asyncio.wait(tuple(self._tasks), timeout=ACKNOWLEDGE_WAIT_SECONDS)
        self._state = None

    async def _ensure_bound(self) -> None:
        """Makes stream and durable where they are missing, once per life of the connection."""
        state = self._bus.state
        if self._state is not None and self._state.generation == state.generation:
            return
        await self._unbind()
        if self._clock.monotonic_seconds() - self._bound_at_seconds < _BIND_AGAIN_AFTER_SECONDS:
            await asyncio.sleep(_BIND_AGAIN_AFTER_SECONDS)
        self._bound_at_seconds = self._clock.monotonic_seconds()
        try:
            await self._bus.ensure_stream(self._service)
            await state.jetstream.add_consumer(
                stream_of(self._service),
                ConsumerConfig(
                    durable_name=self._durable,
                    filter_subjects=list(self._subjects),
                    ack_policy=AckPolicy.EXPLICIT,
                    deliver_policy=DeliverPolicy.ALL,
                    ack_wait=ACKNOWLEDGE_WAIT_SECONDS,
                    max_deliver=-1,
                    max_ack_pending=_MOST_UNACKNOWLEDGED,
                ),
            )
            client = state.jetstream._nc  # noqa: SLF001 - nats-py gives no other way from the context to its client
            self._inbox = client.new_inbox()
            self._subscription = await client.subscribe(f"{self._inbox}.*", cb=self._on_message)
        except (nats.errors.Error, TimeoutError) as error:
            raise BusUnavailableError(f"The consumer {self._durable} cannot be made: {error}") from error
        self._state = state
        self._pull_until_seconds = float("-inf")

    async def _unbind(self) -> None:
        subscription, self._subscription = self._subscription, None
        self._state = None
        if subscription is not None:
            with suppress(nats.errors.Error, ValueError):
                await subscription.unsubscribe()

    async def _pull(self) -> None:
        """Asks the server for a window of messages, when the last one is used up or has run out."""
        now_seconds = self._clock.monotonic_seconds()
        pull_is_open = self._pull_left > 0 and now_seconds < self._pull_until_seconds
        room = self._concurrency + _WINDOW_MESSAGES - self.held_count
        if pull_is_open or room < self._concurrency or self._state is None:
            return
        batch = min(_WINDOW_MESSAGES, room)
        self._pull_number += 1
        self._pull_left = batch
        self._pull_until_seconds = now_seconds + _PULL_SECONDS + _PULL_MARGIN_SECONDS
        request = json.dumps({"batch": batch, "expires": int(_PULL_SECONDS * 1e9)}).encode()
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream_of(self._service)}.{self._durable}"
        try:
            client = self._state.jetstream._nc  # noqa: SLF001 - as above
            await client.publish(subject, request, reply=f"{self._inbox}.{self._pull_number}")
        except nats.errors.Error as error:
            self._state = None
            raise BusUnavailableError("The connection to NATS was lost.") from error

    async def _on_message(self, message: Msg) -> None:
        headers = message.headers or {}
        status = headers.get("Status")
        if status is not None:
            self._on_status(message.subject, status)
            return
        if self._is_closing:
            await self._answer(message.nak())
            return
        self._pull_left -= 1
        resource_id = headers.get(bus_names.RESOURCE_ID, "")
        self._queue.append(_Held(message, resource_id, self._clock.monotonic_seconds()))
        self._start_handlers()
        if self._pull_left <= 0:
            self._changed.set()

    def _on_status(self, subject: str, status: str) -> None:
        """Ends the pull that the server says is over; one that it does not know means that the durable is
        gone."""
        if subject != f"{self._inbox}.{self._pull_number}" or status == "100":
            return
        self._pull_left = 0
        if status not in ("404", "408"):
            self._state = None
        self._changed.set()

    def _start_handlers(self) -> None:
        """Puts waiting messages into lanes, one lane per resource, as long as handlers are free."""
        while self._queue and len(self._tasks) < self._concurrency and not self._is_closing:
            held = self._queue.popleft()
            lane_name = held.resource_id or held.message.reply
            lane = self._lanes.get(lane_name)
            if lane is not None:
                lane.append(held)
                continue
            self._lanes[lane_name] = deque((held,))
            task = asyncio.create_task(self._work_off(lane_name), name=self.name)
            self._tasks.add(task)
            task.add_done_callback(self._on_lane_done)

    def _on_lane_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._start_handlers()

    async def _work_off(self, lane_name: str) -> None:
        """Handles one resource's messages in order; when one fails, those behind it are given back too."""
        lane = self._lanes[lane_name]
        try:
            while lane:
                retry_seconds = await self._handle(lane[0].message)
                if retry_seconds is None:
                    await self._answer(lane.popleft().message.ack())
                    self._finish("handled")
                    continue
                while lane:
                    await self._answer(lane.popleft().message.nak(retry_seconds))
                    self._finish("failed")
        finally:
            del self._lanes[lane_name]

    def _finish(self, outcome: str) -> None:
        self._finished += 1
        _handled.labels(self._durable, outcome).inc()
        self._changed.set()

    async def _handle(self, message: Msg) -> float | None:
        """Runs the handler; returns None when it is done, else in how many seconds to deliver again."""
        started_seconds = self._clock.monotonic_seconds()
        arrived: BusMessage | None = None
        try:
            arrived = _read(message)
            scope = scope_from_stored(arrived.traceparent, arrived.platform)
            with (
                use_scope(scope),
                span(
                    f"process {self._service} {arrived.event_type}",
                    kind="consumer",
                    attributes={
                        "messaging.system": "nats",
                        "messaging.destination.name": stream_of(self._service),
                        "messaging.consumer.group.name": self._durable,
                        "messaging.message.id": arrived.event_id,
                        "paycenter.delivery_count": arrived.delivery_count,
                    },
                    links=(scope.trace,),
                ),
            ):
                await self._handler(arrived)
        except Exception as error:  # noqa: BLE001 - whatever fails, the message has to come again
            return self._tell_failure(message, arrived, error)
        finally:
            _duration.labels(self._durable).observe(self._clock.monotonic_seconds() - started_seconds)
        return None

    def _tell_failure(self, message: Msg, arrived: BusMessage | None, error: Exception) -> float:
        deliveries = message.metadata.num_delivered
        is_dead = deliveries >= self._dead_letter_deliveries
        retry_seconds = DEAD_LETTER_RETRY_SECONDS if is_dead else _retry_seconds(deliveries)
        if isinstance(error, PaycenterError) and error.retry_after_seconds is not None:
            retry_seconds = max(retry_seconds, error.retry_after_seconds)
        if is_dead:
            _dead_letters.labels(self._durable).inc()
        log = get_logger()
        (log.error if is_dead else log.warning)(
            "dead letter" if is_dead else "message failed",
            consumer=self._durable,
            subject=message.subject,
            event_id=arrived.event_id if arrived else "",
            resource_id=arrived.resource_id if arrived else "",
            business_id=arrived.business_id if arrived else "",
            delivery_count=deliveries,
            retry_in_seconds=round(retry_seconds, 2),
            error=type(error).__name__,
            reason=error.reason.value if isinstance(error, PaycenterError) else "",
            exc_info=None if isinstance(error, PaycenterError) else error,
        )
        return retry_seconds

    async def _extend(self) -> None:
        """Tells the server about messages that are held for long, so that nobody else gets them meanwhile."""
        now_seconds = self._clock.monotonic_seconds()
        if now_seconds - self._extended_at_seconds < _EXTEND_EVERY_SECONDS:
            return
        self._extended_at_seconds = now_seconds
        for held in (*self._queue, *(held for lane in self._lanes.values() for held in lane)):
            if now_seconds - held.progress_at_seconds > ACKNOWLEDGE_WAIT_SECONDS / 3:
                held.progress_at_seconds = now_seconds
                await self._answer(held.message.in_progress())

    async def _answer(self, answer: Awaitable[None]) -> None:
        """Sends an acknowledgement; one that is lost with the connection means that the message comes
        again."""
        with suppress(nats.errors.Error):
            await answer


def _read(message: Msg) -> BusMessage:
    headers = message.headers or {}
    return BusMessage(
        subject=message.subject,
        event_id=headers[bus_names.MESSAGE_ID],
        event_type=headers[bus_names.EVENT_TYPE],
        resource_id=headers[bus_names.RESOURCE_ID],
        resource_version=int(headers[bus_names.RESOURCE_VERSION]),
        revision=int(headers[bus_names.REVISION]),
        business_id=headers[bus_names.BUSINESS_ID],
        traceparent=headers[bus_names.TRACEPARENT],
        platform=b64decode(headers[bus_names.PLATFORM_CONTEXT], validate=True),
        payload=message.data,
        delivery_count=message.metadata.num_delivered,
    )


def _retry_seconds(deliveries: int) -> float:
    longest_seconds = min(_LONGEST_RETRY_SECONDS, _FIRST_RETRY_SECONDS * (1 << min(deliveries - 1, 16)))
    return longest_seconds * (0.75 + random.random() / 4)  # noqa: S311
