"""Intake on Apache Kafka itself: what the embedded broker can't show."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient

from adapters.records.publishing import Outgoing
from sandbox.order_service.lifecycles import lifecycles, outcome
from tests.support import local_http
from tests.support.clusters import Cluster
from tests.support.messages import NOON_NS
from tests.support.processes import App, Apps, quick_group
from tests.support.stored import messages_read, orders_stored
from tests.support.streams import outgoing, publish, publish_in_transaction

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

ORDERS = 240
GROWTH = (3, 6, 12)
QUICK_METADATA = {"topic.metadata.refresh.interval.ms": 1000}


def settings_for(kafka: Cluster, database_url: str, topic: str, **config: object) -> dict[str, object]:
    return {
        "database_url": database_url,
        "kafka_bootstrap": kafka.bootstrap,
        "kafka_topic": topic,
        "kafka_group": f"group-{topic}",
        "kafka_config": quick_group(**QUICK_METADATA, **config),
        "intake_batch_size": 50,
        "log_format": "json",
    }


def wait_for_all(app: App, database_url: str, topic: str, messages: int) -> None:
    app.wait_until(lambda: messages_read(database_url, topic) >= messages, f"{messages} messages read")


@pytest.mark.parametrize(
    "config",
    [{"group.instance.id": "static-1"}, {"group.protocol": "consumer"}, {"partition.assignment.strategy": "range"}],
    ids=["static membership", "KIP-848", "eager"],
)
def test_every_kind_of_group_reads_all_and_goes_on_after_a_restart(
    apache_kafka: Cluster,
    database_url: str,
    make_apache_topic: Callable[..., str],
    tmp_path: Path,
    config: dict[str, str],
) -> None:
    """By configuration alone: static members, the broker-side protocol, and the old eager one."""
    name = make_apache_topic(4)
    messages = list(lifecycles(3, 60, first_order_id=1, started_at_ns=NOON_NS))
    half = len(messages) // 2
    settings = settings_for(apache_kafka, database_url, name, **config)
    if "group.protocol" in config:  # there the broker sets session and heartbeat; librdkafka refuses ours
        settings["kafka_config"] = json.dumps(config)
    with Apps(tmp_path, settings) as apps:
        apps.run("migrate")
        for part in (messages[:half], messages[half:]):
            publish(apache_kafka.bootstrap, [outgoing(name, each) for each in part])
            app = apps.start("serve", "--only", "intake")
            wait_for_all(app, database_url, name, half if part == messages[:half] else len(messages))
            assert app.terminate() == 0
    expected = outcome(messages)
    found = {
        order_id: order.status
        for order_id, order in orders_stored(database_url, {each.order_id for each in messages}).items()
    }
    assert found == {order_id: status for order_id, (status, _) in expected.items()}


def test_a_log_cut_off_below_our_position_stops_that_partition_alone(
    apache_kafka: Cluster, database_url: str, make_apache_topic: Callable[..., str], tmp_path: Path
) -> None:
    """Records deleted before we read them are a loss, and said so; the other partition goes on."""
    name = make_apache_topic(2)
    admin = AdminClient({"bootstrap.servers": apache_kafka.bootstrap})
    settings = settings_for(apache_kafka, database_url, name)
    messages = [outgoing(name, each) for each in lifecycles(5, 30, first_order_id=1, started_at_ns=NOON_NS)]
    on_zero = [Outgoing(name, each.key, each.value, each.headers, partition=0) for each in messages]
    on_one = [Outgoing(name, each.key, each.value, each.headers, partition=1) for each in messages[:10]]
    with Apps(tmp_path, settings) as apps:
        apps.run("migrate")
        publish(apache_kafka.bootstrap, on_zero[:10])
        app = apps.start("serve", "--only", "intake")
        wait_for_all(app, database_url, name, 10)
        app.terminate()
        publish(apache_kafka.bootstrap, on_zero[10:])
        admin.delete_records([TopicPartition(name, 0, 20)])[TopicPartition(name, 0, 20)].result()
        app = apps.start("serve", "--only", "intake")
        app.wait_until(
            lambda: f"{name}/0" in app.output and "messages may be lost" in app.output, "the loss is told"
        )
        publish(apache_kafka.bootstrap, on_one)
        wait_for_all(app, database_url, name, 20)
        assert app.terminate() == 0


def test_the_time_from_a_kill_to_reading_again_is_bounded_by_the_session(
    apache_kafka: Cluster, database_url: str, make_apache_topic: Callable[..., str], tmp_path: Path
) -> None:
    """A second member takes over a killed one's partitions, and nothing is decided twice."""
    name = make_apache_topic(6)
    messages = list(lifecycles(9, 120, first_order_id=1, started_at_ns=NOON_NS))
    half = len(messages) // 2
    settings = settings_for(apache_kafka, database_url, name)
    with Apps(tmp_path, settings) as apps:
        apps.run("migrate")
        apps_running = [apps.start("serve", "--only", "intake") for _ in range(2)]
        publish(apache_kafka.bootstrap, [outgoing(name, each) for each in messages[:half]])
        wait_for_all(apps_running[1], database_url, name, half)
        apps_running[0].kill()
        killed_at = time.monotonic()
        publish(apache_kafka.bootstrap, [outgoing(name, each) for each in messages[half:]])
        wait_for_all(apps_running[1], database_url, name, len(messages))
        print(f"all read {time.monotonic() - killed_at:.1f} s after the kill")  # noqa: T201 - shown with -s
        assert apps_running[1].terminate() == 0
    expected = outcome(messages)
    for order_id, order in orders_stored(database_url, {each.order_id for each in messages}).items():
        assert (order.status, order.terms.cashback if order.terms else None) == expected[order_id]
        assert not order.doubts


def test_lag_and_positions_are_there_to_see(
    apache_kafka: Cluster, database_url: str, make_apache_topic: Callable[..., str], tmp_path: Path
) -> None:
    """In our own metrics, and with Kafka's own tools: the group's committed offsets follow what is stored."""
    name = make_apache_topic(3)
    messages = [outgoing(name, each) for each in lifecycles(4, 60, first_order_id=1, started_at_ns=NOON_NS)]
    settings = settings_for(apache_kafka, database_url, name)
    with Apps(tmp_path, settings) as apps:
        apps.run("migrate")
        app = apps.start("serve", "--only", "intake", probes_port=0)
        app.wait_for("listening")
        url = next(line["url"] for line in app.log if line["event"] == "listening")
        publish(apache_kafka.bootstrap, messages)
        app.wait_until(lambda: sum(_gauge(url, "cashback_intake_position")) == len(messages), "positions are shown")
        app.wait_until(lambda: _gauge(url, "kafka_consumergroup_lag") == [0, 0, 0], "and that nothing lags")
        assert app.terminate() == 0
    assert sum(_committed(apache_kafka, settings).values()) == len(messages)


def test_what_transactions_leave_in_a_log_is_neither_lag_nor_loss(
    apache_kafka: Cluster, database_url: str, make_apache_topic: Callable[..., str], tmp_path: Path
) -> None:
    """Markers and aborted records have offsets, and nobody is given them to read. They are passed over once, for
    good: after a quiet night in which the log forgets them, reading goes on, and nothing was written meanwhile."""
    name = make_apache_topic(3)
    messages = [outgoing(name, each) for each in lifecycles(6, 30, first_order_id=1, started_at_ns=NOON_NS)][:21]
    admin = AdminClient({"bootstrap.servers": apache_kafka.bootstrap})
    settings = settings_for(apache_kafka, database_url, name)
    with Apps(tmp_path, settings) as apps:
        apps.run("migrate")
        publish_in_transaction(apache_kafka.bootstrap, [replace(each, partition=0) for each in messages[:10]])
        publish_in_transaction(
            apache_kafka.bootstrap, [replace(each, partition=0) for each in messages[:5]], aborted=True
        )
        publish_in_transaction(
            apache_kafka.bootstrap, [replace(each, partition=1) for each in messages[:3]], aborted=True
        )
        app = apps.start("serve", "--only", "intake", probes_port=0)
        app.wait_for("listening")
        url = next(line["url"] for line in app.log if line["event"] == "listening")
        app.wait_until(lambda: _gauge(url, "kafka_consumergroup_lag") == [0, 0, 0], "that nothing lags")
        assert sum(_gauge(url, "cashback_decisions_total")) == 10
        at_rest = _positions_written(database_url)
        assert [each[:2] for each in at_rest] == [(0, 17), (1, 4)]
        app.wait_until(lambda: _committed(apache_kafka, settings) == {0: 17, 1: 4}, "the same in Kafka")
        assert app.terminate() == 0

        whole = [TopicPartition(name, number, offset) for number, offset in ((0, 17), (1, 4))]
        for deleted in admin.delete_records(whole).values():
            deleted.result()
        app = apps.start("serve", "--only", "intake", probes_port=0)
        app.wait_for("reading")
        publish_in_transaction(apache_kafka.bootstrap, [replace(messages[10], partition=2)])
        publish_in_transaction(apache_kafka.bootstrap, [replace(messages[10], partition=2)], aborted=True)
        app.wait_until(lambda: (2, 4) in [each[:2] for each in _positions_written(database_url)], "its end")
        assert _positions_written(database_url)[:2] == at_rest
        publish_in_transaction(
            apache_kafka.bootstrap,
            [replace(each, partition=number % 3) for number, each in enumerate(messages[11:])],
        )
        url = next(line["url"] for line in app.log if line["event"] == "listening")
        app.wait_until(lambda: sum(_gauge(url, "cashback_decisions_total")) == 11, "all messages")
        assert not app.has_logged("partition stopped: messages may be lost")
        assert app.terminate() == 0


def _positions_written(database_url: str) -> list[tuple[int, int, str]]:
    """Partition, position, and the transaction that wrote it last."""
    with psycopg.connect(database_url) as connection:
        return connection.execute(
            "SELECT partition, next_offset, xmin::text FROM kafka_position ORDER BY partition"
        ).fetchall()


def _committed(kafka: Cluster, settings: Mapping[str, object]) -> dict[int, int]:
    """The group's offsets in Kafka, by partition."""
    group = ConsumerGroupTopicPartitions(str(settings["kafka_group"]))
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    [asked] = admin.list_consumer_group_offsets([group]).values()
    return {each.partition: each.offset for each in asked.result().topic_partitions}


def _gauge(url: str, name: str) -> list[float]:
    """Its values, whatever the labels."""
    text = local_http.get(f"{url}/metrics").raise_for_status().text
    return [float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(f"{name}{{")]
