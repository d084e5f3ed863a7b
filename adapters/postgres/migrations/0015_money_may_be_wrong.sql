-- The list of orders whose money may be wrong. The new columns follow from the events; in rows that are there already
-- they are empty until the service has made those rows anew (adapters/postgres/order_row_refill.py): it finds them, and those
-- that a process of the version before still writes, by the index `orders_unfilled`, which is empty otherwise.
ALTER TABLE orders
    ADD COLUMN held_cashback     numeric,  -- what the last held message tells that tells one
    ADD COLUMN at_stake          numeric,  -- in open doubts; null without one
    ADD COLUMN doubtful_since_ns bigint,   -- the oldest open doubt
    ADD COLUMN began_at_ns       bigint;   -- when the first event was recorded

CREATE INDEX orders_unfilled ON orders (order_id)
    WHERE began_at_ns IS NULL OR (doubts <> '{}' AND doubtful_since_ns IS NULL);

-- The greatest amount first, and the oldest first (sql/money_may_be_wrong.sql). No index has the amount of orders
-- without a doubt in it: their rows change in place (HOT).
CREATE INDEX orders_at_stake ON orders ((coalesce(at_stake, 0)), order_id) WHERE doubts <> '{}';
CREATE INDEX orders_doubtful_since ON orders ((coalesce(doubtful_since_ns, 0)), order_id) WHERE doubts <> '{}';
CREATE INDEX orders_pending_since ON orders (began_at_ns, order_id) WHERE status = 'PENDING';
CREATE INDEX quarantine_open_of_order ON quarantine (order_id, id) WHERE state = 'open' AND order_id IS NOT NULL;
