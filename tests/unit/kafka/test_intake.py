"""Intake over a store in memory: batches, positions, quarantine, and what happens when others interfere."""

import pytest

from adapters.kafka.consumer.intake import BatchOutcome, Intake, Limits
from adapters.kafka.decoding.record import Record
from domain.decision import Policy
from domain.events import Doubt
from domain.messages import Kind
from domain.ports import Quarantined
from tests.support.intakes import LIFECYCLE, P0, P1, counted, counts, intake_of, order_in
from tests.support.memory_store import MemoryStore, WatchedStore, offsets
from tests.support.messages import NOW_NS, ORDER_ID, partition_of, record, record_of


@pytest.fixture
def store() -> WatchedStore:
    return WatchedStore()


# Batches and positions.


def test_a_batch_is_decided_and_stored_as_one(store: WatchedStore) -> None:
    """Events of all orders, quarantined messages, and the positions of all partitions, in one commit."""
    intake = intake_of(store, P0, P1)
    outcome = intake.handle(
        [
            *LIFECYCLE,
            record_of(Kind.CREATED, order_id=7, partition=1, offset=5),
            record(b"nonsense", partition=1, offset=6),
            record_of(Kind.CREATED, offset=3),
        ]
    )
    assert outcome.records == 6
    assert counts(outcome) == counted(
        {"cashback-created": 2, "cashback-updated": 1, "cashback-completed": 1, "repeat": 1}, {"not_json": 1}
    )
    assert len(store.batches) == 1
    assert store.loaded == [[7, ORDER_ID]]
    assert order_in(store).status == "COMPLETED"
    assert order_in(store, 7).status == "PENDING"
    assert offsets(store, [P0, P1]) == {P0: 4, P1: 7}
    assert dict(intake.positions) == {P0: 4, P1: 7}


def test_an_empty_batch_asks_nobody(store: WatchedStore) -> None:
    """No load, no commit."""
    assert intake_of(store).handle([]) == BatchOutcome()
    assert (store.loaded, store.batches) == ([], [])


def test_a_new_partition_has_no_position_and_an_old_one_goes_on(store: WatchedStore) -> None:
    """None means: from the beginning."""
    intake_of(store).handle(LIFECYCLE)
    intake = Intake(store)
    intake.assign([P0, P1])
    assert intake.positions == {P0: 3, P1: None}


def test_records_below_the_position_are_passed_over(store: WatchedStore) -> None:
    """A batch that comes again after a crash or a seek is known by its offsets alone."""
    intake_of(store).handle(LIFECYCLE)
    again = intake_of(store)
    assert again.handle(LIFECYCLE) == BatchOutcome()
    outcome = again.handle([*LIFECYCLE, record_of(Kind.CREATED, order_id=7, offset=3)])
    assert outcome.records == 1
    assert len(store.batches) == 2
    assert offsets(store, [P0]) == {P0: 4}


def test_records_of_partitions_that_are_not_ours_are_passed_over(store: WatchedStore) -> None:
    """Not assigned, given away, or of another generation of the topic."""
    intake = intake_of(store, P0, P1)
    intake.revoke([P0, partition_of(9)])
    foreign = Record(partition_of(1, topic_id="made again"), 0, None, b"7", b"{}")
    assert intake.handle([*LIFECYCLE, foreign]) == BatchOutcome()
    assert dict(intake.positions) == {P1: None}


def test_offsets_may_have_gaps(store: WatchedStore) -> None:
    """Compaction and transactions leave some; the position is one past the last record."""
    intake = intake_of(store)
    intake.handle([record_of(Kind.CREATED, offset=100), record_of(Kind.UPDATED, offset=250, at_ns=1)])
    assert offsets(store, [P0]) == {P0: 251}


def test_the_decisions_of_a_batch_build_on_one_another(store: WatchedStore) -> None:
    """The second message of an order sees what the first one did, before anything is stored."""
    early = [LIFECYCLE[1], LIFECYCLE[2], record_of(Kind.CREATED, offset=3)]
    outcome = intake_of(store).handle(early)
    assert counts(outcome) == counted(
        {"message-held": 2, "cashback-created": 1, "cashback-updated": 1, "cashback-completed": 1}
    )
    assert [event.originator_version for event in store.batches[0].events] == [1, 2, 3, 4, 5]
    assert {event.recorded_at_ns for event in store.batches[0].events} == {NOW_NS}


def test_the_policy_is_the_shops(store: WatchedStore) -> None:
    """How far clocks may be trusted is a setting."""
    records = [
        record_of(Kind.CREATED, offset=0),
        record_of(Kind.UPDATED, offset=1, at_ns=10),
        record_of(Kind.UPDATED, partition=1, at_ns=20),
    ]
    intake_of(store, P0, P1, policy=Policy(clock_tolerance_ns=9)).handle(records)
    assert order_in(store).doubts == frozenset()
    other = MemoryStore()
    intake_of(other, P0, P1, policy=Policy(clock_tolerance_ns=10)).handle(records)
    assert order_in(other).doubts == {Doubt.UNCERTAIN_ORDER}


# Quarantine.


def test_a_message_that_cannot_be_read_is_kept_as_it_came(store: WatchedStore) -> None:
    """Bytes, headers, coordinates, reason; and the partition goes on."""
    bad = Record(P0, 0, 1_740_744_000_000, b"\xff", b"\x00", (("h", b"\xfe"), ("h", None)))
    intake_of(store).handle([bad, record_of(Kind.CREATED, offset=1)])
    (kept,) = store.quarantine.values()
    assert kept == Quarantined(
        partition=P0,
        offset=0,
        timestamp_ms=1_740_744_000_000,
        key=b"\xff",
        value=b"\x00",
        headers=(("h", b"\xfe"), ("h", None)),
        order_id=None,
        reason="not_json",
        detail=kept.detail,
    )
    assert kept.detail
    assert order_in(store).status == "PENDING"
    assert offsets(store, [P0]) == {P0: 2}


def test_the_order_of_a_message_that_cannot_be_read_is_kept_if_it_is_known(store: WatchedStore) -> None:
    """So that it can be found with its order."""
    intake_of(store).handle([record_of(Kind.CREATED, transactionDate="yesterday")])
    (kept,) = store.quarantine.values()
    assert (kept.order_id, kept.reason) == (ORDER_ID, "bad_date")


def test_a_message_larger_than_the_limit_is_quarantined(store: WatchedStore) -> None:
    """The limit is the shop's."""
    size = len(LIFECYCLE[0].value or b"")
    outcome = intake_of(store, limits=Limits(max_message_bytes=size - 1)).handle(LIFECYCLE[:1])
    assert counts(outcome) == counted({}, {"too_large": 1})
    assert counts(intake_of(MemoryStore(), limits=Limits(max_message_bytes=size)).handle(LIFECYCLE[:1])) == counted(
        {"cashback-created": 1}
    )


def test_an_order_takes_as_many_decisions_as_the_limit_and_not_one_more(store: WatchedStore) -> None:
    """What is beyond it goes to quarantine; repeats and other orders go on."""
    intake = intake_of(store, limits=Limits(max_order_events=3))
    outcome = intake.handle(
        [
            *LIFECYCLE,
            record_of(Kind.UPDATED, offset=3, at_ns=9),
            record_of(Kind.CREATED, offset=4),
            record_of(Kind.CREATED, order_id=7, offset=5),
        ]
    )
    assert counts(outcome) == counted(
        {"cashback-created": 2, "cashback-updated": 1, "cashback-completed": 1, "repeat": 1}, {"order_full": 1}
    )
    assert order_in(store).version == 3
    (kept,) = store.quarantine.values()
    assert (kept.offset, kept.reason, kept.order_id) == (3, "order_full", ORDER_ID)
    assert "3" in kept.detail
    assert offsets(store, [P0]) == {P0: 6}


def test_a_decision_with_releases_fits_as_a_whole_or_not_at_all(store: WatchedStore) -> None:
    """Half of what a create releases would be worse than none of it."""
    held = [record_of(Kind.UPDATED, offset=n, at_ns=n) for n in range(2)]
    intake = intake_of(store, limits=Limits(max_order_events=4))
    outcome = intake.handle([*held, record_of(Kind.CREATED, offset=2)])
    assert counts(outcome) == counted({"message-held": 2}, {"order_full": 1})
    assert order_in(store).status == "NOT_CREATED"
    roomy = MemoryStore()
    intake_of(roomy, limits=Limits(max_order_events=5)).handle([*held, record_of(Kind.CREATED, offset=2)])
    assert (order_in(roomy).status, order_in(roomy).version) == ("PENDING", 5)
