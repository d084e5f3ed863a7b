-- The search finds orders by idempotency keys and by the places of messages too: their digests stand beside those of
-- transactions, so the event store is read once more, by whichever process with the API comes first.
UPDATE order_transaction_place SET notification_id = 0;
-- Keys that a person asked for follow from no message.
CREATE INDEX effect_renewed ON effect (idempotency_key) WHERE generation > 0;
