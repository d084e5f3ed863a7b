-- With the epoch of the last message read Kafka can tell whether the log has been cut since (KIP-320). A loss that a
-- consumer has found stays with the position until a person accepts it.
ALTER TABLE kafka_position
    ADD COLUMN leader_epoch integer,
    ADD COLUMN loss         text CHECK (loss IN ('log_truncated', 'position_beyond_end'));

-- Who accepted that messages may be lost, and where reading went on. Nothing reads it but people.
CREATE TABLE accepted_loss (
    id              bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic           text        NOT NULL,
    topic_id        text        NOT NULL,  -- of the log that messages were lost from
    partition       integer     NOT NULL,
    error           text        NOT NULL,
    position_before bigint,                -- null if it had none
    topic_id_after  text,                  -- null if there is nothing to go on with: the topic was deleted
    position_after  bigint,
    reason          text        NOT NULL,
    accepted_at     timestamptz NOT NULL DEFAULT now()
);
