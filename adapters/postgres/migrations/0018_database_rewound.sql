-- A commit whose answer was lost is tried again: what the record has already is then not noted twice. Attempts of an
-- earlier release have no id of their own, nor have those of its processes that still run.
ALTER TABLE attempt ADD COLUMN attempt_id uuid;
CREATE UNIQUE INDEX attempt_once ON attempt (attempt_id) WHERE attempt_id IS NOT NULL;
