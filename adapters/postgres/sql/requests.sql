-- name: forget
-- Some of those whose time is over, the one that is asked for first.
DELETE FROM keyed_request WHERE (role, key) IN (
    SELECT role, key FROM keyed_request WHERE asked_at < clock_timestamp() - make_interval(hours => %(hours)s)
    ORDER BY (role, key) <> (%(role)s, %(key)s), asked_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)

-- name: begin
-- No row if the key is known. Of two that come at the same moment one waits for the other's row.
INSERT INTO keyed_request (role, key, digest, claimed_until)
VALUES (%(role)s, %(key)s, %(digest)s, clock_timestamp() + make_interval(secs => %(seconds)s))
ON CONFLICT DO NOTHING RETURNING request_id, claimed_until

-- name: known
-- What is known of a key: whether somebody is at work on it, and whether its deed was done.
SELECT digest, status, headers, body, claimed_until > clock_timestamp(),
       EXISTS (SELECT FROM operator_action AS a WHERE a.request_id = k.request_id)
FROM keyed_request AS k WHERE role = %(role)s AND key = %(key)s FOR UPDATE OF k

-- name: take_over
-- Nothing was done under the key, and nobody is at work on it.
UPDATE keyed_request
SET digest = %(digest)s, claimed_until = clock_timestamp() + make_interval(secs => %(seconds)s)
WHERE role = %(role)s AND key = %(key)s RETURNING request_id, claimed_until

-- name: keep
-- The answer, for whoever asks again.
UPDATE keyed_request SET status = %(status)s, headers = %(headers)s, body = %(body)s
WHERE role = %(role)s AND key = %(key)s AND request_id = %(request_id)s AND status IS NULL

-- name: let_go
-- The next one with the key may go on at once, unless another has taken it over.
UPDATE keyed_request SET claimed_until = clock_timestamp()
WHERE role = %(role)s AND key = %(key)s AND claimed_until = %(claimed_until)s AND status IS NULL
