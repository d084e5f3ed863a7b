"""What many deliveries leave behind in the tables, and what appended events cost until they are frozen."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import psycopg

from bench import messages
from bench.arithmetic import Figure, Pair
from bench.delivering import Deliveries
from bench.laboratory import Laboratory
from bench.processes import wait_until
from bench.results import Table
from bench.stores import append, events_of, fetch_row

NAME: Final = "bloat"
TITLE: Final = "Bloat"
NAP_SECONDS: Final = 5
EDGE_SHARE: Final = 0.1
"""Of the deliveries: the first ones are compared with the last ones."""
TABLES: Final = ("delivery", "effect", "attempt")
_KIBIBYTE: Final = 1024
_MEBIBYTE: Final = 1024**2
ABOUT: Final = (
    "The ledger's own statements, from two dispatchers in one process and from as much of the projection as keeps"
    " some thousand calls waiting, without a third party; one attempt in twenty fails and is made again. Each call"
    " is claimed on its own, after those of thousands of other orders. Then every table is written anew (VACUUM"
    " FULL) with the settings that it has: that is the reference. Autovacuum looks every"
    f" {NAP_SECONDS} s, because the calls come about ten times as fast as third parties take them; otherwise it is"
    " as PostgreSQL has it, with the tables' own settings. Events: the bytes of write-ahead log for each event"
    " appended, with a checkpoint after every twentieth of them, until all are frozen; the reference is the same"
    " table with PostgreSQL's own settings."
)
_SIZES: Final = "SELECT /* bench */ pg_table_size(%(table)s), pg_indexes_size(%(table)s)"
_INDEXES: Final = (
    "SELECT /* bench */ indexrelid::regclass::text, pg_relation_size(indexrelid) FROM pg_index"
    " WHERE indrelid = %(table)s::regclass ORDER BY 1"
)
_UPDATES: Final = (
    "SELECT /* bench */ n_tup_upd, n_tup_hot_upd, autovacuum_count FROM pg_stat_user_tables"
    " WHERE relname = %(table)s"
)
_SPACE: Final = (
    "SELECT /* bench */ tuple_count, dead_tuple_count, dead_tuple_percent, free_percent FROM pgstattuple(%(table)s)"
)
_COST: Final = (
    "SELECT /* bench */ sum(shared_blks_hit + shared_blks_read), sum(wal_bytes) FROM pg_stat_statements"
    " WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND query NOT LIKE %(own)s"
)
BATCHES: Final = 20
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
Connection = psycopg.Connection[Any]


class CallCosts(NamedTuple):
    """What some of the calls cost, all of them together."""

    calls: int
    blocks: int
    """Looked at, in tables and indexes."""
    wal_bytes: int


def run(lab: Laboratory) -> None:
    if lab.scale.bloat_deliveries:
        with _naps(lab.postgres_url, NAP_SECONDS):
            _deliveries(lab, lab.scale.bloat_deliveries)
    if lab.scale.bloat_events:
        with _naps(lab.postgres_url, 1):
            _events(lab, lab.scale.bloat_events)


def _deliveries(lab: Laboratory, wanted: int) -> None:
    with lab.database() as url, psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION pg_stat_statements")
        connection.execute("CREATE EXTENSION pgstattuple")
        connection.execute(f"ALTER DATABASE \"{connection.info.dbname}\" SET pg_stat_statements.track = 'all'")
        deliveries = Deliveries(url)
        parts = [
            _part(lab, connection, deliveries, round(share * wanted)) for share in (EDGE_SHARE, 1 - EDGE_SHARE, 1.0)
        ]
        done = deliveries.delivered
        before = {table: fetch_row(connection, _SIZES, {"table": table}) for table in TABLES}
        indexes = {table: _all(connection, _INDEXES, table) for table in TABLES}
        rows = [_row(connection, table, before[table], done) for table in TABLES]
        for table in TABLES:
            connection.execute(f"VACUUM FULL {table}")
        for table in TABLES:
            after = fetch_row(connection, _SIZES, {"table": table})
            figure = Figure(
                f"bloat-{table}",
                f"{table} and its indexes, {done:,} calls",
                "written anew",
                "MiB",
                2.0,
                1.5,
                at_most=True,
            )
            lab.note(figure, [Pair(sum(before[table]) / _MEBIBYTE, sum(after) / _MEBIBYTE)])
        fresh = dict(pair for table in TABLES for pair in _all(connection, _INDEXES, table))
    blocks = Figure(
        "bloat-blocks",
        f"blocks looked at for a call, after {done:,}",
        "for the first calls",
        "",
        2.0,
        1.25,
        at_most=True,
    )
    lab.note(blocks, [Pair(parts[-1].blocks / parts[-1].calls, parts[0].blocks / parts[0].calls)])
    columns = ["table", "rows", "MiB", "updated per call", "in place (HOT)", "dead", "free", "vacuumed"]
    lab.chapter.tables += [
        Table(f"Tables after {done:,} deliveries", columns, rows),
        Table(
            "Their indexes",
            ["index", "KiB", "written anew", "ratio"],
            [
                [name, f"{size / _KIBIBYTE:,.0f}", f"{fresh[name] / _KIBIBYTE:,.0f}", f"{size / fresh[name]:.2f}"]
                for of_table in indexes.values()
                for name, size in of_table
            ],
        ),
    ]
    wal_bytes = sum(part.wal_bytes for part in parts) / done
    lab.chapter.notes.append(f"Write-ahead log of a call, from decided to settled: {wal_bytes:,.0f} bytes.")


def _part(lab: Laboratory, connection: Connection, deliveries: Deliveries, until: int) -> CallCosts:
    connection.execute("SELECT /* bench */ pg_stat_statements_reset()")
    before = deliveries.delivered
    deliveries.reach(until)
    blocks, wal_bytes = connection.execute(_COST, {"own": "%/* bench */%"}).fetchone() or (0, 0)
    part = CallCosts(deliveries.delivered - before, int(blocks), int(wal_bytes))
    lab.report(
        f"{deliveries.delivered:,} calls: {part.blocks / part.calls:,.1f} blocks each, of the last {part.calls:,}"
    )
    return part


def _row(connection: Connection, table: str, sizes: tuple[int, int], calls: int) -> list[str]:
    updated, in_place, vacuumed = fetch_row(connection, _UPDATES, {"table": table})
    live, dead, dead_percent, free_percent = fetch_row(connection, _SPACE, {"table": table})
    return [
        table,
        f"{live:,}",
        _mebibytes(sizes[0]),
        f"{updated / calls:.2f}",
        f"{in_place / max(1, updated):.0%}",
        f"{dead:,} ({dead_percent:.1f} %)",
        f"{free_percent:.0f} %",
        f"{vacuumed}×",
    ]


def _events(lab: Laboratory, events: int) -> None:
    with lab.database() as ours, lab.database() as reference:
        pair = Pair(
            _appended_wal_bytes(ours, events, own_settings=True),
            _appended_wal_bytes(reference, events, own_settings=False),
        )
    figure = Figure(
        "bloat-events-wal",
        f"WAL of an event, {events:,} appended",
        "PostgreSQL's settings",
        "B",
        0.9,
        0.7,
        at_most=True,
    )
    lab.note(figure, [pair])


@contextmanager
def _naps(server_url: str, seconds: int) -> Iterator[None]:
    """Of autovacuum, on the whole server."""
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"ALTER SYSTEM SET autovacuum_naptime = '{seconds} s'")
        connection.execute("SELECT pg_reload_conf()")
        try:
            yield
        finally:
            connection.execute("ALTER SYSTEM RESET autovacuum_naptime")
            connection.execute("SELECT pg_reload_conf()")


def _all(connection: Connection, query: str, table: str) -> list[Any]:
    return connection.execute(query, {"table": table}).fetchall()


def _mebibytes(size: int) -> str:
    return f"{size / _MEBIBYTE:,.1f}"


def _appended_wal_bytes(database_url: str, events: int, *, own_settings: bool) -> float:
    """For each event; the last vacuum freezes what isn't frozen yet, as it must be one day.

    `own_settings`: with the table's own, or else with those that PostgreSQL has for every table.
    """
    append(database_url, events_of(messages.lifecycles_of(messages.TEMPLATE_ORDERS)))
    with psycopg.connect(database_url, autocommit=True) as connection:
        if not own_settings:
            connection.execute(f"ALTER TABLE stored_events RESET ({', '.join(SETTINGS)})")
        connection.execute("CREATE TEMPORARY TABLE template AS SELECT * FROM stored_events")
        connection.execute("CHECKPOINT")
        [before] = fetch_row(connection, "SELECT pg_current_wal_lsn()")
        [in_template] = fetch_row(connection, "SELECT count(*) FROM template")
        copies = max(BATCHES, events // in_template)
        for copy in range(1, copies + 1):
            connection.execute(_COPY, (copy,))
            if copy % (copies // BATCHES) == 0:
                connection.execute("SELECT pg_stat_force_next_flush()")
                wait_until(lambda: fetch_row(connection, _IS_VACUUMED)[0], "autovacuum", AUTOVACUUM_SECONDS)
                connection.execute("CHECKPOINT")
        connection.execute("VACUUM (FREEZE) stored_events")
        [written] = fetch_row(connection, "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), %s::pg_lsn)", (before,))
        return float(written / (copies * in_template))
