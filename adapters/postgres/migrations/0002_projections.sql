-- How far each projection has read the event store. Its rows and this number commit together.
CREATE TABLE projection_position (
    name            text        PRIMARY KEY,
    notification_id bigint      NOT NULL DEFAULT 0,
    updated_at      timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);
INSERT INTO projection_position (name) VALUES ('orders'), ('third-party');

-- The operators' read model: one row an order, made from its stream alone.
CREATE TABLE orders (
    order_id       bigint  PRIMARY KEY,
    version        bigint  NOT NULL,
    status         text    NOT NULL,
    buyer_id       text,
    store_no       text,
    cashback       numeric,
    held           integer NOT NULL,
    rejected       integer NOT NULL,
    superseded     integer NOT NULL,
    doubts         text[]  NOT NULL,
    held_since_ns  bigint,          -- nanoseconds since 1970, UTC
    recorded_at_ns bigint  NOT NULL
) WITH (fillfactor = 80);
CREATE INDEX orders_status ON orders (status, order_id);
CREATE INDEX orders_buyer ON orders (buyer_id, order_id);
CREATE INDEX orders_doubtful ON orders (order_id) WHERE doubts <> '{}';
CREATE INDEX orders_held ON orders (held_since_ns) WHERE held > 0;
