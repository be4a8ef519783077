"""Orders, attempts, refunds, notifications and the index of numbers, with checks that no statement can get around."""

from alembic import op

from runtime.shared_schema import create_shared_tables_v1, drop_shared_tables_v1

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# Orders, attempts and refunds are changed several times in their first seconds: room on the page keeps them in place.
TABLES = """
CREATE TABLE orders (
    shard smallint NOT NULL,
    order_id text NOT NULL,
    tenant_id text NOT NULL,
    merchant_id text NOT NULL,
    merchant_order_id text NOT NULL CHECK (merchant_order_id <> ''),
    merchant_serial_number text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('PURCHASE', 'RECHARGE', 'WITHDRAWAL', 'TRANSFER', 'SPLIT_PURCHASE',
                                       'PREAUTHORIZED_PURCHASE')),
    state text NOT NULL CHECK (state IN ('CREATED', 'PAYING', 'PAID', 'PARTLY_REFUNDED', 'REFUNDED', 'CLOSING',
                                         'CLOSED', 'EXPIRED', 'FAILED')),
    amount_minor_units bigint NOT NULL CHECK (amount_minor_units > 0),
    currency_code text NOT NULL,
    paid_minor_units bigint NOT NULL,
    refunded_minor_units bigint NOT NULL CHECK (refunded_minor_units >= 0),
    refunding_minor_units bigint NOT NULL CHECK (refunding_minor_units >= 0),
    subject text NOT NULL,
    purpose jsonb NOT NULL,
    notify_url text NOT NULL,
    annotations jsonb NOT NULL,
    winning_attempt_id text NOT NULL,
    closing_to text CHECK (closing_to IN ('CLOSED', 'EXPIRED')),
    attempt_count integer NOT NULL,
    refund_count integer NOT NULL,
    expire_time timestamptz NOT NULL,
    pay_time timestamptz,
    step_try_count integer NOT NULL,
    next_step_time timestamptz,
    version bigint NOT NULL,
    business_id text NOT NULL,
    traceparent text NOT NULL,
    platform bytea NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now(),
    update_time timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_orders PRIMARY KEY (shard, order_id),
    CONSTRAINT ck_orders_paid CHECK (paid_minor_units IN (0, amount_minor_units)),
    CONSTRAINT ck_orders_refund_within_paid CHECK (refunded_minor_units + refunding_minor_units <= paid_minor_units),
    CONSTRAINT ck_orders_paid_state CHECK (
        (state IN ('PAID', 'PARTLY_REFUNDED', 'REFUNDED')) = (paid_minor_units = amount_minor_units)
    ),
    CONSTRAINT ck_orders_paid_has_winner CHECK (paid_minor_units = 0 OR winning_attempt_id <> ''),
    CONSTRAINT ck_orders_next_step CHECK (
        (state IN ('CREATED', 'PAYING', 'CLOSING')) = (next_step_time IS NOT NULL)
    )
) WITH (fillfactor = 60);
CREATE UNIQUE INDEX uq_orders_merchant_order ON orders (shard, tenant_id, merchant_id, merchant_order_id);
CREATE INDEX ix_orders_tenant_id_order_id ON orders (tenant_id, order_id);
CREATE INDEX ix_orders_merchant_id_order_id ON orders (merchant_id, order_id);
CREATE INDEX ix_orders_business_id ON orders (business_id);
CREATE INDEX ix_orders_merchant_order_id ON orders (merchant_order_id);
CREATE INDEX ix_orders_merchant_serial_number ON orders (merchant_serial_number) WHERE merchant_serial_number <> '';
CREATE INDEX ix_orders_next_step_time ON orders (next_step_time) WHERE next_step_time IS NOT NULL;

CREATE TABLE attempt (
    shard smallint NOT NULL,
    attempt_id text NOT NULL,
    order_id text NOT NULL,
    state text NOT NULL CHECK (state IN ('CREATED', 'CHALLENGED', 'PENDING', 'UNKNOWN', 'PAID', 'SUCCEEDED', 'FAILED',
                                         'CLOSING', 'CLOSED', 'SUPERSEDED', 'IN_REVIEW')),
    instruction jsonb NOT NULL,
    request_id text NOT NULL,
    payment_account_id text NOT NULL,
    payment_id text NOT NULL,
    payment_version bigint NOT NULL,
    transfer_payment_id text NOT NULL,
    transfer_round integer NOT NULL,
    channel_order_id text NOT NULL,
    channel_transaction_id text NOT NULL,
    credential bytea NOT NULL,
    failure_reason text NOT NULL,
    channel_code text NOT NULL,
    refusal jsonb,
    step_try_count integer NOT NULL,
    next_step_time timestamptz,
    version bigint NOT NULL,
    business_id text NOT NULL,
    traceparent text NOT NULL,
    platform bytea NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now(),
    update_time timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_attempt PRIMARY KEY (shard, attempt_id),
    CONSTRAINT fk_attempt_shard_order_id_orders FOREIGN KEY (shard, order_id) REFERENCES orders,
    CONSTRAINT ck_attempt_next_step CHECK (
        CASE WHEN state IN ('SUCCEEDED', 'FAILED', 'SUPERSEDED') THEN next_step_time IS NULL
             WHEN state = 'CLOSED' THEN true
             ELSE next_step_time IS NOT NULL END
    )
) WITH (fillfactor = 60);
CREATE INDEX ix_attempt_shard_order_id ON attempt (shard, order_id);
CREATE UNIQUE INDEX uq_attempt_winner ON attempt (shard, order_id) WHERE state IN ('PAID', 'SUCCEEDED');
CREATE INDEX ix_attempt_next_step_time ON attempt (next_step_time) WHERE next_step_time IS NOT NULL;

CREATE TABLE refund (
    shard smallint NOT NULL,
    refund_id text NOT NULL,
    order_id text NOT NULL,
    tenant_id text NOT NULL,
    merchant_id text NOT NULL,
    merchant_refund_id text NOT NULL,
    attempt_id text NOT NULL,
    amount_minor_units bigint NOT NULL CHECK (amount_minor_units > 0),
    currency_code text NOT NULL,
    reason text NOT NULL,
    state text NOT NULL CHECK (state IN ('ACCEPTED', 'PENDING', 'UNKNOWN', 'SUCCEEDED', 'FAILED', 'IN_REVIEW')),
    automatic boolean NOT NULL,
    request_id text NOT NULL,
    payment_id text NOT NULL,
    payment_version bigint NOT NULL,
    round_number integer NOT NULL,
    legs jsonb NOT NULL,
    failure_reason text NOT NULL,
    channel_code text NOT NULL,
    succeed_time timestamptz,
    step_try_count integer NOT NULL,
    next_step_time timestamptz,
    version bigint NOT NULL,
    business_id text NOT NULL,
    traceparent text NOT NULL,
    platform bytea NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now(),
    update_time timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_refund PRIMARY KEY (shard, refund_id),
    CONSTRAINT fk_refund_shard_order_id_orders FOREIGN KEY (shard, order_id) REFERENCES orders,
    CONSTRAINT ck_refund_next_step CHECK ((state IN ('SUCCEEDED', 'FAILED')) = (next_step_time IS NULL)),
    CONSTRAINT ck_refund_automatic_is_not_given_up CHECK (NOT (automatic AND state = 'FAILED'))
) WITH (fillfactor = 70);
CREATE INDEX ix_refund_shard_order_id ON refund (shard, order_id);
CREATE UNIQUE INDEX uq_refund_merchant_refund ON refund (shard, tenant_id, merchant_id, merchant_refund_id)
    WHERE merchant_refund_id <> '';
CREATE INDEX ix_refund_merchant_refund_id ON refund (merchant_refund_id) WHERE merchant_refund_id <> '';
CREATE INDEX ix_refund_next_step_time ON refund (next_step_time) WHERE next_step_time IS NOT NULL;

CREATE TABLE notification (
    shard smallint NOT NULL,
    notification_id text NOT NULL,
    order_id text NOT NULL,
    tenant_id text NOT NULL,
    event_type text NOT NULL,
    url text NOT NULL,
    host text NOT NULL,
    body bytea NOT NULL,
    state text NOT NULL CHECK (state IN ('DUE', 'RETRYING', 'DELIVERED', 'GIVEN_UP')),
    attempts integer NOT NULL,
    schedule_position integer NOT NULL,
    last_status integer NOT NULL,
    next_attempt_time timestamptz,
    deliver_time timestamptz,
    version bigint NOT NULL,
    business_id text NOT NULL,
    traceparent text NOT NULL,
    platform bytea NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now(),
    update_time timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_notification PRIMARY KEY (shard, notification_id),
    CONSTRAINT fk_notification_shard_order_id_orders FOREIGN KEY (shard, order_id) REFERENCES orders,
    CONSTRAINT ck_notification_next_attempt CHECK (
        (state IN ('DUE', 'RETRYING')) = (next_attempt_time IS NOT NULL)
    )
) WITH (fillfactor = 80);
CREATE INDEX ix_notification_shard_order_id ON notification (shard, order_id);
CREATE INDEX ix_notification_tenant_id_notification_id ON notification (tenant_id, notification_id);
CREATE INDEX ix_notification_next_attempt_time ON notification (next_attempt_time)
    WHERE next_attempt_time IS NOT NULL;

CREATE TABLE number_index (
    shard smallint NOT NULL,
    number text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('payment', 'channel_order', 'channel_transaction')),
    order_id text NOT NULL,
    business_id text NOT NULL,
    traceparent text NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_number_index PRIMARY KEY (shard, number, kind, order_id)
);
CREATE INDEX ix_number_index_number ON number_index (number);
"""

# What identifies an order, and how much it is over, never changes; what a number was known by is never forgotten.
GUARDS = """
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER number_index_append_only BEFORE UPDATE OR DELETE ON number_index
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER orders_identity BEFORE UPDATE OF shard, order_id, tenant_id, merchant_id, merchant_order_id, kind,
    amount_minor_units, currency_code, purpose, business_id ON orders
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
"""


def upgrade() -> None:
    op.execute(TABLES)
    op.execute(GUARDS)
    create_shared_tables_v1()


def downgrade() -> None:
    drop_shared_tables_v1()
    op.execute("DROP TABLE number_index, notification, refund, attempt, orders")
    op.execute("DROP FUNCTION refuse_change")
