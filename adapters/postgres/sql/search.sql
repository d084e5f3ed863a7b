-- name: order
-- If anything was ever said about it.
SELECT %(order_id)s::bigint WHERE EXISTS (SELECT FROM stored_events WHERE originator_id = %(stream)s)

-- name: orders_with
-- Orders about which one of these texts was said.
SELECT DISTINCT order_id FROM order_transaction WHERE digest = ANY(%(digests)s) ORDER BY order_id LIMIT %(limit)s

-- name: orders_beginning
-- Orders whose ids begin with these digits: one range of ids for each length.
SELECT o.order_id FROM unnest(%(lows)s::bigint[], %(highs)s::bigint[]) AS r (low, high)
CROSS JOIN LATERAL (
    SELECT order_id FROM orders WHERE order_id BETWEEN r.low AND r.high ORDER BY order_id LIMIT %(limit)s
) AS o
ORDER BY o.order_id LIMIT %(limit)s

-- name: orders_of_buyer
-- In any case of letters that people write.
SELECT order_id FROM orders WHERE buyer_id = ANY(%(words)s) ORDER BY order_id DESC LIMIT %(limit)s

-- name: orders_of_key
-- Of keys that a person asked for, and of those that these have replaced.
SELECT order_id FROM effect WHERE idempotency_key = %(key)s AND generation > 0
UNION SELECT order_id FROM replaced_key WHERE idempotency_key = %(key)s

-- name: quarantined_at
-- Messages in quarantine with this id, or from this place.
SELECT id FROM quarantine WHERE id = %(id)s
UNION SELECT id FROM quarantine WHERE topic = %(topic)s AND partition = %(partition)s AND kafka_offset = %(offset)s
ORDER BY 1 LIMIT %(limit)s
