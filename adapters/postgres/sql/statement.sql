-- name: day
-- All that moved before a day and in it, and what at its beginning and at its end wasn't credited. Times are nanoseconds
-- since 1970; one that goes back within an order counts as the one before it.
-- `decided`: what each event has changed in what its order may earn (open) and has earned. `confirmed`: the same of what is
-- credited, by each call that the third party has carried out. `pending`: orders whose last amount isn't credited; a call
-- says the whole amount anew, so the last one alone counts.
-- Answers rows of three kinds. `line`: what moved, in the day or before it. `pending`: how much isn't credited, at the
-- beginning or at the end, by what hinders it. `doubtful`: an order of these that is held if a doubt about it was open.
WITH decided AS MATERIALIZED (
    SELECT order_id, version, kind, max(recorded_ns) OVER w AS at_ns,
           is_open::integer - lag(is_open::integer, 1, 0) OVER w AS open_orders,
           CASE WHEN is_open THEN cashback ELSE 0 END
               - lag(CASE WHEN is_open THEN cashback ELSE 0 END, 1, 0::numeric) OVER w AS open,
           CASE WHEN is_earned THEN cashback ELSE 0 END
               - lag(CASE WHEN is_earned THEN cashback ELSE 0 END, 1, 0::numeric) OVER w AS earned,
           cashback
    FROM (
        SELECT *, kind IN ('create', 'update') AS is_open, kind IN ('complete', 'correct') AS is_earned FROM posting
    ) AS p
    WINDOW w AS (PARTITION BY order_id ORDER BY version)
), calls AS MATERIALIZED (
    SELECT order_id, version, kind, at_ns, cashback AS amount FROM decided
    WHERE kind IN ('complete', 'correct') AND at_ns < %(end_ns)s
), confirmed AS MATERIALIZED (
    SELECT order_id, version, kind, amount, at_ns,
           amount - lag(amount, 1, 0::numeric) OVER (PARTITION BY order_id ORDER BY version) AS credited
    FROM (
        SELECT *, min(at_ns) OVER (
                   PARTITION BY order_id ORDER BY version ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING
               ) AS later_ns
        FROM (
            SELECT c.order_id, c.version, c.kind, c.amount, greatest(c.at_ns, /* confirmed_ns */) AS at_ns
            FROM calls AS c JOIN attempt AS a USING (order_id, version)
            WHERE a.outcome = 'delivered' OR a.found_done
            GROUP BY c.order_id, c.version, c.kind, c.amount, c.at_ns
        ) AS done
    ) AS d WHERE later_ns IS NULL OR at_ns <= later_ns  -- sent again behind a later call, it changes nothing
), pending AS MATERIALIZED (
    SELECT k.is_end, k.ns, c.order_id, c.version, c.amount
    FROM (VALUES (false, %(start_ns)s::bigint), (true, %(end_ns)s::bigint)) AS k (is_end, ns)
    JOIN calls AS c ON c.at_ns < k.ns
    LEFT JOIN confirmed AS f USING (order_id, version)
    WHERE coalesce(f.at_ns >= k.ns, true) AND NOT EXISTS (
        SELECT FROM calls AS later WHERE later.order_id = c.order_id AND later.version > c.version AND later.at_ns < k.ns
    )
), hindered AS (
    SELECT p.is_end, p.order_id, p.amount - coalesce(p.credited, 0) AS amount,
           CASE WHEN was_skipped THEN 'skipped' WHEN maybe_done THEN 'in_doubt'
                WHEN EXISTS (
                    SELECT FROM stored_events AS e
                    WHERE e.originator_id = (/* stream */)
                        AND (e.topic IN ('repeat-seen-elsewhere', 'event-lost') OR position('"doubt":' IN e.state) > 0)
                ) THEN 'doubtful' ELSE 'owed' END AS by
    FROM (
        SELECT p.is_end, p.ns, p.order_id, p.version, p.amount, (max(ARRAY[f.version, f.amount]))[2] AS credited
        FROM pending AS p LEFT JOIN confirmed AS f ON f.order_id = p.order_id AND f.at_ns < p.ns
        GROUP BY p.is_end, p.ns, p.order_id, p.version, p.amount
    ) AS p
    CROSS JOIN LATERAL (
        -- As projections/delivery/doubt.py has it: what was sent after a lookup hadn't been carried out before.
        WITH tried AS (
            SELECT * FROM (
                SELECT id, kind <> 'lookup' AS is_call, /* recorded_ns */ AS recorded_ns,
                       outcome IN ('in_doubt', 'in_flight') OR coalesce(status IN (500, 502, 504), false) AS is_doubtful
                FROM attempt AS a WHERE a.order_id = p.order_id AND a.version = p.version
            ) AS each WHERE recorded_ns < p.ns
        ), looked_up AS (
            SELECT coalesce(max(id), 0) AS last FROM tried
            WHERE NOT is_call AND id < (SELECT max(id) FROM tried WHERE is_call)
        )
        SELECT coalesce(bool_or(is_doubtful AND id > last), false) AS maybe_done, max(recorded_ns) AS tried_ns
        FROM tried CROSS JOIN looked_up WHERE is_call
    ) AS t
    CROSS JOIN LATERAL (
        SELECT coalesce(max(done_ns) > coalesce(tried_ns, 0), false) AS was_skipped
        FROM (
            SELECT (extract(epoch FROM done_at) * 1000000)::bigint * 1000 AS done_ns FROM operator_action
            WHERE order_id = p.order_id AND version = p.version AND action = 'skip'
        ) AS skips WHERE done_ns < p.ns
    ) AS s
)
SELECT 'line', CASE kind WHEN 'create' THEN 'opened' WHEN 'update' THEN 'changed' WHEN 'cancel' THEN 'cancelled'
                         WHEN 'complete' THEN 'completed'
                         ELSE CASE WHEN earned < 0 THEN 'taken_back' ELSE 'corrected' END END AS name,
       at_ns >= %(start_ns)s AS is_late, count(*), sum(open_orders), sum(open), sum(earned), 0::numeric
FROM decided WHERE at_ns < %(end_ns)s GROUP BY name, is_late
UNION ALL
SELECT 'line', CASE WHEN kind = 'complete' THEN 'credited' WHEN credited < 0 THEN 'credit_taken_back'
                    ELSE 'credit_corrected' END AS name,
       at_ns >= %(start_ns)s AS is_late, count(*), 0, 0, 0, sum(credited)
FROM confirmed WHERE at_ns < %(end_ns)s GROUP BY name, is_late
UNION ALL
SELECT 'pending', by, is_end, count(*), 0, 0, sum(amount), 0 FROM hindered WHERE by <> 'doubtful' GROUP BY by, is_end
UNION ALL
SELECT 'doubtful', order_id::text, is_end, 1, 0, 0, amount, 0 FROM hindered WHERE by = 'doubtful'

-- name: stream
-- A part: the stream of an order.
('ca5bbacc0000800' || (p.order_id >> 62) || to_hex((p.order_id & 4611686018427387903) | '-9223372036854775808'::bigint))::uuid

-- name: recorded_ns
-- A part: when an attempt was recorded; of an earlier release, when it ended.
(extract(epoch FROM coalesce(a.recorded_at, a.started_at + a.duration_ms * interval '1 millisecond')) * 1000000)::bigint * 1000

-- name: confirmed_ns
-- A part: the first of them.
(extract(epoch FROM min(coalesce(a.recorded_at, a.started_at + a.duration_ms * interval '1 millisecond'))) * 1000000)::bigint
    * 1000

-- name: limits
-- A statement reads all that there ever was. For its own transaction.
SELECT set_config('work_mem', '256MB', true), set_config('statement_timeout', %s, true)

-- name: different
-- What the third party has credited otherwise than we have, as far as it was compared: differences that were found before the
-- day's end and not settled by then.
SELECT count(*), coalesce(sum(CASE our_status WHEN 'COMPLETED' THEN our_amount ELSE 0 END), 0),
       coalesce(sum(CASE their_status WHEN 'COMPLETED' THEN their_amount ELSE 0 END), 0)
FROM reconciliation
WHERE class NOT IN ('in_flight', 'unknown') AND first_seen_at < %(end)s AND (closed_at IS NULL OR closed_at >= %(end)s)

-- name: now
-- By the clock that says what is over.
SELECT clock_timestamp()

-- name: unread
-- The first event that `posting` hasn't got yet.
SELECT e.originator_id, e.originator_version, e.topic, e.state
FROM projection_position AS p JOIN stored_events AS e ON e.notification_id > p.notification_id
WHERE p.name = 'third-party' ORDER BY e.notification_id LIMIT 1
