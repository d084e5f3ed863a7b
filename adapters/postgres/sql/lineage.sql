-- name: database
-- Which database of the server we are in, and since when the server has run.
SELECT oid::bigint, pg_postmaster_start_time() FROM pg_database WHERE datname = current_database()

-- name: server
-- Which server it is, and on which timeline; a replica isn't asked for that.
SELECT system_identifier::text,
       CASE WHEN NOT pg_is_in_recovery() THEN left(pg_walfile_name(pg_current_wal_lsn()), 8) END
FROM pg_control_system()
