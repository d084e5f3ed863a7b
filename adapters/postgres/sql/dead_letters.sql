-- name: try_lock
-- One process copies at a time; the lock goes with the connection. (Should two ever hold it, Kafka fences one.)
SELECT pg_try_advisory_lock(4223372, hashtext(%(copier)s))

-- name: select_noted
-- Everything up to this id has been copied, or skipped for good.
SELECT last_id FROM dead_letter_cursor WHERE copier = %(copier)s AND topic = %(topic)s

-- name: note
-- Never moves back.
INSERT INTO dead_letter_cursor (copier, topic, last_id) VALUES (%(copier)s, %(topic)s, %(last_id)s)
ON CONFLICT (copier, topic) DO UPDATE
SET last_id = greatest(dead_letter_cursor.last_id, excluded.last_id), updated_at = now()

-- name: select_next
-- The next messages in the order of their ids, at most so many, and no more than fit into so many bytes; at least one.
SELECT id, topic, topic_id, partition, kafka_offset, timestamp_ms, message_key, message_value, headers, order_id,
       reason, detail
FROM (
    SELECT *, sum(bytes) OVER (ORDER BY id) - bytes AS bytes_before
    FROM (
        SELECT *, coalesce(octet_length(message_value), 0) AS bytes
        FROM quarantine WHERE id > %(after)s ORDER BY id LIMIT %(max_rows)s
    ) AS next
) AS sized
WHERE bytes_before < %(max_bytes)s
ORDER BY id

-- name: count_waiting
-- Messages that are not copied yet; counting stops at a limit.
SELECT count(*) FROM (SELECT 1 FROM quarantine WHERE id > %(after)s LIMIT %(limit)s) AS waiting
