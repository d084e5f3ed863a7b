-- name: with_stream
-- Those of the orders that have events.
SELECT originator_id FROM stored_events WHERE originator_id = ANY(%s) AND originator_version = 1

-- name: ledger_entries
-- All calls of orders, with the first attempt under their present key. An attempt whose lease was lost is only in the
-- record of attempts.
SELECT e.order_id, e.version, e.kind, e.idempotency_key, e.body, e.state, e.attempts,
       least(e.first_sent_at, a.first_attempt_at), e.maybe_done, e.nonce, clock_timestamp()
FROM effect AS e
LEFT JOIN LATERAL (
    SELECT min(started_at) AS first_attempt_at FROM attempt
    WHERE order_id = e.order_id AND version = e.version AND kind <> 'lookup'
        AND (e.generation = 0 OR id > (
            SELECT max(last_attempt_id) FROM replaced_key WHERE order_id = e.order_id AND version = e.version
        ))
) AS a ON true
WHERE e.order_id = ANY(%s)
ORDER BY e.order_id, e.version

-- name: was_nonce_used
-- Whether any call of the order had a key of this nonce, and has another one since.
SELECT EXISTS (SELECT FROM replaced_key WHERE order_id = %s AND nonce = %s)

-- name: keep_keys
-- What became of calls under their present keys, before they get new ones.
INSERT INTO replaced_key (order_id, version, generation, idempotency_key, nonce, state, attempts, maybe_done,
                          first_sent_at, settled_at, last_attempt_id)
SELECT order_id, version, generation, idempotency_key, nonce, state, attempts, maybe_done, first_sent_at, settled_at,
       coalesce((SELECT max(id) FROM attempt AS a WHERE a.order_id = e.order_id AND a.version = e.version), 0)
FROM effect AS e WHERE order_id = %s AND version = ANY(%s)

-- name: renew_keys
-- Under a new key nothing was sent yet.
UPDATE effect AS e
SET idempotency_key = g.key, generation = generation + 1, nonce = %(nonce)s, attempts = 0, maybe_done = false,
    first_sent_at = NULL
FROM unnest(%(versions)s::bigint[], %(keys)s::uuid[]) AS g (version, key)
WHERE e.order_id = %(order_id)s AND e.version = g.version

-- name: send_blindly
-- A person has asked for these to be sent without a lookup, whatever was done before.
UPDATE effect SET maybe_done = false WHERE order_id = %s AND version = ANY(%s)

-- name: make_due
-- Key, body and the time of the first attempt stay. Under a new key nothing was delivered so far.
UPDATE effect
SET state = 'due', settled_at = NULL,
    was_delivered = (was_delivered OR state = 'delivered') AND version <> ALL(%(renewed)s::bigint[])
WHERE order_id = %(order_id)s AND version = ANY(%(versions)s)

-- name: set_back
-- The cursor goes back to the first call that is to be sent; it ends at the last one, because a call that is settled
-- already would never be claimed.
-- A lease that still runs keeps its time, so that nobody else calls meanwhile. Its token goes if the cursor really
-- goes back: what the holder settles then would count as sent a call that must come after the earlier ones.
-- The order becomes due a moment after we commit: a claim that began before would see the new cursor with the old
-- states of the calls, and pass over those that are to be sent again.
UPDATE delivery
SET settled_version = least(settled_version, %(first)s - 1),
    head_version = %(last)s,
    attempts = 0,
    parked_at = NULL,
    parked_reason = NULL,
    next_attempt_at = greatest(CASE WHEN claimed_at IS NOT NULL OR lease_token IS NOT NULL THEN next_attempt_at END,
                               clock_timestamp() + interval '250 ms'),
    lease_token = CASE WHEN next_attempt_at > clock_timestamp() AND settled_version < %(first)s
                       THEN lease_token END
WHERE order_id = %(order_id)s

-- name: notify_due
-- Wakes the dispatchers; sent when the transaction commits.
NOTIFY cashback_due

-- name: insert_replay
-- Who asked for what to be done again, and why.
INSERT INTO replay (id, order_id, mode, reason, items) VALUES (%s, %s, %s, %s, %s)

-- name: correct_replay
-- Less was done than asked for.
UPDATE replay SET items = %s WHERE id = %s

-- name: record_bulk
-- The orders of a bulk replay, each under its id. One that is done once more, by the process that took it over or after
-- an outage, is recorded once, with what went out the last time.
WITH done AS (
    SELECT * FROM unnest(%(orders)s::bigint[], %(items)s::integer[]) AS done (order_id, items)
), acted AS (
    INSERT INTO operator_action (operator, via, role, action, reason, order_id, bulk_id, detail)
    SELECT %(operator)s, %(via)s, %(role)s, %(mode)s, %(reason)s, order_id, %(id)s, jsonb_build_object('items', items)
    FROM done
    ON CONFLICT (bulk_id, order_id) WHERE bulk_id IS NOT NULL DO NOTHING
)
INSERT INTO replay (id, order_id, mode, reason, items)
SELECT %(id)s, order_id, %(mode)s, %(reason)s, items FROM done
ON CONFLICT (id, order_id) DO UPDATE SET items = excluded.items
