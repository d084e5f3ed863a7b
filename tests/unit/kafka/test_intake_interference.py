"""Intake when others interfere, and what it remembers between batches."""

from decimal import Decimal

import pytest

from adapters.kafka.consumer.intake import MAX_DECIDING_ROUNDS, BatchOutcome, Limits
from adapters.kafka.consumer.pipeline import StorePipeline
from domain.identifiers import stream_id
from domain.messages import Kind
from domain.ports import Fenced, RewindSign, Rewound, StaleOrder, StoreUnavailable
from tests.support.intakes import LIFECYCLE, P0, P1, counted, counts, intake_of, order_in
from tests.support.memory_store import WatchedStore, offsets
from tests.support.messages import ORDER_ID, record, record_of


@pytest.fixture
def store() -> WatchedStore:
    return WatchedStore()


# When others interfere.


def test_a_stale_order_is_loaded_and_decided_again(store: WatchedStore) -> None:
    """Another process has stored the create on its partition while we held the update."""
    ours, theirs = intake_of(store, P0), intake_of(store, P1)

    def overtake() -> None:
        store.before_commit = lambda: None
        theirs.handle([record_of(Kind.CREATED, partition=1)])

    store.before_commit = overtake
    outcome = ours.handle([record_of(Kind.UPDATED, offset=0, at_ns=1)])
    assert counts(outcome) == counted({"cashback-updated": 1})
    assert [event.TOPIC for event in store.streams[stream_id(ORDER_ID)]] == ["cashback-created", "cashback-updated"]
    assert offsets(store, [P0, P1]) == {P0: 1, P1: 1}


def test_a_stale_order_in_the_cache_is_thrown_out(store: WatchedStore) -> None:
    """What we remember of an order may be old; the version check finds out, and then it is loaded afresh."""
    ours, theirs = intake_of(store, P0), intake_of(store, P1)
    ours.handle([record_of(Kind.CREATED, offset=0)])
    theirs.handle([record_of(Kind.UPDATED, partition=1, at_ns=1)])
    store.loaded.clear()
    assert counts(ours.handle([record_of(Kind.COMPLETED, offset=1, at_ns=2)])) == counted({"cashback-completed": 1})
    assert store.loaded == [[ORDER_ID]]
    assert order_in(store).version == 3


def test_orders_that_never_stand_still_make_the_store_unavailable(store: WatchedStore) -> None:
    """After some rounds the batch is given up; nothing of it is stored, and it can be tried again."""
    intake = intake_of(store)
    rounds = 0

    def always_stale() -> None:
        nonlocal rounds
        rounds += 1
        raise StaleOrder("again")

    store.before_commit = always_stale
    with pytest.raises(StoreUnavailable):
        intake.handle(LIFECYCLE)
    assert rounds == MAX_DECIDING_ROUNDS
    assert dict(intake.positions) == {P0: None}
    store.before_commit = lambda: None
    intake.handle(LIFECYCLE)
    assert order_in(store).version == 3


def test_a_fenced_batch_leaves_nothing_and_the_positions_must_be_asked_anew(store: WatchedStore) -> None:
    """A consumer that was thrown out of the group and doesn't know it writes nothing."""
    zombie, successor = intake_of(store), intake_of(store)
    successor.handle(LIFECYCLE[:2])
    with pytest.raises(Fenced):
        zombie.handle([LIFECYCLE[0], record(b"nonsense", offset=1)])
    assert store.quarantine == {}
    assert order_in(store).version == 2
    assert dict(zombie.positions) == {P0: None}
    zombie.assign([P0])
    assert zombie.positions == {P0: 2}
    zombie.handle(LIFECYCLE)
    assert order_in(store).status == "COMPLETED"


def test_a_commit_whose_answer_was_lost_is_found_out(store: WatchedStore) -> None:
    """The batch was stored, we didn't hear of it: the second try is fenced, and nothing is stored twice."""
    intake = intake_of(store)
    intake.handle(LIFECYCLE[:1])

    def store_and_fail() -> None:
        store.before_commit = lambda: None
        intake_of(store).handle(LIFECYCLE[1:])
        raise StoreUnavailable("the answer was lost")

    store.before_commit = store_and_fail
    with pytest.raises(StoreUnavailable):
        intake.handle(LIFECYCLE[1:])
    with pytest.raises(Fenced):
        intake.handle(LIFECYCLE[1:])
    intake.assign([P0])
    assert intake.handle(LIFECYCLE[1:]) == BatchOutcome()
    assert [event.TOPIC for event in store.streams[stream_id(ORDER_ID)]] == [
        "cashback-created",
        "cashback-updated",
        "cashback-completed",
    ]


# When the store goes back in time.


def test_what_the_store_has_lost_is_decided_again_once_positions_are_read_anew(store: WatchedStore) -> None:
    """What was remembered of the order would have made repeats of its messages."""
    intake = intake_of(store)
    intake.handle(LIFECYCLE[:1])
    earlier = store.moment()
    intake.handle(LIFECYCLE[1:])
    store.go_back(earlier)
    assert intake.set_back == {}
    intake.assign([P0])
    assert intake.set_back == {P0: (1, 3)}
    intake.handle(LIFECYCLE[:2])
    assert intake.set_back == {P0: (2, 3)}
    intake.handle(LIFECYCLE)
    assert intake.set_back == {}
    assert [event.TOPIC for event in store.streams[stream_id(ORDER_ID)]] == [
        "cashback-created",
        "cashback-updated",
        "cashback-completed",
    ]


def test_a_stream_that_lacks_what_was_decided_upon_gets_no_hole(store: WatchedStore) -> None:
    """Even where the position is as it was: the order's other messages came by another partition."""
    ours, theirs = intake_of(store, P0), intake_of(store, P1)
    earlier = store.moment()
    theirs.handle([record_of(Kind.CREATED, partition=1)])
    decided = ours.decide(ours.read([record_of(Kind.UPDATED, offset=0, at_ns=1)]))
    store.go_back(earlier)
    with pytest.raises(Rewound) as error:
        ours.commit(decided)
    assert error.value.sign is RewindSign.STREAM
    assert store.streams == {}
    assert offsets(store, [P0]) == {}


# A batch that is decided while the one before it is being stored.


def test_a_batch_is_decided_on_top_of_one_that_is_not_stored_yet(store: WatchedStore) -> None:
    """Nothing is loaded that the batch before has; and the positions are those after it."""
    intake = intake_of(store)
    first = intake.decide(intake.read(LIFECYCLE[:1]))
    second = intake.decide(intake.read(LIFECYCLE))
    assert dict(intake.positions) == {P0: None}
    assert store.loaded == [[ORDER_ID]]
    for each in (first, second):
        intake.commit(each)
        intake.settle(each)
    assert intake.positions == {P0: 3}
    assert order_in(store).status == "COMPLETED"
    assert [event.originator_version for event in store.streams[stream_id(ORDER_ID)]] == [1, 2, 3]


def test_if_a_batch_is_not_stored_what_was_decided_on_top_of_it_is_undone(store: WatchedStore) -> None:
    """It would have a gap below it."""
    intake, successor = intake_of(store), intake_of(store)
    first = intake.decide(intake.read(LIFECYCLE[:1]))
    second = intake.decide(intake.read(LIFECYCLE[1:]))
    successor.handle(LIFECYCLE[:1])
    with pytest.raises(Fenced):
        intake.commit(first)
    intake.undo()
    assert intake.is_undone(second)
    intake.assign([P0])
    intake.handle(LIFECYCLE)
    assert order_in(store).status == "COMPLETED"


def test_a_batch_on_top_of_a_stale_one_is_decided_again(store: WatchedStore) -> None:
    """Another process has stored the create that our first batch lacks: both batches of ours see it in the end."""
    ours, theirs = intake_of(store, P0), intake_of(store, P1)
    pipeline = StorePipeline(ours)
    pipeline.submit(ours.decide(ours.read([])))
    early = ours.decide(ours.read([record_of(Kind.UPDATED, offset=0, at_ns=1)]))
    later = ours.decide(ours.read([record_of(Kind.COMPLETED, offset=1, at_ns=2)]))
    theirs.handle([record_of(Kind.CREATED, partition=1)])
    attempts: list[str] = []
    store.before_commit = lambda: attempts.append("commit")
    pipeline.result()
    pipeline.submit(early)
    pipeline.result()
    assert len(attempts) == 2, "the second time it's decided about the order as it is"
    assert ours.is_undone(later)
    pipeline.submit(later)
    stored = pipeline.result()
    pipeline.close()
    assert len(attempts) == 3, "what was decided about another order is not even tried"
    assert stored is not None
    assert counts(stored.outcome) == counted({"cashback-completed": 1})
    assert [event.TOPIC for event in store.streams[stream_id(ORDER_ID)]] == [
        "cashback-created",
        "cashback-updated",
        "cashback-completed",
    ]


# The cache.


def test_an_order_in_the_cache_is_not_loaded_again(store: WatchedStore) -> None:
    """One query for the orders that we don't know, none if we know them all."""
    intake = intake_of(store)
    for each in LIFECYCLE:
        intake.handle([each])
    assert store.loaded == [[ORDER_ID]]
    assert order_in(store).version == 3


def test_the_order_that_was_used_longest_ago_leaves_the_cache_first(store: WatchedStore) -> None:
    """The memory is bounded."""
    intake = intake_of(store, limits=Limits(max_cached_orders=2))
    for offset, order_id in enumerate([1, 2, 1, 3]):
        intake.handle([record_of(Kind.UPDATED, order_id=order_id, offset=offset, at_ns=offset)])
    store.loaded.clear()
    for offset, order_id in enumerate([1, 3, 2], start=4):
        intake.handle([record_of(Kind.UPDATED, order_id=order_id, offset=offset, at_ns=offset)])
    assert store.loaded == [[2]]


def test_what_was_not_stored_is_not_remembered(store: WatchedStore) -> None:
    """After a failure the cache holds what is in the store, not what was decided in vain."""
    intake = intake_of(store)

    def fail() -> None:
        raise StoreUnavailable("down")

    store.before_commit = fail
    with pytest.raises(StoreUnavailable):
        intake.handle(LIFECYCLE)
    store.before_commit = lambda: None
    assert counts(intake.handle(LIFECYCLE[:1])) == counted({"cashback-created": 1})
    terms = order_in(store).terms
    assert terms is not None
    assert terms.cashback == Decimal(6)
