"""Merchants, payment accounts, channel orders, the inbox of notices and switches with their audit."""

from alembic import op

from runtime.shared_schema import create_shared_tables_v1, drop_shared_tables_v1

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_ORIGIN = """
    business_id text NOT NULL,
    traceparent text NOT NULL,
    platform bytea NOT NULL,
"""
_LIFE = """
    version bigint NOT NULL CHECK (version > 0),
    create_time timestamptz NOT NULL DEFAULT now(),
    update_time timestamptz NOT NULL DEFAULT now(),
"""

MERCHANT = f"""
CREATE TABLE merchant (
    shard smallint NOT NULL,
    merchant_id text NOT NULL,
    tenant_id text NOT NULL,
    tenant_merchant_number text NOT NULL,
    display_name text NOT NULL,
    state text NOT NULL CHECK (state IN ('ACTIVE', 'DISABLED')),
    {_ORIGIN}
    {_LIFE}
    CONSTRAINT pk_merchant PRIMARY KEY (shard, merchant_id)
);
CREATE UNIQUE INDEX ix_merchant_shard_tenant_id_tenant_merchant_number
    ON merchant (shard, tenant_id, tenant_merchant_number);
CREATE INDEX ix_merchant_tenant_id_merchant_id ON merchant (tenant_id, merchant_id);
"""

PAYMENT_ACCOUNT = f"""
CREATE TABLE payment_account (
    shard smallint NOT NULL,
    payment_account_id text NOT NULL,
    tenant_id text NOT NULL,
    merchant_id text NOT NULL,
    channel text NOT NULL,
    display_name text NOT NULL,
    settings jsonb NOT NULL,
    key_encryption_key_id text NOT NULL,
    sealed_data_key bytea NOT NULL,
    sealed_secrets bytea NOT NULL,
    fee_ratio_millionths integer NOT NULL CHECK (fee_ratio_millionths BETWEEN 0 AND 1000000),
    state text NOT NULL CHECK (state IN ('ENABLED', 'DISABLED')),
    {_ORIGIN}
    {_LIFE}
    CONSTRAINT pk_payment_account PRIMARY KEY (shard, payment_account_id)
);
CREATE INDEX ix_payment_account_shard_merchant_id_payment_account_id
    ON payment_account (shard, merchant_id, payment_account_id);
"""

CHANNEL_ORDER = f"""
CREATE TABLE channel_order (
    shard smallint NOT NULL,
    channel_order_id text NOT NULL,
    tenant_id text NOT NULL,
    payment_id text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('PAY', 'REFUND', 'PAYOUT', 'AUTHORIZATION', 'CAPTURE')),
    merchant_id text NOT NULL,
    payment_account_id text NOT NULL,
    channel text NOT NULL,
    invoke_method text,
    amount_minor_units bigint NOT NULL CHECK (amount_minor_units > 0),
    currency_code text NOT NULL,
    channel_fee_minor_units bigint NOT NULL
        CHECK (channel_fee_minor_units BETWEEN 0 AND amount_minor_units),
    state text NOT NULL CHECK (state IN (
        'PREPARED', 'SENT', 'ACCEPTED', 'SUCCEEDED', 'DECLINED', 'NOT_SENT', 'UNKNOWN', 'CLOSED')),
    channel_transaction_id text NOT NULL DEFAULT '',
    refunded_channel_order_id text NOT NULL DEFAULT '',
    reserved_refund_minor_units bigint NOT NULL DEFAULT 0
        CHECK (reserved_refund_minor_units BETWEEN 0 AND amount_minor_units),
    failure_reason text,
    channel_code text,
    channel_message text,
    outcome_safety text,
    credential jsonb,
    asked jsonb NOT NULL,
    sealed_asked bytea,
    expire_time timestamptz,
    succeed_time timestamptz,
    close_requested boolean NOT NULL DEFAULT false,
    next_step_time timestamptz,
    step_count integer NOT NULL DEFAULT 0,
    {_ORIGIN}
    {_LIFE}
    CONSTRAINT pk_channel_order PRIMARY KEY (shard, channel_order_id)
) WITH (fillfactor = 70);
CREATE INDEX ix_channel_order_shard_payment_id ON channel_order (shard, payment_id);
CREATE INDEX ix_channel_order_business_id ON channel_order (business_id);
CREATE INDEX ix_channel_order_tenant_id_channel_order_id ON channel_order (tenant_id, channel_order_id);
CREATE INDEX ix_channel_order_next_step_time ON channel_order (next_step_time) WHERE next_step_time IS NOT NULL;
CREATE INDEX ix_channel_order_channel_transaction_id ON channel_order (channel_transaction_id)
    WHERE channel_transaction_id <> '';
"""

NOTICE = f"""
CREATE TABLE notice (
    shard smallint NOT NULL,
    notice_id text NOT NULL,
    tenant_id text NOT NULL,
    channel text NOT NULL,
    payment_account_id text NOT NULL,
    digest bytea NOT NULL,
    state text NOT NULL CHECK (state IN ('RECEIVED', 'APPLIED', 'REPEATED', 'REFUSED')),
    refusal text NOT NULL DEFAULT '' CHECK ((refusal <> '') = (state = 'REFUSED')),
    channel_order_id text NOT NULL DEFAULT '',
    receive_count integer NOT NULL DEFAULT 1 CHECK (receive_count > 0),
    headers jsonb NOT NULL,
    body bytea NOT NULL,
    received_time timestamptz NOT NULL,
    next_step_time timestamptz,
    step_count integer NOT NULL DEFAULT 0,
    {_ORIGIN}
    {_LIFE}
    CONSTRAINT pk_notice PRIMARY KEY (shard, notice_id)
);
CREATE UNIQUE INDEX ix_notice_shard_payment_account_id_digest_refusal
    ON notice (shard, payment_account_id, digest, refusal);
CREATE INDEX ix_notice_tenant_id_notice_id ON notice (tenant_id, notice_id);
CREATE INDEX ix_notice_business_id ON notice (business_id);
CREATE INDEX ix_notice_next_step_time ON notice (next_step_time) WHERE next_step_time IS NOT NULL;
"""

CHANNEL_SWITCH = f"""
CREATE TABLE channel_switch (
    shard smallint NOT NULL,
    channel text NOT NULL,
    operation text NOT NULL,
    enabled boolean NOT NULL,
    {_ORIGIN}
    {_LIFE}
    CONSTRAINT pk_channel_switch PRIMARY KEY (shard, channel, operation)
);
CREATE TABLE channel_switch_change (
    shard smallint NOT NULL,
    change_number bigint GENERATED ALWAYS AS IDENTITY,
    channel text NOT NULL,
    operation text NOT NULL,
    enabled boolean NOT NULL,
    reason text NOT NULL,
    operator text NOT NULL,
    caller_service text NOT NULL,
    {_ORIGIN}
    create_time timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_channel_switch_change PRIMARY KEY (shard, change_number)
);
"""

GUARDS = """
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% of % is refused: its rows are kept as they are', TG_OP, TG_TABLE_NAME;
END $$;
CREATE TRIGGER keep_audit BEFORE UPDATE OR DELETE OR TRUNCATE ON channel_switch_change
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER keep_orders BEFORE DELETE OR TRUNCATE ON channel_order
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER keep_accounts BEFORE DELETE OR TRUNCATE ON payment_account
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""


def upgrade() -> None:
    create_shared_tables_v1()
    for statements in (MERCHANT, PAYMENT_ACCOUNT, CHANNEL_ORDER, NOTICE, CHANNEL_SWITCH, GUARDS):
        op.execute(statements)


def downgrade() -> None:
    op.execute(
        "DROP TABLE channel_switch_change, channel_switch, notice, channel_order, payment_account, merchant"
    )
    op.execute("DROP FUNCTION refuse_change")
    drop_shared_tables_v1()
