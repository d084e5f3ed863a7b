-- Hold before paying: whether a doubt about the order is open, as far as the projection `third-party` has read.
ALTER TABLE delivery ADD COLUMN is_doubtful boolean NOT NULL DEFAULT false;

-- Of the orders so far; some of their doubts follow from their streams without standing in any one event. What comes
-- behind the place up to which the read model has them is read once more: that is harmless, and fast.
INSERT INTO delivery (order_id, head_version, is_doubtful)
SELECT order_id, 0, true FROM orders WHERE doubts <> '{}'
ON CONFLICT (order_id) DO UPDATE SET is_doubtful = true;
UPDATE projection_position AS p SET notification_id = least(p.notification_id, o.notification_id)
FROM projection_position AS o WHERE p.name = 'third-party' AND o.name = 'orders' AND o.notification_id > 0;

-- Whether a call that a person has sent again had been delivered: then to send it once more pays nobody.
ALTER TABLE effect ADD COLUMN was_delivered boolean NOT NULL DEFAULT false;

-- What people decide about orders.
ALTER TABLE operator_action
    DROP CONSTRAINT operator_action_action_check,
    ADD CONSTRAINT operator_action_action_check
        CHECK (action IN ('retry', 'skip', 'redeliver', 'republish', 'bulk_start', 'bulk_cancel',
                          'quarantine_retry', 'quarantine_discard', 'compare', 'compare_cancel', 'settle', 'release'));
ALTER TABLE bulk_replay
    DROP CONSTRAINT bulk_replay_mode_check,
    ADD CONSTRAINT bulk_replay_mode_check
        CHECK (mode IN ('republish', 'redeliver', 'retry', 'settle', 'release')),
    ADD COLUMN at_stake numeric;  -- of the doubts that are settled, when the preview was made
