-- name: backlog
-- What waits and what stands still; counts stop at a limit, and ages are in seconds. A call that a person has set going
-- again is as old as that.
SELECT waiting.number AS waiting, waiting.age AS waiting_age, parked.number AS parked, parked.age AS parked_age,
       held.number AS held, held.age AS held_age, quarantined.number AS quarantined, quarantined.age AS quarantined_age,
       doubtful.number AS doubtful, different.number AS different
FROM (
    SELECT count(*) AS number, extract(epoch FROM now() - min(since))::float8 AS age
    FROM (
        SELECT order_id, settled_version FROM delivery WHERE settled_version < head_version AND parked_at IS NULL
        ORDER BY next_attempt_at LIMIT %(limit)s
    ) AS d
    LEFT JOIN LATERAL (
        SELECT greatest(e.noted_at, (
                   SELECT max(done_at) FROM operator_action
                   WHERE order_id = d.order_id AND action IN ('retry', 'redeliver')
               )) AS since
        FROM effect AS e
        WHERE e.order_id = d.order_id AND e.version > d.settled_version AND e.state NOT IN ('delivered', 'skipped')
        ORDER BY e.version LIMIT 1
    ) AS e ON true
) AS waiting, (
    SELECT count(*) AS number, extract(epoch FROM now() - min(parked_at))::float8 AS age
    FROM (SELECT parked_at FROM delivery WHERE parked_at IS NOT NULL ORDER BY parked_at LIMIT %(limit)s) AS p
) AS parked, (
    SELECT count(*) AS number, extract(epoch FROM now())::float8 - min(held_since_ns) / 1e9::float8 AS age
    FROM (SELECT held_since_ns FROM orders WHERE held > 0 ORDER BY held_since_ns LIMIT %(limit)s) AS h
) AS held, (
    SELECT count(*) AS number, extract(epoch FROM now() - min(quarantined_at))::float8 AS age
    FROM (SELECT quarantined_at FROM quarantine WHERE state = 'open' ORDER BY id LIMIT %(limit)s) AS q
) AS quarantined, (
    SELECT count(*) AS number FROM (SELECT FROM orders WHERE doubts <> '{}' LIMIT %(limit)s) AS d
) AS doubtful, (
    SELECT count(*) AS number FROM (
        SELECT FROM reconciliation WHERE closed_at IS NULL AND class NOT IN ('in_flight', 'unknown') LIMIT %(limit)s
    ) AS r
) AS different

-- name: projections
-- How many events each projection hasn't handled (there are gaps in the ids, so it may be fewer), and the first of
-- them, without the message's body if it is about one (adapters/postgres/codec.py), with the time now.
SELECT p.name, greatest(0, coalesce(last.id, 0) - p.notification_id), next.record, extract(epoch FROM now())::float8
FROM projection_position AS p
CROSS JOIN (SELECT max(notification_id) AS id FROM stored_events) AS last
LEFT JOIN LATERAL (
    SELECT substr(state, 1, coalesce(nullif(position('\x0a'::bytea IN state), 0) - 1, length(state))) AS record
    FROM stored_events
    WHERE notification_id > p.notification_id ORDER BY notification_id LIMIT 1
) AS next ON true
