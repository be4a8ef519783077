"""The tables of TransactionCore for SQLAlchemy Core. Invariant: equals what the migrations create (a test compares);
every table leads with `shard` in its key."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from runtime.database import new_metadata
from runtime.idempotency import idempotency_table
from runtime.outbox import outbox_table

metadata = new_metadata()

_instant = sa.DateTime(timezone=True)


def _key() -> list[sa.Column[object]]:
    return [sa.Column("shard", sa.SmallInteger, primary_key=True)]


def _origin() -> list[sa.Column[object]]:
    return [
        sa.Column("business_id", sa.Text, nullable=False),
        sa.Column("traceparent", sa.Text, nullable=False),
        sa.Column("platform", sa.LargeBinary, nullable=False),
        sa.Column("create_time", _instant, nullable=False, server_default=sa.func.now()),
        sa.Column("update_time", _instant, nullable=False, server_default=sa.func.now()),
    ]


def _of_order() -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["shard", "order_id"], ["orders.shard", "orders.order_id"])


def _due(name: str, column: str) -> sa.Index:
    return sa.Index(name, column, postgresql_where=sa.text(f"{column} IS NOT NULL"))


orders = sa.Table(
    "orders",
    metadata,
    *_key(),
    sa.Column("order_id", sa.Text, primary_key=True),
    sa.Column("tenant_id", sa.Text, nullable=False),
    sa.Column("merchant_id", sa.Text, nullable=False),
    sa.Column("merchant_order_id", sa.Text, nullable=False),
    sa.Column("merchant_serial_number", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("amount_minor_units", sa.BigInteger, nullable=False),
    sa.Column("currency_code", sa.Text, nullable=False),
    sa.Column("paid_minor_units", sa.BigInteger, nullable=False),
    sa.Column("refunded_minor_units", sa.BigInteger, nullable=False),
    sa.Column("refunding_minor_units", sa.BigInteger, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("purpose", JSONB, nullable=False),
    sa.Column("notify_url", sa.Text, nullable=False),
    sa.Column("annotations", JSONB, nullable=False),
    sa.Column("winning_attempt_id", sa.Text, nullable=False),
    sa.Column("closing_to", sa.Text),
    sa.Column("attempt_count", sa.Integer, nullable=False),
    sa.Column("refund_count", sa.Integer, nullable=False),
    sa.Column("expire_time", _instant, nullable=False),
    sa.Column("pay_time", _instant),
    sa.Column("step_try_count", sa.Integer, nullable=False),
    sa.Column("next_step_time", _instant),
    sa.Column("version", sa.BigInteger, nullable=False),
    *_origin(),
    sa.Index(
        "uq_orders_merchant_order", "shard", "tenant_id", "merchant_id", "merchant_order_id", unique=True
    ),
    sa.Index("ix_orders_tenant_id_order_id", "tenant_id", "order_id"),
    sa.Index("ix_orders_merchant_id_order_id", "merchant_id", "order_id"),
    sa.Index("ix_orders_business_id", "business_id"),
    sa.Index("ix_orders_merchant_order_id", "merchant_order_id"),
    sa.Index(
        "ix_orders_merchant_serial_number",
        "merchant_serial_number",
        postgresql_where=sa.text("merchant_serial_number <> ''"),
    ),
    _due("ix_orders_next_step_time", "next_step_time"),
)

attempt = sa.Table(
    "attempt",
    metadata,
    *_key(),
    sa.Column("attempt_id", sa.Text, primary_key=True),
    sa.Column("order_id", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("instruction", JSONB, nullable=False),
    sa.Column("request_id", sa.Text, nullable=False),
    sa.Column("payment_account_id", sa.Text, nullable=False),
    sa.Column("payment_id", sa.Text, nullable=False),
    sa.Column("payment_version", sa.BigInteger, nullable=False),
    sa.Column("transfer_payment_id", sa.Text, nullable=False),
    sa.Column("transfer_round", sa.Integer, nullable=False),
    sa.Column("channel_order_id", sa.Text, nullable=False),
    sa.Column("channel_transaction_id", sa.Text, nullable=False),
    sa.Column("credential", sa.LargeBinary, nullable=False),
    sa.Column("failure_reason", sa.Text, nullable=False),
    sa.Column("channel_code", sa.Text, nullable=False),
    sa.Column("refusal", JSONB),
    sa.Column("step_try_count", sa.Integer, nullable=False),
    sa.Column("next_step_time", _instant),
    sa.Column("version", sa.BigInteger, nullable=False),
    *_origin(),
    _of_order(),
    sa.Index("ix_attempt_shard_order_id", "shard", "order_id"),
    sa.Index(
        "uq_attempt_winner",
        "shard",
        "order_id",
        unique=True,
        postgresql_where=sa.text("state IN ('PAID', 'SUCCEEDED')"),
    ),
    _due("ix_attempt_next_step_time", "next_step_time"),
)

refund = sa.Table(
    "refund",
    metadata,
    *_key(),
    sa.Column("refund_id", sa.Text, primary_key=True),
    sa.Column("order_id", sa.Text, nullable=False),
    sa.Column("tenant_id", sa.Text, nullable=False),
    sa.Column("merchant_id", sa.Text, nullable=False),
    sa.Column("merchant_refund_id", sa.Text, nullable=False),
    sa.Column("attempt_id", sa.Text, nullable=False),
    sa.Column("amount_minor_units", sa.BigInteger, nullable=False),
    sa.Column("currency_code", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("automatic", sa.Boolean, nullable=False),
    sa.Column("request_id", sa.Text, nullable=False),
    sa.Column("payment_id", sa.Text, nullable=False),
    sa.Column("payment_version", sa.BigInteger, nullable=False),
    sa.Column("round_number", sa.Integer, nullable=False),
    sa.Column("legs", JSONB, nullable=False),
    sa.Column("failure_reason", sa.Text, nullable=False),
    sa.Column("channel_code", sa.Text, nullable=False),
    sa.Column("succeed_time", _instant),
    sa.Column("step_try_count", sa.Integer, nullable=False),
    sa.Column("next_step_time", _instant),
    sa.Column("version", sa.BigInteger, nullable=False),
    *_origin(),
    _of_order(),
    sa.Index("ix_refund_shard_order_id", "shard", "order_id"),
    sa.Index(
        "uq_refund_merchant_refund",
        "shard",
        "tenant_id",
        "merchant_id",
        "merchant_refund_id",
        unique=True,
        postgresql_where=sa.text("merchant_refund_id <> ''"),
    ),
    sa.Index(
        "ix_refund_merchant_refund_id",
        "merchant_refund_id",
        postgresql_where=sa.text("merchant_refund_id <> ''"),
    ),
    _due("ix_refund_next_step_time", "next_step_time"),
)

notification = sa.Table(
    "notification",
    metadata,
    *_key(),
    sa.Column("notification_id", sa.Text, primary_key=True),
    sa.Column("order_id", sa.Text, nullable=False),
    sa.Column("tenant_id", sa.Text, nullable=False),
    sa.Column("event_type", sa.Text, nullable=False),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("schedule_position", sa.Integer, nullable=False),
    sa.Column("last_status", sa.Integer, nullable=False),
    sa.Column("next_attempt_time", _instant),
    sa.Column("deliver_time", _instant),
    sa.Column("version", sa.BigInteger, nullable=False),
    *_origin(),
    _of_order(),
    sa.Index("ix_notification_shard_order_id", "shard", "order_id"),
    sa.Index("ix_notification_tenant_id_notification_id", "tenant_id", "notification_id"),
    _due("ix_notification_next_attempt_time", "next_attempt_time"),
)

number_index = sa.Table(
    "number_index",
    metadata,
    *_key(),
    sa.Column("number", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("order_id", sa.Text, primary_key=True),
    sa.Column("business_id", sa.Text, nullable=False),
    sa.Column("traceparent", sa.Text, nullable=False),
    sa.Column("create_time", _instant, nullable=False, server_default=sa.func.now()),
    sa.Index("ix_number_index_number", "number"),
)

outbox_event = outbox_table(metadata)
idempotency_record = idempotency_table(metadata)
