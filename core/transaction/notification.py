"""Tells business systems by signed HTTP callback. Invariant: a notification is sent until it is taken or its schedule
is over, always with the same body; one slow business system holds up nobody else."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from core.transaction import commands, metrics
from core.transaction.access import require_tenant, shard_of_kind
from core.transaction.callback_http import Answer, CallbackSender
from core.transaction.callback_signing import CallbackSigner
from core.transaction.domain.records import Notification
from core.transaction.domain.states import NOTIFICATION_STATES, NotificationState
from core.transaction.mapping import answers
from core.transaction.parts import Parts
from core.transaction.store import notifications
from runtime.clock import Clock
from runtime.context import current_scope, use_scope, with_business_id
from runtime.database import after_commit
from runtime.errors import PaycenterError, Reason
from runtime.idempotency import Replay
from runtime.ids import NumberKind
from runtime.logs import get_logger
from runtime.telemetry import scope_from_stored, span

METHOD = "ResendNotification"
LEASE_BEYOND_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryRules:
    """How callbacks are delivered: limits of concurrency, the longest wait and the schedule of further tries."""

    concurrency: int
    concurrency_per_host: int
    timeout_seconds: float
    schedule_seconds: Sequence[float]
    jitter: float
    idle_seconds: float


class DeliveryWorker:
    """Claims due notifications and delivers them side by side.

    A host that has as many deliveries under way as it may have is left out of the next claim, so that its backlog
    never takes the places of others.
    """

    name = "notification-delivery"

    def __init__(
        self, parts: Parts, sender: CallbackSender, signer: CallbackSigner, rules: DeliveryRules, clock: Clock
    ) -> None:
        self.idle_seconds = rules.idle_seconds
        self.nudge = parts.nudges.notification
        self._parts = parts
        self._sender = sender
        self._signer = signer
        self._rules = rules
        self._clock = clock
        self._under_way: set[asyncio.Task[None]] = set()
        self._by_host: Counter[str] = Counter()
        self._has_backlog = False

    async def step(self) -> int:
        """Starts delivering what is due, as far as there is room; returns how many deliveries began."""
        room = self._rules.concurrency - len(self._under_way)
        if room <= 0:
            await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)
            return 1
        most_per_host = self._rules.concurrency_per_host
        free_hosts = [count for count in self._by_host.values() if count < most_per_host]
        most_more = most_per_host - max(free_hosts, default=0)
        async with self._parts.database.autocommit() as connection:
            claimed = await notifications.claim(
                connection,
                most=room,
                most_per_host=most_more,
                full_hosts=[host for host, count in self._by_host.items() if count >= most_per_host],
                lease_seconds=self._rules.timeout_seconds + LEASE_BEYOND_TIMEOUT_SECONDS,
            )
        self._has_backlog = len(claimed) >= min(room, most_more)
        for notification in claimed:
            self._by_host[notification.host] += 1
            task = asyncio.create_task(self._deliver(notification), name="deliver")
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)
        return len(claimed)

    async def finish(self) -> None:
        """Waits until every delivery that has begun is over."""
        while self._under_way:
            await asyncio.wait(self._under_way)

    async def close(self) -> None:
        """Ends the worker: deliveries under way are finished, the connections are closed."""
        await self.finish()
        await self._sender.close()

    async def _deliver(self, notification: Notification) -> None:
        try:
            with (
                use_scope(scope_from_stored(notification.traceparent, notification.platform)) as scope,
                span(
                    "notify",
                    kind="producer",
                    attributes={
                        "paycenter.notification_id": notification.notification_id,
                        "paycenter.event_type": notification.event_type.value,
                        "server.address": notification.host,
                    },
                    links=(scope.trace,),
                ) as delivery,
            ):
                answer = await self._send(notification)
                delivery.set_attribute("http.response.status_code", answer.status)
                if not answer.is_taken:
                    delivery.set_error(answer.error or str(answer.status))
                await self._record(notification, answer)
        except PaycenterError as error:
            get_logger().warning(
                "delivery is not recorded; the callback will come again",
                notification_id=notification.notification_id,
                reason=error.reason.value,
            )
        except Exception:  # noqa: BLE001 - one delivery must not end the others; its claim runs out by itself
            get_logger().exception("delivery failed", notification_id=notification.notification_id)
        finally:
            self._by_host[notification.host] -= 1
            if self._by_host[notification.host] <= 0:
                del self._by_host[notification.host]
            if self._has_backlog:
                self.nudge.set()

    async def _send(self, notification: Notification) -> Answer:
        headers = self._signer.headers(
            notification_id=notification.notification_id,
            timestamp_seconds=int(self._clock.now().timestamp()),
            body=notification.body,
        )
        headers["traceparent"] = current_scope().trace.format()
        return await self._sender.send(notification.url, body=notification.body, headers=headers)

    async def _record(self, notification: Notification, answer: Answer) -> None:
        async with self._parts.database.autocommit() as connection:
            if answer.is_taken:
                metrics.callbacks.labels("delivered").inc()
                await notifications.mark_delivered(connection, notification, status=answer.status)
                return
            position = notification.schedule_position
            is_last = position >= len(self._rules.schedule_seconds)
            state = NotificationState.GIVEN_UP if is_last else NotificationState.RETRYING
            metrics.callbacks.labels("given_up" if is_last else "not_taken").inc()
            get_logger().warning(
                "callback not taken",
                notification_id=notification.notification_id,
                host=notification.host,
                status=answer.status,
                error=answer.error,
                state=state.value,
            )
            await notifications.mark_not_delivered(
                connection,
                notification,
                state=NOTIFICATION_STATES.require(notification.state, state),
                status=answer.status,
                schedule_position=position + 1,
                wait_seconds=None if is_last else self._wait_seconds(position),
            )

    def _wait_seconds(self, position: int) -> float:
        jitter = self._rules.jitter
        return self._rules.schedule_seconds[position] * random.uniform(1 - jitter, 1 + jitter)  # noqa: S311


async def resend_notification(
    parts: Parts, command: commands.ResendNotification
) -> answers.ResendNotificationResponse:
    """Makes a notification due at once with its full schedule. Idempotent by request id.

    Raises PaycenterError: NOTIFICATION_NOT_FOUND, TENANT_FORBIDDEN.
    """
    shard = shard_of_kind(command.notification_id, NumberKind.NOTIFICATION)
    if shard is None:
        raise notification_not_found(command.notification_id)
    async with parts.database.begin() as connection:
        claim = await parts.idempotency.claim(
            connection,
            shard=shard,
            method=METHOD,
            request_id=command.key.request_id,
            fingerprint=command.key.fingerprint,
            resource_id=command.notification_id,
        )
        if isinstance(claim, Replay):
            return answers.unpack(answers.ResendNotificationResponse, claim.response)
        known = await notifications.read(connection, shard=shard, notification_id=command.notification_id)
        if known is None:
            raise notification_not_found(command.notification_id)
        require_tenant(known.tenant_id)
        with with_business_id(known.business_id):
            due = await notifications.make_due(connection, known)
        if due is None:
            raise PaycenterError(Reason.LOCK_CONFLICT, "The notification is being delivered at this moment.")
        answer = answers.notification_due(due)
        await parts.idempotency.complete(
            connection,
            shard=shard,
            method=METHOD,
            request_id=command.key.request_id,
            response=answers.pack(answer),
        )
        after_commit(connection, parts.nudges.notification.set)
    return answer


def notification_not_found(notification_id: str) -> PaycenterError:
    """Returns the refusal for a number that names no notification."""
    return PaycenterError(
        Reason.NOTIFICATION_NOT_FOUND,
        "No notification has this number.",
        metadata={"notificationId": notification_id},
        resource=("notification", notification_id),
    )
