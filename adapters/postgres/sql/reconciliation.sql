-- name: our_side
-- One order at one moment (one statement sees one state): the version of its stream, how far its cursor has settled,
-- and each call by what the event store asks for and by what the ledger has. A call that the projection hasn't reached
-- yet is only in the event store; one that it has passed and that is not in the ledger is missing there.
SELECT o.version, o.settled_version, c.*
FROM (
    SELECT (SELECT max(originator_version) FROM stored_events WHERE originator_id = %(stream)s) AS version,
           (SELECT settled_version FROM delivery WHERE order_id = %(order_id)s) AS settled_version
) AS o
LEFT JOIN (
    SELECT e.originator_id, e.originator_version, e.topic, e.state,
           e.notification_id <= (SELECT notification_id FROM projection_position WHERE name = 'third-party'),
           f.version, f.kind, f.body, f.state
    FROM (
        SELECT * FROM stored_events WHERE originator_id = %(stream)s AND topic = ANY(%(topics)s)
    ) AS e
    FULL JOIN (SELECT * FROM effect WHERE order_id = %(order_id)s) AS f ON f.version = e.originator_version
) AS c (stream, version, topic, event, is_projected, noted_version, kind, body, state) ON true
ORDER BY coalesce(c.version, c.noted_version)

-- name: streams_after
-- Orders of the event store, ascending.
SELECT originator_id FROM stored_events WHERE originator_version = 1 AND originator_id > %s
ORDER BY originator_id LIMIT %s

-- name: changed_after
-- Orders that changed at this moment or later, ascending; as the read model has it.
SELECT order_id FROM orders WHERE recorded_at_ns >= %s AND order_id > %s ORDER BY order_id LIMIT %s

-- name: count_streams
-- How many orders there are.
SELECT count(*) FROM stored_events WHERE originator_version = 1

-- name: count_changed
-- How many changed.
SELECT count(*) FROM orders WHERE recorded_at_ns >= %s

-- name: sample_streams
-- Some orders, by chance.
SELECT originator_id FROM stored_events WHERE originator_version = 1 ORDER BY random() LIMIT %s

-- name: sample_changed
-- Some of those that changed.
SELECT order_id FROM orders WHERE recorded_at_ns >= %s ORDER BY random() LIMIT %s

-- name: open_and_stale
-- Open rows that haven't been compared for so many seconds, the longest waiting first.
SELECT order_id FROM reconciliation
WHERE closed_at IS NULL AND compared_at < now() - %s * interval '1 second' ORDER BY compared_at LIMIT %s

-- name: close
-- The row stays, with the moment of its end.
UPDATE reconciliation SET closed_at = now(), compared_at = now() WHERE closed_at IS NULL AND order_id = ANY(%s)

-- name: keep
-- One open row an order.
INSERT INTO reconciliation (order_id, class, our_status, our_amount, their_status, their_amount, detail)
SELECT * FROM unnest(%(orders)s::bigint[], %(classes)s::text[], %(our_statuses)s::text[], %(our_amounts)s::numeric[],
                     %(their_statuses)s::text[], %(their_amounts)s::numeric[], %(details)s::text[])
ON CONFLICT (order_id) WHERE closed_at IS NULL DO UPDATE SET
    class = excluded.class, our_status = excluded.our_status, our_amount = excluded.our_amount,
    their_status = excluded.their_status, their_amount = excluded.their_amount, detail = excluded.detail,
    last_seen_at = now(), compared_at = now()

-- name: keep_unknown
-- A lookup that failed says nothing new about a row that is there.
INSERT INTO reconciliation (order_id, class, our_status, our_amount, detail)
SELECT * FROM unnest(%(orders)s::bigint[], %(classes)s::text[], %(our_statuses)s::text[], %(our_amounts)s::numeric[],
                     %(details)s::text[])
ON CONFLICT (order_id) WHERE closed_at IS NULL DO UPDATE SET compared_at = now()

-- name: note_comparisons
-- One row an order: the last word of the third party about it.
INSERT INTO last_comparison (order_id, verdict)
SELECT * FROM unnest(%(orders)s::bigint[], %(verdicts)s::text[]) AS c (order_id, verdict) ORDER BY 1
ON CONFLICT (order_id) DO UPDATE SET verdict = excluded.verdict, compared_at = now()

-- name: forget
-- Closed rows that are old; those that were expected go sooner.
DELETE FROM reconciliation
WHERE closed_at < now() - make_interval(days => CASE WHEN class IN ('in_flight', 'unknown') THEN %(expected_days)s
                                                     ELSE %(days)s END)

-- name: stop_order
-- Stops an order's calls until a person looks at it. The token goes: whoever has the lease can't set them going again.
-- No row if it stands still for such a reason already, or has no calls.
UPDATE delivery SET parked_at = coalesce(parked_at, now()), parked_reason = %(reason)s, lease_token = NULL
WHERE order_id = %(order_id)s AND (parked_at IS NULL OR parked_reason NOT LIKE 'invariant: %%')
RETURNING 1

-- name: page
-- The last ones first.
SELECT id, order_id, class, our_status, our_amount, their_status, their_amount, detail, first_seen_at, last_seen_at,
       closed_at
FROM reconciliation WHERE id <= %(start)s /* conditions */ ORDER BY id DESC LIMIT %(limit)s

-- name: lock_audit
-- One process audits, for as long as its connection lasts.
SELECT pg_try_advisory_lock(4223372040)

-- name: audit_place
-- The last order that the walk has passed.
SELECT order_id FROM audit_place

-- name: move_audit_place
-- Back to 0 at the end of a round.
UPDATE audit_place SET order_id = %s, updated_at = now()
