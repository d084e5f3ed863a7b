-- People may have tokens of their own: then the name is proved, too.
ALTER TABLE operator_action
    DROP CONSTRAINT operator_action_role_check,
    ADD CONSTRAINT operator_action_role_check
        CHECK (role IN ('personal token', 'operator token', 'no token', 'command line'));
