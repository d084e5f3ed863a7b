"""Creates or upgrades the schema: numbered files, forward only, each run once, one process at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from typing import Final, NamedTuple

import psycopg

from adapters.postgres.connections import conninfo
from domain.errors import Unavailable

_LOCK_KEY: Final = 4223372037
_LOCK_TIMEOUT_SECONDS: Final = 300


class Migration(NamedTuple):
    number: int
    name: str
    sql: str


class DatabaseUnreachable(Unavailable):
    """PostgreSQL can't be reached, doesn't let us in, or refuses what we ask for."""


class SchemaTooNew(Unavailable):
    """The database was made by a newer version of this service."""


class SchemaTooOld(Unavailable):
    """The database lacks migrations: run `python app.py migrate`."""


def migrations() -> list[Migration]:
    """All there are, in order. Numbers start at 1 and have no gaps."""
    return sorted(_read())


def _read() -> Iterator[Migration]:
    for file in files(__package__).joinpath("migrations").iterdir():
        if file.name.endswith(".sql"):
            number, _, name = file.name.removesuffix(".sql").partition("_")
            yield Migration(int(number), name, file.read_text("utf-8"))


def migrate(database_url: str) -> list[Migration]:
    """Brings the schema up to date and answers what was done; nothing if nothing was to do.

    Safe to run from two places at once: the second waits (up to five minutes) and finds the work done.
    Raises DatabaseUnreachable or SchemaTooNew.
    """
    with _connect(database_url) as connection:
        connection.execute(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT_SECONDS}s'")
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK_KEY,))
        connection.execute(
            "CREATE TABLE IF NOT EXISTS schema_migration"
            " (number integer PRIMARY KEY, name text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
        )
        done = _applied(connection)
        known = migrations()
        if done and max(done) > known[-1].number:
            raise SchemaTooNew(
                f"the database has migration {max(done)}, and this version knows {known[-1].number}:"
                " run a newer version"
            )
        missing = [migration for migration in known if migration.number not in done]
        for migration in missing:
            connection.execute(migration.sql)
            connection.execute(
                "INSERT INTO schema_migration (number, name) VALUES (%s, %s)", (migration.number, migration.name)
            )
        return missing


def check_database(database_url: str) -> None:
    """Raises DatabaseUnreachable, SchemaTooOld or SchemaTooNew unless the database is there, at this version."""
    with _connect(database_url) as connection:
        _check_schema(connection)


@contextmanager
def _connect(database_url: str) -> Iterator[psycopg.Connection]:
    """One transaction. Raises DatabaseUnreachable, and so do the questions asked in it."""
    what = "can't reach PostgreSQL"
    try:
        with psycopg.connect(conninfo(database_url, application_name="cashback-migrate")) as connection:
            what = "PostgreSQL refuses"
            yield connection
    except psycopg.Error as error:
        first_line = str(error).strip().partition("\n")[0]
        raise DatabaseUnreachable(f"{what}: {first_line}") from error


def _check_schema(connection: psycopg.Connection) -> None:
    found = connection.execute("SELECT to_regclass('schema_migration') IS NOT NULL").fetchone()
    done = _applied(connection) if found and found[0] else set[int]()
    newest = migrations()[-1].number
    if max(done, default=0) < newest:
        raise SchemaTooOld(
            f"the database is at migration {max(done, default=0)} of {newest}: run `python app.py migrate` first"
        )
    if max(done) > newest:
        raise SchemaTooNew(f"the database has migration {max(done)}, and this version knows {newest}")


def _applied(connection: psycopg.Connection) -> set[int]:
    return {number for (number,) in connection.execute("SELECT number FROM schema_migration")}
