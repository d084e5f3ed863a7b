"""A database in which time and chance are the simulation's: a schema before `pg_catalog` in the search path has
`now()`, `clock_timestamp()` and `random()` of its own. The product's SQL is what it is."""

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import psycopg
from psycopg import sql

from adapters.postgres.migrate import migrate
from sandbox.servers.postgres import create_database, drop

HALT_LOCK: Final = 777

_SCHEMA = f"""
CREATE SCHEMA sim;
CREATE SEQUENCE sim.clock MINVALUE 0 START 0;
CREATE SEQUENCE sim.draws MINVALUE 0 START 0;
CREATE FUNCTION sim.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS
  $$ SELECT pg_catalog.to_timestamp(last_value / 1e6) FROM sim.clock $$;
CREATE SEQUENCE sim.starts MINVALUE 0 START 0;
CREATE SEQUENCE sim.timelines MINVALUE 0 START 0;
CREATE FUNCTION sim.pg_postmaster_start_time() RETURNS timestamptz LANGUAGE sql VOLATILE AS
  $$ SELECT pg_catalog.to_timestamp(last_value) FROM sim.starts $$;
CREATE FUNCTION sim.pg_walfile_name(pg_lsn) RETURNS text LANGUAGE sql VOLATILE AS
  $$ SELECT pg_catalog.lpad(last_value::text, 8, '0') FROM sim.timelines $$;
CREATE FUNCTION sim.halt_if(wanted text) RETURNS void LANGUAGE plpgsql VOLATILE AS $$ BEGIN
  IF current_setting('sim.halt', true) = wanted THEN
    PERFORM set_config('sim.halt', '', false);
    PERFORM pg_advisory_lock_shared({HALT_LOCK});
    PERFORM pg_advisory_unlock_shared({HALT_LOCK});
  ELSIF current_setting('sim.halt', true) LIKE wanted || '+%' THEN
    PERFORM set_config('sim.halt', left(current_setting('sim.halt'), -1), false);
  END IF;
END $$;
CREATE FUNCTION sim.now() RETURNS timestamptz LANGUAGE plpgsql STABLE AS $$ BEGIN
  PERFORM sim.halt_if('look');
  RETURN coalesce(nullif(current_setting('sim.now', true), '')::timestamptz, sim.clock_timestamp());
END $$;
CREATE FUNCTION sim.random() RETURNS float8 LANGUAGE sql VOLATILE AS
  $$ SELECT (pg_catalog.hashint8(nextval('sim.draws'))::bigint + 2147483648) / 4294967296.0 $$;
CREATE FUNCTION sim.halt() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  PERFORM sim.halt_if('change');
  RETURN NEW;
END $$;
CREATE FUNCTION sim.halt_at_begin() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  PERFORM sim.halt_if('begin');
  RETURN NULL;
END $$;
CREATE TRIGGER sim_halt_at_begin BEFORE UPDATE ON public.delivery EXECUTE FUNCTION sim.halt_at_begin();
CREATE TRIGGER sim_halt_at_begin BEFORE INSERT ON public.stored_events EXECUTE FUNCTION sim.halt_at_begin();
CREATE TRIGGER sim_halt BEFORE UPDATE ON public.delivery FOR EACH ROW EXECUTE FUNCTION sim.halt();
CREATE TRIGGER sim_halt BEFORE INSERT ON public.stored_events FOR EACH ROW EXECUTE FUNCTION sim.halt();
"""

_DEFAULTS = """
SELECT table_name, column_name, column_default FROM information_schema.columns
WHERE table_schema = 'public' AND column_default ~ '(now|clock_timestamp)\\(\\)'
"""


@contextmanager
def simulation_database(server_url: str) -> Iterator[str]:
    """The URL of a migrated database in which every session has the simulation's time."""
    name = f"cashback_simulation_{secrets.token_hex(4)}"
    url = create_database(server_url, name)
    try:
        migrate(url)
        with psycopg.connect(url, autocommit=True) as connection:
            _prepare(connection)
            for setting in ("search_path = sim, pg_catalog, public", "deadlock_timeout = '1h'"):
                connection.execute(sql.SQL(f"ALTER DATABASE {{}} SET {setting}").format(sql.Identifier(name)))
        yield url
    finally:
        with psycopg.connect(server_url, autocommit=True) as maintenance:
            drop(maintenance, name)


def _prepare(connection: psycopg.Connection) -> None:
    connection.execute(_SCHEMA)
    for table, column, default in connection.execute(_DEFAULTS).fetchall():
        statement = "ALTER TABLE public.{} ALTER COLUMN {} SET DEFAULT {}"
        names = (sql.Identifier(table), sql.Identifier(column), sql.SQL(f"sim.{default}"))
        connection.execute(sql.SQL(statement).format(*names))
    connection.execute("CREATE SCHEMA kept")
    connection.execute("CREATE SCHEMA copy")
    for table in _tables(connection):
        # What PostgreSQL does by itself, at times of its own, would change its plans.
        statement = "ALTER TABLE public.{} SET (autovacuum_enabled = false, toast.autovacuum_enabled = false)"
        connection.execute(sql.SQL(statement).format(sql.Identifier(table)))
        kept = (sql.Identifier("kept", table), sql.Identifier("public", table))
        connection.execute(sql.SQL("CREATE TABLE {} AS TABLE {}").format(*kept))


def copy(connection: psycopg.Connection) -> dict[str, int | None]:
    """Copies all rows, as a backup or a replica has them. Answers where the sequences are."""
    with connection.transaction():
        for table in _tables(connection):
            names = (sql.Identifier("copy", table), sql.Identifier("public", table))
            connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(names[0]))
            connection.execute(sql.SQL("CREATE TABLE {} AS TABLE {}").format(*names))
        found = "SELECT sequencename, last_value FROM pg_sequences WHERE schemaname = 'public' ORDER BY 1"
        return dict(connection.execute(found).fetchall())


def restore(connection: psycopg.Connection, sequences: Mapping[str, int | None], *, is_promoted: bool) -> None:
    """All is as it was then, on a server that was started again: the same one, or a replica that was promoted."""
    with connection.transaction():
        _fill(connection, "copy")
        for name, last in sequences.items():
            if last is not None:
                connection.execute("SELECT setval(%s::regclass, %s)", (f"public.{name}", last))
        connection.execute("SELECT nextval('sim.starts')")
        if is_promoted:
            connection.execute("SELECT nextval('sim.timelines')")


def reset(url: str) -> None:
    """As it was after the migrations."""
    with psycopg.connect(url) as connection:
        _fill(connection, "kept")
        for name in ("clock", "draws", "starts", "timelines"):
            connection.execute("SELECT setval(%s::regclass, 0)", (f"sim.{name}",))


def _fill(connection: psycopg.Connection, schema: str) -> None:
    """With what the tables of that schema have. Nobody else is connected."""
    tables = [sql.Identifier("public", name) for name in _tables(connection)]
    connection.execute("SET LOCAL lock_timeout = '20s'")
    connection.execute("SET LOCAL session_replication_role = replica")
    connection.execute(sql.SQL("TRUNCATE {} RESTART IDENTITY").format(sql.SQL(", ").join(tables)))
    for name in _tables(connection):
        filled = (sql.Identifier("public", name), sql.Identifier(schema, name))
        connection.execute(sql.SQL("INSERT INTO {} OVERRIDING SYSTEM VALUE TABLE {}").format(*filled))


def _tables(connection: psycopg.Connection) -> list[str]:
    found = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename"
    return [name for (name,) in connection.execute(found)]
