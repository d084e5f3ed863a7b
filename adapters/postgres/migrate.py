"""Creates or upgrades the schema: numbered files, forward only, each run once, one process at a time.

What was applied is kept as a checksum: two databases of one version are then of one schema, and an edited file is
noticed where it would make a difference that nobody sees.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from typing import Any, Final, NamedTuple

import psycopg

from adapters.postgres.connections import CONNECT_TIMEOUT_SECONDS, BoundedConnection, conninfo, reason_of
from domain.errors import Unavailable

_LOCK_KEY: Final = 4223372037
_LOCK_TIMEOUT_SECONDS: Final = 300


class Migration(NamedTuple):
    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256, in hex, of the whole text, comments and all. How its lines end doesn't count: a checkout may
        have its own way, and reading makes `\n` of each."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


class DatabaseUnreachable(Unavailable):
    """PostgreSQL can't be reached, doesn't let us in, or refuses what we ask for."""


class WrongEncoding(Unavailable):
    """The database can't keep every text that an order may hold."""


class SchemaTooNew(Unavailable):
    """The database was made by a newer version of this service."""


class SchemaTooOld(Unavailable):
    """The database lacks migrations: run `python app.py migrate`."""


class MigrationChanged(Unavailable):
    """A migration that was applied to this database isn't the one that this version has."""


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

    Safe to run from two places at once: the second waits (up to five minutes) and finds the work done. Versions
    before 0.2 kept no checksums: what they applied is taken for what this version has.
    Raises DatabaseUnreachable, WrongEncoding, SchemaTooNew or MigrationChanged.
    """
    with _connect(database_url, answer_seconds=None) as connection:  # a migration takes as long as it takes
        connection.execute(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT_SECONDS}s'")
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK_KEY,))
        connection.execute(
            "CREATE TABLE IF NOT EXISTS schema_migration (number integer PRIMARY KEY, name text NOT NULL,"
            " applied_at timestamptz NOT NULL DEFAULT now(), checksum text)"
        )
        checksums = _checksums(connection)
        known = migrations()
        _check_known(known, checksums)
        missing = [migration for migration in known if migration.number not in checksums]
        for migration in missing:
            connection.execute(migration.sql)
            connection.execute(
                "INSERT INTO schema_migration (number, name) VALUES (%s, %s)", (migration.number, migration.name)
            )
        _keep_checksums(connection, [each for each in known if checksums.get(each.number) is None])
        return missing


def _check_known(known: list[Migration], checksums: dict[int, str | None]) -> None:
    if checksums and max(checksums) > known[-1].number:
        raise SchemaTooNew(
            f"the database has migration {max(checksums)}, and this version knows {known[-1].number}:"
            " run a newer version"
        )
    for migration in known:
        if checksums.get(migration.number) not in {None, migration.checksum}:
            raise MigrationChanged(
                f"migration {migration.number:04d}_{migration.name} was changed after it was applied to this"
                " database: run a version that has it as it was"
            )


def _checksums(connection: psycopg.Connection) -> dict[int, str | None]:
    """Of what was applied, by number; the column may not be there yet."""
    return dict(connection.execute("SELECT number, to_jsonb(applied) ->> 'checksum' FROM schema_migration applied"))


def _keep_checksums(connection: psycopg.Connection, applied: list[Migration]) -> None:
    """At the very end: the new column locks out all who check the schema until the transaction is over."""
    if applied:
        connection.execute("ALTER TABLE schema_migration ADD COLUMN IF NOT EXISTS checksum text")
        connection.cursor().executemany(
            "UPDATE schema_migration SET checksum = %s WHERE number = %s",
            [(migration.checksum, migration.number) for migration in applied],
        )


def check_database(database_url: str) -> None:
    """Raises DatabaseUnreachable, WrongEncoding, SchemaTooOld or SchemaTooNew unless the database is there, at this
    version."""
    with _connect(database_url, answer_seconds=CONNECT_TIMEOUT_SECONDS) as connection:
        _check_schema(connection)


@contextmanager
def _connect(database_url: str, *, answer_seconds: float | None) -> Iterator[psycopg.Connection]:
    """One transaction. Raises WrongEncoding, or DatabaseUnreachable, and so do the questions asked in it."""
    what = "can't reach PostgreSQL"
    try:
        with BoundedConnection[tuple[Any, ...]].connect(
            conninfo(database_url, application_name="cashback-migrate"), answer_seconds=answer_seconds
        ) as connection:
            what = "PostgreSQL refuses"
            _check_encoding(connection)
            yield connection
    except psycopg.Error as error:
        raise DatabaseUnreachable(f"{what}: {reason_of(error)}") from error


def _check_encoding(connection: psycopg.Connection) -> None:
    found = connection.execute("SELECT current_database(), current_setting('server_encoding')").fetchone()
    assert found is not None
    name, encoding = found
    if encoding != "UTF8":
        raise WrongEncoding(
            f"the database {name} has the encoding {encoding}, and must have UTF8:"
            " make another one, with ENCODING 'UTF8' TEMPLATE template0"
        )


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
