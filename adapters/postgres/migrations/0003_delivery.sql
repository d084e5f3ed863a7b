-- The effect ledger: one row for each call that a decision asks for. Key and body are fixed when the row is made
-- and never change; a call that is sent again is sent with the same ones.
CREATE TABLE effect (
    order_id        bigint      NOT NULL,
    version         bigint      NOT NULL,  -- of the event that asks for the call
    kind            text        NOT NULL CHECK (kind IN ('create', 'update', 'cancel', 'complete')),
    idempotency_key uuid        NOT NULL,
    body            bytea       NOT NULL,
    body_digest     bytea       NOT NULL,  -- SHA-256
    state           text        NOT NULL DEFAULT 'due'
        CHECK (state IN ('due', 'retrying', 'in_doubt', 'parked', 'delivered', 'skipped')),
    attempts        integer     NOT NULL DEFAULT 0,
    noted_at        timestamptz NOT NULL DEFAULT now(),
    first_sent_at   timestamptz,
    settled_at      timestamptz,
    PRIMARY KEY (order_id, version)
) WITH (fillfactor = 80);

-- One cursor an order over its effects: what keeps its calls in order, whoever sends them.
-- A claim moves next_attempt_at to the end of its lease and sets a token that only the claimer knows.
CREATE TABLE delivery (
    order_id        bigint      PRIMARY KEY,
    head_version    bigint      NOT NULL,            -- of the last effect
    settled_version bigint      NOT NULL DEFAULT 0,  -- all effects up to here are delivered or skipped
    attempts        integer     NOT NULL DEFAULT 0,  -- of the first call that is not settled
    next_attempt_at timestamptz NOT NULL DEFAULT now(),
    lease_token     uuid,
    parked_at       timestamptz,
    parked_reason   text,
    CHECK (settled_version <= head_version)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX delivery_due ON delivery (next_attempt_at) WHERE settled_version < head_version AND parked_at IS NULL;
CREATE INDEX delivery_parked ON delivery (order_id) WHERE parked_at IS NOT NULL;

-- Every attempt at a call: when, how it ended, and a bounded piece of the answer.
CREATE TABLE attempt (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    order_id    bigint      NOT NULL,
    version     bigint      NOT NULL,
    started_at  timestamptz NOT NULL,
    duration_ms integer     NOT NULL,
    outcome     text        NOT NULL,
    status      integer,
    answer      text        NOT NULL DEFAULT ''
);
CREATE INDEX attempt_of_order ON attempt (order_id, id);

-- Who asked for what to be done again, and why.
CREATE TABLE replay (
    id           uuid        PRIMARY KEY,
    order_id     bigint      NOT NULL,
    mode         text        NOT NULL CHECK (mode IN ('redeliver', 'republish')),
    reason       text        NOT NULL,
    requested_at timestamptz NOT NULL DEFAULT now(),
    items        integer     NOT NULL
);
CREATE INDEX replay_of_order ON replay (order_id, requested_at);
