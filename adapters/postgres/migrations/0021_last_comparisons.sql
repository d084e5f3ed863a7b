-- When each order was last compared with the third party's books, and what came of it: one row an order, written over
-- by the next comparison. What differs has its own record (reconciliation); where nobody could be asked, this stays.
CREATE TABLE last_comparison (
    order_id    bigint      PRIMARY KEY,
    verdict     text        NOT NULL
        CHECK (verdict IN ('agrees', 'missing_there', 'missing_here', 'amount', 'state', 'in_flight')),
    compared_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);
