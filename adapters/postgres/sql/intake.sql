-- name: store_batch
-- All of a batch, or nothing of it: whether every position was where it was expected to be, and moves.
-- One statement, so that nothing of it waits for the client: PostgreSQL begins when it has all of it. Whoever stands
-- still while it sends one holds no lock (docs/adr/0012-a-batch-is-one-statement.md).
-- `turn`: one writer at a time hands out notification ids, and commits before the next one does: so a reader that has
-- seen an id will never find a smaller one later. Rows get their ids when `turn` has answered, for they are made from
-- its row. (The library locks the table instead, which waits for VACUUM.) The ids of the quarantine keep the same order,
-- for those who copy it. The projections are woken when the transaction commits.
-- `made`: a position that is there already is a unique violation. `kept`: a message that is read twice is kept once.
-- `gone`: what a stream was decided upon is looked for in the index, event by event; if it isn't there the database has gone
-- back in time, and a stream must not get a hole.
-- unnest() stands where it makes row after row: in FROM it would make all of them first, and PostgreSQL on disk.
WITH wanted AS MATERIALIZED (
    SELECT * FROM unnest(%(topics)s::text[], %(topic_ids)s::text[], %(partitions)s::integer[],
                         %(expected)s::bigint[], %(next)s::bigint[], %(leader_epochs)s::integer[])
        AS wanted (topic, topic_id, partition, expected, next_offset, leader_epoch)
), held AS MATERIALIZED (
    SELECT 1 FROM kafka_position AS p JOIN wanted AS w USING (topic, topic_id, partition)
    WHERE p.next_offset = w.expected AND p.loss IS NULL
    ORDER BY topic, topic_id, partition
    FOR NO KEY UPDATE OF p
), gone AS MATERIALIZED (
    SELECT count(*) AS lacking FROM unnest(%(bases)b::uuid[], %(base_versions)b::bigint[]) AS b (stream, version)
    WHERE (SELECT true FROM stored_events WHERE originator_id = b.stream AND originator_version = b.version) IS NULL
), fence AS MATERIALIZED (
    SELECT held, lacking, held = (SELECT count(expected) FROM wanted) AND lacking = 0 AS holds
    FROM (SELECT count(*) AS held FROM held) AS h CROSS JOIN gone
), moved AS (
    UPDATE kafka_position AS p
    SET next_offset = w.next_offset, leader_epoch = w.leader_epoch, updated_at = now()
    FROM fence, wanted AS w
    WHERE fence.holds AND w.expected IS NOT NULL
        AND p.topic = w.topic AND p.topic_id = w.topic_id AND p.partition = w.partition
), made AS (
    INSERT INTO kafka_position (topic, topic_id, partition, next_offset, leader_epoch)
    SELECT w.topic, w.topic_id, w.partition, w.next_offset, w.leader_epoch
    FROM fence, wanted AS w WHERE fence.holds AND w.expected IS NULL
    RETURNING 1
), turn AS MATERIALIZED (
    SELECT pg_advisory_xact_lock(4223372036), pg_notify('cashback_events', '') FROM fence
    WHERE fence.holds AND (SELECT count(*) FROM made) = (SELECT count(*) - count(expected) FROM wanted)
        AND (cardinality(%(streams)b::uuid[]) > 0 OR cardinality(%(q_offsets)s::bigint[]) > 0)
), kept AS (
    INSERT INTO quarantine (topic, topic_id, partition, kafka_offset, timestamp_ms, message_key, message_value,
                            headers, order_id, reason, detail)
    SELECT unnest(%(q_topics)s::text[]), unnest(%(q_topic_ids)s::text[]), unnest(%(q_partitions)s::integer[]),
           unnest(%(q_offsets)s::bigint[]), unnest(%(q_timestamps_ms)s::bigint[]), unnest(%(q_keys)b::bytea[]),
           unnest(%(q_values)b::bytea[]), unnest(%(q_headers)s::jsonb[]), unnest(%(q_order_ids)s::bigint[]),
           unnest(%(q_reasons)s::text[]), unnest(%(q_details)s::text[])
    FROM turn
    ON CONFLICT DO NOTHING
), stored AS (
    INSERT INTO stored_events (originator_id, originator_version, topic, state)
    SELECT unnest(%(streams)b::uuid[]), unnest(%(versions)b::bigint[]), unnest(%(names)b::text[]),
           unnest(%(states)b::bytea[])
    FROM turn
)
SELECT holds, held, lacking FROM fence

-- name: select_streams
-- The whole streams of many orders.
SELECT originator_id, originator_version, topic, state FROM stored_events
WHERE originator_id = ANY(%b::uuid[])
ORDER BY originator_id, originator_version

-- name: select_event
-- As it is stored.
SELECT state FROM stored_events WHERE originator_id = %s AND originator_version = %s

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
