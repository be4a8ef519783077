"""Records payments and their changes. Invariant: a change, its event and the answer to the call that waits for it are
one transaction, and no transaction is open while a service below is called."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from core.payment import metrics
from core.payment.database_clock import DatabaseClock
from core.payment.domain.payment import EventType, Payment, PaymentKind, event_of_state
from core.payment.store import payments as store
from core.payment.store import saving
from runtime.context import current_scope, decode_platform, encode_platform, use_scope
from runtime.database import Database, after_commit
from runtime.errors import PaycenterError, Reason
from runtime.idempotency import Idempotency, Replay, Resume
from runtime.ids import shard_of_number
from runtime.outbox import Outbox, OutboxEvent
from runtime.telemetry import scope_from_stored, span

METHOD_OF_KIND: Final = {
    PaymentKind.RECHARGE: "CreateRecharge",
    PaymentKind.WITHDRAWAL: "CreateWithdrawal",
    PaymentKind.REFUND: "CreateRefund",
    PaymentKind.TRANSFER: "CreateTransfer",
}
"""Method whose call waits for the first outcome of a payment."""

_STEP_INDEX: Final = "ix_payment_step"


@dataclass(frozen=True, slots=True)
class Call:
    """What makes a command the same command when it comes again."""

    method: str
    request_id: str
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class Recorded:
    """A payment that is on record; `begun_before` when an earlier call of the same command was left in the middle."""

    payment: Payment
    begun_before: bool


class Codec(Protocol):
    """Writes payments as the contract has them."""

    def response(self, payment: Payment) -> bytes:
        """Returns the serialized response of a command."""
        ...

    def event(self, payment: Payment, event_type: EventType) -> OutboxEvent:
        """Returns the event that tells of a change."""
        ...

    def tell(self, payment: Payment, event_type: EventType) -> tuple[OutboxEvent, bytes]:
        """Returns the event that tells of a change, and the response that shows the payment after it."""
        ...


WithinTransaction = Callable[[AsyncConnection], Awaitable[None]]
WithChange = Callable[[AsyncConnection], Awaitable[Sequence[OutboxEvent]]]


class PaymentRecords:
    """Every write to payments, with its event and its answer."""

    def __init__(
        self,
        *,
        database: Database,
        idempotency: Idempotency,
        outbox: Outbox,
        codec: Codec,
        clock: DatabaseClock,
        claim_lease_seconds: float,
    ) -> None:
        self.database = database
        self.codec = codec
        self._idempotency = idempotency
        self._outbox = outbox
        self._clock = clock
        self._claim_lease_seconds = claim_lease_seconds

    async def replay_or_refuse(self, call: Call, *, shard: int, refusal: PaycenterError) -> bytes:
        """Returns the stored answer when the command was carried out before; else raises the refusal.

        A command that was accepted once is answered the same for ever, whatever the rules say by now.
        """
        async with self.database.begin() as connection:
            claim = await self._claim(connection, call, shard=shard, resource_id=None)
            if isinstance(claim, Replay):
                return claim.response
            if isinstance(claim, Resume):
                raise PaycenterError(Reason.REQUEST_IN_PROGRESS, "The same request is being carried out.")
            raise refusal

    async def record(
        self, call: Call, payment: Payment, *, first: WithinTransaction | None = None, delay_seconds: float
    ) -> Recorded | bytes:
        """Claims the command and records its payment and event; the stored answer when it was carried out before.

        `first` runs in the transaction before the payment is written; what it raises leaves nothing behind. Without
        it, and when the request is new, everything is one statement. A step of a transaction whose request id is
        forgotten by now is answered with its payment as it is.
        """
        if first is None:
            try:
                recorded = await self._record_at_once(call, payment, delay_seconds=delay_seconds)
            except IntegrityError as error:
                if _STEP_INDEX not in str(error.orig):
                    raise
                recorded = None
            if recorded is not None:
                return Recorded(recorded, begun_before=False)
        async with self.database.begin() as connection:
            claim = await self._claim(connection, call, shard=payment.shard, resource_id=payment.payment_id)
            if isinstance(claim, Replay):
                return claim.response
            if isinstance(claim, Resume):
                begun = await store.get_payment(
                    connection, shard=payment.shard, payment_id=claim.resource_id or payment.payment_id
                )
                if begun is not None:
                    return Recorded(begun, begun_before=True)
            earlier = await store.find_step(connection, payment)
            if earlier is not None:
                _check_same(earlier, payment)
                return await self._complete(connection, call, earlier)
            if first is not None:
                await first(connection)
            recorded = await store.insert_payment(connection, payment, delay_seconds=delay_seconds)
            event, _ = self.codec.tell(recorded, EventType.PAYMENT_ACCEPTED)
            await self._outbox.append(connection, event)
        metrics.count_change(recorded)
        return Recorded(recorded, begun_before=False)

    async def _record_at_once(self, call: Call, payment: Payment, *, delay_seconds: float) -> Payment | None:
        """Records a new command by one statement; None, with nothing written, when its request id was used before."""
        now = self._clock.now()
        recorded = replace(payment, create_time=now, update_time=now, version=1)
        event, _ = self.codec.tell(recorded, EventType.PAYMENT_ACCEPTED)
        async with self.database.autocommit() as connection:
            is_new = await saving.record_payment(
                connection,
                recorded,
                request=saving.Request(
                    caller=current_scope().platform.caller_service,
                    method=call.method,
                    request_id=call.request_id,
                ),
                fingerprint=call.fingerprint,
                lease_seconds=self._claim_lease_seconds,
                told=self._told(event),
                delay_seconds=delay_seconds,
            )
            if not is_new:
                return None
            after_commit(connection, self._outbox.nudge.set)
        metrics.count_change(recorded)
        return recorded

    async def change(
        self,
        before: Payment,
        after: Payment,
        *,
        delay_seconds: float | None,
        also: WithChange | None = None,
    ) -> Payment:
        """Writes `after` over `before` with its event and, when a call waits for it, its answer.

        `also` writes what belongs to the change, in the same transaction, and returns its events; without it everything
        is one statement. Raises LostRaceError when the payment has changed since it was read.
        """
        opened = self.database.autocommit() if also is None else self.database.begin()
        async with opened as connection:
            changed = await self._save(connection, before, after, delay_seconds=delay_seconds)
            if also is not None:
                await self._outbox.append(connection, *await also(connection))
        metrics.count_change(changed)
        return changed

    async def _save(
        self, connection: AsyncConnection, before: Payment, after: Payment, *, delay_seconds: float | None
    ) -> Payment:
        changed = replace(
            after,
            answered=True,
            version=before.version + 1,
            update_time=self._clock.after(before.update_time),
        )
        with span("notify"):
            event, response = self.codec.tell(changed, _event_of(before, changed))
        answers: saving.Request | None = None
        if not before.answered:
            changed = replace(changed, answer=response)
            answers = saving.Request(
                caller=decode_platform(before.platform).caller_service,
                method=METHOD_OF_KIND[before.kind],
                request_id=before.request_id,
            )
        await saving.save_change(
            connection,
            before,
            changed,
            told=self._told(event),
            delay_seconds=delay_seconds,
            answers=answers,
        )
        after_commit(connection, self._outbox.nudge.set)
        return changed

    def _told(self, event: OutboxEvent) -> saving.Told:
        scope = current_scope()
        return saving.Told(
            event_id=event.event_id,
            subject=self._outbox.subject_of(event),
            event_type=event.event_type,
            payload=event.payload,
            traceparent=scope.trace.format(),
            platform=encode_platform(scope.platform),
        )

    async def reschedule(self, before: Payment, after: Payment, *, delay_seconds: float | None) -> Payment:
        """Writes when the payment is taken up again; answers the call that waits with the state as it is.

        Raises LostRaceError when the payment has changed since it was read.
        """
        async with self.database.begin() as connection:
            kept = await store.reschedule_payment(
                connection, before, replace(after, answered=True), delay_seconds=delay_seconds
            )
            return await self._answer(connection, before, kept)

    async def answer_to(self, call: Call, payment: Payment) -> bytes:
        """Returns the answer of the command that recorded `payment`: the one that is stored for every repetition."""
        if payment.answer:
            return payment.answer
        async with self.database.begin() as connection:
            claim = await self._claim(connection, call, shard=payment.shard, resource_id=payment.payment_id)
            if isinstance(claim, Replay):
                return claim.response
            return await self._complete(connection, call, payment)

    async def begin_command(
        self,
        call: Call,
        before: Payment,
        after: Payment,
        *,
        delay_seconds: float | None = None,
        also: WithinTransaction | None = None,
    ) -> Payment | bytes:
        """Claims a command on an existing payment together with its first change; the stored answer if it was done.

        Nothing is written besides the claim when `after` is `before`. Raises LostRaceError when the payment has
        changed since it was read.
        """
        async with self.database.begin() as connection:
            claim = await self._claim(connection, call, shard=before.shard, resource_id=before.payment_id)
            if isinstance(claim, Replay):
                return claim.response
            if after is before:
                return before
            changed = await self._save(connection, before, after, delay_seconds=delay_seconds)
            if also is not None:
                await also(connection)
        metrics.count_change(changed)
        return changed

    async def finish_command(self, call: Call, payment: Payment) -> bytes:
        """Stores and returns the answer of a command on an existing payment, which ends it."""
        async with self.database.begin() as connection:
            return await self._complete(connection, call, payment)

    async def load(self, payment_id: str) -> Payment | None:
        """Reads a payment of any tenant by its number; None when there is none or the number is malformed."""
        try:
            shard = shard_of_number(payment_id)
        except ValueError:
            return None
        async with self.database.read() as connection:
            return await store.get_payment(connection, shard=shard, payment_id=payment_id)

    async def get(self, payment_id: str, *, field: str = "payment_id") -> Payment:
        """Reads a payment of the scope's tenant.

        Raises PaycenterError(TENANT_FORBIDDEN) for another tenant's, PaycenterError(PAYMENT_NOT_FOUND) when there is
        none.
        """
        found = await self.load(payment_id)
        if found is None:
            raise PaycenterError(
                Reason.PAYMENT_NOT_FOUND,
                "No payment has this number.",
                field=field,
                resource=("payment", payment_id[:64]),
            )
        check_tenant(found)
        return found

    async def reload(self, payment: Payment) -> Payment:
        """Reads a payment that is known to exist, as it is now."""
        async with self.database.read() as connection:
            found = await store.get_payment(connection, shard=payment.shard, payment_id=payment.payment_id)
        assert found is not None, "payments are never deleted"
        return found

    async def _claim(
        self, connection: AsyncConnection, call: Call, *, shard: int, resource_id: str | None
    ) -> object:
        return await self._idempotency.claim(
            connection,
            shard=shard,
            method=call.method,
            request_id=call.request_id,
            fingerprint=call.fingerprint,
            resource_id=resource_id,
            lease_seconds=self._claim_lease_seconds,
        )

    async def _answer(self, connection: AsyncConnection, before: Payment, after: Payment) -> Payment:
        """Answers the call that recorded the payment, as that caller; later changes have nobody waiting."""
        if before.answered:
            return after
        answer = self.codec.response(after)
        with use_scope(scope_from_stored(before.traceparent, before.platform)):
            await self._idempotency.complete(
                connection,
                shard=before.shard,
                method=METHOD_OF_KIND[before.kind],
                request_id=before.request_id,
                response=answer,
            )
        return replace(after, answer=answer)

    async def _complete(self, connection: AsyncConnection, call: Call, payment: Payment) -> bytes:
        answer = self.codec.response(payment)
        await self._idempotency.complete(
            connection, shard=payment.shard, method=call.method, request_id=call.request_id, response=answer
        )
        return answer


def _event_of(before: Payment, after: Payment) -> EventType:
    return EventType.PAYMENT_CHANGED if after.state is before.state else event_of_state(after.state)


def _check_same(earlier: Payment, payment: Payment) -> None:
    """Refuses a step that names other money than the payment which was recorded for it."""

    def gist(of: Payment) -> tuple[object, ...]:
        return (of.merchant_id, of.amount, of.source_account_id, of.destination_account_id, of.posting_lines)

    if gist(earlier) != gist(payment):
        raise PaycenterError(
            Reason.IDEMPOTENCY_KEY_REUSED,
            "The step was carried out with another content.",
            field="request_id",
            resource=("payment", earlier.payment_id),
        )


def check_tenant(payment: Payment) -> None:
    """Raises PaycenterError(TENANT_FORBIDDEN) unless the payment is the scope's tenant's."""
    if payment.tenant_id != current_scope().platform.tenant_id:
        raise PaycenterError(Reason.TENANT_FORBIDDEN, "The payment belongs to another tenant.")
