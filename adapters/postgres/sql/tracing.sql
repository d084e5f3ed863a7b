-- name: decisions
-- Some decisions of some orders, without the messages' bodies (adapters/postgres/codec.py).
SELECT originator_id, originator_version, substr(state, 1, position('\x0a'::bytea IN state) - 1)
FROM stored_events
JOIN unnest(%s::uuid[], %s::bigint[]) AS wanted (originator_id, originator_version)
    USING (originator_id, originator_version)
