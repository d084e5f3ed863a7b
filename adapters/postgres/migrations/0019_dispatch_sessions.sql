-- The sessions in which orders are claimed. Each holds an advisory lock for as long as it lives (sql/dispatch_sessions.sql): where
-- that is free, whoever claimed in it is dead or mustn't begin a call any more, and its orders needn't wait for the end
-- of their leases.
CREATE TABLE dispatch_session (
    id            integer     PRIMARY KEY,  -- drawn: a database that went back in time would count anew
    grace_seconds float8      NOT NULL,  -- after its end, until the last call that was begun in it is over
    opened_at     timestamptz NOT NULL DEFAULT now(),
    gone_at       timestamptz            -- when its end was noticed
);

-- The session of the claim that was made at `claimed_by_at`. Where that isn't `claimed_at`, a version before these columns
-- has claimed the order since: its claims have their lease alone.
ALTER TABLE delivery
    ADD COLUMN claimed_by    integer,
    ADD COLUMN claimed_by_at timestamptz;
