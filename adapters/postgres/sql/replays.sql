-- name: has_stream
-- Whether the order has any events.
SELECT EXISTS (SELECT 1 FROM stored_events WHERE originator_id = %s)

-- name: lock_delivery
-- First in the transaction, and in the same order as settling does it: the cursor, then the calls.
SELECT 1 FROM delivery WHERE order_id = %s FOR UPDATE

-- name: ledger_entries
-- All calls of an order. An attempt whose lease was lost is only in the record of attempts.
SELECT e.version, e.kind, e.idempotency_key, e.body, e.state, e.attempts,
       least(e.first_sent_at, a.first_attempt_at), clock_timestamp()
FROM effect AS e
LEFT JOIN (
    SELECT version, min(started_at) AS first_attempt_at FROM attempt
    WHERE order_id = %(order_id)s GROUP BY version
) AS a USING (version)
WHERE e.order_id = %(order_id)s
ORDER BY e.version

-- name: make_due
-- Key, body and the time of the first attempt stay.
UPDATE effect SET state = 'due', settled_at = NULL WHERE order_id = %s AND version = ANY(%s)

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
    next_attempt_at = greatest(CASE WHEN lease_token IS NOT NULL THEN next_attempt_at END,
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
