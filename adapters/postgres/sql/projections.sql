-- name: lock_position
-- One process at a time works at a projection; the others find no row here and try again later.
SELECT notification_id FROM projection_position WHERE name = %s FOR UPDATE SKIP LOCKED

-- name: others_position
-- Where the process that holds it stands, and whether there is anything for it to do.
SELECT notification_id,
       EXISTS (SELECT FROM stored_events AS e WHERE e.notification_id > p.notification_id)
FROM projection_position AS p WHERE name = %s

-- name: next_events
-- What was stored after the position. Ids grow in the order of commits (sql/intake.sql), so none is missed.
SELECT notification_id, originator_id, originator_version, topic, state FROM stored_events
WHERE notification_id > %s ORDER BY notification_id LIMIT %s

-- name: lacking
-- Of these events, those that aren't there.
SELECT b.stream, b.version FROM unnest(%b::uuid[], %b::bigint[]) AS b (stream, version)
WHERE (SELECT true FROM stored_events WHERE originator_id = b.stream AND originator_version = b.version) IS NULL

-- name: park_broken_streams
-- They stand still until their streams are repaired. One without any call has a cursor from now on, to be seen.
INSERT INTO delivery AS d (order_id, head_version, parked_at, parked_reason)
SELECT order_id, 0, now(), r.reason FROM unnest(%b::bigint[]) AS o (order_id), (SELECT %b::text AS reason) AS r
ORDER BY order_id
ON CONFLICT (order_id) DO UPDATE SET parked_at = now(), parked_reason = excluded.parked_reason, lease_token = NULL

-- name: last_event
-- How far the events go.
SELECT coalesce(max(notification_id), 0) FROM stored_events

-- name: event_at
-- Which one it is.
SELECT originator_id, originator_version FROM stored_events WHERE notification_id = %s

-- name: forget_orders
-- All of them.
DELETE FROM orders

-- name: move_position
-- Commits together with the rows.
UPDATE projection_position SET notification_id = %s, updated_at = now() WHERE name = %s

-- name: upsert_orders
-- A row never goes back to an older version. At the same one it is made anew: it may lack columns that came later.
INSERT INTO orders AS o (order_id, version, status, buyer_id, store_no, cashback, held, rejected, superseded, doubts,
                    held_since_ns, recorded_at_ns, held_cashback, at_stake, doubtful_since_ns, began_at_ns)
SELECT order_id, version, status, buyer_id, store_no, cashback, held, rejected, superseded,
       CASE doubts WHEN '' THEN '{}'::text[] ELSE string_to_array(doubts, ',') END,
       held_since_ns, recorded_at_ns, held_cashback, at_stake, doubtful_since_ns, began_at_ns
FROM unnest(%s::bigint[], %s::bigint[], %s::text[], %s::text[], %s::text[], %s::numeric[], %s::integer[],
            %s::integer[], %s::integer[], %s::text[], %s::bigint[], %s::bigint[], %s::numeric[], %s::numeric[],
            %s::bigint[], %s::bigint[])
    AS r (order_id, version, status, buyer_id, store_no, cashback, held, rejected, superseded, doubts,
          held_since_ns, recorded_at_ns, held_cashback, at_stake, doubtful_since_ns, began_at_ns)
ON CONFLICT (order_id) DO UPDATE SET
    version = excluded.version, status = excluded.status, buyer_id = excluded.buyer_id,
    store_no = excluded.store_no, cashback = excluded.cashback, held = excluded.held,
    rejected = excluded.rejected, superseded = excluded.superseded, doubts = excluded.doubts,
    held_since_ns = excluded.held_since_ns, recorded_at_ns = excluded.recorded_at_ns,
    held_cashback = excluded.held_cashback, at_stake = excluded.at_stake,
    doubtful_since_ns = excluded.doubtful_since_ns, began_at_ns = excluded.began_at_ns
WHERE o.version <= excluded.version

-- name: lock_unfilled
-- Some rows that lack columns which came later; those that another process is at are left to it.
SELECT order_id FROM orders
WHERE (began_at_ns IS NULL OR (doubts <> '{}' AND doubtful_since_ns IS NULL)) AND order_id > %s
ORDER BY order_id LIMIT %s FOR UPDATE SKIP LOCKED

-- name: insert_effects
-- The ledger's key makes a second attempt at the same events harmless, and its index `effect_once` leaves out what
-- would credit or end an order a second time.
INSERT INTO effect (order_id, version, kind, idempotency_key, body, body_digest)
SELECT * FROM unnest(%b::bigint[], %b::bigint[], %b::text[], %b::uuid[], %b::bytea[], %b::bytea[])
ON CONFLICT DO NOTHING

-- name: insert_postings
-- What the same events say of the money (sql/statement.sql).
INSERT INTO posting (order_id, version, kind, recorded_ns, cashback)
SELECT * FROM unnest(%b::bigint[], %b::bigint[], %b::text[], %b::bigint[], %b::numeric[])
ON CONFLICT DO NOTHING

-- name: upsert_delivery
-- An order that stood idle is due at once; one that waits, or is at work, or is parked, keeps its time.
INSERT INTO delivery AS d (order_id, head_version)
SELECT order_id, max(version) FROM unnest(%b::bigint[], %b::bigint[]) AS e (order_id, version) GROUP BY order_id ORDER BY order_id
ON CONFLICT (order_id) DO UPDATE SET
    head_version = greatest(d.head_version, excluded.head_version),
    next_attempt_at = CASE WHEN d.settled_version = d.head_version AND d.lease_token IS NULL
                           THEN now() ELSE d.next_attempt_at END

-- name: lock_cursors
-- In the order in which a settlement locks them: two statements follow, each with cursors of its own.
SELECT FROM delivery WHERE order_id = ANY(%b::bigint[]) ORDER BY order_id FOR UPDATE

-- name: mark_doubtful
-- An order that stood still because it was doubtful, and isn't any more, is due at once. One without any call has a cursor
-- from now on, for its flag.
INSERT INTO delivery AS d (order_id, head_version, is_doubtful)
SELECT order_id, 0, is_doubtful FROM unnest(%b::bigint[], %b::boolean[]) AS m (order_id, is_doubtful) ORDER BY order_id
ON CONFLICT (order_id) DO UPDATE SET
    is_doubtful = excluded.is_doubtful,
    parked_at = CASE WHEN excluded.is_doubtful OR d.parked_reason <> 'doubtful' THEN d.parked_at END,
    parked_reason = CASE WHEN excluded.is_doubtful OR d.parked_reason <> 'doubtful' THEN d.parked_reason END,
    next_attempt_at = CASE WHEN d.parked_reason = 'doubtful' AND NOT excluded.is_doubtful
                           THEN now() ELSE d.next_attempt_at END

-- name: park_broken
-- Of the calls just given, those that were left out by `effect_once`: their orders stand still until a person looks. The
-- head goes back to the last call that is there, and the token goes: a claim under way can't set the order going again.
WITH broken AS (
    SELECT g.order_id, min(CASE g.kind WHEN 'create' THEN 'created_once' ELSE 'ended_once' END) AS invariant
    FROM unnest(%b::bigint[], %b::bigint[], %b::text[]) AS g (order_id, version, kind)
    LEFT JOIN effect AS e USING (order_id, version)
    WHERE e.order_id IS NULL GROUP BY g.order_id
)
UPDATE delivery AS d
SET head_version = greatest(d.settled_version, (SELECT max(version) FROM effect AS e WHERE e.order_id = d.order_id)),
    parked_at = now(),
    parked_reason = 'invariant: ' || b.invariant,
    lease_token = NULL
FROM broken AS b WHERE d.order_id = b.order_id
RETURNING d.order_id, b.invariant

-- name: notify_due
-- Wakes the dispatchers; sent when the transaction commits.
NOTIFY cashback_due
