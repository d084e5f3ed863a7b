-- Messages in quarantine are read again or discarded by jobs too; `orders` then has their ids.
ALTER TABLE job
    DROP CONSTRAINT job_kind_check,
    ADD CONSTRAINT job_kind_check CHECK (kind IN (
        'republish', 'redeliver', 'retry', 'settle', 'release', 'compare', 'quarantine_retry', 'quarantine_discard'
    ));
