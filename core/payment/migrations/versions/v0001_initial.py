"""The first schema of PaymentCore.

Revision ID: 0001
"""

from __future__ import annotations

from alembic import op

from runtime.shared_schema import create_shared_tables_v1

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE payment (
    shard smallint NOT NULL,
    payment_id text NOT NULL,
    tenant_id text NOT NULL,
    kind text NOT NULL,
    state text NOT NULL,
    merchant_id text NOT NULL,
    order_id text NOT NULL,
    transaction_number text NOT NULL,
    amount_minor_units bigint NOT NULL,
    currency_code text NOT NULL,
    channel_fee_minor_units bigint,
    source_account_id text NOT NULL,
    destination_account_id text NOT NULL,
    payment_account_id text NOT NULL,
    invoke_method text,
    channel_order_id text NOT NULL,
    channel_order_version bigint NOT NULL,
    channel_transaction_id text NOT NULL,
    refunded_payment_id text NOT NULL,
    refunded_minor_units bigint NOT NULL,
    refunding_minor_units bigint NOT NULL,
    journal_id text NOT NULL,
    hold_id text NOT NULL,
    failure_reason text,
    failure_channel_code text,
    failure_outcome_safety text,
    failure_advice text,
    credential bytea,
    channel_command bytea,
    posting_lines jsonb,
    posting_round integer NOT NULL,
    resolution text,
    give_back_payment_id text NOT NULL,
    steps jsonb NOT NULL,
    step_try_count integer NOT NULL,
    next_step_time timestamptz,
    request_id text NOT NULL,
    answered boolean NOT NULL,
    expire_time timestamptz,
    succeed_time timestamptz,
    business_id text NOT NULL,
    traceparent text NOT NULL,
    platform bytea NOT NULL,
    version bigint NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now(),
    update_time timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_payment PRIMARY KEY (shard, payment_id),
    CONSTRAINT ck_payment_amount_positive CHECK (amount_minor_units > 0),
    CONSTRAINT ck_payment_refunds_within_amount CHECK (
        refunded_minor_units >= 0 AND refunding_minor_units >= 0
        AND refunded_minor_units + refunding_minor_units <= amount_minor_units)
) WITH (fillfactor = 70);
CREATE INDEX ix_payment_next_step_time ON payment (next_step_time) WHERE next_step_time IS NOT NULL;
CREATE INDEX ix_payment_business_id ON payment (business_id);
CREATE INDEX ix_payment_order_id ON payment (order_id) WHERE order_id <> '';
CREATE INDEX ix_payment_tenant_id_payment_id ON payment (tenant_id, payment_id);
CREATE INDEX ix_payment_refunded_payment_id ON payment (refunded_payment_id) WHERE refunded_payment_id <> '';
CREATE UNIQUE INDEX ix_payment_step ON payment (shard, tenant_id, kind, transaction_number, request_id)
    WHERE transaction_number <> '' AND request_id <> '';

CREATE VIEW payment_step AS
SELECT payment.shard, payment.payment_id, entry.ordinality AS position, entry.step ->> 0 AS step,
    entry.step ->> 1 AS state, (entry.step ->> 2)::integer AS try_count, (entry.step ->> 3)::timestamptz AS update_time
FROM payment, jsonb_array_elements(payment.steps) WITH ORDINALITY AS entry (step, ordinality);

CREATE TABLE risk_counter (
    shard smallint NOT NULL,
    subject text NOT NULL,
    window_start timestamptz NOT NULL,
    payment_count integer NOT NULL,
    CONSTRAINT pk_risk_counter PRIMARY KEY (shard, subject)
) WITH (fillfactor = 50);

CREATE TABLE payment_resolution (
    shard smallint NOT NULL,
    payment_id text NOT NULL,
    version bigint NOT NULL,
    resolution text NOT NULL,
    evidence text NOT NULL,
    operator text NOT NULL,
    caller text NOT NULL,
    business_id text NOT NULL,
    traceparent text NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_payment_resolution PRIMARY KEY (shard, payment_id, version)
);
"""

GUARDS = """
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER payment_resolution_append_only BEFORE UPDATE OR DELETE ON payment_resolution
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER payment_resolution_no_truncate BEFORE TRUNCATE ON payment_resolution
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER payment_never_deleted BEFORE DELETE ON payment
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
"""


def upgrade() -> None:
    """Creates the tables, the view of steps, and the guards of what is append-only."""
    create_shared_tables_v1()
    op.execute(TABLES)
    op.execute(GUARDS)
