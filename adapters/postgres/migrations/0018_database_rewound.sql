-- A commit whose answer was lost is tried again: what the record has already is then not noted twice. Attempts of an
-- earlier release have no id of their own, nor have those of its processes that still run.
ALTER TABLE attempt ADD COLUMN attempt_id uuid;
CREATE UNIQUE INDEX attempt_once ON attempt (attempt_id) WHERE attempt_id IS NOT NULL;

-- A person repairs a stream that has lost events.
ALTER TABLE operator_action
    DROP CONSTRAINT operator_action_action_check,
    ADD CONSTRAINT operator_action_action_check
        CHECK (action IN ('retry', 'skip', 'redeliver', 'republish', 'bulk_start', 'bulk_cancel', 'quarantine_retry',
                          'quarantine_discard', 'compare', 'compare_cancel', 'settle', 'release', 'repair'));
