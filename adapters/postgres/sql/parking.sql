-- name: cursors
-- Where orders' calls stand. A claim that has neither been settled nor run out may have a call under way, also when
-- its token is gone. (By the clock: the transaction may have waited.)
SELECT order_id,
       CASE WHEN parked_at IS NOT NULL THEN 'parked'
            WHEN settled_version = head_version THEN 'idle'
            WHEN next_attempt_at <= clock_timestamp() THEN 'due'
            WHEN claimed_at IS NOT NULL OR lease_token IS NOT NULL THEN 'in_flight'
            ELSE 'retrying' END,
       settled_version, parked_reason, next_attempt_at,
       (claimed_at IS NOT NULL OR lease_token IS NOT NULL) AND next_attempt_at > clock_timestamp()
FROM delivery WHERE order_id = ANY(%s) ORDER BY order_id /* lock */

-- name: hold_cursor
-- Until the transaction ends nobody else moves it.
SELECT FROM delivery WHERE order_id = %s FOR UPDATE

-- name: waiting_calls
-- The calls of orders that aren't settled, so many of each.
SELECT d.order_id, e.version, e.kind, e.idempotency_key, e.body, e.state, e.attempts,
       coalesce(e.maybe_done, e.first_sent_at IS NOT NULL), e.first_sent_at
FROM delivery AS d
CROSS JOIN LATERAL (
    SELECT * FROM effect
    WHERE order_id = d.order_id AND version > d.settled_version AND state NOT IN ('delivered', 'skipped')
    ORDER BY version LIMIT %(limit)s
) AS e
WHERE d.order_id = ANY(%(order_ids)s)
ORDER BY d.order_id, e.version

-- name: note_lost
-- What a claim says of itself (sql/delivery.sql) before somebody changes where the order stands: its calls may have
-- been sent, and no settlement of it will count any more. While its lease runs, its end stays where it is, and
-- `claimed_at` says so; but there is nothing more to be noted about it.
WITH former AS (
    SELECT order_id, settled_version, claimed_at, claimed_head FROM delivery
    WHERE order_id = ANY(%(order_ids)s) AND claimed_at IS NOT NULL
), /* lost */
UPDATE delivery AS d
SET lease_token = NULL,
    claimed_at = CASE WHEN next_attempt_at > clock_timestamp() THEN d.claimed_at END,
    claimed_head = CASE WHEN next_attempt_at > clock_timestamp() THEN 0 END
FROM former WHERE d.order_id = former.order_id

-- name: make_head_due
-- The calls at which orders stand.
UPDATE effect AS e SET state = CASE WHEN e.maybe_done THEN 'in_doubt' ELSE 'due' END
FROM unnest(%(order_ids)s::bigint[], %(versions)s::bigint[]) AS g (order_id, version)
WHERE e.order_id = g.order_id AND e.version = g.version AND e.state NOT IN ('delivered', 'skipped')

-- name: let_go
-- Orders go on at once, or when the lease of whoever may be at work has run out; with all their attempts. They become
-- due a moment after we commit, see `set_back` in sql/replays.sql.
UPDATE delivery
SET parked_at = NULL, parked_reason = NULL, attempts = 0, lease_token = NULL,
    next_attempt_at = greatest(CASE WHEN claimed_at IS NOT NULL OR lease_token IS NOT NULL THEN next_attempt_at END,
                               clock_timestamp() + interval '250 ms')
WHERE order_id = ANY(%s)

-- name: give_up
-- The call counts as settled.
UPDATE effect SET state = 'skipped', settled_at = now()
WHERE order_id = %s AND version = %s AND state NOT IN ('delivered', 'skipped')

-- name: pass_by
-- The cursor goes behind the call that was given up, and to its end if no other waits: a call that is settled would
-- never be claimed. (After a redelivery that end is the last call to send, not the last one there is.)
UPDATE delivery AS d
SET settled_version = CASE WHEN EXISTS (
        SELECT FROM effect AS e WHERE e.order_id = d.order_id AND e.version > %(version)s
            AND e.state NOT IN ('delivered', 'skipped')
    ) THEN %(version)s ELSE head_version END
WHERE order_id = %(order_id)s
RETURNING settled_version < head_version

-- name: notify_due
-- Wakes the dispatchers; sent when the transaction commits.
NOTIFY cashback_due

-- name: free_repaired
-- An order that stood still because its stream was broken goes on; doubtful from this moment on, since it is. Whoever
-- was at work on it when it was parked may be so still: until the lease runs out nobody else calls.
UPDATE delivery
SET parked_at = NULL, parked_reason = NULL, is_doubtful = true,
    next_attempt_at = greatest(CASE WHEN claimed_at IS NOT NULL THEN next_attempt_at END, now())
WHERE order_id = %s AND parked_reason = %s
