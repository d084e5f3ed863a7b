"""The database or the brokers go away under load and come back: the service stays up, says so, and goes on."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from signal import SIGKILL
from typing import Any

import pytest

from adapters.postgres.migrate import migrate
from sandbox.order_service.lifecycles import OrderMessage, lifecycles, outcome
from sandbox.servers.embedded_kafka import EmbeddedBroker, create_topic
from sandbox.servers.free_port import LOOPBACK, free_port
from sandbox.servers.postgres import EmbeddedPostgres
from tests.support import local_http
from tests.support.messages import NOON_NS
from tests.support.processes import App, Apps, quick_group
from tests.support.running_intake import new_group
from tests.support.sandbox_process import Sandbox, start_sandbox, undelivered
from tests.support.stored import messages_read, stored
from tests.support.streams import outgoing, publish
from tests.support.waiting import gone, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

TOPIC = "orders"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    """Its own, to be taken away: it comes back on the same port, with what it had."""
    port = free_port()
    with EmbeddedPostgres(tmp_path / "database", find_port=lambda: port) as server:
        migrate(server.url)
        yield server


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    """To be taken away: it comes back on the same port, knowing nothing of what it had."""
    port = free_port()
    with EmbeddedBroker(tmp_path / "broker", find_port=lambda: port) as server:
        yield server


@pytest.fixture
def start_apps(tmp_path: Path) -> Iterator[Callable[..., Apps]]:
    opened: list[Apps] = []

    def start(**settings: object) -> Apps:
        opened.append(Apps(tmp_path, {"kafka_group": new_group(), "kafka_config": quick_group(), **settings}))
        return opened[-1]

    yield start
    for apps in opened:
        apps.close()


def state_of(port: int) -> tuple[int, dict[str, str]]:
    """The status of the readiness probe, and what each part does."""
    answer = local_http.get(f"http://{LOOPBACK}:{port}/readyz")
    return answer.status_code, answer.json()["parts"]


class Load:
    """Lifecycles, published piece by piece."""

    def __init__(self, bootstrap: str, topic: str, orders: int, pieces: int) -> None:
        self.messages: list[OrderMessage] = list(lifecycles(1, orders, first_order_id=1, started_at_ns=NOON_NS))
        self.published = 0
        self._size = -(-len(self.messages) // pieces)
        self._bootstrap = bootstrap
        self._topic = topic

    def publish_more(self) -> None:
        piece = self.messages[self.published : self.published + self._size]
        publish(self._bootstrap, [outgoing(self._topic, message) for message in piece])
        self.published += len(piece)


def books_of(sandbox: Sandbox) -> dict[int, tuple[str, Any]]:
    return {each["orderId"]: (each["status"], each["cashbackAmount"]) for each in sandbox.show("orders")["orders"]}


def test_a_database_that_goes_away_twice_costs_nothing_but_time(
    database: EmbeddedPostgres, own_broker: EmbeddedBroker, start_apps: Callable[..., Apps]
) -> None:
    """Stopped once and killed once, with messages and calls under way: nothing is lost, nobody is called twice, and
    no order is parked for it."""
    create_topic(own_broker.bootstrap, TOPIC, 4)
    load = Load(own_broker.bootstrap, TOPIC, 600, pieces=5)
    url, probes = database.url, free_port()
    apps = start_apps(
        database_url=url,
        kafka_bootstrap=own_broker.bootstrap,
        kafka_topic=TOPIC,
        intake_batch_size=20,
        probes_port=probes,
    )
    books = start_sandbox(apps)
    service = apps.start("serve", "--only", "intake,push", third_party_url=books.url)
    load.publish_more()
    service.wait_until(lambda: books.show("totals")["calls"] > 0, "the first calls")

    for take_away in (stop, crash):
        load.publish_more()
        take_away(database)
        load.publish_more()
        service.wait_until(lambda: state_of(probes)[1]["intake"] == "waiting for the event store", "intake waits")
        assert state_of(probes)[0] == 503
        assert database.start() == url
        service.wait_until(lambda: messages_read(url, TOPIC) == load.published, "all messages read")
        service.wait_until(lambda: undelivered(url) == 0, "all calls made")

    service.wait_until(lambda: state_of(probes)[0] == 200, "readiness")
    assert load.published == len(load.messages)
    assert service.terminate() == 0
    assert books_of(books) == outcome(load.messages)
    assert books.show("violations")["count"] == 0


def stop(database: EmbeddedPostgres) -> None:
    database.stop()


def crash(database: EmbeddedPostgres) -> None:
    os.kill(database.pid, SIGKILL)
    wait_until(lambda: gone(database.pid), "the end of the database")
    database.stop()


def test_a_broker_that_comes_back_without_its_topics_is_read_from_their_beginning_once_that_is_accepted(
    database_url: str, own_broker: EmbeddedBroker, start_apps: Callable[..., Apps]
) -> None:
    """The topic of that name is another one, with other offsets; the running service sees that, and a new one."""

    def accept_loss(told_to: App) -> None:
        told_to.wait_for("partition stopped: messages may be lost", error="topic_recreated")
        done = apps.run("accept-loss", TOPIC, "--reason", "the broker keeps nothing")
        assert done.returncode == 0, done.stderr

    apps = start_apps(database_url=database_url, kafka_bootstrap=own_broker.bootstrap, kafka_topic=TOPIC)
    bootstrap, probes = own_broker.bootstrap, free_port()
    create_topic(bootstrap, TOPIC, 4)
    load = Load(bootstrap, TOPIC, 120, pieces=3)
    service = apps.start("serve", "--only", "intake", probes_port=probes)
    load.publish_more()
    service.wait_until(lambda: messages_read(database_url, TOPIC) == load.published, "the first messages read")

    own_broker.stop()
    service.wait_until(
        lambda: state_of(probes) == (503, {"intake": "waiting for Kafka", "api": "listening"}), "waiting"
    )
    own_broker.start()
    create_topic(bootstrap, TOPIC, 4)
    load.publish_more()
    accept_loss(service)
    service.wait_until(lambda: messages_read(database_url, TOPIC) == load.published, "the next messages read")
    service.wait_until(lambda: state_of(probes)[0] == 200, "readiness")
    assert service.terminate() == 0

    own_broker.stop()
    own_broker.start()
    create_topic(bootstrap, TOPIC, 4)
    load.publish_more()
    successor = apps.start("serve", "--only", "intake")
    accept_loss(successor)
    successor.wait_until(lambda: messages_read(database_url, TOPIC) == load.published, "the last messages read")
    assert successor.terminate() == 0

    kept = stored(database_url)
    assert len({topic_id for _, topic_id, _ in kept.positions}) == 3
    assert len(kept.events) == len(load.messages)


@pytest.mark.parametrize("missing", ["database", "broker"])
def test_a_service_can_be_stopped_while_it_waits_for_a_server(
    database: EmbeddedPostgres, own_broker: EmbeddedBroker, start_apps: Callable[..., Apps], missing: str
) -> None:
    """With exit code 0, and within the time that a stop may take."""
    create_topic(own_broker.bootstrap, TOPIC, 4)
    load = Load(own_broker.bootstrap, TOPIC, 100, pieces=2)
    apps = start_apps(
        database_url=database.url,
        kafka_bootstrap=own_broker.bootstrap,
        kafka_topic=TOPIC,
        third_party_url=f"http://{LOOPBACK}:{free_port()}",
        shutdown_timeout_seconds=2,
    )
    service = apps.start("serve", "--only", "intake,push")
    load.publish_more()
    service.wait_until(lambda: messages_read(database.url, TOPIC) == load.published, "the first messages read")
    if missing == "database":
        database.stop()
        load.publish_more()
        service.wait_for("state", part="intake", state="waiting for the event store")
    else:
        own_broker.stop()
        service.wait_for("state", part="intake", state="waiting for Kafka")
    assert service.terminate() == 0
    assert service.has_logged("stopped", exit_code=0)
    assert not service.has_logged("a part does not end; leaving it")
