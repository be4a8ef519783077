"""HTTP to a channel: what counts as sent, what counts as an answer, and which connections are used again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from channel_gateway.channels.http_connection import RESPONSE_LIMIT_BYTES
from channel_gateway.channels.transport import NoAnswer, NotReached, Transport, transport_factory


class Peer:
    """A server that answers every request with the same bytes."""

    def __init__(self, answer: bytes, *, then_close: bool = False, pause_seconds: float = 0.0) -> None:
        self.answer = answer
        self.then_close = then_close
        self.pause_seconds = pause_seconds
        self.connections = 0
        self.requests: list[bytes] = []
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while head := await reader.read(65536):
            self.requests.append(head)
            await asyncio.sleep(self.pause_seconds)
            for part in (self.answer[: len(self.answer) // 2], self.answer[len(self.answer) // 2 :]):
                writer.write(part)
                await asyncio.sleep(0)
            if self.then_close:
                break
        writer.close()


@asynccontextmanager
async def peer(answer: bytes, **more: float) -> AsyncIterator[Peer]:
    made = Peer(answer, then_close=bool(more.get("then_close")), pause_seconds=more.get("pause_seconds", 0))
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/path?a=b"
    yield made
    server.close()


@pytest.fixture
async def new_transport() -> AsyncIterator[Callable[..., Transport]]:
    opened: list[Transport] = []

    def make(*, timeout_seconds: float = 2.0, pool_size: int = 2) -> Transport:
        factory = transport_factory(
            timeout_seconds=timeout_seconds, connect_timeout_seconds=0.3, pool_size=pool_size
        )
        opened.append(factory())
        return opened[-1]

    yield make
    for transport in opened:
        await transport.close()


FULL = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Mark: one\r\n\r\nhello"


async def test_an_answer_is_read_whole_and_its_connection_used_again(
    new_transport: Callable[..., Transport],
) -> None:
    transport = new_transport()
    async with peer(FULL) as there:
        for _ in range(3):
            answer = await transport.send("POST", there.url, headers={"x-a": "1"}, content=b"pay")
            assert (answer.status_code, answer.body, answer.headers["x-mark"]) == (200, b"hello", "one")
        assert there.connections == 1
        assert there.requests[0].startswith(b"POST /path?a=b HTTP/1.1\r\nhost: 127.0.0.1:")
        assert b"x-a: 1\r\ncontent-length: 3\r\n\r\npay" in there.requests[0]
        assert b"traceparent" not in there.requests[0]


@pytest.mark.parametrize(
    ("answer", "status_code", "body"),
    [
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
            200,
            b"abcde",
        ),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + FULL, 200, b"hello"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
        (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 6\r\n\r\n<html>", 502, b"<html>"),
    ],
)
async def test_each_way_of_ending_an_answer_is_understood(
    new_transport: Callable[..., Transport], answer: bytes, status_code: int, body: bytes
) -> None:
    transport = new_transport()
    async with peer(answer) as there:
        for _ in range(2):
            told = await transport.send("GET", there.url)
            assert (told.status_code, told.body) == (status_code, body)
        assert there.connections == 1


async def test_an_answer_may_end_with_its_connection(new_transport: Callable[..., Transport]) -> None:
    transport = new_transport()
    async with peer(b"HTTP/1.1 200 OK\r\n\r\nall of it", then_close=True) as there:
        for _ in range(2):
            assert (await transport.send("GET", there.url)).body == b"all of it"
        assert there.connections == 2


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n" + b"x" * (RESPONSE_LIMIT_BYTES + 1),
    ],
)
async def test_half_an_answer_is_no_answer(new_transport: Callable[..., Transport], answer: bytes) -> None:
    transport = new_transport()
    async with peer(answer, then_close=True) as there:
        with pytest.raises(NoAnswer):
            await transport.send("POST", there.url, content=b"pay")


async def test_silence_ends_with_the_deadline_and_its_connection(
    new_transport: Callable[..., Transport],
) -> None:
    transport = new_transport(timeout_seconds=0.1)
    async with peer(FULL, pause_seconds=0.2) as there:
        for _ in range(2):
            with pytest.raises(NoAnswer, match="Timeout"):
                await transport.send("POST", there.url, content=b"pay")
        assert there.connections == 2


async def test_a_connection_that_says_more_than_asked_is_not_used_again(
    new_transport: Callable[..., Transport],
) -> None:
    transport = new_transport()
    async with peer(FULL + FULL) as there:
        for _ in range(2):
            assert (await transport.send("GET", there.url)).body == b"hello"
            await asyncio.sleep(0.02)
        assert there.connections == 2


async def test_a_header_that_comes_twice_is_neither_of_both(new_transport: Callable[..., Transport]) -> None:
    transport = new_transport()
    async with peer(b"HTTP/1.1 200 OK\r\nX-S: a\r\nX-S: b\r\nContent-Length: 0\r\n\r\n") as there:
        assert (await transport.send("GET", there.url)).headers["x-s"] == "a, b"


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9/x",
        "nonsense://x/",
        "http://name.invalid./x",
        "http://127.0.0.1:0/x",
        "http://127.0.0.1:99999/x",
        "http:///x",
        "http://127.0.0.1:9/a b",
        "http://127.0.0.1:9/a\r\nx: y",
    ],
)
async def test_what_cannot_be_reached_was_not_sent(new_transport: Callable[..., Transport], url: str) -> None:
    with pytest.raises(NotReached):
        await new_transport().send("GET", url)


async def test_a_header_cannot_carry_another(new_transport: Callable[..., Transport]) -> None:
    with pytest.raises(NotReached, match="InvalidHeader"):
        await new_transport().send("GET", "http://127.0.0.1:9/", headers={"a": "b\r\nc: d"})


async def test_a_full_pool_is_waited_for_and_then_not_reached(
    new_transport: Callable[..., Transport],
) -> None:
    transport = new_transport(pool_size=1)
    async with peer(FULL, pause_seconds=0.6) as there:
        first = asyncio.ensure_future(transport.send("POST", there.url, content=b"one"))
        await asyncio.sleep(0.05)
        with pytest.raises(NotReached, match="PoolTimeout"):
            await transport.send("POST", there.url, content=b"two")
        assert (await first).body == b"hello"
        assert len(there.requests) == 1


async def test_a_cancelled_exchange_takes_its_connection_along(
    new_transport: Callable[..., Transport],
) -> None:
    transport = new_transport(pool_size=1)
    async with peer(FULL, pause_seconds=0.1) as there:
        asking = asyncio.ensure_future(transport.send("GET", there.url))
        await asyncio.sleep(0.05)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert (await transport.send("GET", there.url)).body == b"hello"
        assert there.connections == 2
