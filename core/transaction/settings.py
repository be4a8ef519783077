"""Settings of TransactionCore, read from `PAYCENTER_*` variables. Invariant: every field has a description and a
default that works on one machine."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from core.transaction.domain.plan import Plan
from runtime.settings import RuntimeSettings

Schedule = tuple[float, ...]


class TransactionSettings(RuntimeSettings):
    """What TransactionCore reads beside the settings of every server; all waits are in seconds."""

    payment_target: str = Field(default="127.0.0.1:7002", description="Address of PaymentCore (`host:port`).")
    payment_timeout_seconds: float = Field(
        default=12.0, gt=0, le=15, description="Longest wait for one answer of PaymentCore."
    )
    payment_event_concurrency: int = Field(
        default=16, ge=1, le=256, description="Most payment events that are handled at the same time."
    )
    workers_enabled: bool = Field(
        default=True,
        description="Whether this process relays, consumes, repairs and notifies beside serving calls.",
    )
    idle_seconds: float = Field(
        default=0.5,
        gt=0,
        description="Wait of a background worker that found nothing to do and was not nudged.",
    )

    repair_batch: int = Field(
        default=32, ge=1, description="Most records that the repair worker claims at a time."
    )
    call_lease_seconds: float = Field(
        default=25.0,
        gt=0,
        description="Time for which a call in flight is left alone before repair takes it up.",
    )
    attempt_schedule: Schedule = Field(
        default=(20, 40, 60, 120, 300, 600),
        description="Waits between questions about an attempt that is not decided; the last one repeats.",
    )
    closing_schedule: Schedule = Field(
        default=(1, 5, 15, 60, 300, 600),
        description="Waits between tries to close an attempt at its channel.",
    )
    closed_schedule: Schedule = Field(
        default=(60, 600, 3600, 86400),
        description="Waits between questions whether a closed attempt was paid after all; then the bus alone tells.",
    )
    settle_schedule: Schedule = Field(
        default=(1, 2, 5, 15, 60, 300),
        description="Waits between tries to move an order's money to the receivers.",
    )
    refund_schedule: Schedule = Field(
        default=(10, 30, 60, 300, 900, 3600),
        description="Waits between questions about a refund that is not decided.",
    )
    review_seconds: float = Field(
        default=3600.0, gt=0, description="Wait between questions about what a person is to look at."
    )
    transfer_rounds: int = Field(
        default=5,
        ge=1,
        description="Proven failures of an order's transfer after which a person is asked for.",
    )
    refund_rounds: int = Field(
        default=5,
        ge=1,
        description="Proven failures of an automatic refund after which a person is asked for.",
    )
    attempt_retry_seconds: float = Field(
        default=15.0,
        ge=0,
        description="Age from which an attempt without credential no longer stands in the way of a new one.",
    )

    order_expire_seconds: float = Field(
        default=900.0, gt=0, description="Life of an order that names no end."
    )
    order_longest_expire_seconds: float = Field(
        default=604800.0, gt=0, description="Farthest end that an order may name."
    )
    expire_grace_seconds: float = Field(
        default=5.0,
        ge=0,
        description="Time after an order's end in which a payment on its way may still arrive.",
    )

    callback_signing_key_file: Path | None = Field(
        default=None,
        description="PEM file of the Ed25519 key that signs callbacks; without it one is made in the data directory.",
    )
    callback_key_id: str = Field(
        default="",
        description="Name of that key, sent with every callback; empty derives it from the public key.",
    )
    callback_timeout_seconds: float = Field(
        default=5.0, gt=0, description="Longest wait for a business system."
    )
    callback_concurrency: int = Field(
        default=64, ge=1, description="Most callbacks under way at the same time."
    )
    callback_concurrency_per_host: int = Field(
        default=16, ge=1, description="Most callbacks under way to one business system."
    )
    callback_schedule: Schedule = Field(
        default=(1, 5, 30, 120, 600, 3600, 21600, 43200, 86400),
        description="Waits between deliveries of a callback that was not taken; after the last one it is given up.",
    )
    callback_jitter: float = Field(
        default=0.2,
        ge=0,
        lt=1,
        description="Share by which each of those waits is made longer or shorter by chance.",
    )
    callback_private_addresses_forbidden: bool = Field(
        default=False,
        description="Whether callbacks to loopback, private and link-local addresses are refused.",
    )

    def plan(self) -> Plan:
        """Returns the waits of the repair worker in the words of the domain."""
        return Plan(
            call_lease_seconds=self.call_lease_seconds,
            attempt_seconds=self.attempt_schedule,
            closing_seconds=self.closing_schedule,
            closed_seconds=self.closed_schedule,
            settle_seconds=self.settle_schedule,
            refund_seconds=self.refund_schedule,
            review_seconds=self.review_seconds,
            expire_grace_seconds=self.expire_grace_seconds,
            attempt_retry_seconds=self.attempt_retry_seconds,
            transfer_rounds=self.transfer_rounds,
            refund_rounds=self.refund_rounds,
        )
