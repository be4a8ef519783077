"""The tables of PaymentCore for SQLAlchemy Core. Invariant: equal to what the migrations create (a test compares)."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from runtime.database import new_metadata
from runtime.idempotency import idempotency_table
from runtime.outbox import outbox_table

metadata: Final = new_metadata()

_INSTANT: Final = sa.DateTime(timezone=True)

payment: Final = sa.Table(
    "payment",
    metadata,
    sa.Column("shard", sa.SmallInteger, primary_key=True),
    sa.Column("payment_id", sa.Text, primary_key=True),
    sa.Column("tenant_id", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("merchant_id", sa.Text, nullable=False),
    sa.Column("order_id", sa.Text, nullable=False),
    sa.Column("transaction_number", sa.Text, nullable=False),
    sa.Column("amount_minor_units", sa.BigInteger, nullable=False),
    sa.Column("currency_code", sa.Text, nullable=False),
    sa.Column("channel_fee_minor_units", sa.BigInteger),
    sa.Column("source_account_id", sa.Text, nullable=False),
    sa.Column("destination_account_id", sa.Text, nullable=False),
    sa.Column("payment_account_id", sa.Text, nullable=False),
    sa.Column("invoke_method", sa.Text),
    sa.Column("channel_order_id", sa.Text, nullable=False),
    sa.Column("channel_order_version", sa.BigInteger, nullable=False),
    sa.Column("channel_transaction_id", sa.Text, nullable=False),
    sa.Column("refunded_payment_id", sa.Text, nullable=False),
    sa.Column("refunded_minor_units", sa.BigInteger, nullable=False),
    sa.Column("refunding_minor_units", sa.BigInteger, nullable=False),
    sa.Column("journal_id", sa.Text, nullable=False),
    sa.Column("hold_id", sa.Text, nullable=False),
    sa.Column("failure_reason", sa.Text),
    sa.Column("failure_channel_code", sa.Text),
    sa.Column("failure_outcome_safety", sa.Text),
    sa.Column("failure_advice", sa.Text),
    sa.Column("credential", sa.LargeBinary),
    sa.Column("channel_command", sa.LargeBinary),
    sa.Column("posting_lines", JSONB),
    sa.Column("posting_round", sa.Integer, nullable=False),
    sa.Column("resolution", sa.Text),
    sa.Column("give_back_payment_id", sa.Text, nullable=False),
    sa.Column("steps", JSONB, nullable=False),
    sa.Column("step_try_count", sa.Integer, nullable=False),
    sa.Column("next_step_time", _INSTANT),
    sa.Column("request_id", sa.Text, nullable=False),
    sa.Column("answered", sa.Boolean, nullable=False),
    sa.Column("expire_time", _INSTANT),
    sa.Column("succeed_time", _INSTANT),
    sa.Column("business_id", sa.Text, nullable=False),
    sa.Column("traceparent", sa.Text, nullable=False),
    sa.Column("platform", sa.LargeBinary, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("create_time", _INSTANT, nullable=False, server_default=sa.func.now()),
    sa.Column("update_time", _INSTANT, nullable=False, server_default=sa.func.now()),
    sa.CheckConstraint("amount_minor_units > 0", name="amount_positive"),
    sa.CheckConstraint(
        "refunded_minor_units >= 0 AND refunding_minor_units >= 0"
        " AND refunded_minor_units + refunding_minor_units <= amount_minor_units",
        name="refunds_within_amount",
    ),
    sa.Index(
        "ix_payment_next_step_time", "next_step_time", postgresql_where=sa.text("next_step_time IS NOT NULL")
    ),
    sa.Index("ix_payment_business_id", "business_id"),
    sa.Index("ix_payment_order_id", "order_id", postgresql_where=sa.text("order_id <> ''")),
    sa.Index("ix_payment_tenant_id_payment_id", "tenant_id", "payment_id"),
    sa.Index(
        "ix_payment_refunded_payment_id",
        "refunded_payment_id",
        postgresql_where=sa.text("refunded_payment_id <> ''"),
    ),
    sa.Index(
        "ix_payment_step",
        "shard",
        "tenant_id",
        "kind",
        "transaction_number",
        "request_id",
        unique=True,
        postgresql_where=sa.text("transaction_number <> '' AND request_id <> ''"),
    ),
)
"""One row for each payment; a change counts `version` up and appends one event, a mere schedule does neither.

A step of a transaction is one payment for ever, also when its request id is no longer remembered.
"""

risk_counter: Final = sa.Table(
    "risk_counter",
    metadata,
    sa.Column("shard", sa.SmallInteger, primary_key=True),
    sa.Column("subject", sa.Text, primary_key=True),
    sa.Column("window_start", _INSTANT, nullable=False),
    sa.Column("payment_count", sa.Integer, nullable=False),
)
"""How many payments of one risk subject there were in its present window."""

payment_resolution: Final = sa.Table(
    "payment_resolution",
    metadata,
    sa.Column("shard", sa.SmallInteger, primary_key=True),
    sa.Column("payment_id", sa.Text, primary_key=True),
    sa.Column("version", sa.BigInteger, primary_key=True),
    sa.Column("resolution", sa.Text, nullable=False),
    sa.Column("evidence", sa.Text, nullable=False),
    sa.Column("operator", sa.Text, nullable=False),
    sa.Column("caller", sa.Text, nullable=False),
    sa.Column("business_id", sa.Text, nullable=False),
    sa.Column("traceparent", sa.Text, nullable=False),
    sa.Column("create_time", _INSTANT, nullable=False, server_default=sa.func.now()),
)
"""Who decided what about a payment in review, and on which evidence; append-only."""

idempotency_record: Final = idempotency_table(metadata)
outbox_event: Final = outbox_table(metadata)
