-- name: orders_page
-- A page of orders, and where the calls of each stand. A lease that has run out is as good as none.
SELECT o.order_id, o.version, o.status, o.buyer_id, o.store_no, o.cashback, o.held, o.rejected, o.superseded, o.doubts,
       o.held_since_ns, o.recorded_at_ns, o.held_cashback, o.at_stake, o.doubtful_since_ns, o.began_at_ns,
       CASE WHEN d.order_id IS NULL THEN 'idle'
            WHEN d.parked_at IS NOT NULL THEN 'parked'
            WHEN d.settled_version = d.head_version THEN 'idle'
            WHEN d.next_attempt_at <= now() THEN 'due'
            WHEN d.lease_token IS NOT NULL THEN 'in_flight'
            ELSE 'retrying' END,
       coalesce(r.is_different, false)
FROM (
    SELECT * FROM orders /* mismatched */ WHERE order_id /* place */ %(start)s /* conditions */ /* parked */
    ORDER BY order_id /* direction */ LIMIT %(limit)s
) AS o
LEFT JOIN delivery AS d USING (order_id)
LEFT JOIN LATERAL (  -- one by one along the index: with EXISTS, the planner reads all differences
    SELECT true AS is_different FROM reconciliation
    WHERE order_id = o.order_id AND closed_at IS NULL AND class NOT IN ('in_flight', 'unknown') LIMIT 1
) AS r ON true
ORDER BY o.order_id /* direction */

-- name: about_orders
-- About how many orders there are: the planner's own guess.
SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = 'orders'::regclass

-- name: lock_transaction_place
-- One process at a time reads on; the others find no row here.
SELECT notification_id FROM order_transaction_place FOR UPDATE SKIP LOCKED

-- name: next_decisions
-- What was stored after the place, without the messages' bodies (adapters/postgres/codec.py). Nothing of what a person
-- decided, which is about no message.
SELECT notification_id, topic, substr(state, 1, nullif(position('\x0a'::bytea IN state), 0) - 1) FROM stored_events
WHERE notification_id > %s ORDER BY notification_id LIMIT %s

-- name: insert_transactions
-- Each once.
INSERT INTO order_transaction (digest, order_id)
SELECT DISTINCT * FROM unnest(%s::bigint[], %s::bigint[]) AS t (digest, order_id) ORDER BY 1, 2
ON CONFLICT DO NOTHING

-- name: move_transaction_place
-- Commits together with the rows.
UPDATE order_transaction_place SET notification_id = %s

-- name: note_process
-- How one process is doing.
INSERT INTO service_process (id, name, roles, state) VALUES (%(id)s, %(name)s, %(roles)s, %(state)s)
ON CONFLICT (id) DO UPDATE SET state = excluded.state, seen_at = now()

-- name: forget_process
-- It has stopped.
DELETE FROM service_process WHERE id = %s

-- name: forget_silent_processes
-- They were killed.
DELETE FROM service_process WHERE seen_at < now() - %s * interval '1 second'

-- name: processes
-- Those that have been heard of lately.
SELECT name, roles, state::text, started_at, seen_at FROM service_process
WHERE seen_at > now() - %(silent_seconds)s * interval '1 second' ORDER BY started_at, id LIMIT %(limit)s

-- name: take_step
-- A row if nobody has taken this step's sample yet.
INSERT INTO console_sample (step) VALUES (floor(extract(epoch FROM now()) / %(seconds)s)::bigint)
ON CONFLICT DO NOTHING RETURNING step

-- name: numbers
-- Counters and what waits; counts stop at a limit.
SELECT (SELECT coalesce(sum(next_offset), 0)::bigint FROM kafka_position),
       (SELECT coalesce(max(notification_id), 0) FROM stored_events),
       (SELECT coalesce(max(id), 0) FROM attempt),
       (SELECT coalesce(min(notification_id), 0) FROM projection_position),
       w.number, w.since, q.number, q.since,
       (SELECT count(*) FROM (SELECT FROM orders WHERE doubts <> '{}' LIMIT %(limit)s) AS d),
       (SELECT count(*) FROM (
            SELECT FROM reconciliation WHERE closed_at IS NULL AND class NOT IN ('in_flight', 'unknown') LIMIT %(limit)s
        ) AS r)
FROM (
    SELECT count(*) AS number, min(next_attempt_at) AS since
    FROM (
        SELECT next_attempt_at FROM delivery WHERE settled_version < head_version AND parked_at IS NULL
        ORDER BY next_attempt_at LIMIT %(limit)s
    ) AS w
) AS w, (
    SELECT count(*) AS number, min(quarantined_at) AS since
    FROM (SELECT quarantined_at FROM quarantine WHERE state = 'open' ORDER BY id LIMIT %(limit)s) AS q
) AS q

-- name: failed_attempts
-- Of the attempts after this one.
SELECT count(*) FROM (
    SELECT outcome, kind FROM attempt WHERE id > %(after)s ORDER BY id LIMIT %(limit)s
) AS a
WHERE outcome NOT IN ('delivered', 'found', 'not_found') AND kind = 'call'

-- name: held_orders
-- The longest waiting of them, and the money in all. An order that isn't created yet has its amount in its messages.
SELECT count(*), min(held_since_ns), coalesce(sum(coalesce(cashback, held_cashback)), 0)
FROM (
    SELECT held_since_ns, cashback, held_cashback FROM orders WHERE held > 0 ORDER BY held_since_ns LIMIT %(limit)s
) AS h

-- name: parked_money
-- What stands still in parked orders, the longest parked first.
SELECT count(*), min(d.parked_at), coalesce(sum(o.cashback), 0)
FROM (
    SELECT order_id, parked_at FROM delivery WHERE parked_at IS NOT NULL ORDER BY parked_at LIMIT %(limit)s
) AS d
LEFT JOIN orders AS o USING (order_id)

-- name: lag
-- Messages that wait on the topic, as far as the processes that read have said lately; null if none has.
SELECT sum((state ->> 'lag')::bigint) FROM service_process
WHERE seen_at > now() - %s * interval '1 second' AND state ->> 'lag' IS NOT NULL

-- name: put_numbers
-- Into the row of the step that was taken.
UPDATE console_sample SET numbers = %(numbers)s WHERE step = %(step)s

-- name: forget_samples
-- Those older than this many seconds.
DELETE FROM console_sample WHERE taken_at < now() - %s * interval '1 second'

-- name: samples
-- Of the last seconds, in the order of time.
SELECT taken_at, numbers::text FROM console_sample
WHERE taken_at > now() - %s * interval '1 second' AND numbers <> '{}' ORDER BY step

-- name: last_sample
-- The one before this step.
SELECT numbers::text FROM console_sample WHERE step < %s AND numbers <> '{}' ORDER BY step DESC LIMIT 1
