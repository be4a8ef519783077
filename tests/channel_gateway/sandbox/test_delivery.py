"""The client that posts notices, against merchants' servers of every kind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from channel_gateway.sandbox.delivery import Delivery, DeliveryError

Script = Callable[[int], bytes | None]


@asynccontextmanager
async def merchant(script: Script) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Answers the n-th connection's requests with script(n); None closes without a word."""
    seen: list[bytes] = []
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        mine = connections
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                seen.append(head + await reader.readexactly(length))
                answer = script(mine)
                if answer is None:
                    break
                writer.write(answer)
                if b"Content-Length" not in answer and b"chunked" not in answer:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", seen
    finally:
        server.close()


def post(delivery: Delivery, url: str, *, timeout_seconds: float = 5) -> Awaitable[tuple[int, bytes]]:
    return delivery.post(url, headers={"X-Kind": "test"}, body="茶".encode(), timeout_seconds=timeout_seconds)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nsuccess", (200, b"success")),
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", (204, b"")),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nsuc\r\n4\r\ncess\r\n0\r\n\r\n",
            (200, b"success"),
        ),
        (b"HTTP/1.1 200 OK\r\n\r\nsuccess", (200, b"success")),
        (b"HTTP/1.0 500 No\r\n\r\n", (500, b"")),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", (200, b"ok")),
    ],
)
async def test_answers_of_every_form(answer: bytes, expected: tuple[int, bytes]) -> None:
    delivery = Delivery()
    async with merchant(lambda _: answer) as (url, seen):
        assert await post(delivery, f"{url}/notice?a=1") == expected
        assert await post(delivery, f"{url}/notice?a=1") == expected
        delivery.close()
    assert seen[0].startswith(b"POST /notice?a=1 HTTP/1.1\r\nHost: 127.0.0.1:")
    assert b"X-Kind: test\r\n" in seen[0]
    assert seen[0].endswith("\r\n\r\n茶".encode())


async def test_a_kept_connection_that_died_is_replaced_once() -> None:
    delivery = Delivery()
    served = 0

    def script(connection: int) -> bytes | None:
        nonlocal served
        served += 1
        return b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" if served == 1 or connection == 2 else None

    async with merchant(script) as (url, seen):
        assert await post(delivery, url) == (200, b"ok")
        assert await post(delivery, url) == (200, b"ok")
        delivery.close()
    assert len(seen) == 3


@pytest.mark.parametrize(
    ("answer", "word"), [(None, "CONNECTION_BROKEN"), (b"SSH-2.0-x\r\nContent-Length", "BAD_ANSWER")]
)
async def test_no_answer_or_none_that_can_be_read(answer: bytes | None, word: str) -> None:
    delivery = Delivery()
    async with merchant(lambda _: answer) as (url, _):
        with pytest.raises(DeliveryError, match=word):
            await post(delivery, url)
        delivery.close()


async def test_a_merchant_that_keeps_silent() -> None:
    delivery = Delivery()
    async with merchant(lambda _: b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok") as (url, _):
        with pytest.raises(DeliveryError, match="TIMED_OUT"):
            await post(delivery, url, timeout_seconds=0.2)
        delivery.close()


@pytest.mark.parametrize(
    "url", ["nowhere", "ftp://127.0.0.1/", "http://", "http://127.0.0.1:x/", "http://h/a b"]
)
async def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(DeliveryError, match="BAD_ADDRESS"):
        await post(Delivery(), url)


async def test_a_port_that_nobody_listens_on() -> None:
    with pytest.raises(DeliveryError, match="CONNECTION_REFUSED"):
        await post(Delivery(), "http://127.0.0.1:9/")


async def test_many_at_once_share_the_connections() -> None:
    delivery = Delivery()
    connections: set[int] = set()

    def script(connection: int) -> bytes:
        connections.add(connection)
        return b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nsuccess"

    async with merchant(script) as (url, seen):
        answers = await asyncio.gather(*(post(delivery, url) for _ in range(300)))
        delivery.close()
    assert set(answers) == {(200, b"success")}
    assert len(seen) == 300
    assert len(connections) <= 32
