"""The connection to NATS JetStream: streams and publishing. Invariant: a message counts as published only
when the server has acknowledged that it is stored.

The bus only makes things fast. It may be down when a server starts, come and go, or lose all it holds: the
connection is made again for ever, and streams are made again where they are missing.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, PubAck, RetentionPolicy, StorageType, StreamConfig

from runtime.errors import PaycenterError, Reason
from runtime.logs import get_logger
from runtime.outbox import SUBJECT_ROOT, StoredEvent
from runtime.tasks import cancel_and_wait

MESSAGE_ID: Final = "Nats-Msg-Id"
TRACEPARENT: Final = "traceparent"
PLATFORM_CONTEXT: Final = "x-platform-context"
BUSINESS_ID: Final = "paycenter-business-id"
EVENT_TYPE: Final = "paycenter-event-type"
RESOURCE_ID: Final = "paycenter-resource-id"
RESOURCE_VERSION: Final = "paycenter-resource-version"
REVISION: Final = "paycenter-revision"

STREAM_KEEPS_SECONDS: Final = 7 * 24 * 3600.0
"""How long a stream keeps a message; the event log in the database keeps it longer."""
DUPLICATE_WINDOW_SECONDS: Final = 120.0
"""How long the server recognises a message id that comes again."""

_RECONNECT_SECONDS: Final = 0.25
_PING_SECONDS: Final = 5
_ACKNOWLEDGE_SECONDS: Final = 5.0
_NAME_IN_USE: Final = 10058


class BusUnavailableError(PaycenterError):
    """NATS cannot be reached, does not answer, or lost its streams at this moment; try again later."""

    def __init__(self, message: str) -> None:
        super().__init__(Reason.DEPENDENCY_UNAVAILABLE, message, retry_after_seconds=_RECONNECT_SECONDS)


@dataclass(frozen=True, slots=True)
class BusState:
    """One life of the connection: a new `generation` begins with every connect and reconnect."""

    generation: int
    jetstream: JetStreamContext


def stream_of(service: str) -> str:
    """Returns the name of the stream that carries a service's events (`payment`: `PAYCENTER_PAYMENT`)."""
    return f"{SUBJECT_ROOT}_{service}".upper()


def subject_filter(service: str, event_type: str = "") -> str:
    """Returns the subjects of a service's events of one type, or of all types, over all shards."""
    return f"{SUBJECT_ROOT}.{service}.*.{event_type.lower() or '*'}"


class Bus:
    """A connection that heals itself; `connect` makes it, `close` ends it."""

    def __init__(self, url: str, *, name: str) -> None:
        self._url = url
        self._name = name
        self._client: Client | None = None
        self._state: BusState | None = None
        self._generation = 0
        self._connected = asyncio.Event()
        self._lost = asyncio.Event()
        self._unacknowledged: set[asyncio.Future[PubAck]] = set()
        self._keeper: asyncio.Task[None] | None = None

    @classmethod
    async def connect(cls, url: str, *, name: str = "paycenter", wait_seconds: float = 2.0) -> Bus:
        """Starts the connection to `url` and waits up to `wait_seconds` for it; goes on trying for ever.

        Returns also when NATS is down: `is_connected` tells.
        """
        bus = cls(url, name=name)
        bus._keeper = asyncio.create_task(bus._keep_connected(), name="bus-connection")
        await bus.wait_connected(wait_seconds)
        return bus

    @property
    def is_connected(self) -> bool:
        """Whether the server can be reached at this moment."""
        return self._connected.is_set()

    @property
    def state(self) -> BusState:
        """The present life of the connection; raises BusUnavailableError when there is none."""
        if self._state is None or not self._connected.is_set():
            raise BusUnavailableError("NATS cannot be reached.")
        return self._state

    async def wait_connected(self, timeout_seconds: float) -> bool:
        """Waits for the connection; returns whether it is there."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                await self._connected.wait()
        return self._connected.is_set()

    async def ensure_stream(self, service: str) -> None:
        """Makes the stream of a service where it is missing, or brings its settings up to date. Idempotent.

        Raises BusUnavailableError.
        """
        jetstream = self.state.jetstream
        config = StreamConfig(
            name=stream_of(service),
            subjects=[f"{SUBJECT_ROOT}.{service}.>"],
            retention=RetentionPolicy.LIMITS,
            storage=StorageType.FILE,
            discard=DiscardPolicy.OLD,
            max_age=STREAM_KEEPS_SECONDS,
            duplicate_window=DUPLICATE_WINDOW_SECONDS,
        )
        try:
            try:
                await jetstream.add_stream(config)
            except nats.js.errors.APIError as error:
                if error.err_code != _NAME_IN_USE:
                    raise
                await jetstream.update_stream(config)
        except (nats.errors.Error, TimeoutError) as error:
            raise BusUnavailableError(f"The stream of {service} cannot be made: {error}") from error

    async def publish(self, events: Sequence[StoredEvent]) -> int:
        """Publishes events in order within one window and waits for their acknowledgements.

        Returns how many from the beginning are stored: fewer than given when one failed. An event that
        comes again within the duplicate window is acknowledged and stored once. Raises BusUnavailableError
        when none could be stored.
        """
        jetstream = self.state.jetstream
        acknowledgements: list[asyncio.Future[PubAck]] = []
        stored = 0
        try:
            async with asyncio.timeout(_ACKNOWLEDGE_SECONDS):
                for event in events:
                    acknowledgement = await jetstream.publish_async(
                        event.subject, event.payload, headers=_headers(event)
                    )
                    acknowledgements.append(acknowledgement)
                    self._unacknowledged.add(acknowledgement)
                for acknowledgement in acknowledgements:
                    await acknowledgement
                    stored += 1
        except (nats.errors.Error, TimeoutError, BusUnavailableError) as error:
            if stored == 0:
                raise BusUnavailableError(f"NATS stored nothing: {type(error).__name__}") from error
        finally:
            for acknowledgement in acknowledgements:
                self._unacknowledged.discard(acknowledgement)
                if not acknowledgement.cancel():
                    acknowledgement.exception()
        return stored

    async def close(self) -> None:
        """Ends the connection. Idempotent."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            await cancel_and_wait((keeper,))
        client, self._client = self._client, None
        self._on_lost()
        if client is not None:
            await client.close()

    async def _keep_connected(self) -> None:
        """Connects, and connects anew when the client gives up for good (which it does on a protocol
        error)."""
        while True:
            closed = asyncio.Event()
            client = Client()
            self._client = client

            async def on_closed(closed: asyncio.Event = closed) -> None:
                self._on_lost()
                closed.set()

            try:
                await client.connect(
                    self._url,
                    name=self._name,
                    error_cb=_ignore,
                    disconnected_cb=self._on_disconnected,
                    reconnected_cb=self._on_reconnected,
                    closed_cb=on_closed,
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=_RECONNECT_SECONDS,  # type: ignore[arg-type]
                    connect_timeout=2,
                    ping_interval=_PING_SECONDS,
                    max_outstanding_pings=2,
                    pending_size=0,
                )
            except (nats.errors.Error, OSError, TimeoutError):
                await asyncio.sleep(_RECONNECT_SECONDS)
                continue
            await self._on_reconnected()
            await closed.wait()
            await asyncio.sleep(_RECONNECT_SECONDS)

    async def _on_reconnected(self) -> None:
        client = self._client
        if client is None:
            return
        self._generation += 1
        self._state = BusState(self._generation, client.jetstream())
        self._connected.set()
        get_logger().info("bus connected", generation=self._generation)

    async def _on_disconnected(self) -> None:
        self._on_lost()

    def _on_lost(self) -> None:
        if not self._connected.is_set():
            return
        self._connected.clear()
        for acknowledgement in tuple(self._unacknowledged):
            if not acknowledgement.done():
                acknowledgement.set_exception(BusUnavailableError("The connection to NATS was lost."))
        if self._keeper is not None:
            get_logger().warning("bus lost", generation=self._generation)


async def _ignore(_error: Exception) -> None:
    """Failed attempts to connect are told by `bus lost` and `bus connected`."""


def _headers(event: StoredEvent) -> dict[str, str]:
    return {
        MESSAGE_ID: event.event_id,
        TRACEPARENT: event.traceparent,
        PLATFORM_CONTEXT: b64encode(event.platform).decode(),
        BUSINESS_ID: event.business_id,
        EVENT_TYPE: event.event_type,
        RESOURCE_ID: event.resource_id,
        RESOURCE_VERSION: str(event.resource_version),
        REVISION: str(event.revision),
    }
