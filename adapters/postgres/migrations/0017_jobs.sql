-- Bulk replays and comparisons are jobs of several kinds: one table instead of two. Rows are copied, those at work with
-- their leases: whoever comes next goes on with them where they stood once those are over.
CREATE TABLE job (
    number          bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id              uuid        NOT NULL UNIQUE,
    kind            text        NOT NULL
        CHECK (kind IN ('republish', 'redeliver', 'retry', 'settle', 'release', 'compare')),
    state           text        NOT NULL
        CHECK (state IN ('previewed', 'running', 'done', 'cancelled', 'failed')),
    reason          text        NOT NULL,
    operator        text,                              -- who has started it; as given: a claim, no proof
    via             text,
    role            text,
    rate_per_second float8      NOT NULL CHECK (rate_per_second > 0),
    orders          bigint[],                          -- ascending, each once; never changes; null: all there are
    total           bigint      NOT NULL CHECK (total = cardinality(orders)),  -- of all: how many there were at first
    place           bigint      NOT NULL DEFAULT 0,    -- the last order that is over
    done            bigint      NOT NULL DEFAULT 0,    -- of the orders, from the first on, `done` and `failed` are over
    failed          bigint      NOT NULL DEFAULT 0,
    verdicts        jsonb       NOT NULL DEFAULT '{}', -- of a comparison: how many orders of each
    findings        jsonb       NOT NULL DEFAULT '[]', -- the first orders that don't agree; else [[order id, reason], …]
    note            text,                              -- why it stands still, or why it failed
    requested_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    started_at      timestamptz,
    ended_at        timestamptz,
    lease_token     uuid,                              -- of the process that works on it
    lease_until     timestamptz,
    -- Of what begins with a preview:
    selection       jsonb       NOT NULL DEFAULT '{}', -- what was asked for; of named orders only their number
    token_digest    bytea       UNIQUE,                -- SHA-256
    expires_at      timestamptz,                       -- the token
    cashback        numeric,                           -- of all orders, as what follows: when the preview was made
    options         jsonb       NOT NULL DEFAULT '{}', -- of redeliveries
    calls           integer,
    suppressed      integer,
    amount_at_risk  numeric,
    at_stake        numeric,                           -- of the doubts that are settled
    CHECK (kind = 'compare' OR orders IS NOT NULL AND expires_at IS NOT NULL AND cashback IS NOT NULL),
    CHECK (done + failed <= total OR orders IS NULL)
) WITH (fillfactor = 50);

INSERT INTO job (id, kind, state, reason, operator, via, role, rate_per_second, orders, total, place, done, failed,
                 verdicts, findings, note, requested_at, started_at, ended_at, lease_token, lease_until, selection,
                 token_digest, expires_at, cashback, options, calls, suppressed, amount_at_risk, at_stake)
SELECT * FROM (
    SELECT b.id, b.mode, b.state, b.reason, a.operator, a.via, a.role, b.rate_per_second, b.orders, b.total::bigint,
           coalesce(b.orders[b.done + b.failed], 0), b.done::bigint, b.failed::bigint, '{}'::jsonb, b.failures, b.note,
           b.requested_at, b.started_at, b.ended_at, b.lease_token, b.lease_until, b.selection, b.token_digest,
           b.expires_at, b.cashback, b.wish, b.calls, b.suppressed, b.amount_at_risk, b.at_stake
    FROM bulk_replay AS b
    LEFT JOIN LATERAL (
        SELECT operator, via, role FROM operator_action
        WHERE bulk_id = b.id AND order_id IS NULL AND action = 'bulk_start' ORDER BY id LIMIT 1
    ) AS a ON true
    UNION ALL
    SELECT c.id, 'compare', c.state, c.reason, c.operator, NULL, NULL, c.per_second, c.orders, c.total, c.place,
           (SELECT coalesce(sum(number::bigint), 0) FROM jsonb_each_text(c.verdicts) AS v (verdict, number)), 0,
           c.verdicts, c.findings, c.note, c.requested_at, c.requested_at, c.ended_at, c.lease, c.lease_until,
           '{}', NULL, NULL, NULL, '{}', NULL, NULL, NULL, NULL
    FROM comparison AS c
) AS former
ORDER BY requested_at;

CREATE INDEX job_running ON job (number) WHERE state = 'running';
CREATE INDEX job_previews ON job (expires_at) WHERE state = 'previewed';
-- One comparison of all orders at a time, and one of some.
CREATE UNIQUE INDEX job_comparing ON job ((orders IS NULL)) WHERE kind = 'compare' AND state = 'running';

DROP TABLE bulk_replay, comparison;
