"""Connections as PostgreSQL sees them."""

import asyncio
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from adapters.postgres.connections import conninfo
from adapters.postgres.event_store import OrderDatastore
from adapters.postgres.ledger import PostgresLedger

pytestmark = pytest.mark.slow


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
        async with PostgresLedger(database_url, lease_seconds=60) as ledger, ledger._translated() as delivery:
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
    datastore.close()
    assert found == {name: {"value": value} for name, value in wanted.items()}
