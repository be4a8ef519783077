"""Business systems are told by signed callback."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from paycenter.transaction.v1 import transaction_core_pb2 as tc
from paycenter_client.callbacks import CallbackInvalid, read_callback

from core.transaction.callback_http import CallbackSender
from core.transaction.callback_signing import load_signer
from runtime.errors import Reason
from runtime.ids import new_request_id
from runtime.startup import StartupError
from tests.integration.transaction.business_system import BusinessSystem
from tests.integration.transaction.desk import Desk, eventually


def _public_key(desk: Desk):  # type: ignore[no-untyped-def]
    key_file = desk.settings.data_directory / "callback_signing_key.pem"
    assert key_file.stat().st_mode & 0o077 == 0
    return load_pem_private_key(key_file.read_bytes(), None).public_key()


async def _notifications(desk: Desk, order: tc.Order) -> list[tc.Notification]:
    request = tc.ListNotificationsRequest(order_id=order.order_id)
    return list((await desk.caller.call("ListNotifications", request)).notifications)


async def _until(desk: Desk, order: tc.Order, state: int) -> tc.Notification:
    found = await eventually(
        lambda: _notifications(desk, order), lambda seen: [one.state for one in seen] == [state]
    )
    return found[0]


async def test_a_callback_is_signed_and_tells_the_order(desk: Desk) -> None:
    order = await desk.paid_order()
    notification = await _until(desk, order, tc.NOTIFICATION_STATE_DELIVERED)
    assert (notification.try_count, notification.last_status) == (1, 200)
    assert notification.business_id == order.business_id
    assert not notification.HasField("next_try_time")
    [delivery] = desk.shop_system.received
    told = read_callback(delivery.headers, delivery.body, _public_key(desk))
    assert (told.notification_id, told.event_type) == (notification.notification_id, "ORDER_PAID")
    assert told.order == order
    assert delivery.headers["traceparent"][3:35] == desk.caller.trace.trace_id
    assert delivery.headers["x-paycenter-key-id"]
    with pytest.raises(CallbackInvalid):
        read_callback(delivery.headers, delivery.body.replace(b"1000", b"9000"), _public_key(desk))
    other = {**delivery.headers, "x-paycenter-notification-id": "N2"}
    with pytest.raises(CallbackInvalid):
        read_callback(other, delivery.body, _public_key(desk))


async def test_every_outcome_is_told_once_and_nothing_without_an_address(desk: Desk) -> None:
    silent = await desk.paid_order(notify_url="")
    paid = await desk.paid_order()
    await desk.refund(paid, 10)
    closed = await desk.order()
    await desk.close(closed)
    await eventually(lambda: _kinds(desk), lambda kinds: len(kinds) == 3)
    assert sorted(await _kinds(desk)) == ["ORDER_CLOSED", "ORDER_PAID", "REFUND_SUCCEEDED"]
    assert await _notifications(desk, silent) == []
    await desk.invariants_hold()


async def _kinds(desk: Desk) -> list[str]:
    return [json.loads(delivery.body)["event_type"] for delivery in desk.shop_system.received]


async def test_a_callback_that_is_not_taken_comes_again_with_the_same_body_until_it_is(desk: Desk) -> None:
    answers = iter((500, 302, 200))
    desk.shop_system.status = lambda _delivery: next(answers)
    order = await desk.paid_order()
    notification = await _until(desk, order, tc.NOTIFICATION_STATE_DELIVERED)
    assert (notification.try_count, notification.last_status) == (3, 200)
    assert len({delivery.body for delivery in desk.shop_system.received}) == 1


async def test_the_schedule_ends_and_a_person_can_begin_it_anew(desk: Desk) -> None:
    desk.shop_system.status = lambda _delivery: 503
    order = await desk.paid_order()
    given_up = await _until(desk, order, tc.NOTIFICATION_STATE_GIVEN_UP)
    assert given_up.try_count == 1 + len(desk.settings.callback_schedule)
    assert not given_up.HasField("next_try_time")
    desk.shop_system.status = lambda _delivery: 200
    request = tc.ResendNotificationRequest(
        request_id=new_request_id(), notification_id=given_up.notification_id
    )
    answer = await desk.caller.call("ResendNotification", request)
    assert answer.notification.state == tc.NOTIFICATION_STATE_DUE
    await _until(desk, order, tc.NOTIFICATION_STATE_DELIVERED)
    assert await desk.caller.call("ResendNotification", request) == answer
    assert len(desk.shop_system.received) == given_up.try_count + 1


async def test_who_may_not_resend_is_refused(desk: Desk) -> None:
    order = await desk.paid_order()
    notification = await _until(desk, order, tc.NOTIFICATION_STATE_DELIVERED)
    for number in ("nonsense", order.order_id, "N" + order.order_id[1:]):
        request = tc.ResendNotificationRequest(request_id=new_request_id(), notification_id=number)
        assert (await desk.refused("ResendNotification", request)).reason is Reason.NOTIFICATION_NOT_FOUND
    desk.caller.tenant_id = "somebody-else"
    request = tc.ResendNotificationRequest(
        request_id=new_request_id(), notification_id=notification.notification_id
    )
    assert (await desk.refused("ResendNotification", request)).reason is Reason.TENANT_FORBIDDEN


async def test_one_slow_business_system_holds_up_nobody(desk: Desk) -> None:
    slow = BusinessSystem(delay_seconds=3.0)
    await slow.start()
    limit = desk.settings.callback_concurrency_per_host
    orders = [await desk.order(notify_url=slow.url()) for _ in range(limit + 4)]
    await asyncio.gather(*(desk.close(order) for order in orders))
    await eventually(lambda: _at_once(slow), lambda count: count == limit)
    quick = await desk.order()
    await desk.close(quick)
    await _until(desk, quick, tc.NOTIFICATION_STATE_DELIVERED)
    assert slow.most_at_once == limit
    await slow.stop()


async def _at_once(system: BusinessSystem) -> int:
    return system.at_once


async def test_a_delivery_whose_process_died_is_made_again(quiet_desk: Desk) -> None:
    order = await quiet_desk.order()
    await quiet_desk.close(order)
    quiet_desk.sql("UPDATE notification SET attempts = 1, version = version + 1, next_attempt_time = now()")
    await quiet_desk.step("notification-delivery")
    delivered = await _until(quiet_desk, order, tc.NOTIFICATION_STATE_DELIVERED)
    assert delivered.try_count == 2


async def test_nobody_at_the_address_is_a_try_without_an_answer(quiet_desk: Desk) -> None:
    order = await quiet_desk.order(notify_url="http://127.0.0.1:1/")
    await quiet_desk.close(order)
    await quiet_desk.step("notification-delivery")
    retrying = await _until(quiet_desk, order, tc.NOTIFICATION_STATE_RETRYING)
    assert (retrying.last_status, retrying.try_count) == (0, 1)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}/",
        "http://localhost:{port}/",
        "http://[::1]:{port}/",
        "http://[::ffff:127.0.0.1]:{port}/",
        "http://10.0.0.1/",
        "http://169.254.169.254/latest/meta-data",
        "http://0.0.0.0:{port}/",
    ],
)
async def test_private_addresses_are_not_called_where_they_are_forbidden(url: str) -> None:
    system = BusinessSystem()
    await system.start()
    sender = CallbackSender(timeout_seconds=1, forbid_private_addresses=True)
    answer = await sender.send(url.format(port=system.port), body=b"{}", headers={})
    assert (answer.status, answer.error) == (0, "ADDRESS_FORBIDDEN")
    assert system.received == []
    await sender.close()
    await system.stop()


async def test_only_http_is_spoken() -> None:
    sender = CallbackSender(timeout_seconds=1, forbid_private_addresses=False)
    answer = await sender.send("file:///etc/passwd", body=b"{}", headers={})
    assert (answer.status, answer.error) == (0, "ADDRESS_FORBIDDEN")
    await sender.close()


@pytest.mark.parametrize(
    ("answer", "status", "error"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, ""),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", 200, ""),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 200, ""),
        (b"HTTP/1.0 201 Created\r\n\r\n", 201, ""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", 200, ""),
        (b"SSH-2.0-OpenSSH_9\r\n\r\n", 0, "ANSWER_UNREADABLE"),
        (b"HTTP/1.1 2xx OK\r\n\r\n", 0, "ANSWER_UNREADABLE"),
        (b"x" * 40_000, 0, "ANSWER_UNREADABLE"),
        (b"", 0, "ANSWER_UNREADABLE"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nshort", 0, "ANSWER_UNREADABLE"),
    ],
)
async def test_whatever_the_other_side_answers_is_understood(answer: bytes, status: int, error: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    sender = CallbackSender(timeout_seconds=2, forbid_private_addresses=False)
    for _ in range(2):
        said = await sender.send(f"http://127.0.0.1:{port}/a?b=c", body=b"", headers={})
        assert (said.status, said.error) == (status, error)
    await sender.close()
    server.close()


async def test_connections_are_kept_and_one_that_the_other_side_closed_is_made_anew() -> None:
    connections, requests = 0, 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections, requests
        connections += 1
        while requests < 3:
            requests += 1
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            await writer.drain()
        requests = 0
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    sender = CallbackSender(timeout_seconds=2, forbid_private_addresses=False)
    assert [(await sender.send(url, body=b"", headers={})).status for _ in range(6)] == [200] * 6
    assert connections == 2
    await sender.close()
    server.close()


def test_a_named_key_that_is_missing_or_no_key_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="cannot read the callback signing key"):
        load_signer(tmp_path / "absent.pem", data_directory=tmp_path, key_id="")
    broken = tmp_path / "broken.pem"
    broken.write_text("no key")
    with pytest.raises(StartupError, match="not an unencrypted PEM key"):
        load_signer(broken, data_directory=tmp_path, key_id="")
    made = load_signer(None, data_directory=tmp_path, key_id="")
    assert load_signer(None, data_directory=tmp_path, key_id="").key_id == made.key_id
    assert load_signer(None, data_directory=tmp_path, key_id="k-2026").key_id == "k-2026"
