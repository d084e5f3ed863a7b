-- How far the quarantine has been copied to a dead-letter topic. Kafka keeps the same number, in the transaction that
-- holds the copies, and that one is exact; but Kafka forgets it after a week without a copy (offsets.retention.minutes).
CREATE TABLE dead_letter_cursor (
    copier     text        NOT NULL,  -- its transactional.id
    topic      text        NOT NULL,
    last_id    bigint      NOT NULL,  -- of the quarantine
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (copier, topic)
) WITH (fillfactor = 50);
