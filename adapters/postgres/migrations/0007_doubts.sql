-- A claim writes down that its calls are about to be sent; a settlement takes that back. Whatever stands here when the
-- lease has run out may have been sent, and nobody told us (sql/delivery.sql).
ALTER TABLE delivery
    ADD COLUMN claimed_at   timestamptz,
    ADD COLUMN claimed_head bigint;       -- no later call was in the claim

-- Whether the call may have been carried out. Null in rows older than this column: it may, if it was sent.
ALTER TABLE effect ADD COLUMN maybe_done boolean;

-- Lookups are in the record of attempts as well, and claims that were never settled.
ALTER TABLE attempt ADD COLUMN kind text NOT NULL DEFAULT 'call' CHECK (kind IN ('call', 'lookup', 'lost'));
