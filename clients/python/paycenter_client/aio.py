"""The asynchronous client: the contract's typed stubs on grpc.aio, with context, deadlines, typed errors."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
from paycenter.accounting.v1.accounting_pb2_grpc import AccountingStub
from paycenter.channel.v1.channel_gateway_pb2_grpc import ChannelGatewayStub
from paycenter.payment.v1.payment_core_pb2_grpc import PaymentCoreStub
from paycenter.transaction.v1 import transaction_core_pb2
from paycenter.transaction.v1.transaction_core_pb2_grpc import TransactionCoreStub

from paycenter_client.calls import details_with_context, retry_delay_seconds
from paycenter_client.context import Caller, Targets
from paycenter_client.errors import PaycenterError, error_from_status
from paycenter_client.methods import METHOD_RULES, channel_options

if TYPE_CHECKING:
    from paycenter.accounting.v1.accounting_pb2_grpc import AccountingAsyncStub
    from paycenter.channel.v1.channel_gateway_pb2_grpc import ChannelGatewayAsyncStub
    from paycenter.payment.v1.payment_core_pb2_grpc import PaymentCoreAsyncStub
    from paycenter.transaction.v1.transaction_core_pb2_grpc import TransactionCoreAsyncStub

Page = TypeVar("Page")
Request = TypeVar("Request")


class _ContextInterceptor(grpc.aio.UnaryUnaryClientInterceptor):
    """Adds context, trace and deadline; repeats conflicts within the deadline; raises typed errors."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        method = client_call_details.method
        rules = METHOD_RULES[method if isinstance(method, str) else method.decode()]
        give_up_at = time.monotonic() + (client_call_details.timeout or rules.deadline_seconds)
        try_number = 0
        while True:
            remaining_seconds = max(give_up_at - time.monotonic(), 0.001)
            details = details_with_context(client_call_details, self._caller, remaining_seconds)
            try:
                return await (await continuation(details, request))
            except grpc.aio.AioRpcError as rpc_error:
                error = _error_of(rpc_error)
            try_number += 1
            delay_seconds = retry_delay_seconds(error, try_number, give_up_at - time.monotonic())
            if delay_seconds is None:
                raise error
            await asyncio.sleep(delay_seconds)


class _StreamContextInterceptor(grpc.aio.UnaryStreamClientInterceptor):
    """Adds context and trace to a stream."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        details = details_with_context(client_call_details, self._caller, client_call_details.timeout)
        return await continuation(details, request)


def _error_of(rpc_error: grpc.aio.AioRpcError) -> PaycenterError:
    trailers: Any = rpc_error.trailing_metadata() or ()
    return error_from_status(rpc_error.code(), rpc_error.details() or "", tuple(trailers))


class AsyncPaycenterClient:
    """Calls the payment center from one event loop; share it between tasks.

    Each attribute is the contract's own typed stub, so every method of the contract is there with its
    request and response types. Deadlines default to the contract's; pass `timeout=` to set another.
    Close it, or use `async with`.

    Args:
        targets: Addresses of the servers.
        caller: Who calls.
        credentials: TLS credentials; None for a plain connection (loopback).

    Raises:
        PaycenterError: From every call, see `paycenter_client.errors`.
    """

    transaction: TransactionCoreAsyncStub
    payment: PaymentCoreAsyncStub
    channel: ChannelGatewayAsyncStub
    accounting: AccountingAsyncStub

    def __init__(
        self, targets: Targets, *, caller: Caller, credentials: grpc.ChannelCredentials | None = None
    ) -> None:
        self._channels: list[grpc.aio.Channel] = []
        interceptors: list[Any] = [_ContextInterceptor(caller), _StreamContextInterceptor(caller)]

        def connect(target: str | None, service: str) -> grpc.aio.Channel:
            address = target or "127.0.0.1:9"
            options = channel_options(service)
            channel = (
                grpc.aio.insecure_channel(address, options, interceptors=interceptors)
                if credentials is None
                else grpc.aio.secure_channel(address, credentials, options, interceptors=interceptors)
            )
            self._channels.append(channel)
            return channel

        self.transaction = TransactionCoreStub(
            connect(targets.transaction, "paycenter.transaction.v1.TransactionCore")
        )
        self.payment = PaymentCoreStub(connect(targets.payment, "paycenter.payment.v1.PaymentCore"))
        self.channel = ChannelGatewayStub(connect(targets.channel, "paycenter.channel.v1.ChannelGateway"))
        self.accounting = AccountingStub(connect(targets.accounting, "paycenter.accounting.v1.Accounting"))

    async def pages(
        self, method: Callable[[Request], Awaitable[Page]], request: Request
    ) -> AsyncIterator[Page]:
        """Yields the pages of a list method until its end.

        Args:
            method: A list method of one of the stubs.
            request: Its request; not changed.
        """
        cursor: Any = type(request)()
        cursor.CopyFrom(request)
        while True:
            page: Any = await method(cursor)
            yield page
            if not page.next_page_token:
                return
            cursor.page_token = page.next_page_token

    async def watch_transactions(
        self, *, start_revision: int = 1, business_id: str = ""
    ) -> AsyncIterator[transaction_core_pb2.TransactionEvent]:
        """Yields the tenant's events from a revision on, for ever, resuming when a server goes away.

        Heartbeats are not passed on. Each event comes at least once; keep the last `revision` you have
        handled and start again from it plus one.

        Raises:
            RevisionCompacted: The revision is older than what the server keeps.
            PaycenterError: Any refusal that a retry does not mend.
        """
        next_revision, try_number = start_revision, 0
        while True:
            stream = self.transaction.WatchTransactions(
                transaction_core_pb2.WatchTransactionsRequest(
                    start_revision=next_revision, business_id=business_id
                )
            )
            try:
                async for response in stream:
                    try_number = 0
                    next_revision = max(next_revision, response.event.revision + 1)
                    if response.event.event_type:
                        yield response.event
            except grpc.aio.AioRpcError as rpc_error:
                error = _error_of(rpc_error)
                try_number += 1
                delay_seconds = retry_delay_seconds(error, try_number, float("inf"), streaming=True)
                if delay_seconds is None:
                    raise error from None
                await asyncio.sleep(delay_seconds)
            finally:
                stream.cancel()

    async def close(self) -> None:
        """Closes the connections; harmless when repeated."""
        for channel in self._channels:
            await channel.close()

    async def __aenter__(self) -> AsyncPaycenterClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
