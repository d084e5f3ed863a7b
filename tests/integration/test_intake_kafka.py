"""Intake over a real broker: where it reads on, and who reads."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, TopicPartition

from adapters.kafka.cluster import TopicIds
from domain.ports import Batch, Partition, StoreUnavailable
from sandbox.broker import EmbeddedBroker
from tests.integration.waiting import DEADLINE_SECONDS, wait_until
from tests.support.memory_store import MemoryStore
from tests.support.running_intake import RunningIntake, new_group, undisturbed
from tests.support.streams import bad_stream, plain_stream, publish

pytestmark = pytest.mark.slow

MakeTopic = Callable[..., str]


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
