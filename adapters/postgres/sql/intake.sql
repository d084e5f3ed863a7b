-- name: lock_and_notify
-- One writer at a time hands out notification ids, and commits before the next one does: so a reader that has seen
-- an id will never find a smaller one later. (The library locks the table instead, which waits for VACUUM.)
-- The ids of the quarantine keep the same order, for those who copy it.
-- The projections are woken when the transaction commits.
SELECT pg_advisory_xact_lock(4223372036), pg_notify('cashback_events', '')

-- name: copy_events
-- All events of a batch at once.
COPY stored_events (originator_id, originator_version, topic, state) FROM STDIN (FORMAT binary)

-- name: advance_positions
-- Compare-and-set, all partitions of a batch at once; answers one row for each position that moved.
WITH wanted AS (
    SELECT * FROM unnest(%(topics)s::text[], %(topic_ids)s::text[], %(partitions)s::integer[],
                         %(expected)s::bigint[], %(next)s::bigint[], %(leader_epochs)s::integer[])
        AS wanted (topic, topic_id, partition, expected, next_offset, leader_epoch)
), moved AS (
    UPDATE kafka_position AS p
    SET next_offset = w.next_offset, leader_epoch = w.leader_epoch, updated_at = now()
    FROM wanted AS w
    WHERE p.topic = w.topic AND p.topic_id = w.topic_id AND p.partition = w.partition
        AND p.next_offset = w.expected AND p.loss IS NULL
    RETURNING 1
), made AS (
    INSERT INTO kafka_position (topic, topic_id, partition, next_offset, leader_epoch)
    SELECT topic, topic_id, partition, next_offset, leader_epoch FROM wanted WHERE expected IS NULL
    ON CONFLICT DO NOTHING
    RETURNING 1
)
SELECT 1 FROM moved UNION ALL SELECT 1 FROM made

-- name: insert_quarantined
-- A message that is read twice is kept once. All in one statement: psycopg sends those of `executemany` as a pipeline,
-- and a process that stands still in the middle of one doesn't count as idle (see TRANSACTION_TIMEOUT_SECONDS).
INSERT INTO quarantine (topic, topic_id, partition, kafka_offset, timestamp_ms, message_key, message_value, headers,
                        order_id, reason, detail)
SELECT * FROM unnest(%(topics)s::text[], %(topic_ids)s::text[], %(partitions)s::integer[], %(offsets)s::bigint[],
                     %(timestamps_ms)s::bigint[], %(keys)s::bytea[], %(values)s::bytea[], %(headers)s::jsonb[],
                     %(order_ids)s::bigint[], %(reasons)s::text[], %(details)s::text[])
ON CONFLICT DO NOTHING

-- name: select_streams
-- The whole streams of many orders.
SELECT originator_id, originator_version, topic, state FROM stored_events
WHERE originator_id = ANY(%b::uuid[])
ORDER BY originator_id, originator_version

-- name: select_positions
-- All positions in topics of these names, the last one moved last.
SELECT topic, topic_id, partition, next_offset, leader_epoch, loss FROM kafka_position WHERE topic = ANY(%s)
ORDER BY updated_at

-- name: stop_position
-- Compare-and-set, too: a loss is noted with the position at which it was found.
UPDATE kafka_position SET loss = %(loss)s
WHERE topic = %(topic)s AND topic_id = %(topic_id)s AND partition = %(partition)s AND next_offset = %(position)s

-- name: limit_transactions
-- Where PostgreSQL can do it, and the connection string doesn't say otherwise.
SELECT set_config(name, %s, false) FROM pg_settings WHERE name = 'transaction_timeout' AND source <> 'client'
