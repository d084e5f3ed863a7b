"""Copies of quarantined messages on a topic for others, on Apache Kafka: its transactions are what counts here."""

import secrets
import struct
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from signal import SIGKILL
from typing import Any

import psycopg
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from adapters.kafka.producer.dead_letters import DeadLetterTopic, copier_of
from adapters.postgres.dead_letters import Outbox
from adapters.postgres.event_store import OrderApplication
from adapters.runtime.dead_letter_copier import COPYING, STANDING_BY, DeadLetterCopier
from domain.messages import Kind
from domain.ports import Batch, Quarantined
from sandbox.servers.free_port import LOOPBACK, free_port
from tests.support import local_http
from tests.support.clusters import Cluster
from tests.support.dead_letters import (
    DeadLetterReader,
    fill_quarantine,
    forget_in_postgres,
    make_topic,
    quarantine_ids,
)
from tests.support.decoding import SEED
from tests.support.messages import ORDER_ID, partition_of, payload_of, value_of
from tests.support.processes import Apps, quick_group
from tests.support.waiting import DEADLINE_SECONDS, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

MakeTopic = Callable[..., str]


class Watch:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.states: list[str] = []
        self.copied = 0
        self.skipped = 0
        self.waiting = -1

    @property
    def state(self) -> str:
        return self.states[-1] if self.states else ""

    def dead_letters_state(self, state: str, why: str | None = None) -> None:
        self.states.append(state)

    def dead_letters_copied(self, messages: int) -> None:
        self.copied += messages

    def dead_letter_skipped(self) -> None:
        self.skipped += 1

    def dead_letters_waiting(self, messages: int) -> None:
        self.waiting = messages


class RunningCopier:
    """On a thread, until the end of the test or `stop`."""

    def __init__(self, database_url: str, bootstrap: str, topic: str, group: str) -> None:
        self.watch = Watch()
        outbox = Outbox(database_url, copier=copier_of(group), topic=topic)
        open_topic = partial(DeadLetterTopic, bootstrap, {}, topic=topic, group=group)
        copier = DeadLetterCopier(outbox, open_topic, self.watch)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=copier.run, args=(self._stop,), daemon=True)
        self._thread.start()

    def wait_for_state(self, state: str) -> None:
        wait_until(lambda: self.watch.state == state, f"the state {state!r}, now {self.watch.state!r}")

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(DEADLINE_SECONDS)
        assert not self._thread.is_alive(), "copying doesn't end"


@pytest.fixture
def start(database_url: str, apache_kafka: Cluster) -> Iterator[Callable[..., RunningCopier]]:
    running: list[RunningCopier] = []

    def make(topic: str, group: str, bootstrap: str = apache_kafka.bootstrap) -> RunningCopier:
        running.append(RunningCopier(database_url, bootstrap, topic, group))
        return running[-1]

    yield make
    for each in running:
        each.stop()


def new_name(what: str) -> str:
    return f"{what}-{secrets.token_hex(4)}"


def test_intake_goes_on_without_the_topic_and_the_copies_come_when_it_is_there(
    apache_kafka: Cluster, database_url: str, make_apache_topic: MakeTopic, tmp_path: Path
) -> None:
    """Meanwhile the process is ready, and says what it waits for. A copy has the key, the value and the headers of
    its message, and Spring's headers, which are decoded here as Spring decodes them."""
    topic, dead_letters = make_apache_topic(1), new_name("dead-letters")
    sent: list[tuple[bytes | None, bytes | None, list[tuple[str, str | bytes | None]]]] = [
        (b"1", b"{", [("ce_id", b"m-1"), ("", b""), ("same", b"\xff\x00"), ("same", b"again"), ("empty", None)]),
        (None, None, []),
        (b"7", value_of(Kind.CREATED, payload_of(Kind.CREATED)), []),
        (b"%d" % ORDER_ID, SEED, []),
    ]
    producer = Producer({"bootstrap.servers": apache_kafka.bootstrap})
    for key, value, headers in sent:
        producer.produce(topic, value, key, headers=headers, timestamp=1_740_744_000_123)
    assert producer.flush(DEADLINE_SECONDS) == 0
    settings = {
        "database_url": database_url,
        "kafka_bootstrap": apache_kafka.bootstrap,
        "kafka_topic": topic,
        "kafka_dead_letter_topic": dead_letters,
        "kafka_group": topic,
        "kafka_config": quick_group(),
        "probes_port": free_port(),
        "log_format": "json",
    }
    with Apps(tmp_path, settings) as apps:
        app = apps.start("serve", "--only", "intake")
        probe = partial(local_http.get, f"http://{LOOPBACK}:{settings['probes_port']}/readyz")
        app.wait_for("state", part="dead letters", state="waiting for the topic")
        app.wait_until(lambda: len(quarantine_ids(database_url)) == 3, "intake has stored all")
        app.wait_until(lambda: probe().status_code == 200, "the process is ready")
        assert probe().json()["parts"]["dead letters"] == "waiting for the topic"

        make_topic(apache_kafka.bootstrap, dead_letters, 3)
        with DeadLetterReader(apache_kafka.bootstrap, dead_letters, 3) as reader:
            reader.wait_for(3)
        app.wait_for("state", part="dead letters", state=COPYING)
        exposition = local_http.get(f"http://{LOOPBACK}:{settings['probes_port']}/metrics").text
        assert 'cashback_dead_letters_total{outcome="copied"} 3.0' in exposition
        assert app.count("state", part="dead letters", state="waiting for the topic") == 1
        assert app.terminate() == 0

    found: dict[int, Any] = {}
    for message in reader.messages:
        received: Any = message.headers()
        last: dict[str, bytes] = dict(received)  # of several with one name Spring reads the last
        (offset,) = struct.unpack(">q", last["kafka_dlt-original-offset"])
        found[offset] = message.key(), message.value(), received[:-10]
        assert last["kafka_dlt-original-topic"] == last["kafka_dlt-original-consumer-group"] == topic.encode()
        assert struct.unpack(">i", last["kafka_dlt-original-partition"]) == (0,)
        assert struct.unpack(">q", last["kafka_dlt-original-timestamp"]) == (1_740_744_000_123,)
        assert last["kafka_dlt-original-timestamp-type"] == b"CreateTime"
        reason = last["cashback-quarantine-reason"].decode()
        assert last["kafka_dlt-exception-fqcn"].decode() == f"cashback.quarantine.{reason}"
        assert reason == ["not_json", "no_value", "key_mismatch"][offset]
        assert last["kafka_dlt-exception-message"]
    assert found == dict(enumerate(sent[:3]))
    assert sorted(reader.ids()) == quarantine_ids(database_url)


def test_a_process_that_is_killed_while_it_copies_neither_loses_nor_doubles_a_copy(
    apache_kafka: Cluster, database_url: str, make_apache_topic: MakeTopic, tmp_path: Path
) -> None:
    """For those who read what is committed. The cursor is in the transaction, and the next process shuts the dead
    one's transaction out."""
    topic, dead_letters, each_round = make_apache_topic(1), make_apache_topic(3), 20_000
    settings = {
        "database_url": database_url,
        "kafka_bootstrap": apache_kafka.bootstrap,
        "kafka_topic": topic,
        "kafka_dead_letter_topic": dead_letters,
        "kafka_group": topic,
        "kafka_config": quick_group(),
        "log_format": "json",
    }
    seen_at_kill = []
    with Apps(tmp_path, settings) as apps, DeadLetterReader(apache_kafka.bootstrap, dead_letters, 3) as reader:
        for kill in range(2):
            fill_quarantine(database_url, kill * each_round, (kill + 1) * each_round - 1)
            app = apps.start("serve", "--only", "intake")
            before = reader.read()
            app.wait_until(lambda before=before: reader.read() > before, "copying has begun")  # type: ignore[misc]
            app.signal(SIGKILL)
            app.wait()
            forget_in_postgres(database_url)
            seen_at_kill.append(reader.read())
        app = apps.start("serve", "--only", "intake")
        wanted = quarantine_ids(database_url)
        app.wait_until(lambda: reader.read() >= len(wanted), "all are copied")
        app.wait_until(lambda: reader.read() >= 0 and wanted[-1] in reader.ids(), "the last is copied")
        assert app.terminate() == 0
    assert any(seen < 0.9 * (kill + 1) * each_round for kill, seen in enumerate(seen_at_kill)), seen_at_kill
    assert reader.doubled() == {}
    assert sorted(reader.ids()) == wanted


def test_one_process_copies_and_another_takes_over_when_the_database_throws_it_out(
    start: Callable[..., RunningCopier], apache_kafka: Cluster, database_url: str, make_apache_topic: MakeTopic
) -> None:
    """The others stand by. Whoever goes on begins where the last transaction ended, also if Kafka has forgotten how
    far that was, or PostgreSQL has."""
    topic, group = make_apache_topic(1), new_name("group")
    fill_quarantine(database_url, 1, 100)
    first = start(topic, group)
    first.wait_for_state(COPYING)
    second = start(topic, group)
    second.wait_for_state(STANDING_BY)
    with DeadLetterReader(apache_kafka.bootstrap, topic, 1) as reader:
        reader.wait_for(100)
        wait_until(lambda: first.watch.waiting == 0, "nothing is waiting")
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'cashback-dead-letters' AND datname = current_database()"
            )
        wait_until(
            lambda: sorted(each.watch.state for each in (first, second)) == [COPYING, STANDING_BY],
            "one of them copies again",
        )
        fill_quarantine(database_url, 101, 200)
        reader.wait_for(200)
        for each in (first, second):
            each.stop()

        _forget_in_kafka(apache_kafka.bootstrap, group)
        third = start(topic, group)
        third.wait_for_state(COPYING)
        fill_quarantine(database_url, 201, 210)
        reader.wait_for(210)
        third.stop()

        forget_in_postgres(database_url)
        start(topic, group)
        fill_quarantine(database_url, 211, 211)
        reader.read_on(quarantine_ids(database_url)[-1])
        assert reader.ids() == quarantine_ids(database_url)


def _forget_in_kafka(bootstrap: str, group: str) -> None:
    """As after a week without a copy."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.delete_consumer_groups([copier_of(group)])[copier_of(group)].result(DEADLINE_SECONDS)


def test_a_message_that_the_broker_refuses_is_skipped_and_the_others_are_copied(
    start: Callable[..., RunningCopier], apache_kafka: Cluster, database_url: str
) -> None:
    """It is told once, counted, and not tried for ever."""
    topic = new_name("dead-letters")
    make_topic(apache_kafka.bootstrap, topic, 1, max_message_bytes="4000")
    fill_quarantine(database_url, 1, 20)
    fill_quarantine(database_url, 21, 21, value_bytes=100_000)
    fill_quarantine(database_url, 22, 40)
    ids = quarantine_ids(database_url)
    copier = start(topic, new_name("group"))
    with DeadLetterReader(apache_kafka.bootstrap, topic, 1) as reader:
        reader.read_on(ids[-1])
    assert reader.ids() == [*ids[:20], *ids[21:]]
    wait_until(lambda: copier.watch.waiting == 0, "nothing is waiting")
    assert (copier.watch.copied, copier.watch.skipped) == (39, 1)
    assert copier.watch.states == [COPYING]


def test_without_a_broker_it_waits_and_tells_how_much(
    start: Callable[..., RunningCopier], database_url: str
) -> None:
    """And it can be stopped all the same."""
    fill_quarantine(database_url, 1, 7)
    copier = start("dead-letters", "group", f"{LOOPBACK}:{free_port()}")
    copier.wait_for_state("waiting for Kafka")
    assert (copier.watch.waiting, copier.watch.copied) == (7, 0)
    copier.stop()


def test_ids_of_the_quarantine_become_visible_in_their_order(database_url: str) -> None:
    """A batch of nothing but quarantined messages waits for its turn too: else a cursor could pass over its ids."""
    store = OrderApplication(database_url)
    kept = Quarantined(partition_of(), 1, None, None, None, (), None, "no_value", "")
    with psycopg.connect(database_url) as writer:
        writer.execute("SELECT pg_advisory_xact_lock(4223372036)")
        other = threading.Thread(target=store.commit, args=(Batch([], [kept], []),))
        other.start()
        with psycopg.connect(database_url, autocommit=True) as watcher:
            blocked = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            wait_until(lambda: watcher.execute(blocked).fetchone() == (1,), "the batch waits for its turn")
        assert other.is_alive()
    other.join(DEADLINE_SECONDS)
    store.close()
    assert len(quarantine_ids(database_url)) == 1
