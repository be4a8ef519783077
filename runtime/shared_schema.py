"""The first form of the two tables that every service has, for the services' migrations. Invariant: frozen;
a later change is a new function that the next migration of each service calls."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op


def create_shared_tables_v1() -> None:
    """Creates `idempotency_record` and `outbox_event`; call it in a migration's `upgrade`."""
    op.create_table(
        "idempotency_record",
        sa.Column("shard", sa.SmallInteger(), nullable=False),
        sa.Column("caller", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("resource_id", sa.Text()),
        sa.Column("response", sa.LargeBinary()),
        sa.Column(
            "claimed_by", sa.Integer(), nullable=False, comment="process id of the claiming connection"
        ),
        sa.Column("claimed_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("locked_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_time", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.PrimaryKeyConstraint("shard", "caller", "method", "request_id", name="pk_idempotency_record"),
        postgresql_with={"fillfactor": "80"},
    )
    op.create_index(
        "ix_idempotency_record_created_time", "idempotency_record", ["created_time"], postgresql_using="brin"
    )
    op.create_table(
        "outbox_event",
        sa.Column("shard", sa.SmallInteger(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("revision", sa.BigInteger()),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("event_type", sa.Text(), nullable=False),
        sa.Column("resource_id", sa.Text(), nullable=False),
        sa.Column("resource_version", sa.BigInteger(), nullable=False),
        sa.Column("business_id", sa.Text(), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("traceparent", sa.Text(), nullable=False),
        sa.Column("platform", sa.LargeBinary(), nullable=False),
        sa.Column("created_time", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("published_time", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("shard", "event_id", name="pk_outbox_event"),
        sa.UniqueConstraint("revision", name="uq_outbox_event_revision"),
        postgresql_with={"fillfactor": "60", "autovacuum_vacuum_scale_factor": "0.05"},
    )
    op.create_index(
        "ix_outbox_event_waiting",
        "outbox_event",
        ["sequence"],
        postgresql_where=sa.text("revision IS NULL"),
    )


def drop_shared_tables_v1() -> None:
    """Drops both tables; call it in a migration's `downgrade`."""
    op.drop_table("outbox_event")
    op.drop_table("idempotency_record")
