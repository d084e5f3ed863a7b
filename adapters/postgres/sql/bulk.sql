-- name: forget_previews
-- Those that nobody has started.
DELETE FROM bulk_replay WHERE state = 'previewed' AND expires_at < now() - make_interval(hours => %s)

-- name: forget_ended
-- All but the last so many of those that are over. One that was cancelled is over when its last orders are through.
DELETE FROM bulk_replay
WHERE state IN ('done', 'cancelled', 'failed') AND (lease_until IS NULL OR lease_until < clock_timestamp())
    AND number <= (
        SELECT number FROM bulk_replay WHERE state IN ('done', 'cancelled', 'failed')
        ORDER BY number DESC OFFSET %s LIMIT 1
    )

-- name: select_orders
-- The orders that are meant, one more than the limit at most: all ids, the money, how many of each status, and the ids
-- of those with the most cashback.
WITH chosen AS MATERIALIZED (
    SELECT order_id, status, cashback FROM orders WHERE /* conditions */ LIMIT %(limit)s
)
SELECT coalesce((SELECT array_agg(order_id ORDER BY order_id) FROM chosen), '{}'),
       coalesce((SELECT sum(cashback) FROM chosen), 0),
       coalesce((SELECT jsonb_object_agg(status, orders)
                 FROM (SELECT status, count(*) AS orders FROM chosen GROUP BY status) AS counted), '{}'),
       ARRAY(SELECT order_id FROM chosen ORDER BY cashback DESC NULLS LAST, order_id LIMIT %(sample)s)

-- name: sample
-- A few orders, as they are.
SELECT order_id, status, cashback, recorded_at_ns FROM orders WHERE order_id = ANY(%s)
ORDER BY cashback DESC NULLS LAST, order_id

-- name: settling
-- Completions that go on, and the money that the doubts are about.
SELECT (SELECT count(*) FROM delivery WHERE order_id = ANY(%(orders)s::bigint[]) AND parked_reason = 'doubtful'),
       (SELECT coalesce(sum(abs(at_stake)), 0) FROM orders WHERE order_id = ANY(%(orders)s::bigint[]))

-- name: insert_preview
-- The set is frozen here.
INSERT INTO bulk_replay (id, mode, selection, reason, rate_per_second, orders, total, cashback, token_digest,
                         expires_at, wish, calls, suppressed, amount_at_risk, at_stake)
VALUES (%(id)s, %(mode)s, %(selection)s, %(reason)s, %(rate)s, %(orders)s::bigint[], %(total)s, %(cashback)s,
        %(digest)s, now() + make_interval(mins => %(minutes)s), %(wish)s, %(calls)s, %(suppressed)s, %(amount_at_risk)s,
        %(at_stake)s)

-- name: page
-- The last ones first, without their orders. The expected end goes by the rate, or by the speed so far if that is less.
SELECT number, id, mode, state, selection, reason, rate_per_second, total, cashback, done, failed, failures, note,
       requested_at, expires_at, started_at, ended_at,
       CASE WHEN state = 'running' THEN clock_timestamp() + make_interval(secs => greatest(
           (total - done - failed) / rate_per_second,
           extract(epoch FROM clock_timestamp() - started_at) * (total - done - failed) / nullif(done + failed, 0)
       )) END,
       wish, calls, suppressed, amount_at_risk, at_stake
FROM bulk_replay WHERE /* condition */ ORDER BY number DESC LIMIT %(limit)s

-- name: lock_starts
-- One start at a time, whatever process asks: each sees what those before it have started.
SELECT pg_advisory_xact_lock(4223372039)

-- name: to_start
-- One that somebody wants to start.
SELECT id, state, token_digest = %(digest)s, expires_at < clock_timestamp() FROM bulk_replay
WHERE id = %(id)s OR %(id)s::uuid IS NULL AND token_digest = %(digest)s
FOR UPDATE

-- name: overlapping
-- Another one of the same mode that shares an order. One that was cancelled counts until its last orders are through.
-- (INTERSECT sorts or hashes; the operator && would compare each order with each.)
SELECT other.id FROM bulk_replay AS this JOIN bulk_replay AS other ON other.mode = this.mode AND other.id <> this.id
WHERE this.id = %s AND (other.state = 'running' OR other.lease_until > clock_timestamp())
    AND EXISTS (SELECT unnest(this.orders) INTERSECT SELECT unnest(other.orders))
LIMIT 1

-- name: start
-- With a lease if whoever starts it also does it.
UPDATE bulk_replay
SET state = 'running', started_at = clock_timestamp(), lease_token = %(lease)s,
    lease_until = clock_timestamp() + make_interval(secs => %(lease_seconds)s)
WHERE id = %(id)s

-- name: cancel
-- The process at work notices with its next heartbeat, or before its next orders; its lease ends with the last ones.
UPDATE bulk_replay SET state = 'cancelled', ended_at = clock_timestamp(), note = NULL
WHERE id = %s AND state IN ('previewed', 'running') RETURNING 1

-- name: claim
-- The oldest one that runs and that nobody works on, or whose worker hasn't been heard of for the length of its lease.
UPDATE bulk_replay
SET lease_token = %(lease)s, lease_until = clock_timestamp() + make_interval(secs => %(lease_seconds)s)
WHERE number = (
    SELECT number FROM bulk_replay
    WHERE state = 'running' AND mode = ANY(%(modes)s)
        AND (lease_token IS NULL OR lease_until < clock_timestamp())
    ORDER BY number LIMIT 1 FOR UPDATE SKIP LOCKED
)
RETURNING id

-- name: job
-- What a worker needs to know, and who has started it.
SELECT b.id, b.mode, b.reason, b.rate_per_second, b.orders, b.done, b.failed, b.wish, a.operator, a.via,
       a.role
FROM bulk_replay AS b
LEFT JOIN operator_action AS a ON a.bulk_id = b.id AND a.order_id IS NULL AND a.action = 'bulk_start'
WHERE b.id = %s AND b.lease_token = %s

-- name: beat
-- Keeps the lease; no row if it is another's by now, or if the replay doesn't run any more.
UPDATE bulk_replay SET lease_until = clock_timestamp() + make_interval(secs => %(lease_seconds)s)
WHERE id = %(id)s AND lease_token = %(lease)s AND state = 'running' RETURNING 1

-- name: waits
-- Why nothing goes on at the moment.
UPDATE bulk_replay SET note = %(note)s WHERE id = %(id)s AND lease_token = %(lease)s AND state = 'running'

-- name: progress
-- Some more orders are through, from the place on where the worker was; those of one that was cancelled meanwhile count
-- too. No row if it is another's by now, or if the same was said before (its answer was lost).
UPDATE bulk_replay
SET done = done + %(done)s, failed = failed + %(failed)s, note = NULL,
    failures = (SELECT coalesce(jsonb_agg(each ORDER BY place), '[]')
                FROM jsonb_array_elements(failures || %(failures)s::jsonb) WITH ORDINALITY AS listed (each, place)
                WHERE place <= %(shown)s),
    lease_until = clock_timestamp() + make_interval(secs => %(lease_seconds)s)
WHERE id = %(id)s AND lease_token = %(lease)s AND done + failed = %(place)s RETURNING state = 'running'

-- name: end
-- No worker any more; with a state, for ever.
UPDATE bulk_replay
SET lease_token = NULL, lease_until = NULL,
    state = CASE WHEN state = 'running' THEN coalesce(%(state)s, state) ELSE state END,
    note = CASE WHEN state = 'running' THEN %(note)s ELSE note END,
    ended_at = CASE WHEN state = 'running' AND %(state)s::text IS NOT NULL THEN clock_timestamp() ELSE ended_at END
WHERE id = %(id)s AND lease_token = %(lease)s
