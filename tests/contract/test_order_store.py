"""What every event store must do, whatever it is made of."""

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
import pytest

from adapters.postgres.event_store import OrderApplication
from domain.decision import decide
from domain.events import OrderEvent
from domain.messages import Message
from domain.order import Order, fold
from domain.ports import (
    Advance,
    Batch,
    Fenced,
    Loss,
    OrderStore,
    Partition,
    Position,
    Quarantined,
    RewindSign,
    Rewound,
    StaleOrder,
)
from tests.support.memory_store import MemoryStore, offsets
from tests.support.messages import NOW_NS, completed, created, partition_of, updated

ONE, OTHER = 7, 2**63 - 1
P0, P1 = partition_of(0), partition_of(1)


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.slow)])
def store(request: pytest.FixtureRequest) -> Iterator[OrderStore]:
    if request.param == "memory":
        yield MemoryStore()
        return
    application = OrderApplication(request.getfixturevalue("database_url"))
    yield application
    application.close()


@pytest.fixture
def quarantine(store: OrderStore, request: pytest.FixtureRequest) -> "QuarantineReader":
    url = None if isinstance(store, MemoryStore) else request.getfixturevalue("database_url")
    return QuarantineReader(store, url)


class QuarantineReader:
    """What the store keeps of messages that could not be read: (partition, offset, reason)."""

    def __init__(self, store: OrderStore, url: str | None) -> None:
        self._store = store
        self._url = url

    def __call__(self) -> list[tuple[int, int, str]]:
        if isinstance(self._store, MemoryStore):
            kept = self._store.quarantine.values()
            return sorted((each.partition.number, each.offset, each.reason) for each in kept)
        assert self._url is not None
        with psycopg.connect(self._url) as connection:
            return connection.execute(
                "SELECT partition, kafka_offset, reason FROM quarantine ORDER BY 1, 2"
            ).fetchall()


def decided(*messages: Message, order: Order | None = None) -> list[OrderEvent]:
    """The events that follow from one order's messages."""
    order = order or Order(messages[0].order_id)
    events: list[OrderEvent] = []
    for message in messages:
        more = decide(order, message, now_ns=NOW_NS)
        order = fold(order, more) or order
        events += more
    return events


def lifecycle(order_id: int) -> list[OrderEvent]:
    return decided(
        created(order_id=order_id),
        updated(order_id=order_id, at_ns=1, offset=1),
        completed(order_id=order_id, at_ns=2, offset=2),
    )


def batch(
    events: Sequence[OrderEvent] = (), advances: Sequence[Advance] = (), quarantined: Sequence[Quarantined] = ()
) -> Batch:
    return Batch(events, quarantined, advances)


def unreadable(partition: Partition, offset: int, reason: str = "not_json", **changes: Any) -> Quarantined:
    fields: dict[str, Any] = {
        "partition": partition,
        "offset": offset,
        "timestamp_ms": None,
        "key": b"\xff",
        "value": b"\x00\xff",
        "headers": (("h", b"\x00\xfe"), ("h", None)),
        "order_id": None,
        "reason": reason,
        "detail": "the value isn't JSON",
    }
    return Quarantined(**fields | changes)


def test_orders_without_a_stream_have_version_zero(store: OrderStore) -> None:
    """Every order asked for is in the answer."""
    assert store.load([ONE, OTHER]) == {ONE: Order(ONE), OTHER: Order(OTHER)}
    assert store.load([]) == {}


def test_what_was_stored_is_loaded(store: OrderStore) -> None:
    """Each order is the fold of its own stream, and equals the state that was carried along."""
    store.commit(batch([*lifecycle(ONE), *lifecycle(OTHER)]))
    loaded = store.load([OTHER, ONE, 5])
    assert loaded == {ONE: fold(None, lifecycle(ONE)), OTHER: fold(None, lifecycle(OTHER)), 5: Order(5)}


def test_a_stream_grows_by_batches(store: OrderStore) -> None:
    """A later batch goes on where the stream ended; events of several orders may be mixed."""
    mine, others = lifecycle(ONE), lifecycle(OTHER)
    store.commit(batch([mine[0], others[0], mine[1]]))
    store.commit(batch([others[1], mine[2], others[2]]))
    assert store.load([ONE, OTHER]) == {ONE: fold(None, mine), OTHER: fold(None, others)}


def test_a_stream_that_has_grown_meanwhile_is_stale(store: OrderStore) -> None:
    """Two decide on the same version: the second is refused, and the first stands."""
    store.commit(batch(lifecycle(ONE)[:1]))
    first = decided(updated(order_id=ONE, at_ns=5, offset=5), order=store.load([ONE])[ONE])
    second = decided(completed(order_id=ONE, at_ns=6, offset=6), order=store.load([ONE])[ONE])
    store.commit(batch(first))
    with pytest.raises(StaleOrder):
        store.commit(batch(second))
    assert store.load([ONE])[ONE] == fold(None, [*lifecycle(ONE)[:1], *first])


def test_a_stream_gets_no_hole(store: OrderStore, quarantine: QuarantineReader) -> None:
    """What was decided upon isn't there any more: nothing of the batch is stored. One that moves positions must
    start over from them; any other is decided anew."""
    store.commit(batch(lifecycle(ONE)[:1], [Advance(P0, None, 1)]))
    late = lifecycle(ONE)[2:]
    with pytest.raises(Rewound) as error:
        store.commit(batch([*lifecycle(OTHER), *late], [Advance(P0, 1, 9)], [unreadable(P0, 5)]))
    assert error.value.sign is RewindSign.STREAM
    with pytest.raises(StaleOrder):
        store.commit(batch([*lifecycle(OTHER), *late]))
    assert store.load([ONE, OTHER]) == {ONE: fold(None, lifecycle(ONE)[:1]), OTHER: Order(OTHER)}
    assert offsets(store, [P0]) == {P0: 1}
    assert quarantine() == []


def test_the_same_batch_again_is_refused(store: OrderStore) -> None:
    """Nothing is stored twice, not even the same."""
    store.commit(batch(lifecycle(ONE)))
    with pytest.raises(StaleOrder):
        store.commit(batch(lifecycle(ONE)))
    assert store.load([ONE])[ONE].version == 3


def test_partitions_have_no_position_until_one_is_stored(store: OrderStore) -> None:
    """Those without are not in the answer."""
    assert offsets(store, [P0, P1]) == {}
    store.commit(batch(advances=[Advance(P0, None, 5)]))
    assert offsets(store, [P0, P1]) == {P0: 5}
    assert offsets(store, [P1]) == {}
    assert store.positions([]) == {}


def test_a_position_moves_on_from_where_it_is(store: OrderStore) -> None:
    """Several at once, each from its own place, the first time from nowhere."""
    store.commit(batch(advances=[Advance(P0, None, 5), Advance(P1, None, 0)]))
    store.commit(batch(advances=[Advance(P0, 5, 9), Advance(P1, 0, 2**62)]))
    assert offsets(store, [P0, P1]) == {P0: 9, P1: 2**62}


@pytest.mark.parametrize("expected", [None, 4, 6, 0])
def test_a_position_that_another_has_moved_fences(store: OrderStore, expected: int | None) -> None:
    """Compare and set: whoever expects something else has been overtaken."""
    store.commit(batch(advances=[Advance(P0, None, 5)]))
    with pytest.raises(Fenced):
        store.commit(batch(advances=[Advance(P0, expected, 9)]))
    assert offsets(store, [P0]) == {P0: 5}


def test_a_position_that_should_be_there_and_is_not_fences(store: OrderStore) -> None:
    """There is nothing to move on."""
    with pytest.raises(Fenced):
        store.commit(batch(advances=[Advance(P0, 5, 9)]))
    assert offsets(store, [P0]) == {}


@pytest.mark.parametrize(
    "other", [partition_of(1), partition_of(0, topic="other"), partition_of(0, topic_id="made again")]
)
def test_positions_belong_to_one_partition_of_one_generation_of_one_topic(
    store: OrderStore, other: Partition
) -> None:
    """A topic that was deleted and made again starts from the beginning."""
    store.commit(batch(advances=[Advance(P0, None, 5)]))
    assert offsets(store, [other]) == {}
    store.commit(batch(advances=[Advance(other, None, 1)]))
    assert offsets(store, [P0, other]) == {P0: 5, other: 1}


def test_all_positions_under_a_topics_name_are_told_the_last_moved_one_last(store: OrderStore) -> None:
    """Whatever the topic's id, with the epoch of the last message read; those of other topics aren't."""
    before, present = partition_of(0, topic_id="before"), partition_of(0, topic_id="present")
    store.commit(batch(advances=[Advance(before, None, 5, 3)]))
    store.commit(batch(advances=[Advance(present, None, 1), Advance(partition_of(0, topic="other"), None, 1)]))
    assert list(store.positions([P0.topic]).items()) == [(before, Position(5, 3)), (present, Position(1))]
    store.commit(batch(advances=[Advance(before, 5, 6, 4)]))
    assert list(store.positions([P0.topic]).items()) == [(present, Position(1)), (before, Position(6, 4))]


@pytest.mark.parametrize("loss", [Loss.LOG_TRUNCATED, Loss.POSITION_BEYOND_END])
def test_a_position_with_a_loss_moves_no_more(store: OrderStore, loss: Loss) -> None:
    """Whoever found it, nobody reads on there before it's accepted; the other positions move."""
    store.commit(batch(advances=[Advance(P0, None, 5, 3), Advance(P1, None, 5)]))
    store.stop(P0, 5, loss)
    assert store.positions([P0.topic]) == {P0: Position(5, 3, loss), P1: Position(5)}
    with pytest.raises(Fenced):
        store.commit(batch(advances=[Advance(P1, 5, 9), Advance(P0, 5, 9)]))
    assert offsets(store, [P0, P1]) == {P0: 5, P1: 5}
    store.commit(batch(advances=[Advance(P1, 5, 9)]))
    assert offsets(store, [P0, P1]) == {P0: 5, P1: 9}


def test_a_loss_at_a_position_that_has_moved_is_not_noted(store: OrderStore) -> None:
    """Another consumer has read on, or the loss is accepted already."""
    store.commit(batch(advances=[Advance(P0, None, 5)]))
    with pytest.raises(Fenced):
        store.stop(P0, 4, Loss.LOG_TRUNCATED)
    with pytest.raises(Fenced):
        store.stop(P1, 5, Loss.LOG_TRUNCATED)
    assert store.positions([P0.topic]) == {P0: Position(5)}


def test_a_fenced_batch_leaves_nothing(store: OrderStore, quarantine: QuarantineReader) -> None:
    """Neither its events, nor the positions of its other partitions, nor its quarantined messages."""
    store.commit(batch(advances=[Advance(P0, None, 5)]))
    with pytest.raises(Fenced):
        store.commit(batch(lifecycle(ONE), [Advance(P1, None, 3), Advance(P0, 4, 9)], [unreadable(P1, 2)]))
    assert store.load([ONE]) == {ONE: Order(ONE)}
    assert offsets(store, [P0, P1]) == {P0: 5}
    assert quarantine() == []


def test_a_stale_batch_leaves_nothing(store: OrderStore, quarantine: QuarantineReader) -> None:
    """One stale order among many: none of the others is stored, and the positions stay."""
    store.commit(batch(lifecycle(ONE)[:1], [Advance(P0, None, 1)]))
    with pytest.raises(StaleOrder):
        store.commit(batch([*lifecycle(OTHER), *lifecycle(ONE)], [Advance(P0, 1, 9)], [unreadable(P0, 5)]))
    assert store.load([ONE, OTHER]) == {ONE: fold(None, lifecycle(ONE)[:1]), OTHER: Order(OTHER)}
    assert offsets(store, [P0]) == {P0: 1}
    assert quarantine() == []


def test_events_positions_and_quarantine_are_stored_together(
    store: OrderStore, quarantine: QuarantineReader
) -> None:
    """One batch, one transaction."""
    store.commit(
        batch(lifecycle(ONE), [Advance(P0, None, 4), Advance(P1, None, 9)], [unreadable(P0, 3), unreadable(P1, 8)])
    )
    assert store.load([ONE])[ONE].version == 3
    assert offsets(store, [P0, P1]) == {P0: 4, P1: 9}
    assert quarantine() == [(0, 3, "not_json"), (1, 8, "not_json")]


def test_a_message_is_quarantined_once(store: OrderStore, quarantine: QuarantineReader) -> None:
    """Read again after a crash it is the same message: the first stands."""
    store.commit(batch(quarantined=[unreadable(P0, 3), unreadable(P0, 3, "bad_date")]))
    store.commit(batch(quarantined=[unreadable(P0, 3, "bad_amount"), unreadable(P0, 4, "bad_date")]))
    assert quarantine() == [(0, 3, "not_json"), (0, 4, "bad_date")]


def test_anything_can_be_quarantined(store: OrderStore, quarantine: QuarantineReader) -> None:
    """No key, no value, no headers, or any bytes in them; with the order's id or without."""
    store.commit(
        batch(
            quarantined=[
                unreadable(P0, 1, key=None, value=None, headers=()),
                unreadable(P0, 2, key=b"", value=b"", headers=(("", b""), ("ключ", None))),
                unreadable(P0, 2**62, order_id=OTHER, timestamp_ms=-1),
            ]
        )
    )
    assert [offset for _, offset, _ in quarantine()] == [1, 2, 2**62]


def test_an_empty_batch_is_stored_in_silence(store: OrderStore) -> None:
    """Nothing to do is no error."""
    store.commit(batch())
    assert store.load([ONE]) == {ONE: Order(ONE)}


def test_of_many_who_decide_at_once_one_wins_each_round(store: OrderStore) -> None:
    """Four threads add to one order, and try again when they are stale: all updates are there in the end."""
    store.commit(batch(lifecycle(ONE)[:1]))
    failures: list[BaseException] = []

    def add(thread: int) -> None:
        try:
            for number in range(5):
                at_ns = 10 + thread * 5 + number
                while True:
                    order = store.load([ONE])[ONE]
                    try:
                        store.commit(batch(decided(updated(order_id=ONE, at_ns=at_ns, offset=at_ns), order=order)))
                    except StaleOrder:
                        continue
                    break
        except BaseException as error:  # noqa: BLE001 - shown below, in the test's own thread
            failures.append(error)

    threads = [threading.Thread(target=add, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    order = store.load([ONE])[ONE]
    assert (order.version, order.updates_seen) == (21, 20)


def test_of_many_who_move_a_position_one_wins_each_round(store: OrderStore) -> None:
    """Of four that start from the same place exactly one gets through."""
    store.commit(batch(advances=[Advance(P0, None, 0)]))
    won: list[int] = []
    lost: list[int] = []
    barrier = threading.Barrier(4)

    def move(thread: int) -> None:
        barrier.wait()
        try:
            store.commit(batch(advances=[Advance(P0, 0, thread + 1)]))
        except Fenced:
            lost.append(thread)
        else:
            won.append(thread)

    threads = [threading.Thread(target=move, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(won), len(lost)) == (1, 3)
    assert offsets(store, [P0]) == {P0: won[0] + 1}
