"""Settings of PaymentCore, read from `PAYCENTER_*` variables. Invariant: schedules and risk rules are data, so that a
deployment or a test changes them without a release."""

from __future__ import annotations

from pydantic import Field

from core.payment.risk import RiskRule
from runtime.settings import RuntimeSettings


class PaymentSettings(RuntimeSettings):
    """What PaymentCore reads from its environment."""

    channel_target: str = Field(
        default="127.0.0.1:7003",
        description="gRPC target of ChannelGateway (`host:port` or `dns:///name:port`).",
    )
    accounting_target: str = Field(
        default="127.0.0.1:7004", description="gRPC target of Accounting (`host:port` or `dns:///name:port`)."
    )
    route_cache_seconds: float = Field(
        default=5.0,
        ge=0.0,
        description="How long payment accounts and channels are remembered; a disabled one is used at most so long.",
    )
    merchant_cache_seconds: float = Field(
        default=300.0, ge=0.0, description="How long it is remembered which tenant a merchant belongs to."
    )
    recharge_expire_seconds: float = Field(
        default=900.0, gt=0.0, description="How long a payer can pay when the caller gives no expire_time."
    )
    channel_call_seconds: float = Field(
        default=14.0, gt=0.0, description="Longest wait for the channel gateway in one step of a payment."
    )
    ledger_call_seconds: float = Field(
        default=5.0, gt=0.0, description="Longest wait for the ledger in one step of a payment."
    )
    submitting_lease_seconds: float = Field(
        default=20.0,
        gt=0.0,
        description="How long the call that recorded a payment has it to itself before the repair worker takes it up.",
    )
    repair_lease_seconds: float = Field(
        default=30.0, gt=0.0, description="How long a repair worker has a payment to itself."
    )
    repair_batch_size: int = Field(
        default=32, ge=1, le=500, description="Payments taken up in one repair step."
    )
    repair_idle_seconds: float = Field(
        default=0.5, gt=0.0, description="Pause of the repair worker when no payment is due."
    )
    pending_schedule_seconds: tuple[float, ...] = Field(
        default=(5, 10, 30, 60, 300),
        min_length=1,
        description="Waits between the queries of a payment that the channel took; the last one repeats.",
    )
    unknown_schedule_seconds: tuple[float, ...] = Field(
        default=(1, 2, 5, 10, 15, 30, 60, 120, 300),
        min_length=1,
        description="Waits between the tries of a payment whose outcome is open; past the last one it needs a person.",
    )
    closing_schedule_seconds: tuple[float, ...] = Field(
        default=(1, 2, 5, 10, 30, 60, 120, 300),
        min_length=1,
        description="Waits between the tries to close at the channel; past the last one the payment needs a person.",
    )
    closed_watch_schedule_seconds: tuple[float, ...] = Field(
        default=(60, 600, 3600, 86400),
        description="Waits between the looks at a closed recharge, which may turn out to be paid; then it rests.",
    )
    review_interval_seconds: float = Field(
        default=300.0, gt=0.0, description="Wait between the queries of a payment that needs a person."
    )
    channel_event_consumers: int = Field(
        default=16,
        ge=1,
        le=64,
        description="Channel events that are carried out side by side in one process.",
    )
    risk_rules: tuple[RiskRule, ...] = Field(
        default=(RiskRule(name="single_amount", kind="single_amount", limit=10_000_000_000),),
        description="Risk rules as a JSON list; each has name, kind (single_amount or velocity), limit, outcome.",
    )
