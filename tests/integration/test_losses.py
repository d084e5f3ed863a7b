"""What Kafka may lose, lost in earnest: the partition stops by name, the others go on, and a command accepts it."""

import json
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # they are there
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from adapters.kafka.cluster import topic_logs
from adapters.records.publishing import Outgoing
from domain.events import Doubt
from domain.ports import Loss
from sandbox.order_service.lifecycles import OrderMessage, lifecycles, outcome
from sandbox.servers.apache_kafka import ApacheKafka
from sandbox.servers.embedded_kafka import create_topic
from sandbox.servers.free_port import LOOPBACK, free_port
from tests.support import local_http
from tests.support.clusters import require_apache_kafka
from tests.support.messages import NOON_NS
from tests.support.processes import App, Apps, quick_group
from tests.support.stored import orders_stored
from tests.support.streams import outgoing, publish, publish_in_transaction
from tests.support.waiting import DEADLINE_SECONDS, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

WHY = "the backup had no more"
# Retention is looked at now and then; and what is restored from a backup must not be the tests' waiting time.
IMPATIENT = {
    "log.retention.check.interval.ms": "300",
    "log.initial.task.delay.ms": "100",
    "log.cleaner.backoff.ms": "200",
}


class Broker:
    """Apache Kafka that loses messages when it is told to. It stays at its address."""

    def __init__(self, folder: Path) -> None:
        self.kafka = ApacheKafka(folder / "kafka", properties=IMPATIENT)
        self._port = free_port()
        self._backup = folder / "backup"
        self.kafka.start(self._port)
        self.bootstrap = self.kafka.bootstrap
        self._admin = AdminClient({"bootstrap.servers": self.bootstrap})

    def make(self, topic: str) -> None:
        create_topic(self.bootstrap, topic, 2)

    def delete(self, topic: str) -> None:
        self._admin.delete_topics([topic])[topic].result()
        wait_until(lambda: topic_logs(self.bootstrap, {}, topic) is None, "the end of the topic")

    def forget_by_retention(self, topic: str) -> None:
        """All that lies on partition 0; what comes later stays."""
        end = self.bounds(topic).end
        self._configure(topic, {"retention.ms": "1"})
        wait_until(lambda: self.bounds(topic).start == end, "the end of retention")
        self._configure(topic, {"retention.ms": "-1"})

    def compact(self, topic: str) -> None:
        """From now on, and without delay: of what lies before the last batch each key's last message stays."""
        at_once = {"segment.ms": "1", "min.cleanable.dirty.ratio": "0.001", "max.compaction.lag.ms": "1"}
        self._configure(topic, {"cleanup.policy": "compact", **at_once})

    def offsets(self, topic: str) -> set[int | None]:
        """Of the messages that there are on partition 0."""
        config = {"bootstrap.servers": self.bootstrap, "group.id": "none", "enable.partition.eof": True}
        consumer = Consumer(config)
        consumer.assign([TopicPartition(topic, 0, 0)])
        found = set()
        while (message := consumer.poll(DEADLINE_SECONDS)) is not None and message.error() is None:
            found.add(message.offset())
        consumer.close()
        return found

    def bounds(self, topic: str) -> Any:
        """Of partition 0."""
        logs = topic_logs(self.bootstrap, {}, topic)
        assert logs is not None
        return logs.bounds[0]

    def elect(self) -> None:
        """A new leader of every partition: the only broker there is, which begins a new epoch with it."""
        self.kafka.stop()
        self.kafka.start(self._port)

    def back_up(self) -> None:
        self.kafka.stop()
        shutil.rmtree(self._backup, ignore_errors=True)
        shutil.copytree(self.kafka.folder, self._backup)
        self.kafka.start(self._port)

    def restore(self) -> None:
        """The whole broker, as it was at the backup."""
        self.kafka.stop()
        shutil.rmtree(self.kafka.folder)
        shutil.copytree(self._backup, self.kafka.folder)
        self.kafka.start(self._port)

    def restore_log(self, topic: str) -> None:
        """Of partition 0 alone, while the cluster knows what has been since: so looks an unclean election."""
        self.kafka.stop()
        log = f"data/{topic}-0"
        shutil.rmtree(self.kafka.folder / log)
        shutil.copytree(self._backup / log, self.kafka.folder / log)
        self.kafka.start(self._port)

    def _configure(self, topic: str, properties: Mapping[str, str]) -> None:
        entries = [
            ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
            for name, value in properties.items()
        ]
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
        self._admin.incremental_alter_configs([resource])[resource].result()


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """Its own, whatever cluster the other tests run on."""
    require_apache_kafka()
    running = Broker(tmp_path_factory.mktemp("losses"))
    yield running
    running.kafka.stop()


class Scene:
    """A topic of two partitions, the service that reads it, and what is on show about it."""

    def __init__(self, broker: Broker, database_url: str, folder: Path) -> None:
        self.topic = f"orders-{secrets.token_hex(4)}"
        self.beside = f"beside-{self.topic}"
        self._broker = broker
        self.database_url = database_url
        self._probes = free_port()
        self.apps = Apps(
            folder,
            {
                "database_url": database_url,
                "kafka_bootstrap": broker.bootstrap,
                "kafka_topic": f"{self.topic},{self.beside}",
                "kafka_group": f"group-{self.topic}",
                "kafka_config": quick_group(**{"topic.metadata.refresh.interval.ms": 1000}),
                "probes_port": self._probes,
                "clock_tolerance_seconds": 0,
                "log_format": "json",
            },
        )
        for name in (self.topic, self.beside):
            broker.make(name)

    def start(self) -> App:
        app = self.apps.start("serve", "--only", "intake")
        app.wait_for("listening")
        return app

    def publish(self, messages: Iterable[OrderMessage | bytes], partition: int = 0) -> None:
        """Bytes are no message that can be read."""
        publish(
            self._broker.bootstrap,
            [
                Outgoing(self.topic, b"1", each, partition=partition)
                if isinstance(each, bytes)
                else replace(outgoing(self.topic, each), partition=partition)
                for each in messages
            ],
        )

    def abort(self, messages: Iterable[OrderMessage]) -> None:
        """Published to partition 0 in a transaction that is then aborted."""
        found = [replace(outgoing(self.topic, each), partition=0) for each in messages]
        publish_in_transaction(self._broker.bootstrap, found, aborted=True)

    def publish_beside(self, messages: Iterable[OrderMessage]) -> None:
        publish(self._broker.bootstrap, [outgoing(self.beside, each) for each in messages])

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.database_url) as connection:
            return connection.execute(statement).fetchall()

    def wait_until_stored(self, app: App, number: int) -> None:
        """Events and quarantined messages, from the beginning."""
        count = "SELECT (SELECT count(*) FROM stored_events) + (SELECT count(*) FROM quarantine)"
        app.wait_until(lambda: self.query(count) == [(number,)], f"{number} messages stored")

    def wait_until_stopped(self, app: App, loss: Loss, partitions: Sequence[int]) -> None:
        """All say so: the log, the readiness probe and the metrics."""
        names = [f"{self.topic}/{number}" for number in partitions]
        app.wait_until(lambda: self._on_show() == (503, dict.fromkeys(names, loss.value)), f"{loss} on show")
        for name in names:
            app.wait_for("partition stopped: messages may be lost", partition=name, error=loss.value)
        assert self._metrics() == {each: len(names) * (each is loss) for each in Loss}

    def wait_until_reading(self, app: App) -> None:
        app.wait_until(lambda: self._on_show() == (200, {}), "nothing that stands still")
        assert self._metrics() == dict.fromkeys(Loss, 0)

    def accept(self, *options: str) -> tuple[int, str]:
        """The exit code, and what it said."""
        done = self.apps.run("accept-loss", self.topic, *options)
        return done.returncode, done.stdout + done.stderr

    def accepted(self) -> list[tuple[Any, ...]]:
        return self.query(
            "SELECT partition, error, position_before, position_after, reason FROM accepted_loss ORDER BY id"
        )

    def _on_show(self) -> tuple[int, dict[str, str]]:
        answer = self._get("readyz")
        return answer.status_code, {name: why["error"] for name, why in answer.json()["stoppedPartitions"].items()}

    def _metrics(self) -> dict[Loss, int]:
        lines = self._get("metrics").text.splitlines()
        name = "cashback_intake_stopped_partitions"
        return {loss: int(float(_value(lines, f'{name}{{error="{loss}"}}'))) for loss in Loss}

    def _get(self, what: str) -> httpx.Response:
        return local_http.get(f"http://{LOOPBACK}:{self._probes}/{what}")


def _value(lines: Iterable[str], series: str) -> str:
    (found,) = (line.removeprefix(series) for line in lines if line.startswith(series))
    return found


@pytest.fixture
def scene(broker: Broker, database_url: str, tmp_path: Path) -> Iterator[Scene]:
    opened = Scene(broker, database_url, tmp_path)
    yield opened
    opened.apps.close()


def stamped(first_order_id: int) -> list[OrderMessage]:
    """Ten messages."""
    return list(lifecycles(1, 10, first_order_id=first_order_id, started_at_ns=NOON_NS))[:10]


def test_a_log_that_begins_after_our_position_stops_that_partition_until_it_is_accepted(
    broker: Broker, scene: Scene
) -> None:
    """Retention deleted ten messages before they were read: which is said, and only of that partition."""
    scene.publish(stamped(100))
    app = scene.start()
    scene.wait_until_stored(app, 10)
    assert app.terminate() == 0
    scene.publish(stamped(200))
    broker.forget_by_retention(scene.topic)
    scene.publish(stamped(300))

    app = scene.start()
    scene.wait_until_stopped(app, Loss.LOG_TRUNCATED, [0])
    scene.publish(stamped(400), partition=1)
    scene.wait_until_stored(app, 20)

    seen = f"{scene.topic}/0: log_truncated, position 10, log 20 to 30, missing: 10 messages"
    other = f"{scene.topic}/1: nothing lost, position 10, log 0 to 10"
    assert scene.accept("--dry-run") == (0, f"{seen}, would go on from 20\n{other}\n")
    as_json = json.loads(scene.accept("--dry-run", "--json")[1])
    assert as_json["partitions"][0] == {
        "partition": 0,
        "loss": "log_truncated",
        "position": 10,
        "logStart": 20,
        "logEnd": 30,
        "missing": 10,
        "goesOnFrom": 20,
    }
    assert scene.accept("--partition", "1", "--reason", WHY) == (
        1,
        f"error: nothing is lost of partition 1 of {scene.topic}: there is nothing to accept\n",
    )
    assert scene.accept("--from", "31", "--reason", WHY)[0] == 1
    assert scene.accept()[0] == 2
    assert scene.accepted() == []

    assert scene.accept("--partition", "0", "--reason", WHY) == (0, f"{seen}, goes on from 20\n")
    scene.wait_until_stored(app, 30)
    scene.wait_until_reading(app)
    assert scene.accepted() == [(0, "log_truncated", 10, 20, WHY)]
    assert scene.accept("--reason", WHY)[0] == 1
    assert app.terminate() == 0


def test_a_topic_that_is_deleted_and_made_again_stops_until_each_is_accepted(broker: Broker, scene: Scene) -> None:
    """While it's read, and while we are away; another topic is read on all the time."""
    app = scene.start()
    scene.publish(stamped(100))
    scene.publish(stamped(200), partition=1)
    scene.wait_until_stored(app, 20)

    broker.delete(scene.topic)
    scene.wait_until_stopped(app, Loss.TOPIC_DELETED, [0, 1])
    scene.publish_beside(stamped(300))
    scene.wait_until_stored(app, 30)

    broker.make(scene.topic)
    scene.publish(stamped(400))
    scene.wait_until_stopped(app, Loss.TOPIC_RECREATED, [0, 1])
    scene.publish_beside(stamped(500))
    scene.wait_until_stored(app, 40)
    seen = f"{scene.topic}/0: topic_recreated, position 10, log 0 to 10, missing: can't be told, would go on from 0"
    assert seen in scene.accept("--dry-run")[1]
    assert scene.accept("--partition", "0", "--reason", WHY)[0] == 1
    assert scene.accept("--reason", WHY)[0] == 0
    scene.wait_until_stored(app, 50)
    scene.wait_until_reading(app)
    assert app.terminate() == 0

    broker.delete(scene.topic)
    broker.make(scene.topic)
    scene.publish(stamped(600))
    app = scene.start()
    scene.wait_until_stopped(app, Loss.TOPIC_RECREATED, [0, 1])
    broker.delete(scene.topic)
    scene.wait_until_stopped(app, Loss.TOPIC_DELETED, [0, 1])
    assert "topic_deleted" in scene.accept("--dry-run")[1]
    assert scene.accept("--reason", WHY)[0] == 0
    scene.wait_until_reading(app)
    broker.make(scene.topic)
    scene.publish(stamped(700))
    scene.wait_until_stored(app, 60)
    scene.wait_until_reading(app)
    assert app.terminate() == 0


@pytest.mark.parametrize("live", [True, False], ids=["while it is read", "while we are away"])
def test_a_log_that_was_cut_at_its_end_stops_although_it_has_grown_again(
    broker: Broker, scene: Scene, *, live: bool
) -> None:
    """Other messages have the offsets of those that were lost. Accepted, the partition is read from its beginning:
    all that is on it is decided, and no message is taken for an earlier one because of its offset. Orders with
    messages on both logs are marked: their dates are far from when the broker got them."""
    orders = list(lifecycles(3, 30, first_order_id=100, started_at_ns=NOON_NS, stamped=False))
    begun, rest = orders[: len(orders) // 2], orders[len(orders) // 2 :]
    scene.publish(stamped(1))
    broker.back_up()
    app = scene.start()
    scene.publish([b"a lost message", *begun])
    scene.wait_until_stored(app, 11 + len(begun))
    if not live:
        assert app.terminate() == 0

    broker.restore_log(scene.topic)
    scene.publish([b"another message", *rest, *(b"more of it %d" % number for number in range(len(orders)))])
    if not live:
        app = scene.start()
    scene.wait_until_stopped(app, Loss.POSITION_BEYOND_END, [0])
    scene.publish([b"on the other partition"], partition=1)
    scene.wait_until_stored(app, 12 + len(begun))
    if live:  # and a restart doesn't make it forget
        assert app.terminate() == 0
        app = scene.start()
        scene.wait_until_stopped(app, Loss.POSITION_BEYOND_END, [0])

    position, end = 11 + len(begun), broker.bounds(scene.topic).end
    assert position < end
    seen = f"{scene.topic}/0: position_beyond_end, position {position}, log 0 to {end}, missing: can't be told"
    assert f"{seen}, would go on from 0\n" in scene.accept("--dry-run")[1]
    assert scene.accept("--reason", WHY)[0] == 0
    scene.wait_until_reading(app)
    read = f"SELECT next_offset FROM kafka_position WHERE topic = '{scene.topic}' AND topic_id LIKE '%#2'"
    app.wait_until(lambda: scene.query(read) == [(end,)], "all that is on the log")

    same_offset = "SELECT message_value FROM quarantine WHERE partition = 0 AND kafka_offset = 10 ORDER BY id"
    assert scene.query(same_offset) == [(b"a lost message",), (b"another message",)]
    found = orders_stored(scene.database_url, {each.order_id for each in orders})
    for order_id, expected in outcome(orders).items():
        order = found[order_id]
        assert (order.status, order.terms.cashback if order.terms else None) == expected
        assert not order.held
        on_both = {order_id} <= {each.order_id for each in begun} & {each.order_id for each in rest}
        assert order.doubts <= ({Doubt.UNCERTAIN_ORDER} if on_both else set())
    assert app.terminate() == 0


def test_holes_that_compaction_leaves_are_no_losses(broker: Broker, scene: Scene) -> None:
    """Before our position and at it, and in what was just read. What is left is read, and nothing is behind."""
    position = f"SELECT next_offset FROM kafka_position WHERE topic = '{scene.topic}' AND partition = 0"

    def publish_twice(first_order_id: int) -> None:
        for _ in range(2):
            scene.publish(stamped(first_order_id))

    def read_all(app: App) -> None:
        app.wait_until(lambda: scene.query(position) == [(broker.bounds(scene.topic).end,)], "the end of the log")
        scene.wait_until_reading(app)

    def wait_for_hole(*offsets: int) -> None:
        wait_until(lambda: broker.offsets(scene.topic).isdisjoint(offsets), "compaction")

    app = scene.start()
    publish_twice(100)
    read_all(app)
    assert app.terminate() == 0
    broker.compact(scene.topic)
    publish_twice(200)
    scene.publish(stamped(300))
    wait_for_hole(0, 20)

    app = scene.start()
    read_all(app)
    scene.wait_until_stored(app, 30)
    publish_twice(400)
    read_all(app)
    scene.publish(stamped(500))
    wait_for_hole(50)
    read_all(app)
    assert not app.has_logged("partition stopped: messages may be lost")
    assert app.terminate() == 0

    app = scene.start()
    read_all(app)
    scene.publish(stamped(600))
    scene.wait_until_stored(app, 60)
    read_all(app)
    assert not app.has_logged("partition stopped: messages may be lost")
    assert app.terminate() == 0


def test_a_position_behind_an_aborted_transaction_is_held_against_the_epoch_of_that(
    broker: Broker, scene: Scene
) -> None:
    """Its epoch is another than that of the last message read, which ended before it. A start finds nothing wrong
    with it; and if that part of the log is cut off, however far the log has grown since, it finds that."""
    position = (
        f"SELECT next_offset, leader_epoch FROM kafka_position WHERE topic = '{scene.topic}' AND partition = 0"
    )
    app = scene.start()
    scene.publish(stamped(100))
    scene.wait_until_stored(app, 10)
    broker.back_up()
    [(_, epoch)] = scene.query(position)
    broker.elect()
    scene.abort(stamped(200))
    app.wait_until(lambda: scene.query(position)[0][0] == 21, "the end of the log")
    assert scene.query(position)[0][1] > epoch
    assert app.terminate() == 0

    app = scene.start()
    scene.publish(stamped(300))
    scene.wait_until_stored(app, 20)
    scene.wait_until_reading(app)
    scene.abort(stamped(400))
    app.wait_until(lambda: scene.query(position)[0][0] == 42, "the end of the log again")
    assert app.terminate() == 0

    broker.restore_log(scene.topic)
    scene.publish([*stamped(500), *stamped(600), *stamped(700), *stamped(800)])
    app = scene.start()
    scene.wait_until_stopped(app, Loss.POSITION_BEYOND_END, [0])
    assert app.terminate() == 0


def test_a_broker_restored_from_a_backup_stops_while_our_position_is_beyond_the_end(
    broker: Broker, scene: Scene
) -> None:
    """While it is read. The topic is the same one as before, and so are its offsets. If it's known where the log
    was cut, reading may go on there."""
    scene.publish(stamped(100))
    broker.back_up()
    app = scene.start()
    scene.publish([*stamped(200), *stamped(300)])
    scene.wait_until_stored(app, 30)

    broker.restore()
    scene.publish(stamped(400))
    scene.wait_until_stopped(app, Loss.POSITION_BEYOND_END, [0])
    seen = f"{scene.topic}/0: position_beyond_end, position 30, log 0 to 20, missing: can't be told"
    assert f"{seen}, would go on from 10\n" in scene.accept("--from", "10", "--dry-run")[1]
    assert scene.accept("--from", "10", "--reason", WHY)[0] == 0
    scene.wait_until_stored(app, 40)
    scene.wait_until_reading(app)
    assert scene.accepted() == [(0, "position_beyond_end", 30, 10, WHY)]
    assert app.terminate() == 0


def test_nothing_is_accepted_of_a_topic_that_nobody_knows(scene: Scene) -> None:
    """A name that was mistyped, a partition that isn't there, no loss: one line each, and nothing is done."""
    unknown = scene.apps.run("accept-loss", "no-such-topic", "--reason", WHY)
    assert (unknown.returncode, unknown.stderr) == (
        1,
        "error: there is no topic no-such-topic, and there are no positions in one\n",
    )
    assert scene.accept("--partition", "7", "--dry-run") == (1, f"error: {scene.topic} has no partition 7\n")
    assert scene.accept("--from", "-1", "--dry-run")[0] == 2
    assert scene.accept("--reason", WHY) == (
        1,
        f"error: nothing is lost of {scene.topic}: there is nothing to accept\n",
    )
