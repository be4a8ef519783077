"""The tables of the gateway's database. Invariant: `shard` leads every key, and every row carries its
business identifier and the trace that made it."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Identity,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    false,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from runtime.database import new_metadata
from runtime.idempotency import idempotency_table
from runtime.outbox import outbox_table

metadata = new_metadata()


def _origin() -> tuple[Column[str], Column[str], Column[bytes]]:
    return (
        Column("business_id", Text, nullable=False),
        Column("traceparent", Text, nullable=False),
        Column("platform", LargeBinary, nullable=False),
    )


def _life() -> tuple[Column[int], Column[object], Column[object]]:
    return (
        Column("version", BigInteger, nullable=False),
        Column("create_time", DateTime(timezone=True), nullable=False, server_default=func.now()),
        Column("update_time", DateTime(timezone=True), nullable=False, server_default=func.now()),
    )


merchant = Table(
    "merchant",
    metadata,
    Column("shard", SmallInteger, primary_key=True, autoincrement=False),
    Column("merchant_id", Text, primary_key=True),
    Column("tenant_id", Text, nullable=False),
    Column("tenant_merchant_number", Text, nullable=False),
    Column("display_name", Text, nullable=False),
    Column("state", Text, nullable=False),
    *_origin(),
    *_life(),
    Index(None, "shard", "tenant_id", "tenant_merchant_number", unique=True),
    Index(None, "tenant_id", "merchant_id"),
)

payment_account = Table(
    "payment_account",
    metadata,
    Column("shard", SmallInteger, primary_key=True, autoincrement=False),
    Column("payment_account_id", Text, primary_key=True),
    Column("tenant_id", Text, nullable=False),
    Column("merchant_id", Text, nullable=False),
    Column("channel", Text, nullable=False),
    Column("display_name", Text, nullable=False),
    Column("settings", JSONB, nullable=False),
    Column("key_encryption_key_id", Text, nullable=False),
    Column("sealed_data_key", LargeBinary, nullable=False),
    Column("sealed_secrets", LargeBinary, nullable=False),
    Column("fee_ratio_millionths", Integer, nullable=False),
    Column("state", Text, nullable=False),
    *_origin(),
    *_life(),
    Index(None, "shard", "merchant_id", "payment_account_id"),
)

channel_order = Table(
    "channel_order",
    metadata,
    Column("shard", SmallInteger, primary_key=True, autoincrement=False),
    Column("channel_order_id", Text, primary_key=True),
    Column("tenant_id", Text, nullable=False),
    Column("payment_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("merchant_id", Text, nullable=False),
    Column("payment_account_id", Text, nullable=False),
    Column("channel", Text, nullable=False),
    Column("invoke_method", Text),
    Column("amount_minor_units", BigInteger, nullable=False),
    Column("currency_code", Text, nullable=False),
    Column("channel_fee_minor_units", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("channel_transaction_id", Text, nullable=False, server_default=""),
    Column("refunded_channel_order_id", Text, nullable=False, server_default=""),
    Column("reserved_refund_minor_units", BigInteger, nullable=False, server_default=text("0")),
    Column("failure_reason", Text),
    Column("channel_code", Text),
    Column("channel_message", Text),
    Column("outcome_safety", Text),
    Column("credential", JSONB(none_as_null=True)),
    Column("asked", JSONB, nullable=False),
    Column("sealed_asked", LargeBinary),
    Column("expire_time", DateTime(timezone=True)),
    Column("succeed_time", DateTime(timezone=True)),
    Column("close_requested", Boolean, nullable=False, server_default=false()),
    Column("next_step_time", DateTime(timezone=True)),
    Column("step_count", Integer, nullable=False, server_default=text("0")),
    *_origin(),
    *_life(),
    Index(None, "shard", "payment_id"),
    Index(None, "business_id"),
    Index(None, "tenant_id", "channel_order_id"),
    Index(None, "next_step_time", postgresql_where=text("next_step_time IS NOT NULL")),
    Index(None, "channel_transaction_id", postgresql_where=text("channel_transaction_id <> ''")),
)

notice = Table(
    "notice",
    metadata,
    Column("shard", SmallInteger, primary_key=True, autoincrement=False),
    Column("notice_id", Text, primary_key=True),
    Column("tenant_id", Text, nullable=False),
    Column("channel", Text, nullable=False),
    Column("payment_account_id", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("state", Text, nullable=False),
    Column("refusal", Text, nullable=False, server_default=""),
    Column("channel_order_id", Text, nullable=False, server_default=""),
    Column("receive_count", Integer, nullable=False, server_default=text("1")),
    Column("headers", JSONB, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("received_time", DateTime(timezone=True), nullable=False),
    Column("next_step_time", DateTime(timezone=True)),
    Column("step_count", Integer, nullable=False, server_default=text("0")),
    *_origin(),
    *_life(),
    Index(None, "shard", "payment_account_id", "digest", "refusal", unique=True),
    Index(None, "tenant_id", "notice_id"),
    Index(None, "business_id"),
    Index(None, "next_step_time", postgresql_where=text("next_step_time IS NOT NULL")),
)

channel_switch = Table(
    "channel_switch",
    metadata,
    Column("shard", SmallInteger, primary_key=True, autoincrement=False),
    Column("channel", Text, primary_key=True),
    Column("operation", Text, primary_key=True),
    Column("enabled", Boolean, nullable=False),
    *_origin(),
    *_life(),
)

channel_switch_change = Table(
    "channel_switch_change",
    metadata,
    Column("shard", SmallInteger, primary_key=True, autoincrement=False),
    Column("change_number", BigInteger, Identity(always=True), primary_key=True),
    Column("channel", Text, nullable=False),
    Column("operation", Text, nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("reason", Text, nullable=False),
    Column("operator", Text, nullable=False),
    Column("caller_service", Text, nullable=False),
    *_origin(),
    Column("create_time", DateTime(timezone=True), nullable=False, server_default=func.now()),
)

idempotency_record = idempotency_table(metadata)
outbox_event = outbox_table(metadata)
