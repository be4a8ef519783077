"""Takes a channel's notice in: verify, look the order up inside that account, compare, apply. Invariant: the
notice is committed together with what it changed before the channel is answered; a refused one is kept
with its reason and changes nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import timedelta
from hashlib import sha256

from channel_gateway import metrics
from channel_gateway.channels.protocol import NoticeContent, NoticeMessage, NoticeRefused
from channel_gateway.directory import OpenedAccount
from channel_gateway.domain.decision import Change, Question, decide
from channel_gateway.domain.notice import refusal_of
from channel_gateway.domain.order import ChannelOrder
from channel_gateway.domain.vocabulary import NoticeState
from channel_gateway.parts import GatewayParts
from channel_gateway.progress import count, write_change
from channel_gateway.store import notices as store
from channel_gateway.store import orders as order_store
from channel_gateway.store.notices import StoredNotice
from channel_gateway.store.origin import origin_of_scope
from channel_gateway.trouble import tell_trouble
from runtime.context import CallScope, PlatformContext, TraceContext, use_scope
from runtime.ids import NumberKind, new_number
from runtime.logs import get_logger
from runtime.telemetry import new_trace, scope_from_stored, span

_MOST_RACES = 5
_RETRY_DELAY = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a notice."""

    state: NoticeState
    refusal: str = ""
    channel_order_id: str = ""

    @property
    def is_accepted(self) -> bool:
        """Whether the channel may stop repeating it."""
        return self.state in (NoticeState.APPLIED, NoticeState.REPEATED)


class Inbox:
    """The durable inbox of notices."""

    def __init__(self, parts: GatewayParts) -> None:
        self._parts = parts

    async def take_in(self, account: OpenedAccount, headers: Mapping[str, str], body: bytes) -> Verdict:
        """Settles a notice that came just now to the address of `account`.

        When it cannot be applied it is still kept, and a worker applies it later; the channel is told to repeat it.
        Raises whatever the database raises when not even that is possible.
        """
        message = NoticeMessage(_kept_headers(account, headers), body, self._parts.clock.now())
        notice = _notice(account, message)
        try:
            verdict = await self._settle(account, message, notice, waiting=None)
        except Exception as error:  # noqa: BLE001  whatever stands in the way, the notice is kept
            tell_trouble(
                "notice not applied", error, channel=account.record.channel, notice_id=notice.notice_id
            )
            with use_scope(_own_scope(account)):
                async with self._parts.database.begin() as connection:
                    origin = origin_of_scope(notice.notice_id)
                    await store.put_notice(connection, notice, origin, delay=_RETRY_DELAY)
            verdict = Verdict(NoticeState.RECEIVED)
        metrics.notice_settled(account.record.channel, verdict.state.value, verdict.refusal)
        return verdict

    async def settle_waiting(self, waiting: StoredNotice) -> Verdict:
        """Settles a notice that was kept without an outcome, as of the instant at which it came."""
        account = await self._parts.accounts.get(waiting.payment_account_id)
        message = NoticeMessage(waiting.headers, waiting.body, waiting.received_time)
        verdict = await self._settle(account, message, waiting, waiting=waiting)
        metrics.notice_settled(account.record.channel, verdict.state.value, verdict.refusal)
        return verdict

    async def _settle(
        self,
        account: OpenedAccount,
        message: NoticeMessage,
        notice: StoredNotice,
        *,
        waiting: StoredNotice | None,
    ) -> Verdict:
        try:
            content = account.channel.read_notice(message)
        except NoticeRefused as refused:
            return await self._refuse(account, notice, refused.refusal, waiting=waiting)
        async with self._parts.database.read() as connection:
            order = await order_store.get_order_of_account(
                connection, content.channel_order_id, account.record.payment_account_id
            )
        if order is None:
            return await self._refuse(account, notice, "ORDER_NOT_FOUND", waiting=waiting)
        with _scope_of(order), _span_of(account, order):
            return await self._apply(account, notice, content, order, waiting=waiting)

    async def _apply(
        self,
        account: OpenedAccount,
        notice: StoredNotice,
        content: NoticeContent,
        order: ChannelOrder,
        *,
        waiting: StoredNotice | None,
    ) -> Verdict:
        parts = self._parts
        for _ in range(_MOST_RACES):
            refusal = refusal_of(
                order,
                kind=content.kind,
                payment_channel_order_id=content.payment_channel_order_id,
                answer=content.answer,
                amount_is_total=content.amount_is_total,
            )
            if refusal:
                return await self._refuse(account, notice, refusal, waiting=waiting, order=order)
            change = _change(order, content)
            state = NoticeState.REPEATED if change is None else NoticeState.APPLIED
            verdict = Verdict(state, "", order.channel_order_id)
            async with parts.database.begin() as connection:
                written = order
                if change is not None:
                    advanced = await write_change(parts, connection, account, order, change)
                    if advanced is None:
                        order = await order_store.get_order(connection, order.channel_order_id) or order
                        continue
                    written = advanced
                if waiting is not None and not await store.remove_received(connection, waiting):
                    return verdict
                origin = origin_of_scope(order.business_id)
                settled = replace(notice, state=state, channel_order_id=order.channel_order_id)
                await store.put_notice(connection, settled, origin, delay=None)
            if change is not None:
                count(written)
            return verdict
        raise RuntimeError("the channel order changes too quickly")

    async def _refuse(
        self,
        account: OpenedAccount,
        notice: StoredNotice,
        refusal: str,
        *,
        waiting: StoredNotice | None,
        order: ChannelOrder | None = None,
    ) -> Verdict:
        channel_order_id = "" if order is None else order.channel_order_id
        with use_scope(_own_scope(account)) if order is None else _scope_of(order):
            refused = replace(
                notice, state=NoticeState.REFUSED, refusal=refusal, channel_order_id=channel_order_id
            )
            async with self._parts.database.begin() as connection:
                if waiting is not None and not await store.remove_received(connection, waiting):
                    return Verdict(NoticeState.REFUSED, refusal, channel_order_id)
                default_business_id = notice.notice_id if order is None else order.business_id
                await store.put_notice(connection, refused, origin_of_scope(default_business_id), delay=None)
            get_logger().warning(
                "notice refused",
                refusal=refusal,
                channel=account.record.channel,
                payment_account_id=account.record.payment_account_id,
                notice_id=notice.notice_id,
                channel_order_id=channel_order_id,
            )
        return Verdict(NoticeState.REFUSED, refusal, channel_order_id)


class InboxRepair:
    """The worker that settles notices which were kept without an outcome."""

    name = "notice repair"

    def __init__(self, parts: GatewayParts, inbox: Inbox) -> None:
        self._parts = parts
        self._inbox = inbox
        self.idle_seconds = parts.settings.repair_idle_seconds

    async def step(self) -> int:
        """Takes up to a batch of waiting notices and settles them one by one; returns how many they were."""
        settings = self._parts.settings
        async with self._parts.database.begin() as connection:
            due = await store.take_due_notices(
                connection, limit=settings.repair_batch_size, lease=settings.step_lease
            )
        for waiting in due:
            try:
                await self._inbox.settle_waiting(waiting)
            except Exception as error:  # noqa: BLE001  one in trouble must not stop the others; its lease brings it back
                tell_trouble("notice not settled", error, notice_id=waiting.notice_id)
        return len(due)


def _change(order: ChannelOrder, content: NoticeContent) -> Change | None:
    answer = content.answer
    if content.amount_is_total:
        answer = replace(answer, amount=None)
    return decide(order, Question.NOTICE, answer)


def _kept_headers(account: OpenedAccount, headers: Mapping[str, str]) -> dict[str, str]:
    return {name: headers[name] for name in account.plugin.notice_headers if name in headers}


def _notice(account: OpenedAccount, message: NoticeMessage) -> StoredNotice:
    record = account.record
    digest = sha256(message.body)
    for name in sorted(message.headers):
        digest.update(f"\n{name}:{message.headers[name]}".encode())
    return StoredNotice(
        shard=record.shard,
        notice_id=new_number(NumberKind.NOTICE, shard=record.shard),
        tenant_id=record.tenant_id,
        channel=record.channel,
        payment_account_id=record.payment_account_id,
        digest=digest.digest(),
        state=NoticeState.RECEIVED,
        refusal="",
        channel_order_id="",
        receive_count=1,
        headers=message.headers,
        body=message.body,
        received_time=message.received_time,
        step_count=0,
        business_id="",
        traceparent="",
        create_time=message.received_time,
        update_time=message.received_time,
    )


def _own_scope(account: OpenedAccount) -> CallScope:
    platform = PlatformContext(
        caller_service=f"channel:{account.record.channel}", tenant_id=account.record.tenant_id
    )
    return CallScope(platform=platform, trace=new_trace())


def _scope_of(order: ChannelOrder) -> AbstractContextManager[CallScope]:
    scope = scope_from_stored(order.traceparent, order.platform)
    return use_scope(replace(scope, platform=replace(scope.platform, business_id=order.business_id)))


def _span_of(account: OpenedAccount, order: ChannelOrder) -> AbstractContextManager[object]:
    trace = TraceContext.parse(order.traceparent)
    attributes = {
        "paycenter.channel": account.record.channel,
        "paycenter.channel_order_id": order.channel_order_id,
    }
    return span(
        f"notice {account.record.channel}",
        kind="consumer",
        attributes=attributes,
        links=() if trace is None else (trace,),
    )
