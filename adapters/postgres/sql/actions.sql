-- name: insert_actions
-- In the transaction of what was done. A bulk replay's deed is written down once for each order.
INSERT INTO operator_action (action, operator, via, reason, order_id, version, idempotency_key, state_before,
                             state_after, bulk_id, quarantine_id, detail, role, request_id)
SELECT * FROM unnest(%(actions)s::text[], %(operators)s::text[], %(vias)s::text[], %(reasons)s::text[],
                     %(order_ids)s::bigint[], %(versions)s::bigint[], %(keys)s::uuid[], %(before)s::text[],
                     %(after)s::text[], %(bulk_ids)s::uuid[], %(quarantine_ids)s::bigint[], %(details)s::jsonb[],
                     %(roles)s::text[], %(request_ids)s::uuid[])
ON CONFLICT (bulk_id, order_id) WHERE bulk_id IS NOT NULL DO NOTHING

-- name: done_in_bulk
-- Those of the orders that the bulk replay has done already.
SELECT order_id FROM operator_action WHERE bulk_id = %s AND order_id = ANY(%s)

-- name: page
-- The last ones first. The detail as text: an amount in it must not become a float.
SELECT id, done_at, operator, via, role, action, reason, order_id, version, idempotency_key, state_before, state_after,
       bulk_id, quarantine_id, detail::text
FROM operator_action WHERE id <= %(start)s /* conditions */ ORDER BY id DESC LIMIT %(limit)s
