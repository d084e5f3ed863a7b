-- name: start
-- No row if one of this kind (of all orders, or of some) runs already.
INSERT INTO comparison (id, orders, total, per_second, operator, reason)
VALUES (%(id)s, %(orders)s, %(total)s, %(per_second)s, %(operator)s, %(reason)s)
ON CONFLICT ((orders IS NULL)) WHERE state = 'running' DO NOTHING
RETURNING id

-- name: cancel
-- Whoever works on it loses its lease.
UPDATE comparison SET state = 'cancelled', ended_at = clock_timestamp(), lease = NULL
WHERE id = %s AND state = 'running' RETURNING id

-- name: page
-- The last ones first. JSON as text: an amount in it must not become a float.
SELECT id, number, state, orders IS NULL, total, per_second, operator, reason, verdicts::text, findings::text, note,
       requested_at, ended_at
FROM comparison WHERE /* condition */ ORDER BY number DESC LIMIT %(limit)s

-- name: claim
-- The oldest that runs and that nobody works on.
UPDATE comparison SET lease = %(lease)s, lease_until = clock_timestamp() + make_interval(secs => %(seconds)s)
WHERE id = (
    SELECT id FROM comparison
    WHERE state = 'running' AND (lease IS NULL OR lease_until < clock_timestamp())
    ORDER BY number LIMIT 1 FOR UPDATE SKIP LOCKED
)
RETURNING id, orders, place, per_second

-- name: advance
-- A few orders more. No row if it was cancelled, or is another's.
UPDATE comparison SET
    place = %(place)s, note = %(note)s, lease_until = clock_timestamp() + make_interval(secs => %(seconds)s),
    verdicts = (
        SELECT jsonb_object_agg(name, number) FROM (
            SELECT key AS name, sum(value::bigint) AS number
            FROM (SELECT * FROM jsonb_each_text(verdicts) UNION ALL SELECT * FROM jsonb_each_text(%(verdicts)s)) AS e
            GROUP BY key
        ) AS summed
    ),
    findings = (
        SELECT coalesce(jsonb_agg(finding ORDER BY place), '[]') FROM (
            SELECT * FROM jsonb_array_elements(findings || %(findings)s) WITH ORDINALITY AS f (finding, place)
            ORDER BY f.place LIMIT %(max_findings)s
        ) AS kept
    )
WHERE id = %(id)s AND lease = %(lease)s AND state = 'running'
RETURNING id

-- name: note
-- Why nothing goes on. No row if it was cancelled, or is another's.
UPDATE comparison
SET note = %(note)s, lease_until = clock_timestamp() + make_interval(secs => %(seconds)s)
WHERE id = %(id)s AND lease = %(lease)s AND state = 'running' RETURNING id

-- name: end
-- Unless it was cancelled, or is another's.
UPDATE comparison SET state = %(state)s, note = %(note)s, ended_at = clock_timestamp(), lease = NULL
WHERE id = %(id)s AND lease = %(lease)s AND state = 'running'

-- name: release
-- Another process goes on with it.
UPDATE comparison SET lease = NULL WHERE id = %(id)s AND lease = %(lease)s

-- name: forget
-- All but the last so many.
DELETE FROM comparison
WHERE state <> 'running' AND number <= (SELECT max(number) FROM comparison) - %s
