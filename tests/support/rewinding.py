"""Databases that go back in time under whoever is connected: what was committed since is gone, the URL stays."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from signal import SIGKILL
from typing import Final, Protocol
from urllib.parse import unquote, urlsplit

import psycopg
from psycopg import sql

from adapters.postgres.migrate import migrate
from sandbox.servers.free_port import free_port
from sandbox.servers.postgres import MAINTENANCE_DATABASE, EmbeddedPostgres, url_of
from tests.support.waiting import gone, wait_until

_TERMINATE: Final = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
_PROMOTED: Final = "restore_command = 'false'\nhot_standby = off\n"
"""With a `recovery.signal`: all WAL that is there is replayed, then the server opens on a new timeline."""


class Rewindable(Protocol):
    """`url` stays the same."""

    url: str

    def keep(self) -> None:
        """This moment is what it goes back to."""

    def go_back(self) -> None:
        """As if nothing had been committed since; all connections are cut."""


class Kind(StrEnum):
    """How it goes back."""

    DATABASE = "database"
    """The server stays: the database is replaced by a copy, which has another id."""
    FOLDER = "folder"
    """The folder is replaced by a copy: the same server, identifier and timeline, at an earlier day."""
    TIMELINE = "timeline"
    """A replica that had not got everything is promoted, on a timeline of its own."""


class ReplacedDatabase:
    def __init__(self, url: str) -> None:
        self.url = url
        self._name = unquote(urlsplit(url).path.removeprefix("/"))
        self._kept = f"{self._name}_kept"

    def keep(self) -> None:
        with self._alone() as connection:
            self._do(connection, "DROP DATABASE IF EXISTS {kept}", "CREATE DATABASE {kept} TEMPLATE {name}")

    def go_back(self) -> None:
        with self._alone() as connection:
            self._do(connection, "DROP DATABASE {name}", "ALTER DATABASE {kept} RENAME TO {name}")

    @contextmanager
    def _alone(self) -> Iterator[psycopg.Connection]:
        """Connections are cut, and none is let in."""
        with psycopg.connect(url_of(self.url, MAINTENANCE_DATABASE), autocommit=True) as connection:
            self._do(connection, "ALTER DATABASE {name} ALLOW_CONNECTIONS false")
            connection.execute(_TERMINATE, (self._name,))
            asked = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s"
            wait_until(lambda: connection.execute(asked, (self._name,)).fetchone() == (0,), "connections cut")
            yield connection
            self._do(connection, "ALTER DATABASE {name} ALLOW_CONNECTIONS true")

    def _do(self, connection: psycopg.Connection, *statements: str) -> None:
        names = {"name": sql.Identifier(self._name), "kept": sql.Identifier(self._kept)}
        for statement in statements:
            connection.execute(sql.SQL(statement).format(**names))


class ReplacedFolder:
    """A server of its own."""

    def __init__(self, server: EmbeddedPostgres, *, is_promoted: bool) -> None:
        self.url = server.url
        self._server = server
        self._data = server.folder / "data"
        self._kept = server.folder / "kept"
        self._is_promoted = is_promoted

    def keep(self) -> None:
        self._server.stop()
        _run("rm", "-rf", self._kept)
        _run("cp", "-a", self._data, self._kept)
        assert self._server.start() == self.url

    def go_back(self) -> None:
        os.kill(self._server.pid, SIGKILL)
        wait_until(lambda: gone(self._server.pid), "the end of the server")
        self._server.stop()
        _run("rm", "-rf", self._data)
        _run("cp", "-a", self._kept, self._data)
        if self._is_promoted:
            with (self._data / "postgresql.auto.conf").open("a") as configuration:
                configuration.write(_PROMOTED)
            _run("cp", "-a", self._data / "PG_VERSION", self._data / "recovery.signal")
        assert self._server.start() == self.url


@contextmanager
def rewindable(kind: Kind, folder: Path) -> Iterator[Rewindable]:
    """With our schema in it, on a server of its own."""
    port = free_port()
    with EmbeddedPostgres(folder, durable=False, find_port=lambda: port) as server:
        migrate(server.url)
        if kind is Kind.DATABASE:
            yield ReplacedDatabase(server.url)
        else:
            yield ReplacedFolder(server, is_promoted=kind is Kind.TIMELINE)


def _run(*command: object) -> None:
    subprocess.run([str(part) for part in command], check=True, timeout=60)
