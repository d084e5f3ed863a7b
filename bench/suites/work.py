"""What delivery costs the database: statements and rows for each call, and what is left behind in its tables."""

from typing import Any, Final

import psycopg

from bench import messages
from bench.laboratory import Laboratory
from bench.pushing import pushing
from bench.results import Table
from bench.stores import events_of, fetch_row, queues_of

NAME: Final = "work"
TITLE: Final = "Database work per delivered call"
LATENCY_MS: Final = 10
MOST_STATEMENTS: Final = 12
SHOWN_CHARACTERS: Final = 70
OWN_STATEMENT: Final = "%/* bench */%"
ABOUT: Final = (
    "One `serve --only push` delivers whole lifecycles that were appended to the event store, with the"
    " projection that feeds it. Statements from pg_stat_statements, rows from pg_stat_user_tables, space from"
    f" pgstattuple, before any VACUUM but autovacuum's. Latency {LATENCY_MS} ms."
)
_STATEMENTS: Final = (
    "SELECT query, calls, rows, wal_bytes FROM pg_stat_statements"
    " WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())"
    " AND query NOT LIKE %s ORDER BY calls DESC"
)
_ROWS: Final = (
    "SELECT relname, n_tup_ins, n_tup_upd, n_tup_hot_upd, n_tup_del FROM pg_stat_user_tables"
    " WHERE n_tup_ins + n_tup_upd + n_tup_del > 0 ORDER BY relname"
)
_SPACE: Final = (
    "SELECT table_len, tuple_count, tuple_len, dead_tuple_count, dead_tuple_percent, free_percent"
    " FROM pgstattuple(%s)"
)
_QUEUE_TABLES: Final = ("delivery", "effect", "attempt")
_KIBIBYTE: Final = 1024


def run(lab: Laboratory) -> None:
    if not lab.scale.work_orders:
        return
    events = events_of(messages.lifecycles_of(lab.scale.work_orders))
    calls = sum(map(len, queues_of(events)))
    with lab.database() as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE EXTENSION pg_stat_statements")
            connection.execute("CREATE EXTENSION pgstattuple")
            connection.execute("SELECT pg_stat_reset()")  # the schema was made before
            name = connection.info.dbname
            connection.execute(f"ALTER DATABASE \"{name}\" SET pg_stat_statements.track = 'all'")
        with pushing(lab, database_url=url) as parts:
            parts.party.faults(latencyMs=LATENCY_MS)
            lab.report(f"{calls:,} calls at {parts.ours(events):,.0f}/s")
        with psycopg.connect(url, autocommit=True) as connection:  # the processes have left: all is counted
            lab.chapter.tables += [
                _statements(connection, calls),
                _rows(connection, calls),
                _space(connection, calls),
            ]


def _statements(connection: psycopg.Connection[Any], calls: int) -> Table:
    found = connection.execute(_STATEMENTS, (OWN_STATEMENT,)).fetchall()
    total = [sum(row[column] for row in found) for column in (1, 2, 3)]
    rows = [["all statements", *(f"{value / calls:.3f}" for value in total[:2]), f"{total[2] / calls:,.0f}"]]
    for query, executed, touched, wal_bytes in found[:MOST_STATEMENTS]:
        text = " ".join(query.split())
        shown = text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"
        shown = shown.replace("|", "\\|").replace("`", "'")
        rows.append(
            [f"`{shown}`", f"{executed / calls:.3f}", f"{touched / calls:.3f}", f"{wal_bytes / calls:,.0f}"]
        )
    columns = ["statement", "executed per call", "rows per call", "bytes of WAL per call"]
    return Table(f"Statements per call, over {calls:,} calls", columns, rows)


def _rows(connection: psycopg.Connection[Any], calls: int) -> Table:
    found = connection.execute(_ROWS).fetchall()
    rows = [[row[0], *(f"{value / calls:.3f}" for value in row[1:])] for row in found]
    sums = [sum(row[column] for row in found) / calls for column in (1, 2, 3, 4)]
    rows.append(["all tables", *(f"{value:.3f}" for value in sums)])
    return Table(
        "Rows written per call", ["table", "inserted", "updated", "of these in place (HOT)", "deleted"], rows
    )


def _space(connection: psycopg.Connection[Any], calls: int) -> Table:
    rows = []
    for table in _QUEUE_TABLES:
        if not fetch_row(connection, "SELECT to_regclass(%s) IS NOT NULL", (table,))[0]:
            continue
        size, live, live_bytes, dead, dead_percent, free_percent = fetch_row(connection, _SPACE, (table,))
        rows.append([
            table,
            f"{live:,}",
            f"{size / _KIBIBYTE:,.0f}",
            f"{size / max(1, live_bytes):.2f}",
            f"{dead:,}",
            f"{dead_percent:.1f} %",
            f"{free_percent:.1f} %",
        ])  # fmt: skip
    columns = ["table", "live rows", "KiB", "size / live rows", "dead rows", "dead", "free"]
    return Table(f"Space after {calls:,} deliveries", columns, rows)
