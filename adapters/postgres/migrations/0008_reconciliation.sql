-- An order is credited once and ends once: at most one create, and one cancel or complete. What would break this is
-- not added, and stops its order alone (sql/projections.sql).
CREATE UNIQUE INDEX effect_once ON effect (order_id, (kind = 'create')) WHERE kind <> 'update';

-- Orders on which the third party and we don't agree: one open row an order, closed when a later comparison finds it
-- settled. Status and amount are null where a side has no such order.
CREATE TABLE reconciliation (
    id            bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    order_id      bigint      NOT NULL,
    class         text        NOT NULL
        CHECK (class IN ('missing_there', 'missing_here', 'amount', 'state', 'in_flight', 'unknown')),
    our_status    text,
    our_amount    numeric,
    their_status  text,
    their_amount  numeric,
    detail        text,
    first_seen_at timestamptz NOT NULL DEFAULT now(),
    last_seen_at  timestamptz NOT NULL DEFAULT now(),
    compared_at   timestamptz NOT NULL DEFAULT now(),  -- tried, whether or not the third party answered
    closed_at     timestamptz
) WITH (fillfactor = 70);
CREATE UNIQUE INDEX reconciliation_open ON reconciliation (order_id) WHERE closed_at IS NULL;
CREATE INDEX reconciliation_stale ON reconciliation (compared_at) WHERE closed_at IS NULL;
CREATE INDEX reconciliation_closed ON reconciliation (closed_at) WHERE closed_at IS NOT NULL;

-- Where the auditor's walk over all orders stands: a restart goes on there.
CREATE TABLE audit_place (
    order_id   bigint      NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);
INSERT INTO audit_place (order_id) VALUES (0);
