-- Replays of many orders at once: first a preview with a frozen set of orders, then, with the preview's token, a run.
CREATE TABLE bulk_replay (
    number          bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id              uuid        NOT NULL UNIQUE,
    mode            text        NOT NULL CHECK (mode IN ('republish', 'redeliver', 'retry')),
    state           text        NOT NULL DEFAULT 'previewed'
        CHECK (state IN ('previewed', 'running', 'done', 'cancelled', 'failed')),
    selection       jsonb       NOT NULL,              -- what was asked for; of named orders only their number
    reason          text        NOT NULL,
    rate_per_second float8      NOT NULL CHECK (rate_per_second > 0),
    orders          bigint[]    NOT NULL,              -- ascending, each once; never changes
    total           integer     NOT NULL CHECK (total = cardinality(orders)),
    cashback        numeric     NOT NULL,              -- of all of them, when the preview was made
    token_digest    bytea       NOT NULL UNIQUE,       -- SHA-256
    done            integer     NOT NULL DEFAULT 0,    -- of `orders`, from the first on, `done` and `failed` are over
    failed          integer     NOT NULL DEFAULT 0,
    failures        jsonb       NOT NULL DEFAULT '[]', -- the first ones: [[order id, reason], …]
    note            text,                              -- why it stands still, or why it failed
    requested_at    timestamptz NOT NULL DEFAULT now(),
    expires_at      timestamptz NOT NULL,              -- the token
    started_at      timestamptz,
    ended_at        timestamptz,
    lease_token     uuid,                              -- of the process that works on it
    lease_until     timestamptz,
    CHECK (done + failed <= total)
) WITH (fillfactor = 50);
CREATE INDEX bulk_replay_running ON bulk_replay (number) WHERE state = 'running';
CREATE INDEX bulk_replay_previews ON bulk_replay (expires_at) WHERE state = 'previewed';

-- A bulk replay records each of its orders under its own id.
ALTER TABLE replay DROP CONSTRAINT replay_pkey, ADD PRIMARY KEY (id, order_id);

-- Orders by their last change. Rows lie about in the order in which the orders began, so ranges of blocks will do;
-- and unlike another kind of index this one lets an update stay within its block (from PostgreSQL 16 on).
CREATE INDEX orders_recorded_at ON orders USING brin (recorded_at_ns) WITH (pages_per_range = 32, autosummarize = on);
