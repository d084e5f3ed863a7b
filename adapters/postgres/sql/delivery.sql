-- name: claim
-- Takes due orders that nobody else is taking, until the lease ends.
WITH due AS (
    SELECT order_id FROM delivery
    WHERE settled_version < head_version AND parked_at IS NULL AND next_attempt_at <= now()
    ORDER BY next_attempt_at LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
)
UPDATE delivery AS d
SET lease_token = %(token)s, next_attempt_at = now() + %(lease_seconds)s * interval '1 second'
FROM due WHERE d.order_id = due.order_id
RETURNING d.order_id

-- name: claimed_calls
-- The next calls of the orders just taken. A statement of its own: the one that takes them finds each order as it is
-- at that moment, but would find the calls as they were when it began.
SELECT d.order_id, d.settled_version, d.attempts, e.version, e.kind, e.idempotency_key, e.body
FROM delivery AS d
CROSS JOIN LATERAL (
    SELECT version, kind, idempotency_key, body FROM effect
    WHERE order_id = d.order_id AND version > d.settled_version AND state NOT IN ('delivered', 'skipped')
    ORDER BY version LIMIT %(calls)s
) AS e
WHERE d.order_id = ANY(%(order_ids)s) AND d.lease_token = %(token)s
ORDER BY d.order_id, e.version

-- name: next_due
-- In how many seconds the next call will be due; nothing if none waits.
SELECT extract(epoch FROM next_attempt_at - now())::float8 FROM delivery
WHERE settled_version < head_version AND parked_at IS NULL ORDER BY next_attempt_at LIMIT 1

-- name: settle
-- Ends leases that are still ours; whoever sets a cursor back takes the token away. Answers one row for each of them.
WITH given AS (
    SELECT * FROM unnest(%(order_ids)s::bigint[], %(tokens)s::uuid[], %(settled)s::bigint[], %(attempts)s::integer[],
                         %(waits)s::float8[], %(parked)s::text[])
        AS g (order_id, token, settled_version, attempts, wait_seconds, parked_reason)
), ours AS (
    SELECT d.order_id, g.token FROM delivery AS d JOIN given AS g USING (order_id)
    WHERE d.lease_token = g.token ORDER BY d.order_id FOR UPDATE OF d
), ended AS (
    UPDATE delivery AS d
    SET settled_version = g.settled_version,
        attempts = g.attempts,
        next_attempt_at = now() + g.wait_seconds * interval '1 second',
        lease_token = NULL,
        parked_at = CASE WHEN g.parked_reason IS NOT NULL THEN now() END,
        parked_reason = g.parked_reason
    FROM given AS g JOIN ours USING (order_id, token)
    WHERE d.order_id = g.order_id
    RETURNING d.order_id, g.token
), results AS (
    SELECT * FROM unnest(%(call_orders)s::bigint[], %(call_tokens)s::uuid[], %(call_versions)s::bigint[],
                         %(call_states)s::text[], %(call_sent)s::timestamptz[])
        AS r (order_id, token, version, state, sent_at)
), noted AS (
    UPDATE effect AS e
    SET state = r.state, attempts = e.attempts + 1,
        first_sent_at = coalesce(e.first_sent_at, r.sent_at),
        settled_at = CASE WHEN r.state = 'delivered' THEN now() END
    FROM results AS r JOIN ended USING (order_id, token)
    WHERE e.order_id = r.order_id AND e.version = r.version
)
SELECT order_id FROM ended

-- name: insert_attempts
-- The record of what was sent, whoever had the lease.
INSERT INTO attempt (order_id, version, started_at, duration_ms, outcome, status, answer)
SELECT * FROM unnest(%(orders)s::bigint[], %(versions)s::bigint[], %(started)s::timestamptz[],
                     %(durations)s::integer[], %(outcomes)s::text[], %(statuses)s::integer[], %(answers)s::text[])
