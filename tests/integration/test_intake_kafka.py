"""Intake over a real broker: where it reads on, and who reads."""

import secrets
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from msgspec.structs import replace

from adapters.kafka.cluster import TopicIds
from adapters.postgres.event_store import OrderApplication
from domain.events import OrderEvent
from domain.ports import Advance, Batch, Fenced, Loss, Partition, StoreUnavailable
from sandbox.order_service.lifecycles import lifecycles, outcome
from sandbox.servers.apache_kafka import ApacheKafka
from sandbox.servers.embedded_kafka import EmbeddedBroker, create_topic
from tests.support.clusters import Cluster
from tests.support.memory_store import FlakyStore, MemoryStore, offsets
from tests.support.messages import NOON_NS
from tests.support.postgres_proxy import postgres_proxy
from tests.support.running_intake import RunningIntake, new_group, undisturbed
from tests.support.stored import orders_stored
from tests.support.streams import bad_stream, outgoing, plain_stream, publish
from tests.support.waiting import DEADLINE_SECONDS, wait_until

pytestmark = pytest.mark.slow

MakeTopic = Callable[..., str]
NEW_PROTOCOL = {"group.protocol": "consumer"}


def streams(store: MemoryStore) -> dict[object, list[OrderEvent]]:
    """What the store holds, but for the moment of it."""
    return {
        stream: [replace(event, recorded_at_ns=0) for event in events] for stream, events in store.streams.items()
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
    """The topic gets another id when the test says so, or goes away."""

    def __init__(self) -> None:
        super().__init__("", {})
        self.topic_id: str | None = "first"

    def of(self, topics: Iterable[str]) -> dict[str, str]:
        return {} if self.topic_id is None else dict.fromkeys(topics, self.topic_id)

    def news(self, topics: Iterable[str]) -> Mapping[str, str | None]:
        return dict.fromkeys(topics, self.topic_id)


def begin_anew(store: MemoryStore, topic: str, topic_id: str, partitions: int) -> None:
    """What accepting the loss of a topic that was made again comes to."""
    beginnings = [Advance(Partition(topic, topic_id, number), None, 0) for number in range(partitions)]
    store.commit(Batch([], [], beginnings))


def losses(running: RunningIntake) -> dict[str, Loss]:
    return {partition: stop.loss for partition, stop in running.watch.stopped.items()}


def test_a_topic_made_anew_while_it_is_read_stops_and_is_read_whole_once_that_is_accepted(
    broker: EmbeddedBroker, topic: MakeTopic
) -> None:
    """Its offsets count from zero again: the positions in the old one mean nothing there."""
    name = topic(2)
    messages = plain_stream(name, 30)
    publish(broker.bootstrap, messages)
    store, ids = MemoryStore(), RenamedTopic()
    with RunningIntake(broker.bootstrap, [name], store, topic_ids=ids) as running:
        running.wait_for_records(len(messages))
        ids.topic_id = None
        wait_until(lambda: set(losses(running).values()) == {Loss.TOPIC_DELETED}, "the loss of the topic")
        ids.topic_id = "second"
        made_again = {f"{name}/{number}": Loss.TOPIC_RECREATED for number in range(2)}
        wait_until(lambda: losses(running) == made_again, "the loss of what was on the topic before")
        assert running.watch.records == len(messages)
        begin_anew(store, name, "second", 2)
        running.wait_for_records(2 * len(messages))
        assert running.watch.stopped == {}

    before, after = (
        offsets(store, [Partition(name, each, number) for number in range(2)]) for each in ("first", "second")
    )
    assert sum(before.values()) == sum(after.values()) == len(messages)


class FakeConsumer:
    """Takes notice of what is fetched no longer; the log holds the offsets 5 to 8."""

    def __init__(self) -> None:
        self.unassigned: list[tuple[str, int]] = []

    def incremental_unassign(self, partitions: Iterable[TopicPartition]) -> None:
        self.unassigned += [(each.topic, each.partition) for each in partitions]

    def get_watermark_offsets(self, partition: TopicPartition, **_: object) -> tuple[int, int]:
        return (5, 9)


class FakeErrorMessage:
    """An error that concerns partition 0 of the topic `t`."""

    def topic(self) -> str:
        return "t"

    def partition(self) -> int:
        return 0


OUT_OF_RANGE, CUT = "Broker: Offset out of range", "Local: Partition log truncation detected"


@pytest.mark.parametrize(
    ("position", "said", "topic_id", "loss"),
    [
        (4, OUT_OF_RANGE, "first", Loss.LOG_TRUNCATED),
        (10, OUT_OF_RANGE, "first", Loss.POSITION_BEYOND_END),
        (9, OUT_OF_RANGE, "first", Loss.POSITION_BEYOND_END),  # it was refused, and the log has grown since
        (7, CUT, "first", Loss.POSITION_BEYOND_END),
        (4, CUT, "first", Loss.POSITION_BEYOND_END),
        (4, OUT_OF_RANGE, "second", None),
        (4, OUT_OF_RANGE, None, None),
        (None, OUT_OF_RANGE, "first", None),
    ],
)
def test_a_refused_position_stops_its_partition_alone_by_the_name_of_the_loss(
    position: int | None, said: str, topic_id: str | None, loss: Loss | None
) -> None:
    """Noted with the position, too. If nothing was read, or of another topic, it's only to be placed anew."""
    ids, client, store = RenamedTopic(), FakeConsumer(), MemoryStore()
    error = KafkaError(KafkaError._AUTO_OFFSET_RESET, f"{said} (broker 1)")
    zero, one = (Partition("t", "first", number) for number in range(2))
    if position is not None:
        store.commit(Batch([], [], [Advance(zero, None, position)]))
    with RunningIntake("127.0.0.1:1", ["t"], store, topic_ids=ids) as running:
        pass
    intake = running.intake
    intake._intake.assign([zero, one])
    intake._placed = {("t", 0): zero, ("t", 1): one}

    ids.topic_id = topic_id
    intake._on_message_error(client, FakeErrorMessage(), error)  # type: ignore[arg-type]  # fakes

    assert client.unassigned == [("t", 0)]
    assert list(intake._placed) == [("t", 1)]
    assert losses(running) == ({} if loss is None else {"t/0": loss})
    assert intake._unplaced == ({("t", 0)} if loss is None else set())
    assert [each.loss for each in store.positions(["t"]).values()] == ([] if position is None else [loss])

    intake._on_revoke(client, [TopicPartition("t", 0)])  # type: ignore[arg-type]  # a fake
    assert (running.watch.stopped, intake._unplaced) == ({}, set())


# Who reads.


class FencedPipeline:
    """Its batch under way is fenced."""

    def result(self) -> None:
        self.result = lambda: None  # type: ignore[method-assign]  # only once
        raise Fenced("moved")


def test_partitions_that_are_lost_while_their_batch_is_fenced_are_not_fetched_again() -> None:
    """Both happen to a process that stood still. Those that it still has wait for a place; of the others, one that
    is placed again ends the process as soon as the group gives it back."""
    client = FakeConsumer()
    with RunningIntake("127.0.0.1:1", ["t"], MemoryStore(), topic_ids=RenamedTopic()) as running:
        pass
    intake = running.intake
    zero, one = (Partition("t", "first", number) for number in range(2))
    intake._intake.assign([zero, one])
    intake._placed = {("t", 0): zero, ("t", 1): one}
    intake._pipeline = FencedPipeline()  # type: ignore[assignment]  # a fake

    intake._on_lost(client, [TopicPartition("t", 0)])  # type: ignore[arg-type]  # a fake

    assert (intake._placed, intake._unplaced) == ({}, {("t", 1)})
    assert sorted(client.unassigned) == [("t", 0), ("t", 1)]


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


class ReadOnlyStore(MemoryStore):
    """Says where reading goes on, and takes nothing before `opens_after` attempts."""

    opens_after = 5

    def __init__(self) -> None:
        super().__init__()
        self.attempts = 0

    def commit(self, batch: Batch) -> None:
        self.attempts += 1
        if self.attempts <= self.opens_after:
            raise StoreUnavailable("cannot execute INSERT in a read-only transaction")
        super().commit(batch)


def test_a_store_that_can_be_asked_but_takes_nothing_is_waited_for_until_it_does(
    broker: EmbeddedBroker, topic: MakeTopic
) -> None:
    """That the partitions are fetched again, each time, is no work: nothing moves."""
    name = topic(1)
    store = ReadOnlyStore()
    messages = plain_stream(name, 5)
    with RunningIntake(broker.bootstrap, [name], store, group=new_group()) as running:
        running.wait_for_state("reading")
        publish(broker.bootstrap, messages)
        running.wait_for_records(len(messages))
        running.wait_for_state("reading")
        assert running.watch.states == ["reading", "waiting for the event store", "reading"]
        assert store.attempts > store.opens_after


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
@pytest.mark.parametrize(
    "config",
    [{}, {"partition.assignment.strategy": "range"}, NEW_PROTOCOL],
    ids=["cooperative", "eager", "KIP-848"],
)
def test_a_database_that_is_away_for_longer_than_a_session_costs_the_partitions_and_nothing_else(
    apache_kafka: Cluster, database_url: str, make_apache_topic: MakeTopic, config: dict[str, str]
) -> None:
    """The batch under way waits for PostgreSQL, so the group gives the partitions to another, which reads on. When
    the database answers, the batch is fenced; once the other leaves, reading goes on where that one ended."""
    name, ours, bootstrap = make_apache_topic(4), new_group(), apache_kafka.bootstrap
    first, second, third = (
        lifecycles(seed, 30, first_order_id=100 * seed, started_at_ns=NOON_NS) for seed in (1, 2, 3)
    )
    messages = [list(each) for each in (first, second, third)]
    impatient = {**config, "max.poll.interval.ms": 3000}
    with (
        postgres_proxy(database_url) as proxy,
        closing(OrderApplication(database_url)) as store,
        closing(OrderApplication(proxy.url)) as cut_off,
        RunningIntake(bootstrap, [name], cut_off, group=ours, config=impatient, batch_size=200) as one,
    ):
        publish(bootstrap, [outgoing(name, each) for each in messages[0]])
        one.wait_for_records(len(messages[0]))
        proxy.hold_next(min_bytes=2000)
        publish(bootstrap, [outgoing(name, each) for each in messages[1]])
        proxy.wait_until_held()
        read_by_one = one.watch.records
        with RunningIntake(bootstrap, [name], store, group=ours, config=config) as other:
            other.wait_for_partitions(4)
            other.wait_for_records(sum(map(len, messages[:2])) - read_by_one)
            proxy.release()
            wait_until(lambda: "waiting: fenced by another consumer" in one.watch.states, "the fence")
        publish(bootstrap, [outgoing(name, each) for each in messages[2]])
        one.wait_for_partitions(4)
        one.wait_for_records(read_by_one + len(messages[2]))
        assert one.watch.records + other.watch.records == sum(map(len, messages))

    every = [each for part in messages for each in part]
    found = orders_stored(database_url, {each.order_id for each in every})
    for order_id, expected in outcome(every).items():
        order = found[order_id]
        assert (order.status, order.terms.cashback if order.terms else None) == expected
        assert not order.doubts


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("config", "orders"),
    [({}, 60), ({"partition.assignment.strategy": "range"}, 5), (NEW_PROTOCOL, 60)],
    ids=["classic, longer than before", "eager, shorter than before", "KIP-848, longer than before"],
)
def test_a_topic_deleted_and_made_again_while_it_is_read_stops_and_is_then_read_whole(
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
        wait_until(lambda: ids.of([name]).get(name, old_id) != old_id, "the new topic")
        publish(bootstrap, after)
        made_again = {f"{name}/{number}": Loss.TOPIC_RECREATED for number in range(2)}
        wait_until(lambda: losses(running) == made_again, "the loss")
        new_id = ids.of([name])[name]
        begin_anew(store, name, new_id, 2)
        partitions = [Partition(name, new_id, number) for number in range(2)]
        wait_until(lambda: sum(offsets(store, partitions).values()) == len(after), "the new topic read")

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
