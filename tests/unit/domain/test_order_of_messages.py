"""What came before what: lanes, clocks, their tolerance, and copies without a place."""

from collections.abc import Callable
from decimal import Decimal

import pytest
from msgspec.structs import replace

from domain.decision import DEFAULT_POLICY, Policy
from domain.events import CashbackUpdated, Doubt, MessageEvent, MessageRejected, Refusal, UpdateSuperseded
from domain.lifecycle import Status
from domain.messages import Kind, Message, Origin, Place
from domain.order import Placed, order_key
from tests.support.messages import (
    NOON_NS,
    ORDER_ID,
    History,
    cancelled,
    completed,
    created,
    kinds_of,
    updated,
)

TOLERANCE_NS = 1000
MINUTE_NS = 60_000_000_000
POLICY = Policy(clock_tolerance_ns=TOLERANCE_NS)
UNCERTAIN = frozenset({Doubt.UNCERTAIN_ORDER})
CERTAIN: frozenset[Doubt] = frozenset()


def told(*arrivals: Message) -> History:
    return History(*arrivals, policy=POLICY)


def last(history: History) -> MessageEvent:
    return history.events[-1]


def test_the_clocks_of_publishers_are_trusted_to_a_minute() -> None:
    """The shop's policy unless told otherwise."""
    assert Policy(clock_tolerance_ns=60_000_000_000) == DEFAULT_POLICY


def test_on_one_partition_a_later_offset_wins_though_its_date_is_older() -> None:
    """Kafka's order within a partition is the order of publishing, whatever the clocks say."""
    history = told(created(), updated(at_ns=500, offset=1), updated(at_ns=400, offset=2, cashback="9"))
    assert isinstance(last(history), CashbackUpdated)
    assert last(history).effective_at_ns == NOON_NS + 501
    assert history.outcome == (Status.PENDING, Decimal(9))
    assert history.order.doubts == CERTAIN


@pytest.mark.parametrize("topic_id", ["topic-1", "topic-2"])
def test_a_lane_is_one_partition_of_one_generation_of_one_topic(topic_id: str) -> None:
    """Offsets of a topic that was made again, or of another topic, say nothing about those of the first."""
    history = told(created(), updated(at_ns=500, offset=1), updated(at_ns=400, offset=2, topic_id=topic_id))
    assert isinstance(last(history), CashbackUpdated) == (topic_id == "topic-1")
    elsewhere = told(created(), updated(at_ns=500, offset=1), updated(at_ns=400, offset=2, topic="other"))
    assert isinstance(last(elsewhere), UpdateSuperseded)


@pytest.mark.parametrize(
    ("distance_ns", "doubt"),
    [
        (1, Doubt.UNCERTAIN_ORDER),
        (TOLERANCE_NS, Doubt.UNCERTAIN_ORDER),
        (TOLERANCE_NS + 1, None),
    ],
)
def test_across_partitions_the_later_date_wins(distance_ns: int, doubt: Doubt | None) -> None:
    """Whichever comes first; closer than the tolerance, a person must look."""
    early = updated(at_ns=2000, partition=1, cashback="3")
    late = updated(at_ns=2000 + distance_ns, partition=2, cashback="4")
    in_order = told(created(), early, late)
    assert isinstance(last(in_order), CashbackUpdated)
    assert last(in_order).doubt == doubt
    assert in_order.outcome == (Status.PENDING, Decimal(4))
    overtaken = told(created(), late, early)
    assert overtaken.outcome == in_order.outcome
    superseded = last(overtaken)
    assert isinstance(superseded, UpdateSuperseded)
    assert (superseded.superseded_by_version, superseded.doubt) == (2, doubt)
    assert overtaken.order.superseded == 1
    assert overtaken.order.doubts == in_order.order.doubts


def test_equal_dates_on_two_partitions_have_one_order_and_a_doubt() -> None:
    """Both arrivals come to the same amount, and a person is asked."""
    one, other = (
        updated(at_ns=5, partition=1, cashback="3"),
        updated(at_ns=5, partition=2, cashback="4", transaction="x"),
    )
    histories = told(created(), one, other), told(created(), other, one)
    assert {history.outcome for history in histories} == {(Status.PENDING, Decimal(4))}
    assert [history.order.doubts for history in histories] == [UNCERTAIN, UNCERTAIN]


def test_an_update_is_measured_against_the_last_accepted_one_only() -> None:
    """A superseded update doesn't become the one to beat."""
    history = told(
        created(),
        updated(at_ns=9000, offset=1, cashback="9"),
        updated(at_ns=1000, partition=1, cashback="1"),
        updated(at_ns=5000, partition=2, cashback="5"),
    )
    assert kinds_of(history.events)[2:] == ["update-superseded", "update-superseded"]
    assert history.outcome == (Status.PENDING, Decimal(9))
    assert history.order.doubts == CERTAIN


def test_the_first_update_needs_no_date_to_be_after_the_create() -> None:
    """An update can't come before the create that it updates, whatever its date."""
    history = told(created(at_ns=50_000), updated(at_ns=0, partition=1, cashback="2"))
    assert history.outcome == (Status.PENDING, Decimal(2))
    assert history.order.doubts == CERTAIN


# The clock of a lane only grows.


def test_the_effective_time_grows_along_a_lane() -> None:
    """One nanosecond past the one before, or the message's own date if that is later still."""
    history = told(
        created(at_ns=100),
        updated(at_ns=100, offset=1),
        updated(at_ns=101, offset=2, transaction="x"),
        updated(at_ns=103, offset=3),
        updated(at_ns=1, offset=4),
    )
    assert [event.effective_at_ns - NOON_NS for event in history.events] == [100, 101, 102, 103, 104]


@pytest.mark.parametrize("stray", ["rejected", "negative", "held"])
def test_every_message_that_a_lane_has_seen_moves_its_clock(stray: str) -> None:
    """Also one that was refused or held: the next one in the lane was published later."""
    known = updated(at_ns=5000, partition=2, cashback="1")
    first = {
        "rejected": [created(), known, created(at_ns=5000, partition=1, transaction="x")],
        "negative": [created(), known, updated(at_ns=5000, partition=1, negative=True, transaction="x")],
        "held": [replace(known, partition=1), created()],
    }[stray]
    history = told(*first, updated(at_ns=10, partition=1, offset=1))
    assert last(history).effective_at_ns == NOON_NS + 5001


def test_the_clock_of_a_lane_never_goes_back() -> None:
    """A held message that is applied later leaves the clock where its lane has got to."""
    history = told(
        updated(at_ns=10, partition=1, offset=0),
        updated(at_ns=500, partition=1, offset=1),
        created(at_ns=0),
        updated(at_ns=20, partition=1, offset=2),
    )
    assert last(history).effective_at_ns == NOON_NS + 501


def test_the_clock_of_a_lane_never_goes_back_for_what_is_released() -> None:
    """Not even by two messages that say to lie at one offset: the second moved the clock on, then the first, which
    had been held, has its turn."""
    negative = created(offset=0, negative=True)
    history = told(updated(offset=0), negative, created(transaction="b", partition=1))
    assert kinds_of(history.events) == ["message-held", "message-rejected", "cashback-created", "cashback-updated"]
    [lane] = [lane for lane in history.order.lane_ends if lane.endswith("/0")]
    assert history.order.lane_ends[lane] == (0, NOON_NS + 1)


def test_the_clocks_of_lanes_are_apart() -> None:
    """A late date on one partition doesn't push messages of another."""
    history = told(created(at_ns=100), updated(at_ns=50, partition=1))
    assert last(history).effective_at_ns == NOON_NS + 50


@pytest.mark.parametrize("cashback", ["3", "7"])
def test_a_superseded_update_whose_order_is_uncertain_says_what_is_at_stake(cashback: str) -> None:
    """What it would have earned, less what counts."""
    early = updated(at_ns=1, partition=1, cashback=cashback)
    superseded = last(told(created(), updated(at_ns=2, partition=2, cashback="4"), early))
    assert isinstance(superseded, UpdateSuperseded)
    assert superseded.at_stake == Decimal(cashback) - 4


def test_the_same_update_under_two_identities_is_no_doubt_on_whatever_partition() -> None:
    """Whichever of them came last, the same amount counts."""
    update = updated(at_ns=1, partition=1, ce_id="a")
    history = told(created(), update, replace(update, identity="b", partition=2))
    assert len(history.events) == 3
    assert history.order.doubts == CERTAIN


def test_a_copy_without_a_place_is_certain_beyond_the_tolerance() -> None:
    """Its date says enough."""
    for at_ns in (1, 9000):
        history = told(created(), updated(at_ns=5000, offset=1), updated(at_ns=at_ns, offset=2, replay="r"))
        assert history.order.doubts == CERTAIN


def test_dates_say_nothing_against_the_numbers_of_the_publisher() -> None:
    """Not even far beyond the tolerance: the sequence is the truth."""
    history = told(
        created(sequence=1),
        updated(at_ns=10**6, sequence=2),
        updated(at_ns=0, sequence=3, cashback="2"),
        completed(at_ns=-(10**6), sequence=4),
    )
    assert history.outcome == (Status.COMPLETED, Decimal(2))
    assert history.order.doubts == CERTAIN


@pytest.mark.parametrize("odd_first", [True, False])
@pytest.mark.parametrize("witness_minute", [50, 58, 60, 62, 70])
def test_a_time_far_from_that_of_kafka_is_not_trusted(witness_minute: int, *, odd_first: bool) -> None:
    """Whichever of the two it is, and to whichever side: a publisher's clock is wrong, or the message is old."""
    odd = updated(at_ns=60 * MINUTE_NS, partition=1, timestamp_ms=witness_minute * 60_000)
    other = updated(at_ns=10 * MINUTE_NS, partition=2)
    history = History(created(), *([odd, other] if odd_first else [other, odd]))
    assert history.order.doubts == (CERTAIN if witness_minute == 60 else UNCERTAIN)


def test_a_time_that_its_lane_has_pushed_far_ahead_is_not_trusted() -> None:
    """The date is near Kafka's own; but the message counts with another time, after one dated hours ahead."""
    history = History(
        created(at_ns=180 * MINUTE_NS, partition=1, timestamp_ms=0),
        updated(at_ns=10 * MINUTE_NS, partition=1, offset=1),
        updated(at_ns=60 * MINUTE_NS, partition=2),
    )
    assert history.events[1].effective_at_ns == history.events[0].effective_at_ns + 1
    assert history.order.doubts == UNCERTAIN


def test_a_date_far_from_that_of_kafka_is_not_trusted_though_its_lane_has_pushed_it_there() -> None:
    """The time that it counts with is near Kafka's own, the date isn't: the publisher's clock is wrong."""
    history = History(
        created(at_ns=180 * MINUTE_NS, partition=1),
        updated(at_ns=10 * MINUTE_NS, partition=1, offset=1, timestamp_ms=180 * 60_000),
        updated(at_ns=60 * MINUTE_NS, partition=2),
    )
    assert history.order.doubts == UNCERTAIN


# Late updates.


@pytest.mark.parametrize(
    ("at_ns", "refusal", "doubt"),
    [
        (5000 - TOLERANCE_NS - 1, Refusal.LATE, Doubt.LATE),
        (4999, Refusal.LATE, Doubt.LATE),
        (5000, Refusal.LATE, Doubt.LATE),
        (5001, Refusal.AFTER_END, Doubt.UNCERTAIN_ORDER),
        (5000 + TOLERANCE_NS, Refusal.AFTER_END, Doubt.UNCERTAIN_ORDER),
        (5000 + TOLERANCE_NS + 1, Refusal.AFTER_END, None),
    ],
)
@pytest.mark.parametrize("end", [completed(at_ns=5000, offset=9), cancelled(at_ns=5000, offset=9)])
def test_an_update_that_arrives_after_the_end_is_late_unless_it_surely_happened_after_it(
    end: Message, at_ns: int, refusal: Refusal, doubt: Doubt | None
) -> None:
    """Before the end: late. Perhaps before: after the end, with a doubt. Surely after: an illegal step, no more."""
    history = told(created(), end, updated(at_ns=at_ns, partition=1))
    event = last(history)
    assert isinstance(event, MessageRejected)
    assert (event.refusal, event.doubt, event.against_version) == (refusal, doubt, 2)
    assert history.outcome == (end.kind.value, Decimal(6))


def test_an_update_at_a_later_offset_than_the_end_is_not_late_whatever_its_date() -> None:
    """On the end's own partition the offset tells that it was published after it; a date that says otherwise by
    more than clocks differ leaves a doubt."""
    for distance_ns, doubt in ((TOLERANCE_NS, None), (TOLERANCE_NS + 1, Doubt.UNCERTAIN_ORDER)):
        update = updated(at_ns=5000 - distance_ns, offset=2)
        event = last(told(created(), completed(at_ns=5000, offset=1), update))
        assert isinstance(event, MessageRejected)
        assert (event.refusal, event.doubt) == (Refusal.AFTER_END, doubt)


@pytest.mark.parametrize(
    ("gap_ns", "doubts"), [(0, CERTAIN), (TOLERANCE_NS, CERTAIN), (TOLERANCE_NS + 1, UNCERTAIN)]
)
@pytest.mark.parametrize("end", [completed, cancelled])
def test_an_end_after_an_update_that_surely_happened_later_is_accepted_with_a_doubt(
    gap_ns: int, doubts: frozenset[Doubt], end: Callable[..., Message]
) -> None:
    """The order ended before the update that has been accepted: a person must look."""
    history = told(created(), updated(at_ns=5000 + gap_ns, partition=1), end(at_ns=5000, offset=1))
    assert history.order.status in {Status.COMPLETED, Status.CANCELLED}
    assert history.order.doubts == doubts


# Copies sent by a replay.


def test_a_replayed_copy_has_no_place() -> None:
    """Where the copy lies says nothing about the place that its message had; a sequence does."""
    assert updated(replay="r").place is None
    assert updated(replay="r", sequence=7).place == Place("sequence", 7)
    assert updated(partition=3, offset=8).place == Place("order-cashback-promotion@topic-1/3", 8)
    assert updated(partition=3, offset=8, sequence=7).place == Place("sequence", 7)


@pytest.mark.parametrize("replay", [None, "r"])
def test_a_copy_that_tells_its_origin_has_the_place_and_the_witness_of_its_message(replay: str | None) -> None:
    """Wherever it lies itself, and whenever Kafka got it there; a sequence comes before all."""
    origin = Origin("old", "topic-0", 3, 8, 1_740_744_000_001)
    copy = updated(partition=1, offset=5, origin=origin, replay=replay)
    assert copy.place == Place("old@topic-0/3", 8)
    assert copy.witness_ns == 1_740_744_000_001_000_000
    assert replace(copy, sequence=7).place == Place("sequence", 7)
    assert replace(copy, origin=replace(origin, timestamp_ms=None)).witness_ns is None


@pytest.mark.parametrize(
    ("timestamp_ms", "witness_ns"), [(None, None), (-1, None), (0, None), (1, 1_000_000), (2, 2_000_000)]
)
def test_kafka_witnesses_when_it_got_a_message_where_it_knows(
    timestamp_ms: int | None, witness_ns: int | None
) -> None:
    """Zero and below stand for no timestamp; of a copy without an origin it says nothing about the message."""
    message = replace(updated(), timestamp_ms=timestamp_ms)
    assert message.witness_ns == witness_ns
    assert replace(message, replay="r").witness_ns is None


def test_a_replayed_copy_of_a_known_message_changes_nothing() -> None:
    """A republished message keeps the place that it had."""
    update = updated(at_ns=1, offset=1)
    history = told(created(), update, completed(at_ns=2, offset=2))
    copy = replace(update, replay="r", offset=7, partition=1)
    assert history.tell(copy) == ()
    assert history.order.doubts == CERTAIN


def test_a_replayed_copy_that_comes_first_is_taken_at_its_own_date() -> None:
    """It neither follows the clock of the partition that it lies on nor moves it."""
    history = told(created(at_ns=5000), updated(at_ns=10, offset=1, replay="r"), updated(at_ns=20, offset=2))
    assert [event.effective_at_ns - NOON_NS for event in history.events] == [5000, 10, 5001]


def test_the_original_of_a_replayed_copy_was_seen_elsewhere() -> None:
    """The copy was judged by its date alone; now the place is known, and a person must look."""
    copy = updated(at_ns=10, offset=5, replay="r")
    original = updated(at_ns=10, offset=1)
    history = told(created(), copy, completed(at_ns=20, partition=1))
    assert kinds_of(history.tell(original)) == ["repeat-seen-elsewhere"]
    assert history.order.doubts == UNCERTAIN


def test_two_replayed_copies_are_uncertain_within_the_tolerance() -> None:
    """Without a place there is no lane, not even a common one."""
    history = told(created(), updated(at_ns=20, offset=1, replay="r"), updated(at_ns=10, offset=2, replay="r"))
    assert isinstance(last(history), UpdateSuperseded)
    assert history.order.doubts == UNCERTAIN


def test_standings_of_one_instant_are_sorted_by_kind_then_place_then_content() -> None:
    """CREATED < UPDATED < the end, so that a story told in this order is a legal one; the time comes before all. No
    place comes before any."""

    def placed(kind: Kind, at_ns: int = 5, lane: str = "A", offset: int = 1, digest: str = "d") -> Placed:
        return Placed(kind, Place(lane, offset), at_ns, digest, 0, at_ns)

    in_order = [
        placed(Kind.COMPLETED, at_ns=4),
        Placed(Kind.CREATED, None, 5, "d", 0, 5),
        placed(Kind.CREATED),
        placed(Kind.UPDATED),
        placed(Kind.UPDATED, digest="e"),
        placed(Kind.UPDATED, offset=2),
        placed(Kind.UPDATED, lane="B", offset=0),
        placed(Kind.CANCELLED),
        placed(Kind.COMPLETED, digest="e"),
        placed(Kind.CANCELLED, digest="f"),
        placed(Kind.CREATED, at_ns=6),
    ]
    assert sorted(set(in_order), key=order_key) == in_order


@pytest.mark.parametrize("create_first", [True, False])
def test_two_replayed_copies_of_one_instant_have_one_order(*, create_first: bool) -> None:
    """Only their content tells them apart: the same one wins whichever comes first, and a person is asked."""
    one, other = (updated(at_ns=9, transaction=name, cashback=name, replay="r") for name in ("1", "2"))
    outcomes = set()
    for copies in ([one, other], [other, one]):
        history = told(created(), *copies) if create_first else told(*copies, created())
        outcomes.add(history.outcome)
        assert history.order.doubts == UNCERTAIN
    assert len(outcomes) == 1


def test_of_two_copies_that_nothing_tells_apart_the_first_stands() -> None:
    """The same content under two identities, without a place: no second call."""
    copy = updated(at_ns=9, replay="r", ce_id="a")
    history = told(created(), copy, replace(copy, identity="b"))
    assert isinstance(last(history), UpdateSuperseded)
    assert history.order.doubts == CERTAIN


def test_the_doubts_of_an_order_add_up() -> None:
    """Each kind of doubt is remembered, and none is forgotten when another comes."""
    history = told(
        created(),
        updated(at_ns=10, offset=1),
        updated(at_ns=10, offset=2, cashback="1"),
        updated(at_ns=11, partition=1),
        completed(at_ns=5000, offset=3),
        updated(at_ns=4000, partition=2),
    )
    assert history.order.doubts == {Doubt.LATE, Doubt.CONFLICT, Doubt.UNCERTAIN_ORDER}
    assert history.order.order_id == ORDER_ID
