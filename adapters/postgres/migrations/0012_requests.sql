-- Requests that came with an `Idempotency-Key`, and how they were answered; kept for a day. The id goes into the record
-- of what people did, in the transaction of the deed: whoever repeats a request whose answer is missing knows by it
-- whether the deed was done. It stays with the key as long as the key is known.
CREATE TABLE keyed_request (
    role          text        NOT NULL,  -- what whoever asked has proved: nobody sees the answers of another role
    key           text        NOT NULL CHECK (length(key) BETWEEN 1 AND 255),
    digest        bytea       NOT NULL,  -- of method, path and body
    request_id    uuid        NOT NULL DEFAULT gen_random_uuid(),
    asked_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    claimed_until timestamptz NOT NULL,  -- a process that isn't through by then has lost it
    status        smallint,              -- of the answer, once there is one
    headers       jsonb,
    body          bytea,
    PRIMARY KEY (role, key),
    CHECK ((status IS NULL) = (headers IS NULL) AND (status IS NULL) = (body IS NULL))
);
CREATE INDEX keyed_request_age ON keyed_request (asked_at);

-- Beside the name that people give, what they have proved; null: nobody wrote it down. Readers act on nothing.
ALTER TABLE operator_action
    ADD COLUMN role text CHECK (role IN ('operator token', 'no token', 'command line')),
    ADD COLUMN request_id uuid;
-- Whatever becomes of the processes at work on a request, its deed is done once.
CREATE UNIQUE INDEX operator_action_of_request ON operator_action (request_id) WHERE request_id IS NOT NULL;
