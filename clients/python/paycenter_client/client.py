"""The synchronous client: the contract's typed stubs, with context, deadlines, retries and typed errors."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, TypeVar

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

Page = TypeVar("Page")
Request = TypeVar("Request")


class _ContextInterceptor(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):
    """Adds context, trace and deadline; repeats conflicts within the deadline; raises typed errors."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        rules = METHOD_RULES[client_call_details.method]
        give_up_at = time.monotonic() + (client_call_details.timeout or rules.deadline_seconds)
        try_number = 0
        while True:
            remaining_seconds = max(give_up_at - time.monotonic(), 0.001)
            call = continuation(
                details_with_context(client_call_details, self._caller, remaining_seconds), request
            )
            if call.code() is grpc.StatusCode.OK:
                return call
            error = _error_of(call)
            try_number += 1
            delay_seconds = retry_delay_seconds(error, try_number, give_up_at - time.monotonic())
            if delay_seconds is None:
                raise error
            time.sleep(delay_seconds)

    def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        call = continuation(
            details_with_context(client_call_details, self._caller, client_call_details.timeout), request
        )
        return _TypedStream(call)


class _TypedStream:
    """A response stream that raises typed errors and can be cancelled."""

    def __init__(self, call: Any) -> None:
        self._call = call

    def __iter__(self) -> _TypedStream:
        return self

    def __next__(self) -> Any:
        try:
            return next(self._call)
        except grpc.RpcError:
            raise _error_of(self._call) from None

    def cancel(self) -> None:
        """Ends the stream."""
        self._call.cancel()


def _error_of(call: Any) -> PaycenterError:
    return error_from_status(call.code(), call.details() or "", call.trailing_metadata() or ())


class PaycenterClient:
    """Calls the payment center synchronously; safe to share between threads.

    Each attribute is the contract's own typed stub, so every method of the contract is there with its
    request and response types. Deadlines default to the contract's; pass `timeout=` to set another.
    Close it, or use `with`.

    Args:
        targets: Addresses of the servers.
        caller: Who calls.
        credentials: TLS credentials; None for a plain connection (loopback).

    Raises:
        PaycenterError: From every call, see `paycenter_client.errors`.
    """

    transaction: TransactionCoreStub
    payment: PaymentCoreStub
    channel: ChannelGatewayStub
    accounting: AccountingStub

    def __init__(
        self, targets: Targets, *, caller: Caller, credentials: grpc.ChannelCredentials | None = None
    ) -> None:
        self._channels: list[grpc.Channel] = []
        interceptor = _ContextInterceptor(caller)

        def connect(target: str | None, service: str) -> grpc.Channel:
            address = target or "127.0.0.1:9"
            options = channel_options(service)
            channel = (
                grpc.insecure_channel(address, options)
                if credentials is None
                else grpc.secure_channel(address, credentials, options)
            )
            self._channels.append(channel)
            return grpc.intercept_channel(channel, interceptor)

        self.transaction = TransactionCoreStub(
            connect(targets.transaction, "paycenter.transaction.v1.TransactionCore")
        )
        self.payment = PaymentCoreStub(connect(targets.payment, "paycenter.payment.v1.PaymentCore"))
        self.channel = ChannelGatewayStub(connect(targets.channel, "paycenter.channel.v1.ChannelGateway"))
        self.accounting = AccountingStub(connect(targets.accounting, "paycenter.accounting.v1.Accounting"))

    def pages(self, method: Callable[[Request], Page], request: Request) -> Iterator[Page]:
        """Yields the pages of a list method until its end; the request's page_token is moved on.

        Args:
            method: A list method of one of the stubs.
            request: Its request; not changed.
        """
        cursor: Any = type(request)()
        cursor.CopyFrom(request)
        while True:
            page: Any = method(cursor)
            yield page
            if not page.next_page_token:
                return
            cursor.page_token = page.next_page_token

    def watch_transactions(
        self, *, start_revision: int = 1, business_id: str = ""
    ) -> Iterator[transaction_core_pb2.TransactionEvent]:
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
                for response in stream:
                    try_number = 0
                    next_revision = max(next_revision, response.event.revision + 1)
                    if response.event.event_type:
                        yield response.event
            except PaycenterError as error:
                try_number += 1
                delay_seconds = retry_delay_seconds(error, try_number, float("inf"), streaming=True)
                if delay_seconds is None:
                    raise
                time.sleep(delay_seconds)
            finally:
                stream.cancel()

    def close(self) -> None:
        """Closes the connections; harmless when repeated."""
        for channel in self._channels:
            channel.close()

    def __enter__(self) -> PaycenterClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
