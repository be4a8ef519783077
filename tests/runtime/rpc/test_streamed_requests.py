"""Journals that come as a stream: each is checked, and the stream ends with the server."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from paycenter.accounting.v1 import accounting_pb2 as pb
from paycenter.accounting.v1 import accounting_pb2_grpc as rpc
from paycenter.type.v1 import money_pb2

from runtime.context import current_scope
from runtime.grpc_server import GrpcServer
from runtime.settings import RuntimeSettings
from tests.runtime.rpc.front_desk import from_shop, refused


class Books(rpc.AccountingServicer):
    """Answers each journal as it comes; sums up what is uploaded."""

    async def PostJournalStream(  # noqa: N802
        self, request_iterator: AsyncIterator[pb.PostJournalStreamRequest], context: Any
    ) -> AsyncIterator[pb.PostJournalStreamResponse]:
        assert current_scope().platform.caller_service == "shop"
        async for request in request_iterator:
            yield pb.PostJournalStreamResponse(outcome=pb.JournalOutcome(request_id=request.request_id))

    async def sum_up(
        self, request_iterator: AsyncIterator[pb.PostJournalStreamRequest], context: Any
    ) -> pb.PostJournalStreamResponse:
        count = 0
        async for _ in request_iterator:
            count += 1
        return pb.PostJournalStreamResponse(outcome=pb.JournalOutcome(request_id=str(count)))


@pytest.fixture
async def books(log: Any) -> AsyncIterator[tuple[GrpcServer, grpc.aio.Channel]]:
    servicer = Books()  # type: ignore[abstract]
    sum_up = grpc.stream_unary_rpc_method_handler(
        servicer.sum_up,
        pb.PostJournalStreamRequest.FromString,
        pb.PostJournalStreamResponse.SerializeToString,
    )

    def register(server: grpc.aio.Server) -> None:
        rpc.add_AccountingServicer_to_server(servicer, server)
        handlers = grpc.method_handlers_generic_handler("test.Books", {"SumUp": sum_up})
        server.add_generic_rpc_handlers((handlers,))

    server = GrpcServer(
        RuntimeSettings(drain_grace_seconds=30.0), "books", ["paycenter.accounting.v1.Accounting"], register
    )
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield server, channel
    await server.stop()


def journal(*, minor_units: int = 100) -> pb.PostJournalStreamRequest:
    """A journal of two lines."""
    lines = [
        pb.JournalLine(
            account_id=account,
            side=side,
            amount=money_pb2.Money(minor_units=minor_units, currency_code="CNY"),
        )
        for account, side in (("1101:A:CNY", pb.ENTRY_SIDE_DEBIT), ("2201:M1:CNY", pb.ENTRY_SIDE_CREDIT))
    ]
    request_id = str(uuid.uuid4())
    return pb.PostJournalStreamRequest(
        request_id=request_id,
        journal=pb.JournalInstruction(
            request_id=request_id, event_code="RECHARGE", business_number="P1", lines=lines
        ),
    )


async def test_each_journal_of_a_stream_is_answered(books: tuple[GrpcServer, grpc.aio.Channel]) -> None:
    stream: Any = rpc.AccountingStub(books[1]).PostJournalStream(metadata=from_shop())
    for _ in range(3):
        request = journal()
        await stream.write(request)
        assert (await stream.read()).outcome.request_id == request.request_id
    await stream.done_writing()

    assert await stream.read() is grpc.aio.EOF


async def test_a_journal_that_breaks_a_rule_ends_the_stream_with_its_fields(
    books: tuple[GrpcServer, grpc.aio.Channel],
) -> None:
    stream: Any = rpc.AccountingStub(books[1]).PostJournalStream(metadata=from_shop())
    await stream.write(journal())
    await stream.read()
    await stream.write(journal(minor_units=-1))
    answer = await refused(stream.read())

    assert answer.reason == "FIELD_INVALID"
    assert answer.fields == ["journal.lines[0].amount", "journal.lines[1].amount"]


async def test_a_draining_server_ends_a_stream_of_requests_at_once(
    books: tuple[GrpcServer, grpc.aio.Channel],
) -> None:
    stream: Any = rpc.AccountingStub(books[1]).PostJournalStream(metadata=from_shop())
    await stream.write(journal())
    await stream.read()

    async with asyncio.timeout(10):
        stopping = asyncio.create_task(books[0].stop())
        answer = await refused(stream.read())
        await stopping

    assert answer.reason == "SERVER_DRAINING"


async def test_requests_that_are_uploaded_get_one_answer(
    books: tuple[GrpcServer, grpc.aio.Channel],
) -> None:
    upload: Any = books[1].stream_unary(
        "/test.Books/SumUp",
        request_serializer=pb.PostJournalStreamRequest.SerializeToString,
        response_deserializer=pb.PostJournalStreamResponse.FromString,
    )

    answer = await upload(iter([journal(), journal()]), metadata=from_shop())
    assert answer.outcome.request_id == "2"
    assert (await refused(upload(iter([journal()])))).reason == "CONTEXT_MISSING"
