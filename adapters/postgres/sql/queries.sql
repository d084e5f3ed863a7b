-- name: orders_page
-- Greatest order ids first: along the primary key, or along the index of the condition.
SELECT order_id, version, status, buyer_id, store_no, cashback, held, rejected, superseded, doubts, held_since_ns,
       recorded_at_ns, held_cashback, at_stake, doubtful_since_ns, began_at_ns
FROM orders /* mismatched */
WHERE order_id <= %(start)s /* conditions */
ORDER BY order_id DESC LIMIT %(limit)s

-- name: mismatched
-- A part of lists of orders: the open differences from the third party's books, from the same place on (which the
-- planner doesn't see by itself). Joined rather than asked for with IN: of a partial index the planner doesn't see in
-- time that an order is there once, and goes over all orders for the few that differ.
LEFT JOIN (
    SELECT order_id FROM reconciliation
    WHERE closed_at IS NULL AND class NOT IN ('in_flight', 'unknown') AND order_id /* place */ %(start)s
) AS mismatched USING (order_id)

-- name: stream
-- The whole stream of one order.
SELECT originator_id, originator_version, topic, state FROM stored_events
WHERE originator_id = %s ORDER BY originator_version

-- name: delivery
-- The cursor over an order's calls. A lease that has run out is as good as none.
SELECT CASE WHEN parked_at IS NOT NULL THEN 'parked'
            WHEN settled_version = head_version THEN 'idle'
            WHEN next_attempt_at <= now() THEN 'due'
            WHEN lease_token IS NOT NULL THEN 'in_flight'
            ELSE 'retrying' END,
       head_version, settled_version, attempts, next_attempt_at, parked_at, parked_reason
FROM delivery WHERE order_id = %s

-- name: calls
-- What the effect ledger has of an order. The calls of a claim that has run out unsettled may have been sent; the next
-- claim will write that down (sql/delivery.sql), here it shows at once. A claim holds four calls at most.
SELECT e.version,
       CASE WHEN e.state IN ('due', 'retrying') AND d.claimed_at IS NOT NULL AND d.next_attempt_at <= now()
                AND e.version > d.settled_version AND e.version <= d.claimed_head
                AND count(*) FILTER (WHERE e.version > d.settled_version AND e.state NOT IN ('delivered', 'skipped'))
                    OVER (ORDER BY e.version) <= 4
            THEN 'in_doubt' ELSE e.state END,
       e.attempts, e.first_sent_at, e.settled_at, e.idempotency_key, e.generation, e.body, e.was_delivered,
       coalesce(e.maybe_done, e.first_sent_at IS NOT NULL)
FROM effect AS e LEFT JOIN delivery AS d USING (order_id) WHERE order_id = %s ORDER BY e.version

-- name: attempts
-- The last attempts at each of an order's calls.
SELECT version, started_at, duration_ms, outcome, status, answer, kind
FROM (
    SELECT *, row_number() OVER (PARTITION BY version ORDER BY id DESC) AS place FROM attempt WHERE order_id = %s
) AS numbered
WHERE place <= %s ORDER BY id

-- name: quarantined_of_order
-- The last messages in quarantine that name the order.
SELECT id, topic, partition, kafka_offset, order_id, reason, detail, state, quarantined_at,
       octet_length(message_value)
FROM quarantine WHERE order_id = %s ORDER BY id DESC LIMIT %s

-- name: replays_of_order
-- The last replays of an order.
SELECT id, mode, reason, requested_at, items FROM replay WHERE order_id = %s ORDER BY requested_at DESC LIMIT %s

-- name: last_comparison
-- When the third party was last asked about the order, and what it said.
SELECT verdict, compared_at FROM last_comparison WHERE order_id = %s

-- name: difference_of_order
-- The open one, if it may be about money.
SELECT id, order_id, class, our_status, our_amount, their_status, their_amount, detail, first_seen_at, last_seen_at,
       closed_at
FROM reconciliation WHERE order_id = %s AND closed_at IS NULL AND class NOT IN ('in_flight', 'unknown')

-- name: outage
-- The third party's, as the processes that call it have said lately; the first one to notice.
SELECT state ->> 'breakerReason', (state ->> 'breakerSince')::timestamptz FROM service_process
WHERE seen_at > now() - %s * interval '1 second' AND state ->> 'breaker' IN ('open', 'probing')
    AND state ->> 'breakerSince' IS NOT NULL
ORDER BY 2 LIMIT 1

-- name: parked
-- Orders whose calls stand still, smallest order ids first, with the call at which they stand.
SELECT d.order_id, d.parked_at, d.parked_reason, d.attempts, o.cashback,
       e.version, e.kind, e.idempotency_key, w.waiting,
       a.started_at, a.duration_ms, a.outcome, a.status, a.answer, a.kind
FROM (
    SELECT * FROM delivery
    WHERE parked_at IS NOT NULL AND order_id >= %(start)s
        AND (%(reason)s::text IS NULL OR parked_reason = %(reason)s)
    ORDER BY order_id LIMIT %(limit)s
) AS d
LEFT JOIN orders AS o USING (order_id)
LEFT JOIN LATERAL (
    SELECT version, kind, idempotency_key FROM effect
    WHERE order_id = d.order_id AND version > d.settled_version AND state NOT IN ('delivered', 'skipped')
    ORDER BY version LIMIT 1
) AS e ON true
LEFT JOIN LATERAL (
    SELECT count(*) AS waiting FROM effect
    WHERE order_id = d.order_id AND version > e.version AND state NOT IN ('delivered', 'skipped')
) AS w ON true
LEFT JOIN LATERAL (
    SELECT started_at, duration_ms, outcome, status, answer, kind FROM attempt
    WHERE order_id = d.order_id AND version = e.version ORDER BY id DESC LIMIT 1
) AS a ON true
ORDER BY d.order_id

-- name: parked_causes
-- Why orders are parked: the reasons of the most.
SELECT parked_reason, NULL, count(*), sum(cashback), min(parked_at)
FROM (SELECT * FROM delivery WHERE parked_at IS NOT NULL ORDER BY order_id LIMIT %(counted)s) AS d
LEFT JOIN orders USING (order_id)
GROUP BY parked_reason ORDER BY count(*) DESC, parked_reason LIMIT %(shown)s

-- name: quarantine_causes
-- Why open messages could not be read.
SELECT reason, topic, count(*), NULL::numeric, min(quarantined_at)
FROM (SELECT * FROM quarantine WHERE state = 'open' ORDER BY id DESC LIMIT %(counted)s) AS q
GROUP BY reason, topic ORDER BY count(*) DESC, reason, topic LIMIT %(shown)s

-- name: difference_causes
-- The classes of open differences.
SELECT class, NULL, count(*), sum(abs(coalesce(our_amount, 0) - coalesce(their_amount, 0))), min(first_seen_at)
FROM (SELECT * FROM reconciliation WHERE closed_at IS NULL ORDER BY id DESC LIMIT %(counted)s) AS r
GROUP BY class ORDER BY count(*) DESC, class LIMIT %(shown)s

-- name: quarantine_page
-- Last ones first, without what they hold.
SELECT id, topic, partition, kafka_offset, order_id, reason, detail, state, quarantined_at,
       octet_length(message_value)
FROM quarantine WHERE id <= %(start)s /* conditions */ ORDER BY id DESC LIMIT %(limit)s

-- name: quarantined
-- One message in quarantine, as it came.
SELECT id, topic, partition, kafka_offset, order_id, reason, detail, state, quarantined_at,
       octet_length(message_value), topic_id, timestamp_ms, message_key, message_value, headers, closed_at, edited_key,
       edited_value, edited_headers
FROM quarantine WHERE id = %s
