"""Two services, all that they live on, and the wires between."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, Self

import httpx
import psycopg

from adapters.cli import exit_codes
from adapters.postgres.migrate import migrate
from sandbox.servers.apache_kafka import ApacheKafka, missing
from sandbox.servers.embedded_kafka import Broker, EmbeddedBroker, create_topic
from sandbox.servers.free_port import LOOPBACK, free_port
from sandbox.servers.postgres import EmbeddedPostgres
from tests.support import local_http
from tests.support.processes import App, Apps, quick_group
from tests.support.sandbox_process import Sandbox, start_sandbox, undelivered
from tests.support.stored import messages_read
from tests.support.tcp_proxy import TcpProxy
from tests.torture.load import Load

TOPIC: Final = "orders"
PARTITIONS: Final = 6
ATTEMPTS: Final = 1000
"""At a call: no order is to be parked because of an outage."""
BEHIND_SECONDS: Final = 2.0
"""Who is behind by less than so much of the load is up to date."""
_RECORDS_PER_ORDER: Final = 4.0
_RESTART_SECONDS: Final = 0.5
_POLL_SECONDS: Final = 0.1


class _PatientKafka(ApacheKafka):
    ready_seconds = 300.0  # on a machine that has other things to do as well


class Service:
    """One `app.py serve`, started again whenever it has ended."""

    def __init__(self, name: str, apps: Apps, **settings: object) -> None:
        self.name = name
        self.port = free_port()
        self.deaths: list[str] = []
        """How it ended by itself, where it must not."""
        self.starts = 0
        self._apps = apps
        self._settings = settings | {"api_port": self.port}
        self._app: App | None = None
        self._start_at = 0.0

    @property
    def pid(self) -> int:
        """0, which is no process, while there is none."""
        return self._app.pid if self._app is not None else 0

    def start(self) -> None:
        self._app = self._apps.start("serve", **self._settings)
        self.starts += 1

    def kill(self) -> None:
        if self._app is not None:
            self._app.kill()
            self._app = None
            self._start_at = float("inf")

    def revive(self) -> None:
        """After `kill`."""
        self._start_at = 0.0

    def supervise(self) -> None:
        """As an orchestrator does. A start while a server is away may fail; nothing else may end it."""
        if self._app is not None and not self._app.alive:
            code = self._app.wait()
            if code != exit_codes.UNAVAILABLE or self._app.has_logged("listening"):
                self.deaths.append(f"{self.name} ended by itself with {code}: {self._app.output[-2000:]}")
            self._app = None
            self._start_at = time.monotonic() + _RESTART_SECONDS
        if self._app is None and time.monotonic() >= self._start_at:
            self.start()

    def readiness(self) -> tuple[int, dict[str, Any]]:
        """The status, 0 where there is no answer, and what it says."""
        try:
            answer = local_http.get(f"http://{LOOPBACK}:{self.port}/readyz")
            return answer.status_code, answer.json()
        except httpx.HTTPError as error:
            return 0, {"error": str(error)}

    def terminate(self) -> int:
        self.supervise()
        assert self._app is not None
        return self._app.terminate()


class World:
    """All of it; for the main thread."""

    def __init__(self, folder: Path, *, kafka: str) -> None:
        self.folder = folder
        self._stack = ExitStack()
        try:
            self._build(kafka)
        except BaseException:
            self._stack.close()
            raise

    def _build(self, kafka: str) -> None:
        ports = {name: free_port() for name in ("database", "broker", "broker behind the wire", "third party")}
        enter = self._stack.enter_context
        self.database = enter(
            EmbeddedPostgres(self.folder / "database", durable=False, find_port=lambda: ports["database"])
        )
        migrate(self.database.url)
        self.url = self.database.url
        self.database_wire = enter(TcpProxy(ports["database"]))
        self.is_apache = kafka == "apache"
        self.kafka_wire = enter(TcpProxy(ports["broker behind the wire"]))
        self.broker: Broker = enter(
            _PatientKafka(
                self.folder / "broker",
                find_port=lambda: ports["broker"],
                behind_proxy=(ports["broker behind the wire"], self.kafka_wire.port),
            )
            if self.is_apache
            else EmbeddedBroker(self.folder / "broker")
        )
        create_topic(self.broker.bootstrap, TOPIC, PARTITIONS)
        bootstrap = f"{LOOPBACK}:{self.kafka_wire.port}" if self.is_apache else self.broker.bootstrap
        settings = {
            "database_url": self.database_wire.url_of(self.url),
            "kafka_bootstrap": bootstrap,
            "kafka_topic": TOPIC,
            "kafka_config": quick_group(),
            "third_party_timeout_seconds": 2,
            "push_lease_seconds": 6,
            "push_max_attempts": ATTEMPTS,
            "push_backoff_max_seconds": 4,
            "stalled_after_seconds": 15,
        }
        apps = enter(Apps(self.folder, settings))
        self.books: Sandbox = start_sandbox(apps)
        self.third_party_wire = enter(TcpProxy(int(self.books.url.rpartition(":")[2])))
        third_party_url = self.third_party_wire.url_of(self.books.url)
        self.services = [Service(name, apps, third_party_url=third_party_url) for name in ("first", "second")]
        for service in self.services:
            service.start()

    def supervise(self) -> None:
        for service in self.services:
            service.supervise()

    def pause(self, seconds: float) -> None:
        self.wait_until(lambda: False, seconds)

    def wait_until(self, condition: Callable[[], bool], within_seconds: float) -> bool:
        """Whether it came true in time. Services that end meanwhile are started again."""
        deadline = time.monotonic() + within_seconds
        while time.monotonic() < deadline:
            self.supervise()
            if condition():
                return True
            time.sleep(min(_POLL_SECONDS, max(0.0, deadline - time.monotonic())))
        return False

    def is_ready(self) -> bool:
        return all(service.readiness()[0] == httpx.codes.OK for service in self.services)

    def is_up_to_date(self, load: Load, rate: float) -> bool:
        """But for what has only just come."""
        allowed = rate * _RECORDS_PER_ORDER * BEHIND_SECONDS
        return self.unread(load) <= allowed and self.undelivered() <= allowed and self.is_ready()

    def is_settled(self, load: Load) -> bool:
        return load.ended and self.unread(load) == 0 and self.undelivered() == 0 and self.is_ready()

    def unread(self, load: Load) -> float:
        """Messages; infinitely many while the database isn't there."""
        try:
            return load.confirmed - messages_read(self.url, TOPIC)
        except psycopg.Error:
            return float("inf")

    def undelivered(self) -> float:
        """Calls; infinitely many while the database isn't there."""
        try:
            return undelivered(self.url)
        except psycopg.Error:
            return float("inf")

    def standing(self) -> str:
        """For people, when it isn't up to date."""
        ready = "; ".join(f"{service.name}: {service.readiness()}" for service in self.services)
        return f"{self.undelivered()} calls to be made; {ready}"

    def close(self) -> None:
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def best_kafka() -> str:
    """Apache Kafka where the machine has what it needs."""
    return "embedded" if missing() else "apache"
