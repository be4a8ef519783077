"""Accounts, journals, entries, holds and posting rules, with guards that keep what is booked as it was booked."""

from alembic import op

from runtime.shared_schema import create_shared_tables_v1

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE subject (
    subject_code text PRIMARY KEY,
    parent_subject_code text NOT NULL DEFAULT '',
    display_name text NOT NULL,
    category text NOT NULL CHECK (category IN ('ASSET', 'LIABILITY', 'EQUITY', 'INCOME', 'EXPENSE')),
    normal_side text NOT NULL CHECK (normal_side IN ('DEBIT', 'CREDIT')),
    leaf boolean NOT NULL
);

CREATE TABLE account (
    shard smallint NOT NULL,
    account_id text NOT NULL,
    subject_code text NOT NULL REFERENCES subject,
    owner_id text NOT NULL,
    currency_code text NOT NULL,
    normal_side text NOT NULL CHECK (normal_side IN ('DEBIT', 'CREDIT')),
    floor text NOT NULL CHECK (floor IN ('ZERO', 'OVERDRAFT', 'NONE')),
    overdraft_minor_units bigint NOT NULL DEFAULT 0 CHECK (overdraft_minor_units >= 0),
    shadow boolean NOT NULL,
    tenant_id text NOT NULL,
    business_id text NOT NULL,
    traceparent text NOT NULL,
    create_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (shard, account_id)
);
CREATE INDEX account_owner ON account (owner_id);

-- The row that every posting changes: no secondary index, and room on the page, so that updates stay in place.
-- The state stands here, not beside the fixed properties, so that whoever locks the row sees the present one.
CREATE TABLE account_balance (
    shard smallint NOT NULL,
    account_id text NOT NULL,
    normal_side text NOT NULL,
    state text NOT NULL CHECK (state IN ('ACTIVE', 'DEBIT_BLOCKED', 'CREDIT_BLOCKED', 'FROZEN', 'CLOSED')),
    lowest_minor_units bigint,
    debit_minor_units bigint NOT NULL DEFAULT 0 CHECK (debit_minor_units >= 0),
    credit_minor_units bigint NOT NULL DEFAULT 0 CHECK (credit_minor_units >= 0),
    held_minor_units bigint NOT NULL DEFAULT 0 CHECK (held_minor_units >= 0),
    entry_sequence bigint NOT NULL DEFAULT 0,
    version bigint NOT NULL DEFAULT 1,
    PRIMARY KEY (shard, account_id),
    FOREIGN KEY (shard, account_id) REFERENCES account,
    CONSTRAINT balance_floor CHECK (
        lowest_minor_units IS NULL OR
        CASE normal_side WHEN 'DEBIT' THEN debit_minor_units - credit_minor_units
                         ELSE credit_minor_units - debit_minor_units END - held_minor_units >= lowest_minor_units
    )
) WITH (fillfactor = 50);

CREATE TABLE journal (
    shard smallint NOT NULL,
    journal_id text NOT NULL,
    tenant_id text NOT NULL,
    caller text NOT NULL,
    request_id text NOT NULL,
    fingerprint bytea NOT NULL,
    event_code text NOT NULL,
    business_number text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('NORMAL', 'REVERSAL', 'ADJUSTMENT')),
    posting_rule_version integer NOT NULL,
    hold_id text NOT NULL DEFAULT '',
    reversed_journal_id text NOT NULL DEFAULT '',
    line_count integer NOT NULL CHECK (line_count >= 2),
    accounting_date date NOT NULL,
    effective_time timestamptz NOT NULL,
    business_id text NOT NULL,
    traceparent text NOT NULL,
    create_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (shard, journal_id),
    -- The journal row is its own idempotency record.
    CONSTRAINT journal_request UNIQUE (shard, caller, request_id),
    CONSTRAINT journal_event UNIQUE (shard, event_code, business_number)
);
CREATE UNIQUE INDEX journal_reversed_once ON journal (shard, reversed_journal_id) WHERE reversed_journal_id <> '';
CREATE INDEX journal_business ON journal (business_id);

CREATE TABLE entry (
    shard smallint NOT NULL,
    account_id text NOT NULL,
    account_sequence bigint NOT NULL,
    journal_id text NOT NULL,
    line_number smallint NOT NULL,
    side text NOT NULL CHECK (side IN ('DEBIT', 'CREDIT')),
    amount_minor_units bigint NOT NULL CHECK (amount_minor_units > 0),
    currency_code text NOT NULL,
    balance_after_minor_units bigint NOT NULL,
    accounting_date date NOT NULL,
    create_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (shard, account_id, account_sequence)
);
CREATE UNIQUE INDEX entry_journal_line ON entry (journal_id, line_number);

CREATE TABLE posting_refusal (
    shard smallint NOT NULL,
    caller text NOT NULL,
    request_id text NOT NULL,
    fingerprint bytea NOT NULL,
    reason text NOT NULL,
    message text NOT NULL,
    field text NOT NULL,
    metadata jsonb NOT NULL,
    business_id text NOT NULL,
    traceparent text NOT NULL,
    create_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (shard, caller, request_id)
);

CREATE TABLE hold (
    shard smallint NOT NULL,
    hold_id text NOT NULL,
    tenant_id text NOT NULL,
    caller text NOT NULL,
    request_id text NOT NULL,
    fingerprint bytea NOT NULL,
    account_id text NOT NULL,
    currency_code text NOT NULL,
    amount_minor_units bigint NOT NULL CHECK (amount_minor_units > 0),
    captured_minor_units bigint NOT NULL DEFAULT 0 CHECK (captured_minor_units >= 0),
    released_minor_units bigint NOT NULL DEFAULT 0 CHECK (released_minor_units >= 0),
    state text NOT NULL CHECK (state IN ('OPEN', 'CAPTURED', 'RELEASED', 'EXPIRED')),
    business_number text NOT NULL,
    expire_time timestamptz,
    version bigint NOT NULL DEFAULT 1,
    business_id text NOT NULL,
    traceparent text NOT NULL,
    platform bytea NOT NULL,
    create_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    update_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (shard, hold_id),
    CONSTRAINT hold_request UNIQUE (shard, caller, request_id),
    FOREIGN KEY (shard, account_id) REFERENCES account,
    CONSTRAINT hold_not_exceeded CHECK (captured_minor_units + released_minor_units <= amount_minor_units)
);
CREATE INDEX hold_business ON hold (business_id);
CREATE INDEX hold_expiry ON hold (expire_time) WHERE state = 'OPEN' AND expire_time IS NOT NULL;

CREATE TABLE hold_event (
    shard smallint NOT NULL,
    hold_id text NOT NULL,
    version bigint NOT NULL,
    action text NOT NULL CHECK (action IN ('PLACE', 'CAPTURE', 'RELEASE', 'EXPIRE')),
    amount_minor_units bigint NOT NULL CHECK (amount_minor_units >= 0),
    released_minor_units bigint NOT NULL DEFAULT 0 CHECK (released_minor_units >= 0),
    journal_id text NOT NULL DEFAULT '',
    create_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (shard, hold_id, version)
);

CREATE TABLE posting_rule (
    event_code text NOT NULL,
    version integer NOT NULL CHECK (version > 0),
    lines jsonb NOT NULL,
    state text NOT NULL CHECK (state IN ('PROPOSED', 'APPROVED', 'RETIRED')),
    maker text NOT NULL,
    checker text NOT NULL,
    effective_date date NOT NULL,
    create_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (event_code, version),
    CONSTRAINT maker_is_not_checker CHECK (state = 'PROPOSED' OR maker <> checker)
);

CREATE TABLE account_change (
    shard smallint NOT NULL,
    account_id text NOT NULL,
    version bigint NOT NULL,
    state_from text NOT NULL,
    state_to text NOT NULL,
    reason text NOT NULL,
    caller text NOT NULL,
    operator text NOT NULL,
    traceparent text NOT NULL,
    create_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (shard, account_id, version)
);
"""

GUARDS = """
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'restrict_violation';
END $$;
"""

APPEND_ONLY = ("account", "journal", "entry", "hold_event", "posting_refusal", "account_change")

SUBJECTS = """
INSERT INTO subject (subject_code, parent_subject_code, display_name, category, normal_side, leaf) VALUES
    ('1', '', 'Assets', 'ASSET', 'DEBIT', false),
    ('11', '1', 'Funds at channels', 'ASSET', 'DEBIT', false),
    ('1101', '11', 'Channel clearing', 'ASSET', 'DEBIT', true),
    ('2', '', 'Liabilities', 'LIABILITY', 'CREDIT', false),
    ('21', '2', 'Balances', 'LIABILITY', 'CREDIT', false),
    ('2101', '21', 'Merchant balances', 'LIABILITY', 'CREDIT', true),
    ('2102', '21', 'User balances', 'LIABILITY', 'CREDIT', true),
    ('22', '2', 'Funds in transit', 'LIABILITY', 'CREDIT', false),
    ('2201', '22', 'Payer transit', 'LIABILITY', 'CREDIT', true),
    ('3', '', 'Equity', 'EQUITY', 'CREDIT', false),
    ('3101', '3', 'Own capital', 'EQUITY', 'CREDIT', true),
    ('4', '', 'Income', 'INCOME', 'CREDIT', false),
    ('4101', '4', 'Fee income', 'INCOME', 'CREDIT', true),
    ('5', '', 'Expenses', 'EXPENSE', 'DEBIT', false),
    ('5101', '5', 'Channel fees', 'EXPENSE', 'DEBIT', true);
"""

RULES = """
INSERT INTO posting_rule (event_code, version, lines, state, maker, checker, effective_date) VALUES
    ('RECHARGE', 1, '[
        {"role": "channel_clearing", "side": "DEBIT", "component": "net"},
        {"role": "channel_fee_expense", "side": "DEBIT", "component": "fee"},
        {"role": "beneficiary", "side": "CREDIT", "component": "gross"}]',
     'APPROVED', 'release', 'release-review', '2000-01-01'),
    ('TRANSFER', 1, '[
        {"role": "source", "side": "DEBIT", "component": "gross"},
        {"role": "destination", "side": "CREDIT", "component": "gross"}]',
     'APPROVED', 'release', 'release-review', '2000-01-01'),
    ('REFUND', 1, '[
        {"role": "source", "side": "DEBIT", "component": "gross"},
        {"role": "channel_clearing", "side": "CREDIT", "component": "gross"}]',
     'APPROVED', 'release', 'release-review', '2000-01-01'),
    ('WITHDRAWAL', 1, '[
        {"role": "source", "side": "DEBIT", "component": "gross"},
        {"role": "channel_clearing", "side": "CREDIT", "component": "gross"}]',
     'APPROVED', 'release', 'release-review', '2000-01-01');
"""


def upgrade() -> None:
    """Creates the ledger."""
    create_shared_tables_v1()
    op.execute(TABLES)
    op.execute(GUARDS)
    for table in APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION refuse_change()"
        )
        op.execute(
            f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
        )
    op.execute(SUBJECTS)
    op.execute(RULES)


def downgrade() -> None:
    """Refused: books are never dropped by a schema change."""
    raise RuntimeError("the ledger's first version is not taken back")
