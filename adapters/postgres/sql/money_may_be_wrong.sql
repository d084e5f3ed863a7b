-- name: doubtful
-- Orders with an open doubt. A row that the read model hasn't made anew since an upgrade lacks amount and age.
SELECT order_id, coalesce(at_stake, 0) AS amount_key, coalesce(doubtful_since_ns, 0) AS since_key, at_stake AS amount,
       array_to_string(doubts, ', ') AS detail, NULL::bigint AS quarantine_id
FROM orders WHERE doubts <> '{}'

-- name: held
-- Orders with messages that have waited for too long. One that isn't created yet has its amount in its messages, if
-- they tell one.
SELECT order_id, coalesce(cashback, held_cashback, 0) AS amount_key, held_since_ns AS since_key,
       coalesce(cashback, held_cashback) AS amount,
       CASE held WHEN 1 THEN '1 message' ELSE held || ' messages' END AS detail, NULL::bigint AS quarantine_id
FROM orders
WHERE held > 0 AND held_since_ns < (extract(epoch FROM now()) * 1000000000)::bigint - %(held_ns)s

-- name: parked
-- Orders whose calls stand still; those that only wait for a doubt to be settled are listed as doubtful.
SELECT order_id, coalesce(o.cashback, 0) AS amount_key, (extract(epoch FROM d.parked_at) * 1000000)::bigint * 1000 AS since_key,
       o.cashback AS amount, coalesce(d.parked_reason, '') AS detail, NULL::bigint AS quarantine_id
FROM delivery AS d LEFT JOIN orders AS o USING (order_id)
WHERE d.parked_at IS NOT NULL AND d.parked_reason IS DISTINCT FROM 'doubtful'

-- name: quarantined
-- Orders with messages in quarantine, each with the first of them.
SELECT order_id, coalesce(o.cashback, 0) AS amount_key,
       (extract(epoch FROM q.quarantined_at) * 1000000)::bigint * 1000 AS since_key, o.cashback AS amount,
       q.reason AS detail, q.id AS quarantine_id
FROM (
    SELECT DISTINCT ON (order_id) order_id, id, quarantined_at, reason FROM quarantine
    WHERE state = 'open' AND order_id IS NOT NULL ORDER BY order_id, id
) AS q
LEFT JOIN orders AS o USING (order_id)

-- name: different
-- Orders on which the third party and we don't agree. Where the amounts are the same, all of it is at stake.
SELECT order_id, coalesce(amount, 0) AS amount_key, (extract(epoch FROM first_seen_at) * 1000000)::bigint * 1000 AS since_key,
       amount, detail, NULL::bigint AS quarantine_id
FROM (
    SELECT order_id, first_seen_at, class AS detail,
           CASE class WHEN 'amount' THEN abs(our_amount - their_amount) ELSE greatest(our_amount, their_amount) END AS amount
    FROM reconciliation WHERE closed_at IS NULL AND class NOT IN ('in_flight', 'unknown')
) AS r

-- name: pending
-- Orders that have been open for too long: their end was lost on the way to the topic, maybe.
SELECT order_id, coalesce(cashback, 0) AS amount_key, began_at_ns AS since_key, cashback AS amount,
       'no end' AS detail, NULL::bigint AS quarantine_id
FROM orders
WHERE status = 'PENDING' AND began_at_ns < (extract(epoch FROM now()) * 1000000000)::bigint - %(pending_ns)s

-- name: ranked
-- The cases of one kind, with the kind's number.
SELECT /* rank */ AS rank, k.* FROM (/* kind */) AS k

-- name: page
-- Each kind's next cases, and of all of them the first; then why else each order is on the list.
SELECT c.rank, c.order_id, c.amount_key, c.since_key, c.amount, c.detail, c.quarantine_id,
       array_remove(ARRAY[
           CASE WHEN o.doubts <> '{}' THEN 0 END,
           CASE WHEN o.held > 0 AND o.held_since_ns < (extract(epoch FROM now()) * 1000000000)::bigint - %(held_ns)s
               THEN 1 END,
           CASE WHEN d.parked_at IS NOT NULL AND d.parked_reason IS DISTINCT FROM 'doubtful' THEN 2 END,
           CASE WHEN EXISTS (SELECT FROM quarantine WHERE order_id = c.order_id AND state = 'open') THEN 3 END,
           CASE WHEN EXISTS (
               SELECT FROM reconciliation
               WHERE order_id = c.order_id AND closed_at IS NULL AND class NOT IN ('in_flight', 'unknown')
           ) THEN 4 END,
           CASE WHEN o.status = 'PENDING'
                   AND o.began_at_ns < (extract(epoch FROM now()) * 1000000000)::bigint - %(pending_ns)s
               THEN 5 END
       ], NULL)
FROM (SELECT * FROM (/* cases */) AS u ORDER BY /* order */ LIMIT %(limit)s) AS c
LEFT JOIN orders AS o USING (order_id)
LEFT JOIN delivery AS d USING (order_id)
ORDER BY /* order */

-- name: totals
-- How many of each kind and the money at stake, up to a limit for each.
SELECT rank, count(*), sum(amount_key) FROM (/* cases */) AS c GROUP BY rank
