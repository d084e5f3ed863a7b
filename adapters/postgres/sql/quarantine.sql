-- name: close
-- Only what is open can be dealt with; whoever comes second finds it closed.
UPDATE quarantine
SET state = %(state)s, closed_at = clock_timestamp(), edited_key = %(key)s, edited_value = %(value)s,
    edited_headers = %(headers)s, order_id = coalesce(%(order_id)s, order_id)
WHERE id = %(id)s AND state = 'open' RETURNING 1

-- name: state
-- Where a message stands.
SELECT state FROM quarantine WHERE id = %s
