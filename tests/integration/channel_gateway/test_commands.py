"""Request ids, refusals with reason and field, tenants, listings, switches and the service's own invariants."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from paycenter.channel.v1 import channel_gateway_pb2 as pb

from runtime.errors import PaycenterError, Reason
from runtime.ids import NumberKind, new_number, new_request_id
from tests.integration.channel_gateway.support import (
    ACCEPTED,
    BARCODE,
    CLOSED,
    MINI_PROGRAM,
    NOT_SENT,
    PC,
    QR,
    SUCCEEDED,
    WAP,
    Gateway,
    GatewayProcess,
    SandboxProcess,
    Shop,
    money,
    open_shop,
    private_pem,
    refusal_of,
)


async def paid_order(shop: Shop, sandbox: SandboxProcess, minor_units: int = 1000) -> Any:
    order = await shop.pay("wechat_pay", QR, minor_units)
    sandbox.post(f"/sandbox/payments/{order.channel_order_id}/pay")
    return await shop.gateway.until(order.channel_order_id, SUCCEEDED)


@pytest.mark.parametrize(("channel", "method"), [("alipay", PC), ("wechat_pay", QR)])
async def test_the_same_request_id_gives_the_same_bytes(shop: Shop, channel: str, method: int) -> None:
    request = shop.payment_request(channel, method, 500)
    first = await shop.gateway.call("CreateChannelPayment", request)
    assert not shop.gateway.was_replayed()
    second = await shop.gateway.call("CreateChannelPayment", request)
    assert shop.gateway.was_replayed()
    assert first.SerializeToString(deterministic=True) == second.SerializeToString(deterministic=True)
    request.amount.minor_units = 501
    error = await refusal_of(shop.gateway.call("CreateChannelPayment", request))
    assert error.reason is Reason.IDEMPOTENCY_KEY_REUSED
    assert [violation.field for violation in error.violations] == ["request_id"]


async def test_equal_requests_at_once_have_one_effect(shop: Shop, server: GatewayProcess) -> None:
    request = shop.payment_request("wechat_pay", QR, 500)

    async def ask() -> str:
        for _ in range(50):
            try:
                answer = await shop.gateway.call("CreateChannelPayment", request)
            except PaycenterError as error:
                if error.reason is not Reason.REQUEST_IN_PROGRESS:
                    raise
                await asyncio.sleep(0.05)
                continue
            return str(answer.channel_order.channel_order_id)
        raise AssertionError("never answered")

    numbers = await asyncio.gather(*(ask() for _ in range(8)))
    assert len(set(numbers)) == 1
    ((rows,),) = server.sql("SELECT count(*) FROM channel_order WHERE payment_id = %s", request.payment_id)
    assert rows == 1


async def test_two_refunds_at_once_never_exceed_the_payment(shop: Shop, sandbox: SandboxProcess) -> None:
    order = await paid_order(shop, sandbox, 100)

    async def refund() -> Any:
        try:
            return await shop.refund(order.channel_order_id, 60)
        except PaycenterError as error:
            return error

    outcomes = await asyncio.gather(refund(), refund())
    refused = [each for each in outcomes if isinstance(each, PaycenterError)]
    assert len(refused) == 1
    assert refused[0].reason is Reason.AMOUNT_EXCEEDS_REFUNDABLE
    assert refused[0].metadata["refundableMinorUnits"] == "40"


async def test_refunds_are_refused_with_reason_and_field(
    shop: Shop, sandbox: SandboxProcess, server: GatewayProcess
) -> None:
    order = await paid_order(shop, sandbox, 100)
    unpaid = await shop.pay("wechat_pay", QR, 100)
    cases: list[tuple[Reason, str, Any]] = [
        (Reason.AMOUNT_EXCEEDS_REFUNDABLE, "amount.minor_units", shop.refund(order.channel_order_id, 101)),
        (Reason.FIELD_INVALID, "amount", shop.refund(order.channel_order_id, 0)),
        (Reason.FIELD_INVALID, "amount", shop.refund(order.channel_order_id, -1)),
        (
            Reason.CURRENCY_MISMATCH,
            "amount.currency_code",
            shop.refund(order.channel_order_id, 10, amount=money(10, "USD")),
        ),
        (Reason.CHANNEL_ORDER_STATE_INVALID, "channel_order_id", shop.refund(unpaid.channel_order_id, 10)),
        (Reason.CHANNEL_ORDER_NOT_FOUND, "", shop.refund(new_number(NumberKind.CHANNEL_ORDER, shard=1), 10)),
        (Reason.FIELD_INVALID, "payment_id", shop.refund(order.channel_order_id, 10, payment_id="x")),
    ]
    for reason, field, call in cases:
        error = await refusal_of(call)
        assert error.reason is reason
        if field:
            assert [violation.field for violation in error.violations] == [field]
    refunds = server.sql(
        "SELECT count(*) FROM channel_order WHERE refunded_channel_order_id = %s", order.channel_order_id
    )
    assert refunds == [(0,)]


async def test_payments_are_refused_with_reason_and_field(
    shop: Shop, sandbox: SandboxProcess, merchant_key: rsa.RSAPrivateKey
) -> None:
    other = await open_shop(shop.gateway, sandbox, merchant_key)
    cases: list[tuple[Reason, str, Any]] = [
        (Reason.INVOKE_METHOD_UNSUPPORTED, "invoke_method", shop.pay("alipay", BARCODE)),
        (Reason.INVOKE_METHOD_UNSUPPORTED, "invoke_method", shop.pay("wechat_pay", PC)),
        (Reason.MERCHANT_MISMATCH, "", shop.pay("alipay", PC, merchant_id=other.merchant_id)),
        (
            Reason.PAYMENT_ACCOUNT_NOT_FOUND,
            "",
            shop.pay("alipay", PC, payment_account_id=new_number(NumberKind.PAYMENT_ACCOUNT, shard=3)),
        ),
        (Reason.PAYMENT_ACCOUNT_NOT_FOUND, "", shop.pay("alipay", PC, payment_account_id="nonsense")),
        (Reason.FIELD_INVALID, "payer.channel_payer_id", shop.pay("wechat_pay", MINI_PROGRAM, payer=None)),
        (Reason.FIELD_INVALID, "payer.client_ip", shop.pay("wechat_pay", WAP, payer=None)),
        (Reason.CURRENCY_UNSUPPORTED, "amount.currency_code", shop.pay("alipay", PC, amount=money(1, "USD"))),
        (Reason.FIELD_INVALID, "amount", shop.pay("alipay", PC, 0)),
        (Reason.FIELD_INVALID, "payment_id", shop.pay("alipay", PC, payment_id="P1")),
    ]
    for reason, field, call in cases:
        error = await refusal_of(call)
        assert error.reason is reason, error
        if field:
            assert [violation.field for violation in error.violations] == [field]


async def test_a_disabled_account_takes_no_payments_but_still_refunds(
    shop: Shop, sandbox: SandboxProcess
) -> None:
    order = await paid_order(shop, sandbox)
    account = (
        await shop.gateway.call(
            "GetPaymentAccount", pb.GetPaymentAccountRequest(payment_account_id=shop.wechat)
        )
    ).payment_account
    disable = pb.UpdatePaymentAccountRequest(
        request_id=new_request_id(),
        payment_account_id=shop.wechat,
        etag='"7"',
        state=pb.PaymentAccountState.PAYMENT_ACCOUNT_STATE_DISABLED,
    )
    error = await refusal_of(shop.gateway.call("UpdatePaymentAccount", disable))
    assert error.reason is Reason.ETAG_MISMATCH
    disable.etag = account.etag
    changed = (await shop.gateway.call("UpdatePaymentAccount", disable)).payment_account
    assert changed.etag != account.etag
    assert (await refusal_of(shop.pay("wechat_pay", QR))).reason is Reason.PAYMENT_ACCOUNT_DISABLED
    assert (await refusal_of(shop.payout("wechat_pay", 100))).reason is Reason.PAYMENT_ACCOUNT_DISABLED
    refund = await shop.refund(order.channel_order_id, 10)
    await shop.gateway.until(refund.channel_order_id, SUCCEEDED)


async def test_settings_and_secrets_are_checked_by_name(shop: Shop, merchant_key: rsa.RSAPrivateKey) -> None:
    request = pb.OpenPaymentAccountRequest(
        request_id=new_request_id(),
        merchant_id=shop.merchant_id,
        channel="wechat_pay",
        display_name="x",
        settings={"mchid": "1", "appid": "wx1", "api_base_url": "ftp://x", "color": "red"},
        secrets={"merchant_private_key": "not a key", "api_v3_key": "short"},
    )
    error = await refusal_of(shop.gateway.call("OpenPaymentAccount", request))
    assert error.reason is Reason.CHANNEL_SETTINGS_INVALID
    assert {violation.field for violation in error.violations} == {
        "settings[api_base_url]",
        "settings[color]",
        "settings[merchant_certificate_serial]",
        "secrets[merchant_private_key]",
        "secrets[api_v3_key]",
        "secrets[platform_public_key]",
    }
    assert "not a key" not in str(error.violations)
    request.channel = "cowrie_shells"
    unknown = await refusal_of(shop.gateway.call("OpenPaymentAccount", request))
    assert [violation.field for violation in unknown.violations] == ["channel"]


async def test_secrets_never_leave_and_are_sealed_at_rest(
    shop: Shop, server: GatewayProcess, merchant_key: rsa.RSAPrivateKey
) -> None:
    account = await shop.gateway.call(
        "GetPaymentAccount", pb.GetPaymentAccountRequest(payment_account_id=shop.wechat)
    )
    key_line = private_pem(merchant_key).splitlines()[3]
    assert key_line not in str(account)
    assert account.payment_account.notice_url == (
        f"http://127.0.0.1:{server.notice_port}/notices/wechat_pay/{shop.wechat}"
    )
    ((row,),) = server.sql("SELECT a::text FROM payment_account a WHERE payment_account_id = %s", shop.wechat)
    assert key_line not in row
    assert key_line.encode().hex() not in row
    assert key_line not in server.log_file.read_text()


async def test_another_tenants_numbers_are_forbidden(
    shop: Shop, sandbox: SandboxProcess, server: GatewayProcess
) -> None:
    order = await paid_order(shop, sandbox)
    stranger = Gateway(shop.gateway.target, tenant_id="stranger")
    number = order.channel_order_id
    calls = [
        ("GetMerchant", pb.GetMerchantRequest(merchant_id=shop.merchant_id)),
        ("GetPaymentAccount", pb.GetPaymentAccountRequest(payment_account_id=shop.wechat)),
        ("ListPaymentAccounts", pb.ListPaymentAccountsRequest(merchant_id=shop.merchant_id)),
        ("GetChannelOrder", pb.GetChannelOrderRequest(channel_order_id=number)),
        ("QueryChannelOrder", pb.QueryChannelOrderRequest(channel_order_id=number)),
        (
            "CloseChannelOrder",
            pb.CloseChannelOrderRequest(request_id=new_request_id(), channel_order_id=number),
        ),
        ("CreateChannelPayment", shop.payment_request("wechat_pay", QR)),
        ("GetChannelFamily", pb.GetChannelFamilyRequest(number=number)),
    ]
    for method, request in calls:
        assert (await refusal_of(stranger.call(method, request))).reason is Reason.TENANT_FORBIDDEN, method
    assert not (await stranger.call("ListChannelOrders", pb.ListChannelOrdersRequest())).channel_orders
    assert not (await stranger.call("ListNotices", pb.ListNoticesRequest())).notices
    await stranger.shut()


async def test_a_merchant_number_is_used_once_per_tenant(shop: Shop) -> None:
    request = pb.CreateMerchantRequest(
        request_id=new_request_id(), tenant_merchant_number="coffee", display_name="Coffee"
    )
    made = (await shop.gateway.call("CreateMerchant", request)).merchant
    assert (await shop.gateway.call("CreateMerchant", request)).merchant == made
    request.request_id = new_request_id()
    error = await refusal_of(shop.gateway.call("CreateMerchant", request))
    assert error.reason is Reason.FIELD_INVALID
    assert error.metadata["merchantId"] == made.merchant_id
    listed = await shop.gateway.call(
        "ListMerchants", pb.ListMerchantsRequest(tenant_merchant_number="coffee")
    )
    assert [merchant.merchant_id for merchant in listed.merchants] == [made.merchant_id]


async def test_listings_go_by_pages(shop: Shop) -> None:
    numbers = [(await shop.pay("alipay", PC)).channel_order_id for _ in range(5)]
    seen: list[str] = []
    token = ""
    while True:
        page = await shop.gateway.call(
            "ListChannelOrders", pb.ListChannelOrdersRequest(page_size=2, page_token=token)
        )
        seen += [order.channel_order_id for order in page.channel_orders]
        token = page.next_page_token
        if not token:
            break
    assert seen == sorted(numbers, reverse=True)
    for bad in ("%%%", "bm90aWNlczp4"):
        error = await refusal_of(
            shop.gateway.call("ListChannelOrders", pb.ListChannelOrdersRequest(page_token=bad))
        )
        assert error.reason is Reason.PAGE_TOKEN_INVALID
    accepted = await shop.gateway.call(
        "ListChannelOrders",
        pb.ListChannelOrdersRequest(
            business_id=shop.gateway.business_id, payment_account_id=shop.alipay, state=ACCEPTED
        ),
    )
    assert len(accepted.channel_orders) == 5
    closed = await shop.gateway.call("ListChannelOrders", pb.ListChannelOrdersRequest(state=CLOSED))
    assert not closed.channel_orders


async def test_a_family_is_found_by_any_of_its_numbers(shop: Shop, sandbox: SandboxProcess) -> None:
    order = await paid_order(shop, sandbox)
    refund = await shop.refund(order.channel_order_id, 10)
    await shop.gateway.until(refund.channel_order_id, SUCCEEDED)
    notice_id = (await shop.gateway.call("ListNotices", pb.ListNoticesRequest())).notices[-1].notice_id
    numbers = (
        order.channel_order_id,
        refund.channel_order_id,
        order.channel_transaction_id,
        order.payment_id,
        notice_id,
        shop.gateway.business_id,
    )
    for number in numbers:
        found = await shop.gateway.call("GetChannelFamily", pb.GetChannelFamilyRequest(number=number))
        assert found.business_id == shop.gateway.business_id
        members = {member.number for member in found.members}
        assert {order.channel_order_id, refund.channel_order_id, notice_id} <= members
        assert {member.trace_id for member in found.members} == {shop.gateway.trace.trace_id}
    error = await refusal_of(
        shop.gateway.call("GetChannelFamily", pb.GetChannelFamilyRequest(number="nothing"))
    )
    assert error.reason is Reason.NUMBER_NOT_FOUND


async def test_what_no_database_or_calendar_can_hold_is_refused_by_name(shop: Shop) -> None:
    def at(seconds: int) -> pb.CreateChannelPaymentRequest:
        request = shop.payment_request("wechat_pay", QR)
        request.expire_time.seconds = seconds
        return request

    for request, field in (
        (shop.payment_request("wechat_pay", QR, subject="tea\0"), "subject"),
        (shop.payment_request("wechat_pay", QR, return_url="https://a.example/\0"), "return_url"),
        (at(253402300800), "expire_time"),
        (at(253402300799), "expire_time"),
    ):
        error = await refusal_of(shop.gateway.call("CreateChannelPayment", request))
        assert error.reason is Reason.FIELD_INVALID
        assert [violation.field for violation in error.violations] == [field]


async def test_a_switched_off_channel_sends_nothing_and_leaves_an_audit_row(
    shop: Shop, sandbox: SandboxProcess, server: GatewayProcess
) -> None:
    def switch(*, enabled: bool) -> pb.SetChannelSwitchRequest:
        return pb.SetChannelSwitchRequest(
            request_id=new_request_id(),
            channel="wechat_pay",
            operation="pay",
            enabled=enabled,
            reason="maintenance",
        )

    before = len(server.sql("SELECT 1 FROM channel_switch_change"))
    nameless = await refusal_of(shop.gateway.call("SetChannelSwitch", switch(enabled=False)))
    assert nameless.reason is Reason.CONTEXT_INVALID
    assert [violation.field for violation in nameless.violations] == ["operator"]
    shop.gateway.operator = "li.lei"
    await shop.gateway.call("SetChannelSwitch", switch(enabled=False))
    try:
        order = await shop.pay("wechat_pay", QR)
        assert order.state == NOT_SENT
        assert order.failure.reason == pb.ChannelFailureReason.CHANNEL_FAILURE_REASON_SWITCHED_OFF
        answer = sandbox.http.get(f"/sandbox/payments/{order.channel_order_id}")
        assert answer.status_code == 404
        assert (await shop.pay("alipay", PC)).state == ACCEPTED
    finally:
        await shop.gateway.call("SetChannelSwitch", switch(enabled=True))
    assert (await shop.pay("wechat_pay", QR)).state == ACCEPTED
    changes = server.sql("SELECT enabled, reason, operator FROM channel_switch_change ORDER BY change_number")
    assert changes[before:] == [
        (False, "maintenance", "li.lei"),
        (True, "maintenance", "li.lei"),
    ]
    with pytest.raises(Exception, match="is refused"):
        server.sql("DELETE FROM channel_switch_change")


async def test_the_server_tells_what_it_serves_and_refuses_the_rest(shop: Shop) -> None:
    info = (await shop.gateway.call("GetServerInfo", pb.GetServerInfoRequest())).server_info
    assert "CreateChannelPayment" in info.methods
    assert "channel.alipay.pay.qr" in info.capabilities
    everything = {method.name for method in pb.DESCRIPTOR.services_by_name["ChannelGateway"].methods}
    unserved = everything - set(info.methods)
    assert "QueryMerchantBalance" in unserved
    error = await refusal_of(
        shop.gateway.call(
            "QueryMerchantBalance", pb.QueryMerchantBalanceRequest(payment_account_id=shop.alipay)
        )
    )
    assert error.reason is Reason.METHOD_UNIMPLEMENTED


async def test_channels_tell_what_they_can_do_and_need(shop: Shop) -> None:
    channels = {
        channel.name: channel
        for channel in (await shop.gateway.call("ListChannels", pb.ListChannelsRequest())).channels
    }
    assert list(channels) == ["alipay", "wechat_pay"]
    assert "api_v3_key" in channels["wechat_pay"].required_secrets
    assert channels["alipay"].enabled
    pay = [each for each in channels["alipay"].capabilities if each.operation == "pay"]
    assert {each.invoke_method for each in pay} >= {PC, QR, MINI_PROGRAM}
    assert {each.not_found_proof.seconds for each in pay} == {300}


async def test_the_feed_tells_every_change_in_order(shop: Shop, sandbox: SandboxProcess) -> None:
    order = await paid_order(shop, sandbox)
    types: list[int] = []
    for _ in range(100):
        types, revisions, start = [], [], 1
        while True:
            page = await shop.gateway.call(
                "ListChannelEvents", pb.ListChannelEventsRequest(start_revision=start, page_size=500)
            )
            mine = [
                each for each in page.events if each.channel_order.channel_order_id == order.channel_order_id
            ]
            types += [each.event_type for each in mine]
            revisions += [each.revision for each in mine]
            if page.next_revision == start:
                break
            start = page.next_revision
        if len(types) == 3:
            break
        await asyncio.sleep(0.05)
    assert types == [1, 2, 3]
    assert revisions == sorted(set(revisions))


async def test_the_invariants_hold_and_notice_a_break(
    shop: Shop, sandbox: SandboxProcess, server: GatewayProcess
) -> None:
    order = await paid_order(shop, sandbox)
    await shop.refund(order.channel_order_id, 10)

    async def check() -> dict[str, Any]:
        answer = await shop.gateway.call("CheckInvariants", pb.CheckInvariantsRequest())
        return {result.name: result for result in answer.results}

    def violated(results: dict[str, Any]) -> set[str]:
        mine = (order.channel_order_id,)
        return {
            name for name, result in results.items() if any(text.startswith(mine) for text in result.examples)
        }

    sound = await check()
    assert violated(sound) == set()
    assert all(result.checked_count > 0 for result in sound.values())
    breaks = {
        "channel_order_events": ("version = version + 1", "version = version - 1"),
        "channel_refunds_within_payment": (
            "reserved_refund_minor_units = reserved_refund_minor_units + 1",
            "reserved_refund_minor_units = reserved_refund_minor_units - 1",
        ),
        "channel_order_state_is_explained": ("failure_reason = 'MISMATCH'", "failure_reason = NULL"),
        "channel_order_has_account": ("tenant_id = 't' || tenant_id", "tenant_id = substr(tenant_id, 2)"),
        "channel_order_goes_on": ("state = 'UNKNOWN'", "state = 'SUCCEEDED'"),
    }
    for name, (harm, undo) in breaks.items():
        update = "UPDATE channel_order SET {} WHERE channel_order_id = %s"
        server.sql(update.format(harm), order.channel_order_id)
        found = violated(await check())
        server.sql(update.format(undo), order.channel_order_id)
        assert name in found
    assert violated(await check()) == set()
