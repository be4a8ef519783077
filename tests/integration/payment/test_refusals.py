"""Input that is refused, with reason and field, and that leaves nothing behind."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from google.type import decimal_pb2
from paycenter.payment.v1 import payment_core_pb2 as pb
from paycenter.type.v1 import credential_pb2, money_pb2, party_pb2

from core.payment.risk import RiskRule
from runtime.errors import PaycenterError, Reason
from runtime.ids import NumberKind, new_number
from tests.integration.payment.desk import Desk, cny, merchant, open_desk, user


def fields_of(error: PaycenterError) -> list[str]:
    return [violation.field for violation in error.violations]


async def assert_nothing_recorded(desk: Desk) -> None:
    counted = await desk.sql(
        "SELECT (SELECT count(*) FROM payment) + (SELECT count(*) FROM idempotency_record)"
        " + (SELECT count(*) FROM outbox_event)"
    )
    assert counted[0][0] == 0


def yen(minor_units: int) -> money_pb2.Money:
    return money_pb2.Money(minor_units=minor_units, currency_code="JPY")


@pytest.mark.parametrize(
    ("changes", "reason", "field"),
    [
        ({"amount": cny(0)}, Reason.FIELD_INVALID, "amount"),
        ({"amount": cny(-5)}, Reason.FIELD_INVALID, "amount"),
        ({"subject": " "}, Reason.FIELD_INVALID, "subject"),
        ({"expire_time": Timestamp(seconds=1)}, Reason.FIELD_INVALID, "expire_time"),
        ({"payer_transit": False}, Reason.FIELD_INVALID, "payer_transit"),
        ({"agreement_id": "A-9"}, Reason.AGREEMENT_NOT_FOUND, "agreement_id"),
        (
            {"amount": money_pb2.Money(minor_units=1, currency_code="ZZZ")},
            Reason.CURRENCY_UNSUPPORTED,
            "amount",
        ),
        ({"amount": yen(1)}, Reason.CURRENCY_UNSUPPORTED, "amount.currency_code"),
        ({"payment_account_id": "K-none"}, Reason.PAYMENT_ACCOUNT_NOT_FOUND, "payment_account_id"),
        (
            {"invoke_method": credential_pb2.INVOKE_METHOD_WAP},
            Reason.INVOKE_METHOD_UNSUPPORTED,
            "invoke_method",
        ),
        (
            {"invoke_method": credential_pb2.INVOKE_METHOD_BALANCE},
            Reason.INVOKE_METHOD_UNSUPPORTED,
            "invoke_method",
        ),
        ({"balance_owner": merchant("M-other")}, Reason.MERCHANT_MISMATCH, "balance_owner.owner_id"),
        (
            {"tools": [pb.PaymentTool(kind=pb.PAYMENT_TOOL_KIND_COUPON, amount=cny(10_000))]},
            Reason.FIELD_INVALID,
            "tools",
        ),
    ],
)
async def test_a_recharge_is_refused_before_anything_is_recorded(
    desk: Desk, changes: dict[str, Any], reason: Reason, field: str
) -> None:
    error = await desk.refusal(desk.stub.CreateRecharge, desk.recharge_request(**changes))
    assert error.reason is reason
    assert any(found.startswith(field) for found in fields_of(error))
    await assert_nothing_recorded(desk)


async def test_another_merchants_payment_account_is_refused(desk: Desk) -> None:
    other = desk.gateway.open_account(new_number(NumberKind.MERCHANT, shard=2), tenant_id="tenant-1")
    error = await desk.refusal(desk.stub.CreateRecharge, desk.recharge_request(payment_account_id=other))
    assert (error.reason, fields_of(error)) == (Reason.MERCHANT_MISMATCH, ["payment_account_id"])
    await assert_nothing_recorded(desk)


async def test_a_disabled_payment_account_is_refused(desk: Desk) -> None:
    disabled = desk.gateway.open_account(desk.merchant_id, tenant_id="tenant-1", enabled=False)
    error = await desk.refusal(desk.stub.CreateRecharge, desk.recharge_request(payment_account_id=disabled))
    assert error.reason is Reason.PAYMENT_ACCOUNT_DISABLED
    await assert_nothing_recorded(desk)


async def test_another_tenants_payment_account_is_refused(desk: Desk) -> None:
    error = await desk.refusal(desk.stub.CreateRecharge, desk.recharge_request(), tenant_id="tenant-2")
    assert error.reason is Reason.TENANT_FORBIDDEN
    await assert_nothing_recorded(desk)


async def test_without_any_account_that_can_there_is_no_route(desk: Desk) -> None:
    desk.gateway.channels["testpay"] = False
    error = await desk.refusal(desk.stub.CreateRecharge, desk.recharge_request(payment_account_id=""))
    assert (error.reason, fields_of(error)) == (Reason.NO_ROUTE, ["payment_account_id"])
    await assert_nothing_recorded(desk)


async def test_a_gateway_that_cannot_be_asked_before_recording_is_an_error(desk: Desk) -> None:
    desk.gateway.faults.be_silent("ListChannels", times=8)
    error = await desk.refusal(desk.stub.CreateRecharge, desk.recharge_request())
    assert error.reason is Reason.DEPENDENCY_UNAVAILABLE
    await assert_nothing_recorded(desk)


async def test_the_risk_rules_block_what_is_too_much_and_too_often(database_url: str) -> None:
    rules = (
        RiskRule(name="large", kind="single_amount", limit=5_000),
        RiskRule(name="often", kind="velocity", limit=2, window_seconds=60),
    )
    async with AsyncExitStack() as stack:
        desk = await open_desk(database_url, stack, risk_rules=rules)
        error = await desk.refusal(desk.stub.CreateRecharge, desk.recharge_request(5_001))
        assert (error.reason, error.metadata["rule"]) == (Reason.RISK_BLOCKED, "large")
        await assert_nothing_recorded(desk)

        request = desk.recharge_request(5_000)
        await desk.call(desk.stub.CreateRecharge, request)
        await desk.recharge(1)
        error = await desk.refusal(desk.stub.CreateRecharge, desk.recharge_request(1))
        assert (error.reason, error.metadata["rule"]) == (Reason.RISK_BLOCKED, "often")
        assert (await desk.sql("SELECT count(*) FROM payment"))[0][0] == 2
        await desk.recharge(1, payer=party_pb2.Payer(user_id="somebody-else"))
        await desk.call(desk.stub.CreateRecharge, request)


@pytest.mark.parametrize(
    ("changes", "reason", "field"),
    [
        ({"amount": cny(0)}, Reason.FIELD_INVALID, "amount"),
        ({"amount": yen(5)}, Reason.CURRENCY_MISMATCH, "amount.currency_code"),
        ({"amount": cny(10_001)}, Reason.AMOUNT_EXCEEDS_REFUNDABLE, "amount"),
        ({"merchant_id": "M-other"}, Reason.MERCHANT_MISMATCH, "merchant_id"),
        ({"balance_owner": merchant("M-other")}, Reason.MERCHANT_MISMATCH, "balance_owner.owner_id"),
        ({"refunded_payment_id": "P-none"}, Reason.PAYMENT_NOT_FOUND, ""),
    ],
)
async def test_a_refund_is_refused_and_leaves_the_recharge_as_it_was(
    desk: Desk, changes: dict[str, Any], reason: Reason, field: str
) -> None:
    paid = await desk.paid_recharge(10_000)
    error = await desk.refusal(desk.stub.CreateRefund, desk.refund_request(paid.payment_id, 10, **changes))
    assert error.reason is reason
    assert not field or field in fields_of(error)
    assert await desk.get(paid.payment_id) == paid
    assert (await desk.sql("SELECT count(*) FROM payment"))[0][0] == 1


async def test_only_a_succeeded_recharge_can_be_refunded(desk: Desk) -> None:
    pending = await desk.recharge()
    error = await desk.refusal(desk.stub.CreateRefund, desk.refund_request(pending.payment_id, 10))
    assert error.reason is Reason.PAYMENT_STATE_INVALID
    assert (error.metadata["current"], error.metadata["allowed"]) == ("PENDING", "SUCCEEDED")


async def test_a_payment_of_another_tenant_is_forbidden_and_an_unknown_one_not_found(desk: Desk) -> None:
    paid = await desk.paid_recharge()
    for call, request in (
        (desk.stub.GetPayment, pb.GetPaymentRequest(payment_id=paid.payment_id)),
        (desk.stub.QueryPayment, pb.QueryPaymentRequest(payment_id=paid.payment_id)),
        (desk.stub.CreateRefund, desk.refund_request(paid.payment_id, 1)),
        (desk.stub.GetPaymentFamily, pb.GetPaymentFamilyRequest(number=paid.payment_id)),
    ):
        error = await desk.refusal(call, request, tenant_id="tenant-2")
        assert error.reason is Reason.TENANT_FORBIDDEN
    unknown = new_number(NumberKind.PAYMENT, shard=3)
    error = await desk.refusal(desk.stub.GetPayment, pb.GetPaymentRequest(payment_id=unknown))
    assert error.reason is Reason.PAYMENT_NOT_FOUND


@pytest.mark.parametrize(
    ("changes", "reason", "field"),
    [
        ({"source_owner": merchant("M-other")}, Reason.MERCHANT_MISMATCH, "source_owner.owner_id"),
        ({"merchant_id": "M-other"}, Reason.MERCHANT_NOT_FOUND, "merchant_id"),
        (
            {
                "receivers": [
                    party_pb2.SplitReceiver(receiver=user("a"), amount=cny(60)),
                    party_pb2.SplitReceiver(receiver=user("b"), amount=cny(39)),
                ]
            },
            Reason.FIELD_INVALID,
            "receivers",
        ),
        (
            {
                "receivers": [
                    party_pb2.SplitReceiver(receiver=user("a"), ratio=decimal_pb2.Decimal(value="1.1")),
                ]
            },
            Reason.FIELD_INVALID,
            "receivers[0].ratio",
        ),
        (
            {"receivers": [party_pb2.SplitReceiver(receiver=user("a"), amount=yen(100))]},
            Reason.CURRENCY_MISMATCH,
            "receivers[0].amount.currency_code",
        ),
        (
            {
                "source_owner": user("a"),
                "receivers": [party_pb2.SplitReceiver(receiver=user("a"), remainder=True)],
            },
            Reason.FIELD_INVALID,
            "receivers",
        ),
    ],
)
async def test_a_transfer_is_refused_before_anything_is_recorded(
    desk: Desk, changes: dict[str, Any], reason: Reason, field: str
) -> None:
    error = await desk.refusal(desk.stub.CreateTransfer, desk.transfer_request(100, **changes))
    assert error.reason is reason
    assert field in fields_of(error)
    await assert_nothing_recorded(desk)


async def test_another_tenants_merchant_moves_nothing(desk: Desk) -> None:
    error = await desk.refusal(desk.stub.CreateTransfer, desk.transfer_request(1), tenant_id="tenant-2")
    assert error.reason is Reason.TENANT_FORBIDDEN
    await assert_nothing_recorded(desk)


async def test_a_withdrawal_of_another_merchants_balance_is_refused(desk: Desk) -> None:
    error = await desk.refusal(
        desk.stub.CreateWithdrawal, desk.withdrawal_request(1, balance_owner=merchant("M-other"))
    )
    assert (error.reason, fields_of(error)) == (Reason.MERCHANT_MISMATCH, ["balance_owner.owner_id"])
    await assert_nothing_recorded(desk)


async def test_a_method_that_this_release_does_not_serve_says_so(desk: Desk) -> None:
    request = pb.ListAgreementsRequest(user_id="u")
    error = await desk.refusal(desk.stub.ListAgreements, request)
    assert error.reason is Reason.METHOD_UNIMPLEMENTED
    info = (await desk.call(desk.stub.GetServerInfo, pb.GetServerInfoRequest())).server_info
    assert "CreateRecharge" in info.methods
    assert "ListAgreements" not in info.methods
    assert info.service == "paycenter.payment.v1.PaymentCore"
