"""Learns what becomes of orders from WatchTransactions. Invariant: an outcome is told by the center, never guessed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType

from paycenter.transaction.v1 import transaction_core_pb2 as transaction
from paycenter_client import AsyncPaycenterClient, PaycenterError, business_case

_READ_AGAIN_SECONDS = 2.0


class OrderFeed:
    """The latest word on every order since the feed was opened; use it with `async with`."""

    def __init__(self, client: AsyncPaycenterClient) -> None:
        self._client = client
        self._latest: dict[str, transaction.Order] = {}
        self._changed = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None
        self._failure: PaycenterError | None = None

    async def __aenter__(self) -> OrderFeed:
        start_revision = await next_revision(self._client)
        self._task = asyncio.create_task(self._follow(start_revision))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def wait_for(
        self, order_id: str, is_reached: Callable[[transaction.Order], bool], *, timeout_seconds: float
    ) -> transaction.Order:
        """Gives the order as soon as the condition holds, or as it stands when the time is over.

        The feed may be late; the order is therefore also read from time to time. Raises PaycenterError.
        """
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + timeout_seconds
        while True:
            remaining_seconds = give_up_at - loop.time()
            order = await self._next_word(
                order_id, is_reached, max(0.0, min(remaining_seconds, _READ_AGAIN_SECONDS))
            )
            if order is None:
                order = await self._read(order_id)
            if is_reached(order) or remaining_seconds <= 0:
                return order

    async def _read(self, order_id: str) -> transaction.Order:
        # Looking is no part of the order's own trace.
        with business_case():
            answer = await self._client.transaction.GetOrder(transaction.GetOrderRequest(order_id=order_id))
        return answer.order

    async def _next_word(
        self, order_id: str, is_reached: Callable[[transaction.Order], bool], timeout_seconds: float
    ) -> transaction.Order | None:
        def has_come() -> bool:
            latest = self._latest.get(order_id)
            return self._failure is not None or (latest is not None and is_reached(latest))

        async with self._changed:
            try:
                await asyncio.wait_for(self._changed.wait_for(has_come), timeout_seconds)
            except TimeoutError:
                return None
            if self._failure is not None:
                raise self._failure
            return self._latest[order_id]

    async def _follow(self, start_revision: int) -> None:
        try:
            async for event in self._client.watch_transactions(start_revision=start_revision):
                async with self._changed:
                    self._latest[event.order.order_id] = event.order
                    self._changed.notify_all()
        except PaycenterError as error:
            async with self._changed:
                self._failure = error
                self._changed.notify_all()


async def next_revision(client: AsyncPaycenterClient) -> int:
    """The revision that the tenant's next event will have at least; asks some twenty times at most."""

    async def has_event_from(revision: int) -> bool:
        request = transaction.ListTransactionEventsRequest(start_revision=revision, page_size=1)
        return bool((await client.transaction.ListTransactionEvents(request)).events)

    beyond = 1
    while await has_event_from(beyond):
        beyond *= 16
    low, high = beyond // 16, beyond
    while high - low > 1:
        middle = (low + high) // 2
        if await has_event_from(middle):
            low = middle
        else:
            high = middle
    return high
