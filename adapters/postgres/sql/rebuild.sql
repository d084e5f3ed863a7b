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
       recorded_at_ns, held_cashback, at_stake, doubtful_since_ns, began_at_ns
FROM orders WHERE order_id = ANY(%s)

-- name: ledger_calls
-- The effect ledger's calls of some orders. The digest is that of the body which would be sent, or nothing if it
-- isn't the one that was noted with it; the key is the first one of all that it had.
SELECT order_id, version, kind,
       coalesce((SELECT r.idempotency_key FROM replaced_key AS r
                 WHERE r.order_id = e.order_id AND r.version = e.version AND r.generation = 0), idempotency_key),
       CASE WHEN sha256(body) = body_digest THEN body_digest ELSE '' END
FROM effect AS e WHERE order_id = ANY(%s)

-- name: doubtful_orders
-- Those of the orders that the ledger has marked.
SELECT order_id FROM delivery WHERE order_id = ANY(%s) AND is_doubtful

-- name: count_rows
-- How many orders the read model and the ledger know.
SELECT (SELECT count(*) FROM orders), (SELECT count(DISTINCT order_id) FROM effect)

-- name: begin_rebuilt
-- A new, empty read model beside the old one.
CREATE TEMPORARY TABLE orders_rebuilt (LIKE orders, PRIMARY KEY (order_id)) ON COMMIT DROP

-- name: lock_projection
-- Waits for the batch that a running projection is at, and keeps the next one out until we commit.
SELECT notification_id FROM projection_position WHERE name = 'orders' FOR UPDATE

-- name: forget_rows
-- Readers see the old rows until we commit, also those whose snapshot is older than our transaction's end: that is
-- why the table stays the same one.
DELETE FROM orders

-- name: put_rows
-- In the place of the old ones.
INSERT INTO orders SELECT * FROM orders_rebuilt

-- name: set_position
-- The projection goes on from where the rebuild had read; a row is never set back, so reading twice is harmless.
UPDATE projection_position SET notification_id = %s, updated_at = now() WHERE name = 'orders'
