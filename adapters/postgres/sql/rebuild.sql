-- name: all_streams
-- Every stream, one after the other.
SELECT notification_id, originator_id, originator_version, topic, state FROM stored_events
ORDER BY originator_id, originator_version

-- name: some_streams
-- The streams of the orders named.
SELECT notification_id, originator_id, originator_version, topic, state FROM stored_events
WHERE originator_id = ANY(%s)
ORDER BY originator_id, originator_version

-- name: last_notification
-- How far the store goes; no fewer than the events there are.
SELECT coalesce(max(notification_id), 0) FROM stored_events

-- name: positions
-- How far the projections have read.
SELECT name, notification_id FROM projection_position

-- name: order_rows
-- The read model's rows of some orders.
SELECT order_id, version, status, buyer_id, store_no, cashback, held, rejected, superseded, doubts, held_since_ns,
       recorded_at_ns
FROM orders WHERE order_id = ANY(%s)

-- name: effect_digests
-- The effect ledger's bodies of some orders.
SELECT order_id, version, body_digest FROM effect WHERE order_id = ANY(%s)

-- name: count_rows
-- How many orders the read model and the ledger know.
SELECT (SELECT count(*) FROM orders), (SELECT count(DISTINCT order_id) FROM effect)

-- name: begin_rebuilt
-- A new, empty read model beside the old one.
CREATE TABLE orders_rebuilt (LIKE orders INCLUDING ALL)

-- name: lock_projection
-- Waits for the batch that a running projection is at, and keeps the next one out until we commit.
SELECT notification_id FROM projection_position WHERE name = 'orders' FOR UPDATE

-- name: set_position
-- The projection goes on from where the rebuild had read; a row is never set back, so reading twice is harmless.
UPDATE projection_position SET notification_id = %s, updated_at = now() WHERE name = 'orders'

-- name: index_names
-- The indexes of a table with what they are on, to give the new ones the names of the old ones.
SELECT c.relname, replace(pg_get_indexdef(i.indexrelid), c.relname, '')
FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
WHERE i.indrelid = %s::regclass
