-- name: forget_previews
-- Those that nobody has started.
DELETE FROM job WHERE state = 'previewed' AND expires_at < now() - make_interval(hours => %s)

-- name: forget_ended
-- All but the last so many of those kinds that are over. One that was cancelled is over when its last orders are
-- through.
DELETE FROM job
WHERE kind = ANY(%(kinds)s) AND state IN ('done', 'cancelled', 'failed')
    AND (lease_until IS NULL OR lease_until < clock_timestamp())
    AND number <= (
        SELECT number FROM job WHERE kind = ANY(%(kinds)s) AND state IN ('done', 'cancelled', 'failed')
        ORDER BY number DESC OFFSET %(kept)s LIMIT 1
    )

-- name: select_orders
-- The orders that are meant, one more than the limit at most: all ids, and the money.
SELECT coalesce(array_agg(order_id ORDER BY order_id), '{}'), coalesce(sum(cashback), 0)
FROM (SELECT order_id, cashback FROM orders WHERE /* conditions */ LIMIT %(limit)s) AS chosen

-- name: select_messages
-- Messages in quarantine that are meant, one more than the limit at most.
SELECT id FROM quarantine WHERE state = 'open' /* conditions */ ORDER BY id LIMIT %(limit)s

-- name: by_status
-- How many orders of a preview have each status, by now.
SELECT o.status, count(*) FROM job, unnest(job.orders) AS named (order_id) JOIN orders AS o USING (order_id)
WHERE job.id = %s GROUP BY o.status ORDER BY o.status

-- name: largest
-- The orders of a preview with the most cashback, as they are.
SELECT o.order_id, o.status, o.cashback, o.recorded_at_ns
FROM job, unnest(job.orders) AS named (order_id) JOIN orders AS o USING (order_id)
WHERE job.id = %s ORDER BY o.cashback DESC NULLS LAST, o.order_id LIMIT %s

-- name: outcomes
-- How the orders that a job has been through stand with the third party by now.
SELECT count(*) FILTER (WHERE d.parked_at IS NULL AND d.settled_version = d.head_version),
       count(*) FILTER (WHERE d.parked_at IS NULL AND d.settled_version < d.head_version),
       count(*) FILTER (WHERE d.parked_at IS NOT NULL)
FROM job, unnest(job.orders) AS done (order_id) JOIN delivery AS d USING (order_id)
WHERE job.id = %s AND done.order_id <= job.place
    AND done.order_id <> ALL (ARRAY(SELECT (each ->> 0)::bigint FROM jsonb_array_elements(job.findings) AS f (each)))

-- name: settling
-- Completions that go on, and the money that the doubts are about.
SELECT (SELECT count(*) FROM delivery WHERE order_id = ANY(%(orders)s::bigint[]) AND parked_reason = 'doubtful'),
       (SELECT coalesce(sum(abs(at_stake)), 0) FROM orders WHERE order_id = ANY(%(orders)s::bigint[]))

-- name: insert_preview
-- The set is frozen here.
INSERT INTO job (id, kind, state, selection, reason, rate_per_second, orders, total, cashback, token_digest,
                 expires_at, options, calls, suppressed, amount_at_risk, at_stake)
VALUES (%(id)s, %(kind)s, 'previewed', %(selection)s, %(reason)s, %(rate)s, %(orders)s::bigint[], %(total)s,
        %(cashback)s, %(digest)s, now() + make_interval(mins => %(minutes)s), %(options)s, %(calls)s, %(suppressed)s,
        %(amount_at_risk)s, %(at_stake)s)

-- name: page
-- The last ones first, without their orders. The expected end goes by the rate, or by the speed so far if that is less.
-- JSON as text where an amount in it must not become a float.
SELECT number, id, kind, state, selection, reason, operator, rate_per_second, total, cashback, done, failed, note,
       requested_at, expires_at, started_at, ended_at,
       CASE WHEN state = 'running' THEN clock_timestamp() + make_interval(secs => greatest(
           0, (total - done - failed) / rate_per_second,
           extract(epoch FROM clock_timestamp() - started_at) * (total - done - failed) / nullif(done + failed, 0)
       )) END AS expected_end,
       options, calls, suppressed, amount_at_risk, at_stake, orders IS NULL AS is_of_all, verdicts,
       findings::text AS findings
FROM job WHERE kind = ANY(%(kinds)s) AND /* condition */ ORDER BY number DESC LIMIT %(limit)s

-- name: lock_starts
-- One start at a time, whatever process asks: each sees what those before it have started.
SELECT pg_advisory_xact_lock(4223372039)

-- name: to_start
-- A preview that somebody wants to start.
SELECT id, kind, state, token_digest = %(digest)s::bytea, expires_at < clock_timestamp() FROM job
WHERE token_digest IS NOT NULL AND (id = %(id)s OR %(id)s::uuid IS NULL AND token_digest = %(digest)s)
FOR UPDATE

-- name: overlapping
-- Another one of the same kind that shares an order. One that was cancelled counts until its last orders are through.
-- (INTERSECT sorts or hashes; the operator && would compare each order with each.)
SELECT other.id FROM job AS this JOIN job AS other ON other.kind = this.kind AND other.id <> this.id
WHERE this.id = %s AND (other.state = 'running' OR other.lease_until > clock_timestamp())
    AND EXISTS (SELECT unnest(this.orders) INTERSECT SELECT unnest(other.orders))
LIMIT 1

-- name: start
-- With a lease if whoever starts it also does it.
UPDATE job
SET state = 'running', started_at = clock_timestamp(), operator = %(operator)s, via = %(via)s, role = %(role)s,
    lease_token = %(lease)s, lease_until = clock_timestamp() + make_interval(secs => %(lease_seconds)s)
WHERE id = %(id)s

-- name: compare
-- A comparison. No row if one (of all orders, or of some) runs already.
INSERT INTO job (id, kind, state, orders, total, rate_per_second, operator, via, role, reason, started_at)
VALUES (%(id)s, 'compare', 'running', %(orders)s, %(total)s, %(rate)s, %(operator)s, %(via)s, %(role)s, %(reason)s,
        clock_timestamp())
ON CONFLICT ((orders IS NULL)) WHERE kind = 'compare' AND state = 'running' DO NOTHING
RETURNING id

-- name: cancel
-- The process at work notices with its next heartbeat, or before its next orders; its lease ends with the last ones.
UPDATE job SET state = 'cancelled', ended_at = clock_timestamp(), note = NULL
WHERE id = %s AND state IN ('previewed', 'running') RETURNING 1

-- name: claim
-- The oldest one that runs and that nobody works on, or whose worker hasn't been heard of for the length of its lease.
UPDATE job
SET lease_token = %(lease)s, lease_until = clock_timestamp() + make_interval(secs => %(lease_seconds)s)
WHERE number = (
    SELECT number FROM job
    WHERE state = 'running' AND kind = ANY(%(kinds)s)
        AND (lease_token IS NULL OR lease_until < clock_timestamp())
    ORDER BY number LIMIT 1 FOR UPDATE SKIP LOCKED
)
RETURNING id

-- name: claimed
-- What a worker needs to know, and who has started it.
SELECT kind, reason, rate_per_second, orders, place, done + failed AS over, options, operator, via, role
FROM job WHERE id = %s AND lease_token = %s

-- name: beat
-- Keeps the lease; no row if it is another's by now, or if the job doesn't run any more.
UPDATE job SET lease_until = clock_timestamp() + make_interval(secs => %(lease_seconds)s)
WHERE id = %(id)s AND lease_token = %(lease)s AND state = 'running' RETURNING 1

-- name: waits
-- Why nothing goes on at the moment. No row if it is another's by now, or doesn't run any more.
UPDATE job SET note = %(note)s, lease_until = clock_timestamp() + make_interval(secs => %(lease_seconds)s)
WHERE id = %(id)s AND lease_token = %(lease)s AND state = 'running' RETURNING 1

-- name: progress
-- Some more orders are through, behind the place where the worker was; those of one that was cancelled meanwhile count
-- too. No row if it is another's by now, or if the same was said before (its answer was lost).
UPDATE job
SET place = %(place)s, done = done + %(done)s, failed = failed + %(failed)s, note = NULL,
    verdicts = (SELECT coalesce(jsonb_object_agg(verdict, number), '{}')
                FROM (SELECT verdict, sum(number::bigint) AS number
                      FROM (SELECT * FROM jsonb_each_text(verdicts)
                            UNION ALL SELECT * FROM jsonb_each_text(%(verdicts)s)) AS both_of (verdict, number)
                      GROUP BY verdict) AS summed),
    findings = (SELECT coalesce(jsonb_agg(each ORDER BY place), '[]')
                FROM jsonb_array_elements(findings || %(findings)s) WITH ORDINALITY AS listed (each, place)
                WHERE listed.place <= %(shown)s),
    lease_until = clock_timestamp() + make_interval(secs => %(lease_seconds)s)
WHERE id = %(id)s AND lease_token = %(lease)s AND place = %(since)s RETURNING state = 'running'

-- name: end
-- No worker any more; with a state, for ever.
UPDATE job
SET lease_token = NULL, lease_until = NULL,
    state = CASE WHEN state = 'running' THEN coalesce(%(state)s, state) ELSE state END,
    note = CASE WHEN state = 'running' THEN %(note)s ELSE note END,
    ended_at = CASE WHEN state = 'running' AND %(state)s::text IS NOT NULL THEN clock_timestamp() ELSE ended_at END
WHERE id = %(id)s AND lease_token = %(lease)s RETURNING 1
