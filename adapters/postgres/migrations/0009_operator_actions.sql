-- What people did and why. Each row is written in the transaction of the act itself; nothing reads it but people.
CREATE TABLE operator_action (
    id              bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    done_at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    operator        text        NOT NULL CHECK (length(operator) BETWEEN 1 AND 100),  -- as given: a claim, no proof
    via             text        NOT NULL CHECK (via IN ('api', 'command line')),
    action          text        NOT NULL
        CHECK (action IN ('retry', 'skip', 'redeliver', 'republish', 'bulk_start', 'bulk_cancel',
                          'quarantine_retry', 'quarantine_discard')),
    reason          text        NOT NULL,
    order_id        bigint,
    version         bigint,              -- of the call, where the act is about one
    idempotency_key uuid,                -- of that call
    state_before    text,
    state_after     text,
    bulk_id         uuid,
    quarantine_id   bigint,
    detail          jsonb       NOT NULL DEFAULT '{}'
);
CREATE INDEX operator_action_of_order ON operator_action (order_id, id) WHERE order_id IS NOT NULL;
-- A bulk act is done to each of its orders once, whoever takes it over.
CREATE UNIQUE INDEX operator_action_of_bulk ON operator_action (bulk_id, order_id) WHERE bulk_id IS NOT NULL;

-- A call may be given a new key by a person, never a new body. Each key is a generation of the call; `nonce` is what
-- made the key of this one from the one before.
ALTER TABLE effect
    ADD COLUMN generation integer NOT NULL DEFAULT 0,
    ADD COLUMN nonce      text,
    ADD CHECK ((generation = 0) = (nonce IS NULL));

-- The keys that calls had before, and what had become of the calls under them.
CREATE TABLE replaced_key (
    order_id        bigint      NOT NULL,
    version         bigint      NOT NULL,
    generation      integer     NOT NULL,
    idempotency_key uuid        NOT NULL UNIQUE,
    nonce           text,
    state           text        NOT NULL,
    attempts        integer     NOT NULL,
    maybe_done      boolean,
    first_sent_at   timestamptz,
    settled_at      timestamptz,
    last_attempt_id bigint      NOT NULL,  -- later attempts at the call are not under this key
    replaced_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (order_id, version, generation)
);

-- Whoever writes to the database: what a call says never changes, and its key only together with the generation, once
-- the old one has been kept.
CREATE FUNCTION effect_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.order_id, NEW.version, NEW.kind, NEW.body, NEW.body_digest)
        IS DISTINCT FROM (OLD.order_id, OLD.version, OLD.kind, OLD.body, OLD.body_digest) THEN
        RAISE EXCEPTION 'call % of order % never changes', OLD.version, OLD.order_id USING ERRCODE = 'check_violation';
    END IF;
    IF (NEW.idempotency_key, NEW.generation, NEW.nonce)
        IS DISTINCT FROM (OLD.idempotency_key, OLD.generation, OLD.nonce)
        AND (NEW.generation <> OLD.generation + 1 OR NEW.nonce IS NULL OR NEW.idempotency_key = OLD.idempotency_key
            OR NOT EXISTS (
                SELECT FROM replaced_key AS r
                WHERE (r.order_id, r.version, r.generation, r.idempotency_key)
                    = (OLD.order_id, OLD.version, OLD.generation, OLD.idempotency_key))) THEN
        RAISE EXCEPTION 'the key of call % of order % only changes with its generation', OLD.version, OLD.order_id
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER effect_stays
    BEFORE UPDATE OF order_id, version, kind, body, body_digest, idempotency_key, generation, nonce ON effect
    FOR EACH ROW EXECUTE FUNCTION effect_stays();

-- What a bulk replay was told to do beside its mode, and what its preview foretold of the calls.
ALTER TABLE bulk_replay
    ADD COLUMN wish           jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN calls          integer,
    ADD COLUMN suppressed     integer,
    ADD COLUMN amount_at_risk numeric;

-- A message that was read again may have been edited for it; what came stays as it came. Null: nothing was edited.
ALTER TABLE quarantine
    ADD COLUMN closed_at      timestamptz,
    ADD COLUMN edited_key     bytea,
    ADD COLUMN edited_value   bytea,
    ADD COLUMN edited_headers jsonb,
    ADD CHECK (state = 'retried' OR (edited_key IS NULL AND edited_value IS NULL AND edited_headers IS NULL));
