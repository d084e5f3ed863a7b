"""Intake over a real broker: what lies on the topic lands where it belongs, whoever reads and however often."""

import base64
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any, get_args

import psycopg
import pytest
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

from adapters.kafka.cluster import TopicIds
from adapters.kafka.decoder import Reason
from adapters.kafka.intake import Limits
from adapters.kafka.publisher import Outgoing
from adapters.kafka.records import Headers
from adapters.postgres.store import OrderApplication
from domain.decision import Policy
from domain.events import Accepted
from domain.messages import Kind
from domain.order import Order
from domain.ports import Batch, Partition, StoreUnavailable
from sandbox.broker import EmbeddedBroker
from sandbox.lifecycles import OrderMessage, lifecycles, outcome
from tests.integration.waiting import DEADLINE_SECONDS, wait_until
from tests.support.memory_store import MemoryStore
from tests.support.messages import NOON_NS, payload_of, product, value_of
from tests.support.odd_headers import publish_with_headers
from tests.support.running_intake import RunningIntake
from tests.support.streams import bad_stream, outgoing, plain_stream, publish

pytestmark = pytest.mark.slow

MakeTopic = Callable[..., str]
MAX_BYTES = 1024 * 1024
GOOD = value_of(Kind.CREATED, payload_of(Kind.CREATED, order_id=1))


def group() -> str:
    return f"group-{secrets.token_hex(4)}"


def streams(store: MemoryStore) -> dict[object, list[dict[str, Any]]]:
    """What the store holds, but for the moment of it."""
    return {
        stream: [event.model_dump(exclude={"recorded_at_ns"}) for event in events]
        for stream, events in store.streams.items()
    }


def undisturbed(bootstrap: str, topic: str, messages: int) -> MemoryStore:
    """What one reader makes of the topic that reads it from its beginning to its end."""
    store = MemoryStore()
    with RunningIntake(bootstrap, [topic], store, group=group()) as running:
        running.wait_for_records(messages)
    return store


# What can't be read.


def created(**changes: Any) -> bytes:
    return value_of(Kind.CREATED, payload_of(Kind.CREATED, order_id=1) | changes)


UNREADABLE: Sequence[tuple[Reason, bytes | None, bytes | None, Headers]] = (
    ("too_large", b"1", created(channel="x" * 2 * MAX_BYTES), ()),
    ("no_value", b"1", None, ()),
    ("no_value", None, None, ()),
    ("not_json", b"1", b"", ()),
    (
        "not_json",
        b"\xff\x00",
        b'{"a": \xff}',
        (("", b""), ("none", None), ("same", b"\xff\x00"), ("same", b"again")),
    ),
    ("unknown_type", b"1", b'{"type": "PAID", "payload": {}}', ()),
    ("no_order_id", b"1", created(orderId="1"), ()),
    ("bad_payload", b"1", created(storeNo=None), ()),
    ("bad_amount", b"1", created(orderItemsWithDiscountSummaryItems=[product(quantity=0)]), ()),
    ("bad_date", b"1", created(transactionDate="yesterday"), ()),
    ("key_missing", None, GOOD, ()),
    ("key_mismatch", b"01", GOOD, ()),
    ("bad_header", b"1", GOOD, (("sequence", b"0"),)),
    ("bad_header", b"1", GOOD, (("ce_id", b"\xff"),)),
)


def produce(bootstrap: str, topic: str, records: Iterable[tuple[bytes | None, bytes | None, Headers]]) -> None:
    """As they are, to partition 0: also what our own publisher wouldn't send."""
    producer = Producer({"bootstrap.servers": bootstrap, "message.max.bytes": 4 * MAX_BYTES})
    for key, value, headers in records:
        producer.produce(topic, value, key, partition=0, headers=list(headers))
    assert producer.flush(60) == 0
    producer.close()


def test_what_cannot_be_read_is_kept_byte_for_byte_and_the_partition_goes_on(
    broker: EmbeddedBroker, topic: MakeTopic, database_url: str
) -> None:
    """One record of each kind, tombstones and 2 MB of it among them; then one that can be read."""
    name = topic(1)
    produce(broker.bootstrap, name, [record for _, *record in UNREADABLE])  # type: ignore[misc]  # mypy can't unpack
    lifecycle = [replace(said, partition=0) for said in plain_stream(name, 1, first_order_id=7)]
    publish(broker.bootstrap, lifecycle)

    store = OrderApplication(database_url)
    with RunningIntake(broker.bootstrap, [name], store, limits=Limits(MAX_BYTES)) as running:
        running.wait_for_records(len(UNREADABLE) + len(lifecycle))

    topic_id = TopicIds(broker.bootstrap, {}).of([name])[name]
    expected = [
        (name, topic_id, 0, offset, reason, key, value, headers_as_kept(headers))
        for offset, (reason, key, value, headers) in enumerate(UNREADABLE)
    ]
    assert quarantine(database_url) == expected
    order = store.get(7)
    assert order is not None
    assert order.version == len(lifecycle)
    store.close()


def headers_as_kept(headers: Headers) -> list[list[str | None]]:
    return [[name, None if value is None else base64.b64encode(value).decode()] for name, value in headers]


def quarantine(database_url: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(database_url) as connection:
        return connection.execute(
            "SELECT topic, topic_id, partition, kafka_offset, reason, message_key, message_value, headers"
            " FROM quarantine ORDER BY kafka_offset"
        ).fetchall()


def test_a_header_whose_name_is_not_utf_8_does_not_stop_the_partition(
    broker: EmbeddedBroker, topic: MakeTopic
) -> None:
    """The client can't tell us any header of such a record: a stamp may be among them, so it goes to quarantine."""
    name, many = topic(1), 20
    for _ in range(many):
        publish_with_headers(broker.bootstrap, name, b"1", GOOD, [(b"sequence", b"1"), (b"caf\xe9", b"x")])
    produce(broker.bootstrap, name, [(b"1", GOOD, ())])

    store = MemoryStore()
    with RunningIntake(broker.bootstrap, [name], store) as running:
        running.wait_for_records(many + 1)

    kept = [(each.offset, each.reason, each.key, each.value) for each in store.quarantine.values()]
    assert kept == [(offset, "bad_header", b"1", GOOD) for offset in range(many)]
    assert len(store.streams) == 1


def test_every_reason_to_refuse_a_record_is_tried_here_or_by_a_test_of_its_own() -> None:
    """A new reason wants a record that shows it."""
    assert {reason for reason, *_ in UNREADABLE} | {"order_full"} == set(get_args(Reason))


def test_further_messages_of_an_order_that_is_full_go_to_quarantine(
    broker: EmbeddedBroker, topic: MakeTopic
) -> None:
    """One order can't grow without bound; the others on its partition go on."""
    name = topic(1)
    updates = [value_of(Kind.UPDATED, payload_of(Kind.UPDATED, order_id=1, at_ns=at_ns)) for at_ns in range(12)]
    other = value_of(Kind.CREATED, payload_of(Kind.CREATED, order_id=2))
    produce(broker.bootstrap, name, [*((b"1", value, ()) for value in updates), (b"2", other, ())])

    store = MemoryStore()
    with RunningIntake(broker.bootstrap, [name], store, limits=Limits(max_order_events=10)) as running:
        running.wait_for_records(13)

    assert [kept.reason for kept in store.quarantine.values()] == ["order_full"] * 2
    assert sorted(len(stream) for stream in store.streams.values()) == [1, 10]


# Where reading goes on.


def test_committed_offsets_say_nothing_about_where_reading_goes_on(
    broker: EmbeddedBroker, topic: MakeTopic
) -> None:
    """Neither offsets that were set back nor a group that Kafka has never seen make us read a message twice."""
    name = topic(4)
    messages = plain_stream(name, 100)
    publish(broker.bootstrap, messages)
    ours, store = group(), MemoryStore()
    with RunningIntake(broker.bootstrap, [name], store, group=ours) as running:
        running.wait_for_records(len(messages))
    before = streams(store)

    set_back(broker.bootstrap, ours, name, partitions=4)
    more = plain_stream(name, 20, seed=2, first_order_id=1000)
    for again in (ours, group()):
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
    assert (list(running.watch.stopped), list(intake._unplaced)) == (["t/0"], []) if stops else ([], [("t", 0)])


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
    name, ours, store = topic(4), group(), FlakyStore()
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
            with RunningIntake(broker.bootstrap, [name], store, group=ours, config=config) as third:
                third.wait_for_state("waiting for the event store")
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
        RunningIntake(broker.bootstrap, [name], store, group=group()) as one,
        RunningIntake(broker.bootstrap, [name], store, group=group()) as other,
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
    name, ours = topic(1), group()
    with RunningIntake(broker.bootstrap, [name], MemoryStore(), group=ours) as one:
        one.wait_for_partitions(1)
        with RunningIntake(broker.bootstrap, [name], MemoryStore(), group=ours) as spare:
            spare.wait_for_state("reading")


# One topic or several.


def by_kind(messages: Iterable[OrderMessage], topics: Mapping[str, str]) -> list[Outgoing]:
    """Each kind on its own topic, and all creates last."""
    said = sorted(messages, key=lambda message: message.kind == "CREATED")
    return [outgoing(topics[message.kind], message) for message in said]


@pytest.mark.parametrize("stamped", [True, False])
def test_four_topics_of_one_kind_each_lead_to_what_one_topic_leads_to(
    broker: EmbeddedBroker, topic: MakeTopic, *, stamped: bool
) -> None:
    """The creates come last of all. Without stamps the dates decide, if the publishers' clocks can be trusted."""
    messages = list(lifecycles(4, 100, first_order_id=1, started_at_ns=NOON_NS, stamped=stamped))
    topics = {kind.value: topic(3) for kind in Kind}
    publish(broker.bootstrap, by_kind(messages, topics))
    store = MemoryStore()
    policy = Policy(clock_tolerance_ns=60 * 10**9 if stamped else 0)
    with RunningIntake(broker.bootstrap, topics.values(), store, group=group(), policy=policy) as running:
        running.wait_for_records(len(messages))

    orders = store.load({message.order_id for message in messages})
    assert {order_id: ending(order) for order_id, order in orders.items()} == outcome(messages)
    assert not any(order.doubts for order in orders.values())
    if stamped:
        single = topic(3)
        publish(broker.bootstrap, [outgoing(single, message) for message in messages])
        assert calls(store) == calls(undisturbed(broker.bootstrap, single, len(messages)))


def ending(order: Order) -> tuple[str, Decimal]:
    assert order.terms is not None
    return order.status.value, order.terms.cashback


def calls(store: MemoryStore) -> dict[object, list[tuple[str, bytes]]]:
    """What the third party hears of each order."""
    return {
        stream: [(event.TOPIC, event.message.body) for event in events if isinstance(event, Accepted)]
        for stream, events in store.streams.items()
    }
