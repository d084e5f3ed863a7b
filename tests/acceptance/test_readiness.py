"""What keeps a part from its work is told by `/readyz`, with the reason, ends no process, and passes by itself."""

import time
from collections.abc import Callable, Iterator
from typing import Final
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest

from adapters.postgres.migrate import migrate
from sandbox.order_service.lifecycles import lifecycles
from sandbox.servers.embedded_kafka import EmbeddedBroker, create_topic
from sandbox.servers.free_port import LOOPBACK, free_port
from sandbox.servers.postgres import EmbeddedPostgres
from tests.support import local_http
from tests.support.hindrances import frozen, setting
from tests.support.messages import NOON_NS
from tests.support.processes import App, Apps, quick_group
from tests.support.running_intake import new_group
from tests.support.sandbox_process import Sandbox, start_sandbox, undelivered
from tests.support.stored import messages_read
from tests.support.streams import outgoing, publish
from tests.support.tcp_proxy import TcpProxy, delayed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

TOPIC: Final = "orders"
STALLED_AFTER_SECONDS: Final = 10
WITHIN_SECONDS: Final = 150.0
LATENCY_SECONDS: Final = 2.0
SILENCE: Final = ("nothing has succeeded", "the server hasn't answered", "couldn't get a connection", "timeout")
PARTS: Final = ("intake", "push", "projection third-party", "projection orders")


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedBroker]:
    """To be frozen."""
    with EmbeddedBroker(tmp_path_factory.mktemp("broker")) as server:
        yield server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """To be frozen. Its sessions begin as few people have them, and that is no hindrance."""
    with EmbeddedPostgres(tmp_path_factory.mktemp("database"), durable=False) as server:
        with psycopg.connect(server.url, autocommit=True) as connection:
            for odd in ("DateStyle = German", "IntervalStyle = iso_8601", "TimeZone = 'Asia/Kathmandu'"):
                connection.execute(f"ALTER DATABASE cashback SET {odd}")
            connection.execute("ALTER DATABASE cashback SET client_encoding = LATIN1")
            connection.execute("ALTER DATABASE cashback SET bytea_output = escape")
        migrate(server.url)
        yield server


class Service:
    """All roles in one process, behind a wire to PostgreSQL that can be cut, with a third party that pays."""

    def __init__(self, app: App, port: int, url: str, bootstrap: str) -> None:
        self._app = app
        self._port = port
        self._url = url
        self._bootstrap = bootstrap
        self._published = 0

    def publish(self, orders: int = 5) -> None:
        first = 1 + self._published
        messages = list(lifecycles(first, orders, first_order_id=first, started_at_ns=NOON_NS))
        publish(self._bootstrap, [outgoing(TOPIC, message) for message in messages])
        self._published += len(messages)

    def readiness(self) -> tuple[int, dict[str, str], dict[str, str]]:
        answer = self.get("/readyz")
        told = answer.json()
        return answer.status_code, told["parts"], told["reasons"]

    def get(self, path: str) -> httpx.Response:
        return local_http.get(f"http://{LOOPBACK}:{self._port}{path}")

    def wait_until_ready(self) -> None:
        self.wait_until(lambda: self.readiness()[0] == 200, "readiness")

    def wait_for_reason(self, part: str, *words: str) -> None:
        """Until it is unready and says so of this part."""

        def is_told() -> bool:
            status, parts, reasons = self.readiness()
            return status == 503 and part in parts and any(word in reasons.get(part, "") for word in words)

        try:
            self.wait_until(is_told, f"{part}: {words}")
        except AssertionError as error:
            raise AssertionError(f"{self.readiness()}") from error

    def wait_until_all_is_done(self) -> None:
        self.wait_until(lambda: messages_read(self._url, TOPIC) == self._published, "all messages read")
        self.wait_until(lambda: undelivered(self._url) == 0, "all calls made")

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        self._app.wait_until(condition, what, within_seconds=WITHIN_SECONDS)

    def has_logged(self, event: str, **fields: object) -> bool:
        return self._app.has_logged(event, **fields)


@pytest.fixture(scope="module")
def wire(server: EmbeddedPostgres) -> Iterator[TcpProxy]:
    port = urlsplit(server.url).port
    assert port
    with TcpProxy(port) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def one_process(
    tmp_path_factory: pytest.TempPathFactory, server: EmbeddedPostgres, wire: TcpProxy, broker: EmbeddedBroker
) -> Iterator[Service]:
    """The same for all tests: none of what they do may end it."""
    create_topic(broker.bootstrap, TOPIC, 3)
    settings = {
        "database_url": wire.url_of(server.url),
        "kafka_bootstrap": broker.bootstrap,
        "kafka_topic": TOPIC,
        "kafka_group": new_group(),
        "kafka_config": quick_group(),
        "api_port": free_port(),
        "stalled_after_seconds": STALLED_AFTER_SECONDS,
    }
    with Apps(tmp_path_factory.mktemp("service"), settings) as apps:
        books: Sandbox = start_sandbox(apps)
        app = apps.start("serve", third_party_url=books.url)
        app.wait_for("listening")
        yield Service(app, int(str(settings["api_port"])), server.url, broker.bootstrap)
        assert app.terminate() == 0
        assert books.show("violations")["count"] == 0


@pytest.fixture
def service(one_process: Service) -> Iterator[Service]:
    """At work and idle before, and after: then with everything done."""
    for after in (False, True):
        one_process.publish()
        one_process.wait_until_all_is_done()
        one_process.wait_until_ready()
        if not after:
            yield one_process


def test_a_database_with_other_habits_serves_as_well(service: Service) -> None:
    """Dates are read and shown as they are."""
    order = service.get("/api/orders/1").json()
    assert order["status"] == "COMPLETED"
    assert service.get("/api/orders").json()["orders"]


def test_a_service_with_nothing_to_do_stays_ready(service: Service) -> None:
    """For longer than a part may be silent: a quiet night is no outage."""
    ends_at = time.monotonic() + 1.5 * STALLED_AFTER_SECONDS
    while time.monotonic() < ends_at:
        assert service.readiness()[0] == 200, service.readiness()
    assert not service.has_logged("state", state="standing still")


def test_a_frozen_database_is_noticed(service: Service, server: EmbeddedPostgres) -> None:
    """Its connections stay, and nobody answers."""
    with frozen(server.pid):
        service.publish()
        for part in PARTS:
            service.wait_for_reason(part, *SILENCE)


def test_a_wire_that_swallows_everything_is_given_up(service: Service, wire: TcpProxy) -> None:
    """Old connections are given up by us: they never say a word again, and new ones take their places."""
    wire.blackhole()
    service.publish()
    for part in PARTS:
        service.wait_for_reason(part, *SILENCE)
    wire.renew()
    service.wait_until_all_is_done()


def test_a_database_two_seconds_away_is_used_as_it_is(service: Service, wire: TcpProxy) -> None:
    """Slowly: what is published meanwhile is read and paid meanwhile."""
    with delayed(wire, LATENCY_SECONDS / 2):
        service.publish()
        service.wait_until_all_is_done()


def test_a_database_that_can_only_be_read_is_waited_for(service: Service, server: EmbeddedPostgres) -> None:
    """As in the window of a failover. Nothing ends: neither what pays nor what only looks good."""
    read_only = "ALTER DATABASE cashback SET default_transaction_read_only = on"
    with setting(server.url, read_only, "ALTER DATABASE cashback RESET default_transaction_read_only"):
        service.publish()
        for part in PARTS:
            service.wait_for_reason(part, "read-only transaction")
        assert service.has_logged("state", part="intake", state="waiting for the event store")


def test_a_missing_table_is_waited_for(service: Service, server: EmbeddedPostgres) -> None:
    """Whatever became of it: to restore it is enough."""
    away = "ALTER TABLE {} RENAME TO {}"
    tables = ("kafka_position", "delivery", "projection_position", "service_process")
    with psycopg.connect(server.url, autocommit=True) as connection:
        for table in tables:
            connection.execute(away.format(table, f"{table}_away"))
        service.publish()
        for part in PARTS:
            service.wait_for_reason(part, "does not exist")
        for table in tables:
            connection.execute(away.format(f"{table}_away", table))


def test_a_lock_that_somebody_holds_is_told(service: Service, server: EmbeddedPostgres) -> None:
    """All statements wait for it, and the server finds nothing wrong with that for a while."""
    with psycopg.connect(server.url) as connection:
        connection.execute("LOCK TABLE stored_events, delivery IN ACCESS EXCLUSIVE MODE")
        service.publish()
        for part in PARTS:
            service.wait_for_reason(part, "nothing has succeeded", "lock timeout", "statement timeout")


def test_a_projection_that_another_session_holds_and_does_not_move_is_told(
    service: Service, server: EmbeddedPostgres
) -> None:
    """It looks as if another process were at it."""
    with psycopg.connect(server.url) as connection:
        connection.execute("SELECT FROM projection_position FOR UPDATE")
        service.publish()
        service.wait_for_reason("projection third-party", "another session holds")


def test_frozen_brokers_are_noticed(service: Service, broker: EmbeddedBroker) -> None:
    """Nothing comes, which looks like a quiet night."""
    with frozen(broker.pid):
        service.wait_for_reason("intake", "coordinator", "the group", "hasn't answered", "broker")
