"""Several consumers over one store, some of them zombies: the store ends as if one had read in peace."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor, Future
from functools import partial
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from adapters.kafka.cluster import TopicIds
from adapters.kafka.consumer.consumer import KafkaIntake
from adapters.kafka.consumer.intake import Intake, Limits
from adapters.kafka.consumer.pipeline import StorePipeline
from adapters.kafka.decoding.record import Record
from domain.events import Doubt
from domain.messages import Kind
from domain.ports import Fenced, Partition
from tests.support.deliveries import POLICY, TOLERANCE_NS
from tests.support.fake_group import FakeConsumer, Group
from tests.support.memory_store import FlakyStore, MemoryStore, offsets
from tests.support.messages import NOW_NS, TOPIC, TOPIC_ID, partition_of, payload_of, product, record
from tests.support.running_intake import Watch

ORDERS = (1, 2)
Logs = dict[Partition, list[Record]]


@st.composite
def logs(draw: st.DrawFn, *, one_partition_each: bool, max_skew_ns: int) -> tuple[Logs, dict[int, str]]:
    """Lifecycles of two orders over three partitions, with copies and nonsense among them; and how each should end.

    Each message of an order earns another amount. `one_partition_each`: an order keeps to one partition.
    """
    found: Logs = {partition_of(number): [] for number in range(3)}
    expected: dict[int, str] = {}
    for order_id in ORDERS:
        kinds = [
            Kind.CREATED,
            *[Kind.UPDATED] * draw(st.integers(0, 3)),
            *draw(st.sampled_from([[], [Kind.COMPLETED]])),
        ]
        home = draw(st.integers(0, 2))
        at_ns = 0
        for number, kind in enumerate(kinds):
            at_ns += draw(st.sampled_from([1, TOLERANCE_NS, 3 * TOLERANCE_NS]))
            said: dict[str, Any] = {"order_id": order_id, "at_ns": at_ns + draw(st.integers(0, max_skew_ns))}
            said["transactionId"] = f"t{number}"
            if not kind.is_end:
                said["orderItemsWithDiscountSummaryItems"] = [product(1, number + 1, 0)]
                expected[order_id] = f"PENDING {number + 1}.00"
            value = json.dumps({"type": kind, "payload": payload_of(kind, **said)}).encode()
            partition = partition_of(home if one_partition_each else draw(st.integers(0, 2)))
            for _ in range(draw(st.sampled_from([1, 1, 1, 2]))):
                found[partition].append(record(value, key=b"%d" % order_id))
            if draw(st.integers(0, 5)) == 0:
                found[partition].append(record(b"nonsense"))
        if kinds[-1].is_end:
            expected[order_id] = expected[order_id].replace("PENDING", kinds[-1].value)
    return {partition: placed(partition, log) for partition, log in found.items()}, expected


def placed(partition: Partition, log: Sequence[Record]) -> list[Record]:
    """With offsets in steps of two, as transactions leave gaps."""
    return [Record(partition, 2 * n, each.timestamp_ms, each.key, each.value) for n, each in enumerate(log)]


def consumer(store: MemoryStore) -> Intake:
    return Intake(store, policy=POLICY, limits=Limits(max_cached_orders=1), clock_ns=lambda: NOW_NS)


def read_in_peace(log: Logs) -> MemoryStore:
    store = MemoryStore()
    intake = consumer(store)
    intake.assign(log)
    for records in log.values():
        intake.handle(records)
    return store


class Later(Executor):
    """Does what it is given when somebody asks for the result: the latest that a commit can come."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        return _Asked(partial(fn, *args, **kwargs))


class _Asked(Future[Any]):
    def __init__(self, task: Callable[[], Any]) -> None:
        super().__init__()
        self._task = task

    def result(self, timeout: float | None = None) -> Any:
        return self._task()


class Consumer:
    """Decides a batch while the one before it isn't stored yet, as the real one does."""

    def __init__(self, store: MemoryStore) -> None:
        self.intake = consumer(store)
        self._pipeline = StorePipeline(self.intake, Later())

    def read(self, batch: Sequence[Record]) -> None:
        decided = self.intake.decide(self.intake.read(batch))
        if self.end():
            self._pipeline.submit(decided)

    def end(self) -> bool:
        try:
            self._pipeline.result()
        except Fenced:
            return False
        return True

    def assign(self, logs: Sequence[Partition]) -> None:
        self.end()
        self.intake.assign(logs)

    def revoke(self, logs: Sequence[Partition]) -> None:
        self.end()
        self.intake.revoke(logs)


def read_in_turmoil(data: st.DataObject, log: Logs) -> MemoryStore:
    """Three consumers, any of which may believe that a partition is its own; batches of any size, read from where
    each believes that it stands; now and then one asks for its positions anew, or is started afresh, or killed with
    a batch that is decided and not stored."""
    store = MemoryStore()
    consumers = [Consumer(store) for _ in range(3)]
    for _ in range(data.draw(st.integers(0, 25))):
        number = data.draw(st.integers(0, 2))
        match data.draw(st.sampled_from(["assign", "read", "read", "read", "revoke", "restart"])):
            case "assign":
                consumers[number].assign(data.draw(st.lists(st.sampled_from(list(log)), max_size=3)))
            case "revoke":
                consumers[number].revoke(data.draw(st.lists(st.sampled_from(list(log)), max_size=2)))
            case "restart":
                consumers[number] = Consumer(store)
            case _:
                read(data, consumers[number], log)
    last = consumers[0]
    last.assign(list(log))
    for records in log.values():
        last.intake.handle(records)
        assert last.intake.handle(records).records == 0
    return store


def read(data: st.DataObject, reader: Consumer, log: Logs) -> None:
    """From the position, or from behind what is decided already: then some of it comes twice."""
    batch: list[Record] = []
    for partition, position in reader.intake.positions.items():
        unread = [each for each in log[partition] if each.offset >= (position or 0)]
        back = data.draw(st.integers(0, 2))
        known = [each for each in log[partition] if each.offset < (position or 0)][-back:] if back else []
        batch += known + unread[: data.draw(st.integers(0, 4))]
    reader.read(batch)


def ends(store: MemoryStore) -> dict[int, str]:
    orders = store.load(ORDERS)
    return {
        order_id: f"{order.status} {order.terms.cashback}" if order.terms else "none"
        for order_id, order in orders.items()
    }


@given(st.data(), logs(one_partition_each=True, max_skew_ns=100))
def test_orders_on_one_partition_end_exactly_as_in_peace(
    data: st.DataObject, written: tuple[Logs, dict[int, str]]
) -> None:
    """Batches, zombies, restarts and rereading change nothing: not one event is missing, doubled or another."""
    log, expected = written
    peace, turmoil = read_in_peace(log), read_in_turmoil(data, log)
    assert turmoil.streams == peace.streams
    assert turmoil.quarantine == peace.quarantine
    assert offsets(turmoil, log) == offsets(peace, log)
    assert ends(turmoil) == expected
    for order_id, order in turmoil.load(ORDERS).items():
        assert order.doubts == peace.load([order_id])[order_id].doubts
        assert order.doubts <= {Doubt.UNCERTAIN_ORDER}  # of dates that contradict the partition


@given(st.data(), logs(one_partition_each=False, max_skew_ns=TOLERANCE_NS - 1))
def test_orders_on_many_partitions_end_as_they_should_or_are_flagged(
    data: st.DataObject, written: tuple[Logs, dict[int, str]]
) -> None:
    """Two consumers may decide about one order at once: whoever is late decides again, and nothing is lost."""
    log, expected = written
    store = read_in_turmoil(data, log)
    assert offsets(store, log) == offsets(read_in_peace(log), log)
    assert store.quarantine == read_in_peace(log).quarantine
    found = ends(store)
    for order_id, order in store.load(ORDERS).items():
        assert found[order_id] == expected[order_id] or order.doubts
        in_peace = read_in_peace(log).load([order_id])[order_id]
        assert {seen.digest for seen in order.seen_messages} == {seen.digest for seen in in_peace.seen_messages}


class KnownTopic(TopicIds):
    """Never asks."""

    def __init__(self) -> None:
        super().__init__("", {})

    def of(self, topics: Iterable[str]) -> dict[str, str]:
        return dict.fromkeys(topics, TOPIC_ID)

    def news(self, topics: Iterable[str]) -> Mapping[str, str | None]:
        return {}


class GroupMember:
    """The consumer itself, a step at a time, over a client of a group; it never waits."""

    def __init__(self, group: Group, number: int, store: MemoryStore, batch_size: int) -> None:
        intake = consumer(store)
        strategy = "cooperative-sticky" if group.incremental else "range"
        self._kafka = KafkaIntake(
            intake,
            bootstrap="",
            topics=[TOPIC],
            group="",
            config={"partition.assignment.strategy": strategy},
            batch_size=batch_size,
            listener=Watch(),
            topic_ids=KnownTopic(),
        )
        self._kafka._pipeline = StorePipeline(intake, Later())
        heard = {"assign": self._kafka._on_assign, "revoke": self._kafka._on_revoke, "lost": self._kafka._on_lost}
        self._client = FakeConsumer(group, number, heard)

    def step(self) -> None:
        self._kafka._backoff.at_once()
        self._kafka._report_at = 0.0
        self._kafka._step(self._client)  # type: ignore[arg-type]  # a fake


@given(st.data(), logs(one_partition_each=True, max_skew_ns=100))
def test_whatever_the_group_and_the_store_do_all_is_read_once(
    data: st.DataObject, written: tuple[Logs, dict[int, str]]
) -> None:
    """Partitions are given, taken back or given away unheard, whatever becomes of the batch under way; the store
    goes away and comes back. Nobody fetches what isn't its own, or again what it does: that ends a process."""
    log, expected = written
    store, group = FlakyStore(), Group(log, incremental=data.draw(st.booleans()), members=3)
    members = [GroupMember(group, number, store, data.draw(st.integers(1, 4))) for number in range(3)]
    some = st.sets(st.sampled_from(list(group.logs)), min_size=1)
    for _ in range(data.draw(st.integers(0, 40))):
        number = data.draw(st.integers(0, 2))
        match data.draw(st.sampled_from(["give", "take", "lose", *["step"] * 4])):
            case "give":
                group.give(number, data.draw(some))
            case "take":
                group.take(number, data.draw(some))
            case "lose":
                group.lose(number)
            case _:
                store.is_away = data.draw(st.sampled_from([False, False, True]))
                members[number].step()

    store.is_away = False
    for number in range(3):
        group.lose(number)
    group.give(0, group.logs)
    for _ in range(200):
        members[0].step()
    peace = read_in_peace(log)
    assert store.streams == peace.streams
    assert store.quarantine == peace.quarantine
    assert offsets(store, log) == {each: 2 * len(records) for each, records in log.items() if records}
    assert ends(store) == expected
