-- name: claim
-- Takes due orders that nobody else is taking, until the lease ends. Where an earlier claim was never settled, its
-- calls may have been sent at any time since: they are in doubt from now on.
WITH former AS (
    SELECT order_id, settled_version, claimed_at, claimed_head FROM delivery
    WHERE settled_version < head_version AND parked_at IS NULL AND next_attempt_at <= now()
    ORDER BY next_attempt_at LIMIT %(limit)s /* offset */
    FOR UPDATE SKIP LOCKED
), /* lost */
UPDATE delivery AS d
SET lease_token = %(token)s, next_attempt_at = now() + %(lease_seconds)s * interval '1 second',
    claimed_at = now(), claimed_head = d.head_version, claimed_by = %(session)s,
    claimed_by_at = now()
FROM former WHERE d.order_id = former.order_id
RETURNING d.order_id

-- name: lost
-- A part of the statements that end claims, `former` ones: those that were never settled may have sent their calls.
lost AS (
    UPDATE effect AS e
    SET state = 'in_doubt', maybe_done = true, first_sent_at = coalesce(e.first_sent_at, former.claimed_at)
    FROM former CROSS JOIN LATERAL (
        SELECT version FROM effect
        WHERE order_id = former.order_id AND version > former.settled_version AND version <= former.claimed_head
            AND state NOT IN ('delivered', 'skipped')
        ORDER BY version LIMIT %(calls)s
    ) AS c
    WHERE former.claimed_at IS NOT NULL AND e.order_id = former.order_id AND e.version = c.version
    RETURNING e.order_id, e.version, former.claimed_at
), noted AS (
    INSERT INTO attempt (kind, order_id, version, started_at, duration_ms, outcome, answer)
    SELECT 'lost', order_id, version, claimed_at, 0, 'in_doubt', 'may have been sent: nobody told what came of it'
    FROM lost ORDER BY order_id, version
)

-- name: by_chance
-- For claims that shall not begin with the order longest due.
OFFSET (
    SELECT floor(random() * count(*))::bigint FROM (
        SELECT 1 FROM delivery
        WHERE settled_version < head_version AND parked_at IS NULL AND next_attempt_at <= now()
        LIMIT 1000
    ) AS choice
)

-- name: claimed_calls
-- The next calls of the orders just taken, those in doubt with the seconds since they may first have been sent. A
-- statement of its own: the one that takes them finds each order as it is at that moment, but would find the calls as
-- they were when it began. Calls that have come in between are left to the next claim.
SELECT d.order_id, d.settled_version, d.attempts, e.version, e.kind, e.idempotency_key, e.body,
       CASE WHEN coalesce(e.maybe_done, e.first_sent_at IS NOT NULL)
            THEN extract(epoch FROM now() - e.first_sent_at)::float8 END,
       e.attempts, e.was_delivered, d.is_doubtful
FROM delivery AS d
CROSS JOIN LATERAL (
    SELECT version, kind, idempotency_key, body, maybe_done, first_sent_at, attempts, was_delivered FROM effect
    WHERE order_id = d.order_id AND version > d.settled_version AND version <= d.claimed_head
        AND state NOT IN ('delivered', 'skipped')
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
-- A call's first sending counts from the claim on, by our clock: never later than it was. An order that is to stand
-- still because it is doubtful goes on if the doubt was settled since it was claimed.
WITH given AS (
    SELECT * FROM unnest(%(order_ids)s::bigint[], %(tokens)s::uuid[], %(settled)s::bigint[], %(attempts)s::integer[],
                         %(waits)s::float8[], %(parked)s::text[])
        AS g (order_id, token, settled_version, attempts, wait_seconds, parked_reason)
), ours AS (
    SELECT d.order_id, g.token, d.claimed_at,
           CASE WHEN g.parked_reason <> 'doubtful' OR d.is_doubtful THEN g.parked_reason END AS parked_reason
    FROM delivery AS d JOIN given AS g USING (order_id)
    WHERE d.lease_token = g.token ORDER BY d.order_id FOR UPDATE OF d
), ended AS (
    UPDATE delivery AS d
    SET settled_version = g.settled_version,
        attempts = g.attempts,
        next_attempt_at = now() + g.wait_seconds * interval '1 second',
        lease_token = NULL,
        claimed_at = NULL,
        claimed_head = NULL,
        claimed_by = NULL,
        parked_at = CASE WHEN ours.parked_reason IS NOT NULL THEN now() END,
        parked_reason = ours.parked_reason
    FROM given AS g JOIN ours USING (order_id, token)
    WHERE d.order_id = g.order_id
    RETURNING d.order_id, g.token, ours.claimed_at
), results AS (
    SELECT * FROM unnest(%(call_orders)s::bigint[], %(call_tokens)s::uuid[], %(call_versions)s::bigint[],
                         %(call_states)s::text[], %(call_sendings)s::integer[], %(call_maybe_done)s::boolean[])
        AS r (order_id, token, version, state, sendings, maybe_done)
), noted AS (
    UPDATE effect AS e
    SET state = r.state, attempts = e.attempts + r.sendings, maybe_done = r.maybe_done,
        first_sent_at = coalesce(e.first_sent_at, CASE WHEN r.sendings > 0 THEN ended.claimed_at END),
        settled_at = CASE WHEN r.state = 'delivered' THEN now() END
    FROM results AS r JOIN ended USING (order_id, token)
    WHERE e.order_id = r.order_id AND e.version = r.version
)
SELECT order_id FROM ended

-- name: insert_attempts
-- The record of what was sent, whoever had the lease. What it has already was settled by a commit whose answer was lost.
INSERT INTO attempt (attempt_id, kind, order_id, version, started_at, duration_ms, outcome, status, answer, found_done)
SELECT * FROM unnest(%(ids)s::uuid[], %(kinds)s::text[], %(orders)s::bigint[], %(versions)s::bigint[],
                     %(started)s::timestamptz[], %(durations)s::integer[], %(outcomes)s::text[], %(statuses)s::integer[],
                     %(answers)s::text[], %(found_done)s::boolean[])
ON CONFLICT DO NOTHING

-- name: has_attempt
-- Whether it is in the record.
SELECT 1 FROM attempt WHERE attempt_id = %s

-- name: free_doubtful
-- Orders that stand still because they are doubtful go on.
WITH held AS (
    SELECT order_id FROM delivery WHERE parked_at IS NOT NULL AND parked_reason = 'doubtful'
    ORDER BY order_id FOR UPDATE SKIP LOCKED
)
UPDATE delivery AS d SET parked_at = NULL, parked_reason = NULL, next_attempt_at = now()
FROM held WHERE d.order_id = held.order_id

-- name: notify_due
-- Wakes the dispatchers; sent when the transaction commits.
NOTIFY cashback_due
