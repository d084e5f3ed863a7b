-- Comparisons with the third party's books that people have asked for: of some orders, or of all. A process does one
-- under a lease, a few orders at a time; `place` is the last order that it has passed.
CREATE TABLE comparison (
    id            uuid             PRIMARY KEY,
    number        bigint           GENERATED ALWAYS AS IDENTITY UNIQUE,
    state         text             NOT NULL DEFAULT 'running'
        CHECK (state IN ('running', 'done', 'cancelled', 'failed')),
    orders        bigint[],                              -- null: all
    total         bigint           NOT NULL,             -- of all orders: how many there were at the start
    per_second    double precision NOT NULL CHECK (per_second > 0),
    operator      text             NOT NULL,
    reason        text             NOT NULL,
    place         bigint           NOT NULL DEFAULT 0,
    verdicts      jsonb            NOT NULL DEFAULT '{}', -- how many orders of each
    findings      jsonb            NOT NULL DEFAULT '[]', -- the first ones that don't agree
    note          text,
    requested_at  timestamptz      NOT NULL DEFAULT clock_timestamp(),
    ended_at      timestamptz,
    lease         uuid,
    lease_until   timestamptz
);
-- One of all orders at a time, and one of some.
CREATE UNIQUE INDEX comparison_running ON comparison ((orders IS NULL)) WHERE state = 'running';

ALTER TABLE operator_action
    DROP CONSTRAINT operator_action_action_check,
    ADD CONSTRAINT operator_action_action_check
        CHECK (action IN ('retry', 'skip', 'redeliver', 'republish', 'bulk_start', 'bulk_cancel',
                          'quarantine_retry', 'quarantine_discard', 'compare', 'compare_cancel'));
