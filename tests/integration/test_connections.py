"""Connections as PostgreSQL sees them, and what we make of a server that can't do what we ask."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from adapters.postgres.connections import AsyncBoundedConnection, BoundedConnection, conninfo
from adapters.postgres.event_store import OrderApplication, OrderDatastore
from adapters.postgres.ledger import PostgresLedger
from adapters.postgres.pool import Database
from adapters.postgres.projection_feeds import PostgresFeed, write_orders
from domain.ports import Advance, Batch, StoreUnavailable
from sandbox.servers.postgres import url_of
from tests.support.event_store import streams
from tests.support.messages import partition_of
from tests.support.postgres_proxy import postgres_proxy

pytestmark = pytest.mark.slow

SILENT = r"hasn't answered within 0\.3 s"
ODD = {
    "DateStyle": "German, DMY",
    "IntervalStyle": "sql_standard",
    "TimeZone": "Asia/Kathmandu",
    "standard_conforming_strings": "off",
    "bytea_output": "escape",
    "extra_float_digits": "-3",
    "array_nulls": "off",
    "default_transaction_isolation": "serializable",
    "client_encoding": "LATIN1",
}
RELIED_ON = {
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "standard_conforming_strings": "on",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "array_nulls": "on",
    "default_transaction_isolation": "read committed",
    "client_encoding": "UTF8",
}


def settings_of(connection: psycopg.Connection, *names: str) -> list[str]:
    rows = connection.execute("SELECT current_setting(name) FROM unnest(%s::text[]) AS name", (list(names),))
    return [value for (value,) in rows]


def test_the_server_looks_after_the_client(database_url: str) -> None:
    """It asks whether it is still there, also while a statement waits for a lock."""
    with psycopg.connect(conninfo(database_url, application_name="cashback-test")) as connection:
        names = ("tcp_keepalives_idle", "tcp_keepalives_count", "tcp_user_timeout", "application_name")
        found = settings_of(connection, *names, "client_connection_check_interval")
        given = connection.info.get_parameters()
    assert found == ["10", "3", "25000", "cashback-test", "5s"]
    assert (given["keepalives_idle"], given["tcp_user_timeout"]) == ("10", "25000")


def test_what_is_committed_is_on_the_disk_whatever_the_database_says(database_url: str) -> None:
    """Intake's transactions and the ledger's: else a crash would take back what was told to others."""
    name = urlsplit(database_url).path.removeprefix("/")
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(sql.SQL("ALTER DATABASE {} SET synchronous_commit = off").format(sql.Identifier(name)))
    with psycopg.connect(database_url) as connection:
        assert settings_of(connection, "synchronous_commit") == ["off"]
    show = "SELECT current_setting('synchronous_commit') AS value"

    datastore = OrderDatastore(database_url, pool_size=1)
    with datastore.get_connection() as store:
        assert store.execute(show).fetchone() == {"value": "on"}
    datastore.close()

    async def of_the_ledger() -> object:
        async with (
            PostgresLedger(database_url, lease_seconds=60, call_timeout_seconds=10) as ledger,
            ledger._translated() as delivery,
        ):
            return await (await delivery.execute(show)).fetchone()

    assert asyncio.run(of_the_ledger()) == ("on",)


def test_limits_of_the_store_can_be_changed_in_the_database_url(database_url: str) -> None:
    """The limit of a whole transaction too, which the store sets itself: older servers don't know it."""
    wanted = {
        "statement_timeout": "7s",
        "lock_timeout": "8s",
        "idle_in_transaction_session_timeout": "9s",
        "transaction_timeout": "11s",
    }
    options = "%20".join(f"-c%20{name}%3D{value}" for name, value in wanted.items())
    datastore = OrderDatastore(f"{database_url}?options={options}", pool_size=1)
    with datastore.get_connection() as connection:
        found = {
            name: connection.execute("SELECT current_setting(%s) AS value", (name,)).fetchone() for name in wanted
        }
        waits = getattr(connection, "answer_seconds", None)
    datastore.close()
    assert found == {name: {"value": value} for name, value in wanted.items()}
    assert waits == 7 + 5, "and we wait for an answer accordingly"


@pytest.fixture
def odd_url(database_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The database, the environment and the URL each want it otherwise."""
    name = urlsplit(database_url).path[1:]
    with psycopg.connect(database_url, autocommit=True) as connection:
        for setting, value in ODD.items():
            statement = sql.SQL("ALTER DATABASE {} SET {} = {}")
            values = [sql.Literal(each) for each in value.split(", ")]
            connection.execute(
                statement.format(sql.Identifier(name), sql.Identifier(setting), sql.SQL(", ").join(values))
            )
    monkeypatch.setenv("PGDATESTYLE", "SQL, DMY")
    monkeypatch.setenv("PGTZ", "America/New_York")
    monkeypatch.setenv("PGCLIENTENCODING", "SQL_ASCII")
    options = "%20".join(f"-c%20{setting}%3D{ODD[setting]}" for setting in ("TimeZone", "bytea_output"))
    return f"{database_url}?client_encoding=LATIN2&options={options}"


_ASK = "SELECT name, current_setting(name) FROM unnest(%s::text[]) AS name"


def test_sessions_are_as_we_rely_on_whatever_anybody_else_wants(odd_url: str) -> None:
    """On every kind of connection that we have."""

    def of_a_connection() -> Any:
        with BoundedConnection[Any].connect(conninfo(odd_url, application_name="cashback-test")) as connection:
            return connection.execute(_ASK, (list(RELIED_ON),)).fetchall()

    def of_the_store() -> Any:
        datastore = OrderDatastore(odd_url, pool_size=1)
        try:
            with datastore.get_connection() as connection:
                rows = connection.execute(_ASK, (list(RELIED_ON),)).fetchall()
                return [(row["name"], row["current_setting"]) for row in rows]
        finally:
            datastore.close()

    async def of_the_pool() -> Any:
        async with Database(odd_url) as database, database.connection() as connection:
            return await (await connection.execute(_ASK, (list(RELIED_ON),))).fetchall()

    assert dict(of_a_connection()) == RELIED_ON
    assert dict(of_the_store()) == RELIED_ON
    assert dict(asyncio.run(of_the_pool())) == RELIED_ON


def test_a_server_that_says_nothing_any_more_is_given_up(database_url: str) -> None:
    """With its connection: what it says later is no answer to what is asked next."""
    with (
        postgres_proxy(database_url) as proxy,
        BoundedConnection[Any].connect(
            conninfo(proxy.url, application_name="cashback-test"), autocommit=True, answer_seconds=0.3
        ) as connection,
    ):
        connection.execute("SELECT 1")
        proxy.blackhole()
        with pytest.raises(psycopg.OperationalError, match=SILENT):
            connection.execute("SELECT 2")
        assert connection.closed


def test_a_server_that_says_nothing_any_more_is_given_up_by_the_event_loop_too(database_url: str) -> None:
    """Also in the middle of a transaction."""

    async def ask() -> None:
        with postgres_proxy(database_url) as proxy:
            connection = await AsyncBoundedConnection[Any].connect(
                conninfo(proxy.url, application_name="cashback-test"), autocommit=True, answer_seconds=0.3
            )

            async def stand_still() -> None:
                async with connection.transaction():
                    await connection.execute("SELECT 1")
                    proxy.blackhole()
                    await connection.execute("SELECT 2")

            with pytest.raises(psycopg.OperationalError, match=SILENT):
                await stand_still()
            assert connection.closed

    asyncio.run(ask())


def test_who_only_listens_is_not_given_up(database_url: str) -> None:
    """That nothing is to be heard is no silence of the server."""
    with BoundedConnection[Any].connect(
        conninfo(database_url, application_name="cashback-test"), autocommit=True, answer_seconds=0.1
    ) as connection:
        connection.execute("LISTEN cashback_events")
        began = time.monotonic()
        assert list(connection.notifies(timeout=0.5)) == []
        assert time.monotonic() - began > 0.4
        connection.execute("NOTIFY cashback_events")
        assert len(list(connection.notifies(timeout=5, stop_after=1))) == 1


@contextmanager
def read_only(url: str, name: str) -> Iterator[None]:
    """For connections to come, as on a server that isn't the primary any more."""
    database = sql.Identifier(urlsplit(url).path[1:])
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = on").format(database))
        yield
        connection.execute("SET default_transaction_read_only = off")
        connection.execute(sql.SQL("ALTER DATABASE {} RESET default_transaction_read_only").format(database))


@contextmanager
def without_privileges(url: str, name: str) -> Iterator[None]:
    """The role may do nothing with any table."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            sql.SQL("REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {}").format(sql.Identifier(name))
        )
        yield
        connection.execute(sql.SQL("GRANT ALL ON ALL TABLES IN SCHEMA public TO {}").format(sql.Identifier(name)))


@contextmanager
def without_tables(url: str, name: str) -> Iterator[None]:
    """Another schema was put in the place of ours."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ALTER SCHEMA public RENAME TO away; CREATE SCHEMA public")
        yield
        connection.execute("DROP SCHEMA public; ALTER SCHEMA away RENAME TO public")


@pytest.fixture
def humble(database_url: str) -> Iterator[tuple[str, str]]:
    """A role that owns nothing, and the database's URL for it."""
    name = f"humble_{time.monotonic_ns()}"
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'humble'").format(sql.Identifier(name)))
        for what in ("TABLES", "SEQUENCES"):
            grant = sql.SQL(f"GRANT ALL ON ALL {what} IN SCHEMA public TO {{}}")
            connection.execute(grant.format(sql.Identifier(name)))
        parts = urlsplit(database_url)
        yield name, parts._replace(netloc=f"{name}:humble@{parts.hostname}:{parts.port}").geturl()
        connection.execute(sql.SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(sql.Identifier(name)))


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        (read_only, "read-only transaction"),
        (without_privileges, "permission denied"),
        (without_tables, "does not exist"),
    ],
)
def test_what_a_database_cannot_do_now_is_no_error_of_ours(
    database_url: str, humble: tuple[str, str], trouble: Any, reason: str
) -> None:
    """Whoever asks hears that it's unavailable, and why; and it is used again when it can."""
    name, url = humble
    batch = Batch(streams([1]), [], [Advance(partition_of(0), None, 5)])
    feed = PostgresFeed(url, "orders", write_orders)

    def store(batch: Batch) -> None:
        application = OrderApplication(url, pool_size=1)
        try:
            application.commit(batch)
        finally:
            application.close()

    def project() -> None:
        with feed.next_batch(10):
            pass

    async def write() -> None:
        async with Database(url) as database, database.connection() as connection:
            await connection.execute("DELETE FROM service_process")

    async def claim() -> None:
        async with PostgresLedger(url, lease_seconds=10, call_timeout_seconds=5) as ledger:
            await ledger.claim(1)

    acts: tuple[Callable[[], None], ...] = (
        lambda: store(batch),
        project,
        lambda: asyncio.run(write()),
        lambda: asyncio.run(claim()),
    )
    with trouble(database_url, name):
        for act in acts:
            with pytest.raises(StoreUnavailable, match=reason):
                act()
    feed.close()
    for act in acts:
        act()
    feed.close()


def test_a_connection_to_a_server_that_became_read_only_is_not_kept(database_url: str) -> None:
    """The address may be another server's by now: only a new connection finds it."""

    async def pid(database: Database, then: str = "SELECT 1") -> int:
        async with database.connection() as connection:
            await connection.execute(then)
            return connection.info.backend_pid

    async def ask() -> None:
        async with Database(database_url, pool_size=1) as database:
            before = await pid(database)
            assert await pid(database) == before
            await pid(database, "SET default_transaction_read_only = on")
            with pytest.raises(StoreUnavailable, match="read-only"):
                await pid(database, "DELETE FROM service_process")
            assert await pid(database, "DELETE FROM service_process") != before

    asyncio.run(ask())


def test_a_session_that_was_cut_off_in_its_transaction_is_an_outage(database_url: str) -> None:
    """It stood still for too long; nothing of it was done."""

    async def stand_still() -> None:
        async with Database(database_url) as database, database.transaction() as connection:
            await connection.execute("SET LOCAL idle_in_transaction_session_timeout = '10ms'")
            with psycopg.connect(database_url, autocommit=True) as other:
                alive = "SELECT count(*) FROM pg_stat_activity WHERE pid = %s"
                deadline = time.monotonic() + 30
                while other.execute(alive, (connection.info.backend_pid,)).fetchone() == (1,):
                    assert time.monotonic() < deadline
            await connection.execute("SELECT 1")

    with pytest.raises(StoreUnavailable, match=r"idle-in-transaction|closed the connection"):
        asyncio.run(stand_still())


def test_why_there_is_no_connection_is_said(database_url: str) -> None:
    """A pool tries in the background, and alone would only say that it has none."""
    parts = urlsplit(database_url)
    url = parts._replace(netloc=f"{parts.username}:wrong@{parts.hostname}:{parts.port}").geturl()
    application = OrderApplication(url, pool_size=1)
    with pytest.raises(StoreUnavailable, match="password authentication failed"):
        application.load([1])
    application.close()

    async def ask(url: str) -> None:
        async with Database(url, timeout_seconds=2) as database, database.connection():
            pass

    with pytest.raises(StoreUnavailable, match="does not exist"):
        asyncio.run(ask(url_of(database_url, "no_such_database")))
