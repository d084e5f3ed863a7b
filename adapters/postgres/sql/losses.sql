-- name: move_position
-- The log goes on, under the same name or a new one; a position that has moved meanwhile stays.
UPDATE kafka_position
SET topic_id = %(topic_id_after)s, next_offset = %(position_after)s, leader_epoch = NULL, loss = NULL,
    updated_at = now()
WHERE topic = %(topic)s AND topic_id = %(topic_id)s AND partition = %(partition)s AND next_offset = %(position)s

-- name: make_position
-- In a topic that was made again. Those in the old one stay as they are.
INSERT INTO kafka_position (topic, topic_id, partition, next_offset)
VALUES (%(topic)s, %(topic_id_after)s, %(partition)s, %(position_after)s)
ON CONFLICT DO NOTHING

-- name: drop_position
-- The topic is gone: one that is made under its name is a new one.
DELETE FROM kafka_position
WHERE topic = %(topic)s AND topic_id = %(topic_id)s AND partition = %(partition)s AND next_offset = %(position)s

-- name: insert_accepted_loss
-- Who reads it wants to know what was lost, and why that was right.
INSERT INTO accepted_loss (topic, topic_id, partition, error, position_before, topic_id_after, position_after, reason)
VALUES (%(topic)s, %(topic_id)s, %(partition)s, %(error)s, %(position)s, %(topic_id_after)s, %(position_after)s,
        %(reason)s)
