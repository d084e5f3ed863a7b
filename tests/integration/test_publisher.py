"""The publisher against a live broker: right partition, right order, and errors that say what wasn't sent."""

import json
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Message, TopicPartition

from adapters.kafka.producer.partitioner import partition_for
from adapters.kafka.producer.publisher import OnDelivery, Publisher, PublishError
from adapters.records.publishing import Delivered, Outgoing
from sandbox.order_service.lifecycles import lifecycles
from sandbox.order_service.simulator import Progress, simulate
from sandbox.servers.embedded_kafka import EmbeddedBroker, create_topic
from sandbox.servers.free_port import free_port

pytestmark = pytest.mark.slow

PARTITIONS = 12
ANSWER_SECONDS = 60.0
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with EmbeddedBroker(tmp_path_factory.mktemp("broker")) as broker:
        yield broker.bootstrap


@pytest.fixture
def topic(bootstrap: str) -> str:
    name = f"orders-{secrets.token_hex(4)}"
    assert create_topic(bootstrap, name, PARTITIONS) == PARTITIONS
    return name


@pytest.fixture
def nobody_there() -> str:
    return f"127.0.0.1:{free_port()}"


def read(bootstrap: str, topic: str, expected: int) -> "list[Message[bytes, bytes]]":
    """So many messages, in each partition's order; fails if they aren't there in time."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "reader",
            "enable.auto.commit": False,
            "fetch.wait.max.ms": 20,
        }
    )
    try:
        consumer.assign([TopicPartition(topic, partition, 0) for partition in range(PARTITIONS)])
        messages: list[Message[bytes, bytes]] = []
        deadline = time.monotonic() + ANSWER_SECONDS
        while len(messages) < expected and time.monotonic() < deadline:
            messages += consumer.consume(expected, timeout=0.2)
    finally:
        consumer.close()
    assert [message.error() for message in messages] == [None] * expected
    return messages


def collect(verdicts: list[Delivered | PublishError]) -> OnDelivery:
    return verdicts.append


def test_keys_go_where_javas_partitioner_would_put_them(bootstrap: str, topic: str) -> None:
    """For hundreds of order ids the broker's partition is the one that `partition_for` foretold."""
    order_ids = [*range(24_323_523, 24_323_823), *(2**63 - 1 - n for n in range(100)), *range(1, 101)]
    verdicts: list[Delivered | PublishError] = []
    with Publisher(bootstrap) as publisher:
        for order_id in order_ids:
            publisher.publish(Outgoing(topic, str(order_id).encode(), b"{}"), collect(verdicts))
    placed = {verdict.key: verdict.partition for verdict in verdicts if isinstance(verdict, Delivered)}
    assert placed == {key: partition_for(key, PARTITIONS) for key in (str(n).encode() for n in order_ids)}


def test_a_message_arrives_as_it_was_sent(bootstrap: str, topic: str) -> None:
    """Key, value and headers keep their bytes; a header may come twice or without a value."""
    headers = (("ce_id", b"\x00\xff"), ("ce_id", b"2"), ("empty", b""), ("none", None))
    verdicts: list[Delivered | PublishError] = []
    with Publisher(bootstrap) as publisher:
        publisher.publish(Outgoing(topic, b"\xfe\x00", b"\x00value\xff", headers), collect(verdicts))
    (message,) = read(bootstrap, topic, 1)
    assert (message.key(), message.value()) == (b"\xfe\x00", b"\x00value\xff")
    assert message.headers() == list(headers)
    partition, offset = message.partition(), message.offset()
    assert partition is not None
    assert offset is not None
    assert verdicts == [Delivered(topic, b"\xfe\x00", partition, offset)]


def test_a_given_partition_wins_over_the_key(bootstrap: str, topic: str) -> None:
    """A dead letter or a test may choose the partition itself."""
    elsewhere = (partition_for(b"1", PARTITIONS) + 1) % PARTITIONS
    with Publisher(bootstrap) as publisher:
        publisher.publish(Outgoing(topic, b"1", b"{}", partition=elsewhere))
    (message,) = read(bootstrap, topic, 1)
    assert message.partition() == elsewhere


def test_a_full_queue_slows_the_caller_and_keeps_the_order(bootstrap: str, topic: str) -> None:
    """With room for five messages two thousand of one key still arrive once and in order."""
    with Publisher(bootstrap, config={"queue.buffering.max.messages": 5, "linger.ms": 0}) as publisher:
        for number in range(2_000):
            publisher.publish(Outgoing(topic, b"7", str(number).encode()))
    values = [int(message.value() or b"") for message in read(bootstrap, topic, 2_000)]
    assert values == list(range(2_000))


@pytest.mark.parametrize(
    ("partition", "value", "reason"),
    [(None, bytes(2_000_000), "Message size too large"), (PARTITIONS + 7, b"{}", "Unknown partition")],
)
def test_a_message_that_cannot_be_sent_is_named(
    bootstrap: str, topic: str, partition: int | None, value: bytes, reason: str
) -> None:
    """The error says which message and why, and the messages around it arrive."""
    with Publisher(bootstrap) as publisher:
        publisher.publish(Outgoing(topic, b"1", b"before"))
        publisher.flush(ANSWER_SECONDS)
        with pytest.raises(PublishError, match=reason) as caught:
            _publish_and_flush(publisher, Outgoing(topic, b"2", value, partition=partition))
        publisher.publish(Outgoing(topic, b"3", b"after"))
    assert (caught.value.topic, caught.value.key, caught.value.count) == (topic, b"2", 1)
    assert sorted(m.value() or b"" for m in read(bootstrap, topic, 2)) == [b"after", b"before"]


def _publish_and_flush(publisher: Publisher, message: Outgoing) -> None:
    # A partition that doesn't exist is known at once or only at delivery, as the metadata is there or not.
    publisher.publish(message)
    publisher.flush(ANSWER_SECONDS)


def test_without_a_broker_leaving_says_what_was_not_sent(nobody_there: str) -> None:
    """After the delivery time-out every message has failed; the first is named, the others are counted."""
    verdicts: list[Delivered | PublishError] = []

    def send_three() -> None:
        with Publisher(nobody_there, delivery_timeout_seconds=2.0) as publisher:
            for number in range(3):
                publisher.publish(Outgoing("orders", str(number).encode(), b"{}"), collect(verdicts))

    with pytest.raises(PublishError, match=r"key 0 .*timed out.*Connection refused.*\(and 2 more\)") as caught:
        send_three()
    assert (caught.value.topic, caught.value.key, caught.value.count) == ("orders", b"0", 3)
    assert [type(verdict) for verdict in verdicts] == [PublishError] * 3


def test_flush_names_what_is_still_on_its_way(nobody_there: str) -> None:
    """A flush that ran out of time doesn't pretend; the message waits on and is dropped by close."""
    publisher = Publisher(nobody_there)
    verdicts: list[Delivered | PublishError] = []
    publisher.publish(Outgoing("orders", b"1", b"{}"), collect(verdicts))
    for _ in range(2):
        with pytest.raises(PublishError, match=r"key 1 .*no confirmation within 0\.1 s"):
            publisher.flush(0.1)
    assert verdicts == []
    publisher.close()
    publisher.close()
    assert [type(verdict) for verdict in verdicts] == [PublishError]


def test_a_failure_is_told_once(nobody_there: str) -> None:
    """The flush after the one that raised has nothing left to say."""
    with Publisher(nobody_there, delivery_timeout_seconds=0.2) as publisher:
        publisher.publish(Outgoing("orders", b"1", b"{}"))
        with pytest.raises(PublishError):
            publisher.flush(ANSWER_SECONDS)
        publisher.flush(0)


def test_a_queue_that_stays_full_is_a_clear_error(nobody_there: str) -> None:
    """The message that found no room is named, and is not counted among those on their way."""
    config = {"queue.buffering.max.messages": 2, "message.timeout.ms": 300_000}
    publisher = Publisher(nobody_there, config=config, delivery_timeout_seconds=0.3)
    for key in (b"1", b"2"):
        publisher.publish(Outgoing("orders", key, b"{}"))
    with pytest.raises(PublishError, match="send queue stayed full") as caught:
        publisher.publish(Outgoing("orders", b"3", b"{}"))
    assert caught.value.key == b"3"
    with pytest.raises(PublishError) as caught:
        publisher.flush(0)
    assert caught.value.count == 2
    publisher.close()


def test_leaving_with_an_exception_drops_what_is_on_its_way(nobody_there: str) -> None:
    """The exception comes out as it is, and nobody waits for a broker that isn't there."""
    verdicts: list[Delivered | PublishError] = []

    def interrupted() -> None:
        with Publisher(nobody_there, delivery_timeout_seconds=3_600) as publisher:
            publisher.publish(Outgoing("orders", b"1", b"{}"), collect(verdicts))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [type(verdict) for verdict in verdicts] == [PublishError]


def test_a_broker_that_goes_away_loses_no_message_in_silence(tmp_path: Path) -> None:
    """What it confirmed before stays confirmed; everything after is reported as failed."""
    verdicts: list[Delivered | PublishError] = []
    with EmbeddedBroker(tmp_path) as broker:
        create_topic(broker.bootstrap, "orders", PARTITIONS)
        publisher = Publisher(broker.bootstrap, delivery_timeout_seconds=5.0)
        publisher.publish(Outgoing("orders", b"1", b"{}"), collect(verdicts))
        publisher.flush(ANSWER_SECONDS)
        broker.stop()
        for key in (b"2", b"3"):
            publisher.publish(Outgoing("orders", key, b"{}"), collect(verdicts))
        with pytest.raises(PublishError) as caught:
            publisher.flush(ANSWER_SECONDS)
        publisher.close()
    assert (caught.value.key, caught.value.count) == (b"2", 2)
    assert [type(verdict) for verdict in verdicts] == [Delivered, PublishError, PublishError]


@pytest.mark.parametrize(
    "config",
    [
        {"partitioner": "consistent_random"},
        {"enable.idempotence": False},
        {"acks": "1"},
        {"request.required.acks": 1},
        {"default.topic.config": {"partitioner": "random"}},
    ],
)
def test_settings_that_guard_the_order_of_messages_cannot_be_changed(config: dict[str, object]) -> None:
    """Each of their names, and each way to set them, is a ValueError that names it."""
    with pytest.raises(ValueError, match=next(iter(config))):
        Publisher("127.0.0.1:1", config=config)


@pytest.mark.parametrize("config", [{"no.such": 1}, {"linger.ms": "soon"}, {"max.in.flight": 6}, {"linger.ms": []}])
def test_settings_that_librdkafka_refuses_are_a_value_error(config: dict[str, object]) -> None:
    """Its own exception doesn't come through; the message says what is wrong with which property."""
    with pytest.raises(ValueError, match="Kafka producer settings"):
        Publisher("127.0.0.1:1", config=config)


@pytest.mark.parametrize("flushed", [True, False])
def test_the_process_can_end_with_messages_unsent(nobody_there: str, *, flushed: bool) -> None:
    """A publisher that was never closed keeps no process alive and doesn't crash it."""
    program = (
        "import sys\n"
        "from adapters.kafka.producer.publisher import Outgoing, Publisher, PublishError\n"
        "publisher = Publisher(sys.argv[1])\n"
        "publisher.publish(Outgoing('orders', b'1', b'{}'))\n"
        "try:\n"
        "    publisher.flush(0.2) if sys.argv[2] == 'True' else None\n"
        "except PublishError:\n"
        "    pass\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, nobody_there, str(flushed)],
        cwd=ROOT,
        timeout=ANSWER_SECONDS,
        check=False,
    )
    assert done.returncode == 0


def _simulate(
    bootstrap: str, topic: str, *, orders: int | None, rate: float | None, progress: Callable[[Progress], None]
) -> Progress:
    stop = threading.Event()

    def watch(now: Progress) -> None:
        progress(now)
        if orders is None and now.orders_finished >= 30:
            stop.set()

    with Publisher(bootstrap) as publisher:
        return simulate(
            publisher,
            topic,
            orders=orders,
            rate=rate,
            seed=5,
            first_order_id=1_000,
            stamped=True,
            stop=stop,
            progress=watch,
        )


def test_simulated_lifecycles_arrive_whole_and_in_order(bootstrap: str, topic: str) -> None:
    """Each order is on its one partition, complete, in the order of its `sequence` and of its dates."""
    seen: list[Progress] = []
    final = _simulate(bootstrap, topic, orders=500, rate=None, progress=seen.append)
    expected = list(lifecycles(5, 500, first_order_id=1_000, started_at_ns=0))
    assert final == Progress(500, 500, len(expected), 0)
    assert seen[-1] == final
    arrived: dict[bytes, list[int]] = {}
    dates: dict[bytes, list[str]] = {}
    homes: dict[bytes, set[int | None]] = {}
    for message in read(bootstrap, topic, len(expected)):
        key = message.key() or b""
        sequence = dict(message.headers() or [])["sequence"]
        arrived.setdefault(key, []).append(int(sequence or b""))
        dates.setdefault(key, []).append(json.loads(message.value() or b"")["payload"]["transactionDate"])
        homes.setdefault(key, set()).add(message.partition())
    sent: dict[bytes, list[int]] = {}
    for planned in expected:
        sent.setdefault(planned.key, []).append(planned.sequence)
    assert arrived == sent
    assert all(earlier < later for history in dates.values() for earlier, later in pairwise(history))
    assert homes == {key: {partition_for(key, PARTITIONS)} for key in sent}


def test_an_endless_simulation_ends_when_told_and_what_it_said_arrived(bootstrap: str, topic: str) -> None:
    """At a rate, stopped in the middle: the messages counted are those on the topic, a beginning of the stream."""
    final = _simulate(bootstrap, topic, orders=None, rate=400, progress=lambda _: None)
    assert final.failed == 0
    assert final.orders_finished >= 30
    values = {message.key(): message.value() for message in read(bootstrap, topic, final.messages)}
    assert len(values) == final.orders_started
