-- name: open_session
-- In one transaction with `lock_session`: nobody sees the session before it holds its lock.
INSERT INTO dispatch_session (id, grace_seconds)
VALUES (1 + floor(random() * 2147483646)::integer, %(grace_seconds)s) RETURNING id

-- name: lock_session
-- Held until the session ends, however it ends.
SELECT pg_advisory_lock(%(space)s, %(id)s)

-- name: watch_sessions
-- Notes which others have ended, and answers those whose last call is over. Run in our own session, it shows that we
-- still have it. A session's end is noted after its lock was seen free, and by the clock of that moment: never too
-- early.
WITH ended AS (
    UPDATE dispatch_session SET gone_at = clock_timestamp()
    WHERE gone_at IS NULL AND CASE WHEN id <> %(id)s THEN pg_try_advisory_xact_lock(%(space)s, id) END
)
SELECT id FROM dispatch_session WHERE gone_at <= now() - grace_seconds * interval '1 second'

-- name: free_claims
-- Orders that were claimed in these sessions and never settled become due, in the moment that a redelivery takes as
-- well (sql/replays.sql). Those that somebody has just locked come with the next look. A claim that a version
-- without sessions has made since has its lease.
WITH held AS (
    SELECT d.order_id FROM delivery AS d JOIN dispatch_session AS s ON s.id = d.claimed_by
    WHERE s.id = ANY(%(ids)s) AND d.claimed_at = d.claimed_by_at AND d.next_attempt_at > now()
        AND d.settled_version < d.head_version AND d.parked_at IS NULL
    ORDER BY d.order_id FOR UPDATE OF d SKIP LOCKED
)
UPDATE delivery AS d SET next_attempt_at = clock_timestamp() + interval '250 ms', claimed_by = NULL
FROM held WHERE d.order_id = held.order_id

-- name: forget_sessions
-- Once nothing waits for them.
DELETE FROM dispatch_session AS s
WHERE id = ANY(%(ids)s) AND NOT EXISTS (
    SELECT FROM delivery AS d
    WHERE d.claimed_by = s.id AND d.claimed_at = d.claimed_by_at AND d.next_attempt_at > now()
        AND d.settled_version < d.head_version AND d.parked_at IS NULL
)
