-- Which orders a transaction's messages are about, for the console's search. Of the transaction's id only a digest is
-- kept (8 bytes of BLAKE2b): as small as an order id, whatever the id was.
CREATE TABLE order_transaction (
    digest   bigint NOT NULL,
    order_id bigint NOT NULL,
    PRIMARY KEY (digest, order_id)
);
-- How far the event store has been read for it.
CREATE TABLE order_transaction_place (
    notification_id bigint NOT NULL
) WITH (fillfactor = 50);
INSERT INTO order_transaction_place VALUES (0);

-- The processes of the service: each writes its row every few seconds, and takes it away when it stops.
-- What is here is worth nothing after a crash, so it is not logged.
CREATE UNLOGGED TABLE service_process (
    id         uuid        PRIMARY KEY,
    name       text        NOT NULL,
    roles      text[]      NOT NULL,
    state      jsonb       NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    seen_at    timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);

-- What the console's overview shows: taken every few seconds by whichever process comes first, kept for an hour.
CREATE UNLOGGED TABLE console_sample (
    step     bigint      PRIMARY KEY,  -- the moment, in units of the time between two samples
    taken_at timestamptz NOT NULL DEFAULT now(),
    numbers  jsonb       NOT NULL DEFAULT '{}'
);

-- The longest parked first.
CREATE INDEX delivery_parked_since ON delivery (parked_at) WHERE parked_at IS NOT NULL;
