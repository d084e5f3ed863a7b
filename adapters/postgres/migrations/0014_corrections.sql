-- What was credited may be corrected, any number of times: a call of another kind, which is no second end.
ALTER TABLE effect DROP CONSTRAINT effect_kind_check;
ALTER TABLE effect ADD CONSTRAINT effect_kind_check
    CHECK (kind IN ('create', 'update', 'cancel', 'complete', 'correct'));

-- As before at most one create, and one cancel or complete.
DROP INDEX effect_once;
CREATE UNIQUE INDEX effect_once ON effect (order_id, (kind = 'create')) WHERE kind NOT IN ('update', 'correct');
