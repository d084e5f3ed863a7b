"""Intake over a real broker: where it reads on, and who reads."""

import secrets
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from adapters.kafka.cluster import TopicIds
from domain.ports import Batch, Partition, StoreUnavailable
from sandbox.apache_kafka import ApacheKafka
from sandbox.broker import EmbeddedBroker, create_topic
from tests.integration.waiting import DEADLINE_SECONDS, wait_until
from tests.support.memory_store import MemoryStore
from tests.support.running_intake import RunningIntake, new_group, undisturbed
from tests.support.streams import bad_stream, plain_stream, publish

pytestmark = pytest.mark.slow

MakeTopic = Callable[..., str]
NEW_PROTOCOL = {"group.protocol": "consumer"}


def streams(store: MemoryStore) -> dict[object, list[dict[str, Any]]]:
    """What the store holds, but for the moment of it."""
    return {
        stream: [event.model_dump(exclude={"recorded_at_ns"}) for event in events]
        for stream, events in store.streams.items()
    }


# Where reading goes on.


def test_committed_offsets_say_nothing_about_where_reading_goes_on(
    broker: EmbeddedBroker, topic: MakeTopic
) -> None:
    """Neither offsets that were set back nor a group that Kafka has never seen make us read a message twice."""
    name = topic(4)
    messages = plain_stream(name, 100)
    publish(broker.bootstrap, messages)
    ours, store = new_group(), MemoryStore()
    with RunningIntake(broker.bootstrap, [name], store, group=ours) as running:
        running.wait_for_records(len(messages))
    before = streams(store)

    set_back(broker.bootstrap, ours, name, partitions=4)
    more = plain_stream(name, 20, seed=2, first_order_id=1000)
    for again in (ours, new_group()):
        publish(broker.bootstrap, more)
        with RunningIntake(broker.bootstrap, [name], store, group=again) as running:
            running.wait_for_records(len(more))
        assert running.watch.records == len(more)
    assert streams(store).items() >= before.items()


def set_back(bootstrap: str, which: str, topic: str, partitions: int) -> None:
    """The group's committed offsets, to the beginning."""
    beginning = [TopicPartition(topic, number, 0) for number in range(partitions)]
    member = Consumer({"bootstrap.servers": bootstrap, "group.id": which})
    member.commit(offsets=beginning, asynchronous=False)
    assert [each.offset for each in member.committed(beginning, timeout=DEADLINE_SECONDS)] == [0] * partitions
    member.close()


class RenamedTopic(TopicIds):
    """The topic gets another id when the test says so."""

    def __init__(self) -> None:
        super().__init__("", {})
        self.topic_id = "first"

    def of(self, topics: Iterable[str]) -> dict[str, str]:
        return dict.fromkeys(topics, self.topic_id)

    def changed(self, known: Mapping[str, str]) -> set[str]:
        return {topic for topic, topic_id in known.items() if topic_id != self.topic_id}


def test_a_topic_made_anew_while_it_is_read_is_read_from_its_beginning(
    broker: EmbeddedBroker, topic: MakeTopic
) -> None:
    """Its offsets count from zero again: the positions in the old one mean nothing there."""
    name = topic(2)
    messages = plain_stream(name, 30)
    publish(broker.bootstrap, messages)
    store, ids = MemoryStore(), RenamedTopic()
    with RunningIntake(broker.bootstrap, [name], store, topic_ids=ids) as running:
        running.wait_for_records(len(messages))
        before = store.positions([Partition(name, "first", number) for number in range(2)])
        ids.topic_id = "second"
        running.wait_for_records(2 * len(messages))

    after = store.positions([Partition(name, "second", number) for number in range(2)])
    assert sum(before.values()) == sum(after.values()) == len(messages)


class FakeConsumer:
    """Takes notice of what is fetched no longer."""

    def __init__(self) -> None:
        self.unassigned: list[tuple[str, int]] = []

    def incremental_unassign(self, partitions: Iterable[TopicPartition]) -> None:
        self.unassigned += [(each.topic, each.partition) for each in partitions]


class FakeErrorMessage:
    """An error that concerns partition 0 of the topic `t`."""

    def topic(self) -> str:
        return "t"

    def partition(self) -> int:
        return 0


@pytest.mark.parametrize(("topic_id", "stops"), [("first", True), ("second", False)])
def test_a_position_outside_the_log_stops_the_partition_unless_the_topic_is_a_new_one(
    topic_id: str, *, stops: bool
) -> None:
    """Messages may be lost: that is for a person to decide. (The embedded broker never says so: it's said here.)"""
    ids, client, error = RenamedTopic(), FakeConsumer(), KafkaError(KafkaError._AUTO_OFFSET_RESET)
    with RunningIntake("127.0.0.1:1", ["t"], MemoryStore(), topic_ids=ids) as running:
        pass
    intake = running.intake
    intake._placed = {("t", number): Partition("t", "first", number) for number in range(2)}

    ids.topic_id = topic_id
    intake._on_message_error(client, FakeErrorMessage(), error)  # type: ignore[arg-type]  # fakes

    assert client.unassigned == [("t", 0)]
    assert list(intake._placed) == [("t", 1)]
    expected = (["t/0"], []) if stops else ([], [("t", 0)])
    assert (list(running.watch.stopped), list(intake._unplaced)) == expected

    intake._on_revoke(client, [TopicPartition("t", 0)])  # type: ignore[arg-type]  # a fake
    assert (running.watch.stopped, intake._unplaced) == ({}, set())


# Who reads.


class FlakyStore(MemoryStore):
    """Can be taken away."""

    def __init__(self) -> None:
        super().__init__()
        self.is_away = False

    def positions(self, partitions: Iterable[Partition]) -> Mapping[Partition, int]:
        self._check()
        return super().positions(partitions)

    def commit(self, batch: Batch) -> None:
        self._check()
        super().commit(batch)

    def _check(self) -> None:
        if self.is_away:
            raise StoreUnavailable("away")


@pytest.mark.parametrize("strategy", ["cooperative-sticky", "range"])
def test_partitions_move_while_the_store_is_away_and_nothing_is_lost(
    broker: EmbeddedBroker, topic: MakeTopic, strategy: str
) -> None:
    """A consumer that waits for the store gives partitions up, takes them over, and leaves, like any other."""
    name, ours, store = topic(4), new_group(), FlakyStore()
    config = {"partition.assignment.strategy": strategy}
    first, second = plain_stream(name, 50), plain_stream(name, 50, seed=2, first_order_id=1000)
    publish(broker.bootstrap, first)
    with RunningIntake(broker.bootstrap, [name], store, group=ours, config=config) as one:
        one.wait_for_records(len(first))
        store.is_away = True
        publish(broker.bootstrap, second)
        one.wait_for_state("waiting for the event store")
        with RunningIntake(broker.bootstrap, [name], store, group=ours, config=config) as other:
            other.wait_for_state("waiting for the event store")
        store.is_away = False
        one.wait_for_partitions(4)
        one.wait_for_records(len(first) + len(second))
    whole = undisturbed(broker.bootstrap, name, len(first) + len(second))
    assert streams(store) == streams(whole)


def test_two_groups_on_one_store_read_each_message_once(broker: EmbeddedBroker, topic: MakeTopic) -> None:
    """Two deployments by mistake: each batch is stored by one of them, the other one is fenced and reads on."""
    name, store = topic(4), MemoryStore()
    messages = bad_stream(name, 400, seed=3)
    with (
        RunningIntake(broker.bootstrap, [name], store, group=new_group()) as one,
        RunningIntake(broker.bootstrap, [name], store, group=new_group()) as other,
    ):
        one.wait_for_state("reading")
        other.wait_for_state("reading")
        for start in range(0, len(messages), 200):
            publish(broker.bootstrap, messages[start : start + 200])
        wait_until(lambda: one.watch.records + other.watch.records >= len(messages), "all messages")

    assert one.watch.records + other.watch.records == len(messages)
    whole = undisturbed(broker.bootstrap, name, len(messages))
    assert streams(store) == streams(whole)
    assert store.quarantine == whole.quarantine


def test_a_consumer_without_partitions_is_ready_to_take_over(broker: EmbeddedBroker, topic: MakeTopic) -> None:
    """More processes than partitions: the spare one waits for nothing and is no trouble."""
    name, ours = topic(1), new_group()
    with RunningIntake(broker.bootstrap, [name], MemoryStore(), group=ours) as one:
        one.wait_for_partitions(1)
        with RunningIntake(broker.bootstrap, [name], MemoryStore(), group=ours) as spare:
            spare.wait_for_state("reading")


# What only Apache Kafka can show.


@pytest.mark.timeout(300)
@pytest.mark.parametrize("orders", [5, 60], ids=["shorter than before", "longer than before"])
@pytest.mark.parametrize(
    "config", [{}, {"partition.assignment.strategy": "range"}, NEW_PROTOCOL], ids=["classic", "eager", "KIP-848"]
)
def test_a_topic_deleted_and_made_again_while_it_is_read_is_read_whole(
    apache_kafka: ApacheKafka, config: dict[str, str], orders: int
) -> None:
    """Whether our position lies outside the new log or, by chance, within it."""
    name, bootstrap, store = f"orders-{secrets.token_hex(4)}", apache_kafka.bootstrap, MemoryStore()
    before = plain_stream(name, 30)
    after = plain_stream(name, orders, seed=2, first_order_id=1000)
    admin, ids = AdminClient({"bootstrap.servers": bootstrap}), TopicIds(bootstrap, {})
    create_topic(bootstrap, name, 2)
    publish(bootstrap, before)
    with RunningIntake(bootstrap, [name], store, group=new_group(), config=config) as running:
        running.wait_for_records(len(before))
        old_id = ids.of([name])[name]
        admin.delete_topics([name])[name].result()
        create_topic(bootstrap, name, 2)
        wait_until(lambda: ids.of([name])[name] != old_id, "the new topic")
        publish(bootstrap, after)
        new_id = ids.of([name])[name]
        partitions = [Partition(name, new_id, number) for number in range(2)]
        wait_until(lambda: sum(store.positions(partitions).values()) == len(after), "the new topic read")

    assert sum(len(stream) for stream in store.streams.values()) >= len(before) + len(after)
    assert running.watch.stopped == {}


@pytest.mark.timeout(300)
def test_a_static_member_that_another_has_replaced_ends_with_an_error(apache_kafka: ApacheKafka) -> None:
    """Two processes with one `group.instance.id`: the one that is thrown out for good leaves it to a supervisor."""
    name, bootstrap, ours = f"orders-{secrets.token_hex(4)}", apache_kafka.bootstrap, new_group()
    create_topic(bootstrap, name, 2)
    config = {"group.instance.id": "one", "session.timeout.ms": 6000}
    first = RunningIntake(bootstrap, [name], MemoryStore(), group=ours, config=config)
    first.wait_for_partitions(2)
    with RunningIntake(bootstrap, [name], MemoryStore(), group=ours, config=config) as second:
        second.wait_for_partitions(2)
        with pytest.raises(KafkaException, match="fenced"):
            first.wait_for_state("an end")
