"""Which account takes a payment, what is remembered of the gateway, and what the risk rules let through."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, cast

import pytest
from pydantic import ValidationError

from core.payment.domain.payment import InvokeMethod, PaymentKind
from core.payment.domain.route import PAY, PAYOUT, Capability, ChannelProfile, PaymentAccount
from core.payment.risk import RiskAssessment, RiskRule, RiskSubject
from core.payment.routing import Routing
from core.payment.settings import PaymentSettings
from runtime.clock import ManualClock
from runtime.context import CallScope, PlatformContext, TraceContext, use_scope
from runtime.errors import PaycenterError, Reason
from runtime.money import Money

QR = InvokeMethod.QR


@pytest.fixture(autouse=True)
def scope() -> Iterator[None]:
    with use_scope(scope_of("tenant-1")):
        yield


def scope_of(tenant_id: str) -> CallScope:
    platform = PlatformContext(caller_service="transaction", tenant_id=tenant_id)
    return CallScope(platform, TraceContext.new(sampled=False))


def account(
    number: str, fee: str = "0.006", *, channel: str = "alipay", enabled: bool = True
) -> PaymentAccount:
    return PaymentAccount(number, "M-1", channel, Decimal(fee), enabled)


class Gateway:
    """Answers from lists and counts the questions."""

    def __init__(self, *accounts: PaymentAccount) -> None:
        self.accounts = {each.payment_account_id: each for each in accounts}
        self.asked: list[str] = []
        self.error: PaycenterError | None = None

    async def get_payment_account(self, payment_account_id: str) -> PaymentAccount:
        await self._ask(f"account {payment_account_id}")
        return self.accounts[payment_account_id]

    async def list_payment_accounts(self, merchant_id: str) -> Sequence[PaymentAccount]:
        await self._ask(f"accounts {merchant_id}")
        return list(self.accounts.values())

    async def list_channels(self) -> Mapping[str, ChannelProfile]:
        await self._ask("channels")
        cny = frozenset({"CNY"})
        return {
            "alipay": ChannelProfile("alipay", True, (Capability(PAY, QR, cny), Capability(PAYOUT, None))),
            "off": ChannelProfile("off", False, (Capability(PAY, QR, cny),)),
            "pay_only": ChannelProfile("pay_only", True, (Capability(PAY, QR, cny),)),
        }

    async def check_merchant(self, merchant_id: str) -> None:
        await self._ask(f"merchant {merchant_id}")

    async def _ask(self, question: str) -> None:
        self.asked.append(question)
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error


def routing(gateway: Gateway, clock: ManualClock | None = None) -> Routing:
    return Routing(
        gateway=gateway,
        clock=clock or ManualClock(datetime(2026, 1, 1, tzinfo=UTC)),
        cache_seconds=5,
        merchant_cache_seconds=60,
    )


async def choose(router: Routing, **changes: Any) -> PaymentAccount:
    asked: dict[str, Any] = {
        "merchant_id": "M-1",
        "payment_account_id": "",
        "operation": PAY,
        "invoke_method": QR,
        "currency_code": "CNY",
        **changes,
    }
    return await router.choose(**asked)


async def test_the_least_fee_wins_and_then_the_smallest_number() -> None:
    router = routing(
        Gateway(
            account("K-1", "0.01"),
            account("K-3", "0.002"),
            account("K-2", "0.002"),
            account("K-4", "0", enabled=False),
            account("K-5", "0", channel="off"),
            account("K-6", "0", channel="nowhere"),
        )
    )
    assert (await choose(router)).payment_account_id == "K-2"


@pytest.mark.parametrize(
    "changes", [{"invoke_method": InvokeMethod.WAP}, {"currency_code": "USD"}, {"operation": "refund"}]
)
async def test_without_an_account_that_can_there_is_no_route(changes: dict[str, Any]) -> None:
    with pytest.raises(PaycenterError) as refused:
        await choose(routing(Gateway(account("K-1"))), **changes)
    assert refused.value.reason is Reason.NO_ROUTE


async def test_a_named_account_of_a_channel_that_pays_nothing_out_is_no_route() -> None:
    router = routing(Gateway(account("K-1", channel="pay_only")))
    with pytest.raises(PaycenterError) as refused:
        await choose(router, payment_account_id="K-1", operation=PAYOUT, invoke_method=None)
    assert refused.value.reason is Reason.NO_ROUTE


async def test_answers_are_remembered_for_a_while_per_tenant() -> None:
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    gateway = Gateway(account("K-1"))
    router = routing(gateway, clock)
    await choose(router, payment_account_id="K-1")
    await choose(router, payment_account_id="K-1")
    assert gateway.asked == ["channels", "account K-1"]
    with use_scope(scope_of("tenant-2")):
        await choose(router, payment_account_id="K-1")
    assert gateway.asked == ["channels", "account K-1", "account K-1"]
    clock.advance(5)
    await choose(router, payment_account_id="K-1")
    assert gateway.asked[3:] == ["channels", "account K-1"]


async def test_callers_at_the_same_moment_share_one_question_and_a_refusal_is_forgotten() -> None:
    gateway = Gateway(account("K-1"))
    gateway.error = PaycenterError(Reason.MERCHANT_NOT_FOUND, "no")
    router = routing(gateway)
    outcomes = await asyncio.gather(*(router.check_merchant("M-1") for _ in range(5)), return_exceptions=True)
    assert [cast("PaycenterError", each).reason for each in outcomes] == [Reason.MERCHANT_NOT_FOUND] * 5
    assert gateway.asked == ["merchant M-1"]
    gateway.error = None
    await router.check_merchant("M-1")
    await router.check_merchant("M-1")
    assert gateway.asked == ["merchant M-1"] * 2


class Counters:
    """Counts in memory."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    async def count_payment(self, connection: Any, *, shard: int, subject: str, window_seconds: int) -> int:
        self.counts[subject] = self.counts.get(subject, 0) + 1
        return self.counts[subject]


def subject(amount: int = 100, *, actor: str = "u", **changes: Any) -> RiskSubject:
    values: dict[str, Any] = {
        "kind": PaymentKind.RECHARGE,
        "shard": 1,
        "merchant_id": "M-1",
        "amount": Money(amount, "CNY"),
        "actor": actor,
        **changes,
    }
    return RiskSubject(**values)


def rule(**changes: Any) -> RiskRule:
    return RiskRule(**{"name": "r", "kind": "single_amount", "limit": 100, **changes})


@pytest.mark.parametrize(
    ("rules", "blocked"),
    [
        ([], False),
        ([rule()], True),
        ([rule(limit=101)], False),
        ([rule(outcome="allow")], False),
        ([rule(currency_code="USD")], False),
        ([rule(merchant_id="M-2")], False),
        ([rule(merchant_id="M-1")], True),
        ([rule(payment_kinds=(PaymentKind.WITHDRAWAL,))], False),
    ],
)
def test_an_amount_above_a_limit_that_is_for_it_is_blocked(rules: list[RiskRule], blocked: bool) -> None:
    assessment = RiskAssessment(rules=rules, counters=Counters())
    if not blocked:
        assessment.assess_amount(subject(101))
        return
    with pytest.raises(PaycenterError) as refused:
        assessment.assess_amount(subject(101))
    assert (refused.value.reason, refused.value.violations[0].field) == (Reason.RISK_BLOCKED, "amount")


async def test_too_many_payments_of_one_payer_are_blocked() -> None:
    counters = Counters()
    assessment = RiskAssessment(rules=[rule(kind="velocity", limit=2)], counters=counters)
    connection = cast("Any", None)
    for _ in range(2):
        await assessment.assess_velocity(connection, subject())
    with pytest.raises(PaycenterError):
        await assessment.assess_velocity(connection, subject())
    await assessment.assess_velocity(connection, subject(actor="v"))
    await assessment.assess_velocity(connection, subject(actor=""))
    assert counters.counts == {"r:M-1:u": 3, "r:M-1:v": 1}


def test_rules_and_schedules_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAYCENTER_RISK_RULES", '[{"name": "n", "kind": "velocity", "limit": 3}]')
    monkeypatch.setenv("PAYCENTER_PENDING_SCHEDULE_SECONDS", "[1, 2.5]")
    settings = PaymentSettings()
    assert settings.risk_rules[0].limit == 3
    assert list(settings.pending_schedule_seconds) == [1, 2.5]
    monkeypatch.setenv("PAYCENTER_RISK_RULES", '[{"name": "n", "kind": "velocity", "limt": 3}]')
    with pytest.raises(ValidationError):
        PaymentSettings()


def test_every_setting_says_what_it_is_for() -> None:
    for name, field in PaymentSettings.model_fields.items():
        assert field.description, name
