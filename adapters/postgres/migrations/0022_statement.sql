-- What the day's statement goes by (sql/statement.sql).

-- Each event that says what its order earns, as the projection `third-party` reads it: a call follows from each, and this
-- is what the call is about. Only ever added to.
CREATE TABLE posting (
    order_id    bigint  NOT NULL,
    version     bigint  NOT NULL,
    kind        text    NOT NULL CHECK (kind IN ('create', 'update', 'cancel', 'complete', 'correct')),
    recorded_ns bigint  NOT NULL,  -- when it was decided: nanoseconds since 1970
    cashback    numeric NOT NULL,  -- the whole amount from then on; 0 of what was cancelled
    PRIMARY KEY (order_id, version)
) WITH (
    autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 1000, autovacuum_freeze_min_age = 0
);
INSERT INTO posting (order_id, version, kind, recorded_ns, cashback)
SELECT order_id, originator_version, k.kind, (decision ->> 'recorded_at_ns')::bigint,
       coalesce((decision ->> 'cashback')::numeric, 0)
FROM (
    SELECT (substr(originator_id::text, 18, 1)::bigint << 62)
               | (('x' || right(replace(originator_id::text, '-', ''), 16))::bit(64)::bigint & 4611686018427387903) AS order_id,
           originator_version, topic,
           convert_from(substring(state FOR position('\x0a' IN state) - 1), 'UTF8')::json AS decision
    FROM stored_events
    WHERE topic IN ('cashback-created', 'cashback-updated', 'cashback-cancelled', 'cashback-completed',
                    'cashback-corrected')
) AS e
JOIN (VALUES ('cashback-created', 'create'), ('cashback-updated', 'update'), ('cashback-cancelled', 'cancel'),
             ('cashback-completed', 'complete'), ('cashback-corrected', 'correct')) AS k (topic, kind) USING (topic);

-- When an attempt was recorded, by the database's clock: a claim that was never settled is noted long after its calls were
-- sent, and a day that is over stays as it is. Null in rows older than this column.
ALTER TABLE attempt ADD COLUMN recorded_at timestamptz;
ALTER TABLE attempt ALTER COLUMN recorded_at SET DEFAULT clock_timestamp();

-- Of a lookup: it has shown that the call was carried out.
ALTER TABLE attempt ADD COLUMN found_done boolean NOT NULL DEFAULT false;
UPDATE attempt AS a SET found_done = true
FROM effect AS e
WHERE a.kind = 'lookup' AND e.order_id = a.order_id AND e.version = a.version AND e.state = 'delivered'
    AND a.id = (SELECT max(id) FROM attempt AS last WHERE last.order_id = a.order_id AND last.version = a.version);
