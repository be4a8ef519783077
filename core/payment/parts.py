"""Puts the parts of PaymentCore together, so that a server and a test build the same. Invariant: no part makes its own
clock, database or channel."""

from __future__ import annotations

from dataclasses import dataclass

import grpc

from core.payment.api import UseCases
from core.payment.channel_events import ChannelEvents
from core.payment.channel_steps import ChannelSteps
from core.payment.close import Closing
from core.payment.database_clock import DatabaseClock
from core.payment.domain.schedule import Schedule
from core.payment.family import Families
from core.payment.feed import Feed
from core.payment.funds import Funds
from core.payment.give_back import GiveBack
from core.payment.mapping.payments import PaymentCodec, member_of
from core.payment.outcome import Outcomes
from core.payment.posting import Posting
from core.payment.query import Queries
from core.payment.recharge import Recharges
from core.payment.records import PaymentRecords
from core.payment.refund import Refunds
from core.payment.remote.accounting import AccountingClient
from core.payment.remote.channel_gateway import ChannelGatewayClient, word_of_event
from core.payment.repair import Repair
from core.payment.resolve import Resolutions
from core.payment.risk import RiskAssessment
from core.payment.routing import Routing
from core.payment.settings import PaymentSettings
from core.payment.store.payments import StoredRiskCounters
from core.payment.transfer import Transfers
from core.payment.withdrawal import Withdrawals
from runtime.clock import Clock
from runtime.database import Database
from runtime.idempotency import Idempotency
from runtime.outbox import Outbox


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a running PaymentCore consists of."""

    database: Database
    outbox: Outbox
    idempotency: Idempotency
    use_cases: UseCases
    channel_events: ChannelEvents
    repair: Repair
    database_clock: DatabaseClock


def build_parts(
    settings: PaymentSettings,
    *,
    database: Database,
    outbox: Outbox,
    idempotency: Idempotency,
    gateway_channel: grpc.aio.Channel,
    ledger_channel: grpc.aio.Channel,
    clock: Clock,
) -> Parts:
    """Builds use cases and workers on what was opened; opens nothing itself."""
    lease_seconds = settings.submitting_lease_seconds
    schedule = _schedule_of(settings)
    gateway = ChannelGatewayClient(gateway_channel, call_seconds=settings.channel_call_seconds)
    ledger = AccountingClient(ledger_channel, call_seconds=settings.ledger_call_seconds)
    codec = PaymentCodec()
    database_clock = DatabaseClock(database=database, clock=clock)
    records = PaymentRecords(
        database=database,
        idempotency=idempotency,
        outbox=outbox,
        codec=codec,
        clock=database_clock,
        claim_lease_seconds=lease_seconds,
    )
    routing = Routing(
        gateway=gateway,
        clock=clock,
        cache_seconds=settings.route_cache_seconds,
        merchant_cache_seconds=settings.merchant_cache_seconds,
    )
    risk = RiskAssessment(rules=settings.risk_rules, counters=StoredRiskCounters())
    posting = Posting(ledger=ledger)
    outcomes = Outcomes(
        records=records,
        posting=posting,
        give_back=GiveBack(posting=posting, composer=gateway, codec=codec, clock=clock),
        schedule=schedule,
        clock=clock,
    )
    steps = ChannelSteps(gateway=gateway, outcomes=outcomes)
    funds = Funds(posting=posting, steps=steps, outcomes=outcomes, clock=clock)
    recharges = Recharges(
        records=records,
        routing=routing,
        risk=risk,
        posting=posting,
        gateway=gateway,
        steps=steps,
        clock=clock,
        expire_seconds=settings.recharge_expire_seconds,
        submitting_lease_seconds=lease_seconds,
    )
    withdrawals = Withdrawals(
        records=records,
        routing=routing,
        risk=risk,
        funds=funds,
        gateway=gateway,
        steps=steps,
        clock=clock,
        submitting_lease_seconds=lease_seconds,
    )
    refunds = Refunds(
        records=records,
        funds=funds,
        gateway=gateway,
        steps=steps,
        clock=clock,
        submitting_lease_seconds=lease_seconds,
    )
    transfers = Transfers(
        records=records,
        routing=routing,
        outcomes=outcomes,
        clock=clock,
        submitting_lease_seconds=lease_seconds,
    )
    closing = Closing(
        records=records, recharges=recharges, outcomes=outcomes, gateway=gateway, schedule=schedule
    )
    resolutions = Resolutions(records=records, outcomes=outcomes, schedule=schedule)
    queries = Queries(records=records, outcomes=outcomes, posting=posting, gateway=gateway)
    return Parts(
        database=database,
        outbox=outbox,
        idempotency=idempotency,
        use_cases=UseCases(
            recharges=recharges,
            withdrawals=withdrawals,
            refunds=refunds,
            transfers=transfers,
            closing=closing,
            resolutions=resolutions,
            queries=queries,
            families=Families(records=records, member_of=member_of, gateway=gateway, ledger=ledger),
            feed=Feed(database=database, outbox=outbox, clock=clock),
            database=database,
            clock=clock,
        ),
        channel_events=ChannelEvents(records=records, outcomes=outcomes, read_word=word_of_event),
        database_clock=database_clock,
        repair=Repair(
            records=records,
            outcomes=outcomes,
            queries=queries,
            closing=closing,
            resolutions=resolutions,
            recharges=recharges,
            withdrawals=withdrawals,
            refunds=refunds,
            transfers=transfers,
            schedule=schedule,
            batch_size=settings.repair_batch_size,
            lease_seconds=settings.repair_lease_seconds,
            idle_seconds=settings.repair_idle_seconds,
        ),
    )


def _schedule_of(settings: PaymentSettings) -> Schedule:
    return Schedule(
        pending_seconds=settings.pending_schedule_seconds,
        unknown_seconds=settings.unknown_schedule_seconds,
        closing_seconds=settings.closing_schedule_seconds,
        closed_watch_seconds=settings.closed_watch_schedule_seconds,
        review_seconds=settings.review_interval_seconds,
    )
