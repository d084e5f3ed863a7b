-- name: end_session
-- Of the console. Ending one twice is no error.
INSERT INTO ended_session (session, ends_at) VALUES (%(session)s, to_timestamp(%(ends_at)s)) ON CONFLICT DO NOTHING

-- name: forget
-- Those whose cookies are over by any process's clock.
DELETE FROM ended_session WHERE ends_at < clock_timestamp() - interval '1 hour'

-- name: has_ended
-- Whether somebody has signed out of it, at whatever process.
SELECT EXISTS (SELECT FROM ended_session WHERE session = %(session)s)
