-- Who may do what in the database: the least that each needs. Run by the owner of the tables, after each `migrate`; it may be
-- run any number of times, and gives up nothing that was granted by hand to others (docs/deploying.md, "Roles in the database").
--
--   psql "$OWNER_DATABASE_URL" -v ON_ERROR_STOP=1 -1 -f deploy/postgres/roles.sql
--
-- The two roles can't log in. Those that can are made by whoever keeps the passwords:
--
--   CREATE ROLE cashback_app LOGIN PASSWORD '…' IN ROLE cashback_service;
--   CREATE ROLE auditor LOGIN PASSWORD '…' IN ROLE cashback_reader;

DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['cashback_service', 'cashback_reader'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', name);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;  -- made meanwhile, for another database
            END;
        END IF;
    END LOOP;
END
$$;

-- Before PostgreSQL 15 everybody may make tables in `public`, and so put others in front of ours.
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO cashback_service, cashback_reader;
REVOKE ALL ON ALL TABLES IN SCHEMA public FROM cashback_service, cashback_reader;

-- Both read.
GRANT SELECT ON ALL TABLES IN SCHEMA public TO cashback_service, cashback_reader;
-- But nobody needs others' answers and sessions, nor what a preview's token was made of.
REVOKE SELECT ON keyed_request, ended_session FROM cashback_reader;

-- What is only ever added to: what was decided, what it says of the money, what was sent, and what people did and why.
GRANT INSERT ON stored_events, posting, attempt, operator_action, replaced_key, accepted_loss, order_transaction
    TO cashback_service;

-- What is never taken away, but moves on. Of a call its key and body stay as they are: a trigger sees to it.
GRANT INSERT, UPDATE ON effect, delivery, replay, quarantine, dead_letter_cursor, last_comparison TO cashback_service;
GRANT UPDATE ON projection_position, audit_place, order_transaction_place TO cashback_service;

-- What can be made anew, or is forgotten in time.
GRANT INSERT, UPDATE, DELETE ON kafka_position, orders, reconciliation, job, keyed_request, dispatch_session, console_sample,
    service_process TO cashback_service;
GRANT INSERT, DELETE ON ended_session TO cashback_service;
