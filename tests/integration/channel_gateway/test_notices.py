"""What comes to the notice listener: believed, repeated or refused; kept in every case."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from paycenter.channel.v1 import channel_gateway_pb2 as pb

from tests.integration.channel_gateway.support import (
    ACCEPTED,
    CLOSED,
    PC,
    QR,
    SUCCEEDED,
    GatewayProcess,
    SandboxProcess,
    Shop,
    eventually,
    open_shop,
)

REFUSALS = {
    "forged_notice": {"alipay": "SIGNATURE_INVALID", "wechat_pay": "SIGNATURE_INVALID"},
    "flipped_byte_notice": {"alipay": "SIGNATURE_INVALID", "wechat_pay": "SIGNATURE_INVALID"},
    "unsigned_notice": {"alipay": "UNSIGNED", "wechat_pay": "UNSIGNED"},
    "wrong_amount_notice": {"alipay": "AMOUNT_MISMATCH", "wechat_pay": "AMOUNT_MISMATCH"},
    "other_merchant_notice": {"alipay": "ACCOUNT_MISMATCH", "wechat_pay": "ACCOUNT_MISMATCH"},
    "other_order_notice": {"alipay": "ORDER_NOT_FOUND", "wechat_pay": "ORDER_NOT_FOUND"},
}


async def notices_of(shop: Shop, payment_account_id: str) -> list[Any]:
    request = pb.ListNoticesRequest(payment_account_id=payment_account_id)
    return list((await shop.gateway.call("ListNotices", request)).notices)


def account_of(shop: Shop, channel: str) -> str:
    return shop.alipay if channel == "alipay" else shop.wechat


@pytest.mark.parametrize("channel", ["alipay", "wechat_pay"])
@pytest.mark.parametrize("kind", list(REFUSALS))
async def test_a_lie_is_refused_stored_counted_and_changes_nothing(
    shop: Shop, sandbox: SandboxProcess, channel: str, kind: str
) -> None:
    order = await shop.pay(channel, QR, 500)
    before = await shop.gateway.order(order.channel_order_id)
    told = sandbox.post(f"/sandbox/notices/{order.channel_order_id}/resend", kind=kind)
    assert not told["attempt"]["accepted"]

    (notice,) = await notices_of(shop, account_of(shop, channel))
    assert notice.state == pb.NoticeState.NOTICE_STATE_REFUSED
    assert notice.refusal == REFUSALS[kind][channel]
    assert notice.receive_count == 1
    assert notice.payment_account_id == account_of(shop, channel)
    after = await shop.gateway.order(order.channel_order_id)
    assert (after.state, after.version) == (before.state, before.version)


@pytest.mark.parametrize("channel", ["alipay", "wechat_pay"])
async def test_a_notice_for_one_order_of_the_account_does_not_pay_another(
    shop: Shop, sandbox: SandboxProcess, server: GatewayProcess, channel: str
) -> None:
    cheap, dear = await shop.pay(channel, QR, 100), await shop.pay(channel, QR, 90_000)
    sandbox.post(
        f"/sandbox/notices/{cheap.channel_order_id}/resend",
        kind="other_order_notice",
        other=dear.channel_order_id,
    )
    assert server.notices(dear.channel_order_id) == [("REFUSED", "AMOUNT_MISMATCH", 1)]
    assert (await shop.gateway.order(dear.channel_order_id)).state == ACCEPTED


@pytest.mark.parametrize("channel", ["alipay", "wechat_pay"])
async def test_a_notice_for_one_account_does_not_pay_an_order_of_another(
    shop: Shop, sandbox: SandboxProcess, channel: str, merchant_key: Any
) -> None:
    other = await open_shop(shop.gateway, sandbox, merchant_key)
    own, foreign = await shop.pay(channel, QR, 500), await other.pay(channel, QR, 500)
    sandbox.post(
        f"/sandbox/notices/{own.channel_order_id}/resend",
        kind="other_order_notice",
        other=foreign.channel_order_id,
    )
    (notice,) = await notices_of(shop, account_of(shop, channel))
    assert (notice.refusal, notice.channel_order_id) == ("ORDER_NOT_FOUND", "")
    assert (await shop.gateway.order(foreign.channel_order_id)).state == ACCEPTED


@pytest.mark.parametrize("channel", ["alipay", "wechat_pay"])
async def test_another_merchants_true_notice_at_this_address_is_refused(
    shop: Shop, sandbox: SandboxProcess, server: GatewayProcess, channel: str, merchant_key: Any
) -> None:
    other = await open_shop(shop.gateway, sandbox, merchant_key)
    order = await other.pay(channel, QR, 500)
    sandbox.post(f"/sandbox/payments/{order.channel_order_id}/pay")

    async def kept() -> list[tuple[str, str, int]]:
        return server.notices(order.channel_order_id)

    ((state, refusal, _),) = await eventually(kept, lambda rows: len(rows) == 1)
    assert (state, refusal) in (("APPLIED", ""), ("REPEATED", ""))
    (body, headers) = server.sql(
        "SELECT body, headers FROM notice WHERE channel_order_id = %s", order.channel_order_id
    )[0]
    answer = httpx.post(
        f"http://127.0.0.1:{server.notice_port}/notices/{channel}/{account_of(shop, channel)}",
        content=bytes(body),
        headers=headers,
        trust_env=False,
    )
    assert answer.text != "success"
    assert answer.status_code == (200 if channel == "alipay" else 500)
    (notice,) = await notices_of(shop, account_of(shop, channel))
    assert notice.state == pb.NoticeState.NOTICE_STATE_REFUSED
    assert notice.refusal in ("ACCOUNT_MISMATCH", "SEAL_INVALID")


async def test_an_old_wechat_notice_is_refused_as_a_replay(
    shop: Shop, sandbox: SandboxProcess, server: GatewayProcess
) -> None:
    sandbox.fault("wechat", "notice", "replayed_notice", count=1)
    order = await shop.pay("wechat_pay", QR, 500)
    sandbox.post(f"/sandbox/payments/{order.channel_order_id}/pay")
    paid = await shop.gateway.until(order.channel_order_id, SUCCEEDED)
    notices = await eventually(
        lambda: notices_of(shop, shop.wechat),
        lambda found: {each.refusal for each in found} == {"", "TIMESTAMP_STALE"},
    )
    assert len(notices) == 2
    after = await shop.gateway.order(order.channel_order_id)
    assert after.version == paid.version


async def test_an_old_alipay_notice_of_a_final_order_changes_nothing(
    shop: Shop, sandbox: SandboxProcess, server: GatewayProcess
) -> None:
    sandbox.fault("alipay", "notice", "replayed_notice", count=1)
    order = await shop.pay("alipay", QR, 500)
    sandbox.post(f"/sandbox/payments/{order.channel_order_id}/pay")
    paid = await shop.gateway.until(order.channel_order_id, SUCCEEDED)

    async def rows() -> list[tuple[str, str, int]]:
        return server.notices(order.channel_order_id)

    await eventually(rows, lambda found: sorted(found) == [("APPLIED", "", 1), ("REPEATED", "", 1)])
    assert (await shop.gateway.order(order.channel_order_id)).version == paid.version


@pytest.mark.parametrize("channel", ["alipay", "wechat"])
async def test_two_equal_notices_at_once_have_one_effect(
    shop: Shop, sandbox: SandboxProcess, server: GatewayProcess, channel: str
) -> None:
    sandbox.fault(channel, "notice", "duplicate_notice", count=1)
    order = await shop.pay("alipay" if channel == "alipay" else "wechat_pay", QR, 500)
    sandbox.post(f"/sandbox/payments/{order.channel_order_id}/pay")
    await shop.gateway.until(order.channel_order_id, SUCCEEDED)

    async def received() -> int:
        return sum(count for _, _, count in server.notices(order.channel_order_id))

    assert await eventually(received, lambda count: count >= 2) == 2
    states = [state for state, _, _ in server.notices(order.channel_order_id)]
    assert states.count("APPLIED") == 1
    ((events,),) = server.sql(
        "SELECT count(*) FROM outbox_event WHERE resource_id = %s AND event_type = 'CHANNEL_ORDER_SUCCEEDED'",
        order.channel_order_id,
    )
    assert events == 1


async def test_the_very_same_bytes_are_counted_on_one_row(
    shop: Shop, sandbox: SandboxProcess, server: GatewayProcess
) -> None:
    order = await shop.pay("alipay", QR, 500)
    sandbox.post(f"/sandbox/payments/{order.channel_order_id}/pay")
    await shop.gateway.until(order.channel_order_id, SUCCEEDED)
    ((body,),) = server.sql("SELECT body FROM notice WHERE channel_order_id = %s", order.channel_order_id)
    address = f"http://127.0.0.1:{server.notice_port}/notices/alipay/{shop.alipay}"
    for _ in range(2):
        assert httpx.post(address, content=bytes(body), trust_env=False).text == "success"
    assert server.notices(order.channel_order_id) == [("APPLIED", "", 3)]


@pytest.mark.parametrize("path", ["alipay/K0", "wechat_pay/{alipay}", "unknown/{alipay}"])
async def test_an_address_of_no_account_is_not_found(shop: Shop, server: GatewayProcess, path: str) -> None:
    address = f"http://127.0.0.1:{server.notice_port}/notices/{path.format(alipay=shop.alipay)}"
    assert httpx.post(address, content=b"a=b", trust_env=False).status_code == 404
    assert await notices_of(shop, shop.alipay) == []


async def test_a_body_above_the_limit_is_refused(shop: Shop, server: GatewayProcess) -> None:
    address = f"http://127.0.0.1:{server.notice_port}/notices/alipay/{shop.alipay}"
    answer = httpx.post(address, content=b"a" * (64 * 1024 + 1), trust_env=False)
    assert answer.status_code == 413


@pytest.mark.parametrize(
    ("channel", "body", "refusal"),
    [
        ("alipay", b"\xff\xfe", "MALFORMED"),
        ("alipay", b"sign=a&sign=b", "MALFORMED"),
        ("alipay", b"out_trade_no=1", "UNSIGNED"),
        ("wechat_pay", b"{}", "UNSIGNED"),
    ],
)
async def test_rubbish_is_kept_with_its_reason(
    shop: Shop, server: GatewayProcess, channel: str, body: bytes, refusal: str
) -> None:
    address = f"http://127.0.0.1:{server.notice_port}/notices/{channel}/{account_of(shop, channel)}"
    httpx.post(address, content=body, trust_env=False)
    (notice,) = await notices_of(shop, account_of(shop, channel))
    assert notice.refusal == refusal


async def test_paid_after_close_is_told(shop: Shop, sandbox: SandboxProcess, server: GatewayProcess) -> None:
    order = await shop.pay("alipay", PC, 700)
    closed = await shop.gateway.close_order(order.channel_order_id)
    assert closed.state == CLOSED
    httpx.get(order.credential.redirect.url, trust_env=False)
    sandbox.post(f"/sandbox/payments/{order.channel_order_id}/pay")
    paid = await shop.gateway.until(order.channel_order_id, SUCCEEDED)
    assert not paid.HasField("failure")
    types = [
        row[0]
        for row in server.sql(
            "SELECT event_type FROM outbox_event WHERE resource_id = %s ORDER BY resource_version",
            order.channel_order_id,
        )
    ]
    assert types == ["CHANNEL_ORDER_CREATED", "CHANNEL_ORDER_FAILED", "CHANNEL_ORDER_SUCCEEDED"]


async def test_the_notice_goes_on_with_the_trace_and_business_id_of_its_payment(
    shop: Shop, sandbox: SandboxProcess, server: GatewayProcess
) -> None:
    order = await shop.pay("wechat_pay", QR, 500)
    sandbox.post(f"/sandbox/payments/{order.channel_order_id}/pay")
    await shop.gateway.until(order.channel_order_id, SUCCEEDED)
    trace_id = shop.gateway.trace.trace_id
    for statement in (
        "SELECT traceparent, business_id FROM notice WHERE channel_order_id = %s",
        "SELECT traceparent, business_id FROM outbox_event WHERE resource_id = %s",
        "SELECT traceparent, business_id FROM channel_order WHERE channel_order_id = %s",
    ):
        rows = server.sql(statement, order.channel_order_id)
        assert rows
        for traceparent, business_id in rows:
            assert traceparent.split("-")[1] == trace_id
            assert business_id == shop.gateway.business_id
