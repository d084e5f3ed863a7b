"""The event table as it grows: what appending to it writes to the write-ahead log, until all of it is frozen."""

from typing import Any, Final

import psycopg

from bench import messages
from bench.processes import wait_until
from bench.stores import append, events_of

PARTS: Final = 20
"""After each of them autovacuum does what is due by the table's settings, and a checkpoint follows."""
AUTOVACUUM_SECONDS: Final = 120.0
SETTINGS: Final = (
    "autovacuum_vacuum_insert_scale_factor",
    "autovacuum_vacuum_insert_threshold",
    "autovacuum_freeze_min_age",
)
_COPY: Final = """
INSERT INTO stored_events (originator_id, originator_version, topic, state)
SELECT overlay(originator_id::text PLACING lpad(to_hex(%s::integer), 8, '0') FROM 1 FOR 8)::uuid,
       originator_version, topic, state
FROM template
"""
# As PostgreSQL 18 reckons it: of the pages that are not frozen.
_IS_VACUUMED: Final = """
SELECT s.n_ins_since_vacuum <= coalesce(o.threshold, current_setting('autovacuum_vacuum_insert_threshold')::float8)
    + coalesce(o.scale, current_setting('autovacuum_vacuum_insert_scale_factor')::float8)
    * greatest(c.reltuples, 0) * (1 - c.relallfrozen / greatest(c.relpages, 1)::float8)
FROM pg_stat_user_tables AS s JOIN pg_class AS c ON c.oid = s.relid
CROSS JOIN LATERAL (
    SELECT max(option_value::float8) FILTER (WHERE option_name = 'autovacuum_vacuum_insert_threshold') AS threshold,
           max(option_value::float8) FILTER (WHERE option_name = 'autovacuum_vacuum_insert_scale_factor') AS scale
    FROM pg_options_to_table(c.reloptions)
) AS o
WHERE s.relname = 'stored_events'
"""


def appended_wal_bytes(database_url: str, events: int, *, own_settings: bool) -> float:
    """For each event; the last vacuum freezes what isn't frozen yet, as it must be one day.

    `own_settings`: with the table's own, or else with those that PostgreSQL has for every table.
    """
    append(database_url, events_of(messages.lifecycles_of(messages.TEMPLATE_ORDERS)))
    with psycopg.connect(database_url, autocommit=True) as connection:
        if not own_settings:
            connection.execute(f"ALTER TABLE stored_events RESET ({', '.join(SETTINGS)})")
        connection.execute("CREATE TEMPORARY TABLE template AS SELECT * FROM stored_events")
        connection.execute("CHECKPOINT")
        before = _one(connection, "SELECT pg_current_wal_lsn()")
        in_template: int = _one(connection, "SELECT count(*) FROM template")
        copies = max(PARTS, events // in_template)
        for copy in range(1, copies + 1):
            connection.execute(_COPY, (copy,))
            if copy % (copies // PARTS) == 0:
                connection.execute("SELECT pg_stat_force_next_flush()")
                wait_until(lambda: _one(connection, _IS_VACUUMED), "autovacuum", AUTOVACUUM_SECONDS)
                connection.execute("CHECKPOINT")
        connection.execute("VACUUM (FREEZE) stored_events")
        written = float(_one(connection, "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), %s::pg_lsn)", before))
        return written / (copies * in_template)


def _one(connection: psycopg.Connection[Any], query: str, *parameters: object) -> Any:
    row = connection.execute(query, parameters or None).fetchone()
    assert row is not None
    return row[0]
