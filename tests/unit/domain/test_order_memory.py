"""What an order remembers: who was seen where, when what happened, and what is still in doubt."""

from collections.abc import Callable, Sequence
from decimal import Decimal

import pytest
from msgspec.structs import replace

from domain.decision import Policy, decide
from domain.events import Doubt, MessageEvent, MessageRejected, Refusal
from domain.messages import Message
from domain.order import Cancelled, Completed, OpenDoubt, Order, amount_owed, fold, placed_of
from tests.support.messages import (
    NOW_NS,
    ORDER_ID,
    SECOND_NS,
    History,
    cancelled,
    completed,
    created,
    kinds_of,
    updated,
)

LANE = "order-cashback-promotion@topic-1/{}"
CORRECTING = Policy(corrections=True)


# A message that comes later than others behind it in its lane.


def times_of(order: Order) -> dict[str, object]:
    """Every time that the order knows, by the content of the message that has it."""
    standings = {"seen_messages": [seen.placed for seen in order.seen_messages]}
    if order.terms is not None:
        standings["terms"] = [each for each in (order.terms.created, order.terms.update) if each is not None]
    if isinstance(order.stage, Completed | Cancelled):
        standings["end"] = [order.stage.end]
    times: dict[str, object] = {
        name: {each.digest: each.effective_at_ns for each in several} for name, several in standings.items()
    }
    times["held"] = {held.message.digest: held.effective_at_ns for held in order.held}
    times["lanes"] = dict(order.lane_ends)
    return times


@pytest.mark.parametrize(
    ("arrivals", "late"),
    [
        (
            [created(at_ns=0, offset=0), updated(at_ns=20, offset=3), updated(at_ns=15, offset=2)],
            [updated(at_ns=at_ns, offset=1) for at_ns in (1, 14, 16, 19, 22, 99)],
        ),
        (
            [
                created(at_ns=10, offset=0),
                updated(at_ns=30, offset=1),
                updated(at_ns=60, offset=5),
                completed(at_ns=90, offset=6),
            ],
            [updated(at_ns=at_ns, offset=3) for at_ns in (5, 40, 61, 99)],
        ),
        (
            [created(at_ns=10, offset=1), cancelled(at_ns=20, offset=2)],
            [updated(at_ns=at_ns, offset=0, negative=True) for at_ns in (5, 15, 99)],
        ),
        (
            [created(at_ns=10, offset=1)],
            [updated(at_ns=at_ns, offset=0) for at_ns in (5, 15)],
        ),
        (
            [updated(at_ns=10, offset=0), updated(at_ns=30, offset=2), completed(at_ns=40, offset=3)],
            [updated(at_ns=at_ns, offset=1) for at_ns in (5, 29, 35, 99)],
        ),
    ],
)
def test_a_late_message_leaves_the_times_that_there_are_in_the_order_of_the_lane(
    arrivals: list[Message], late: list[Message]
) -> None:
    """Whenever it came: all times, of the order's terms and of what is held too, are the same."""
    apart = (updated(at_ns=50, partition=1, negative=True), updated(at_ns=51, replay="r", negative=True))
    for message in late:
        history = History(*apart, *arrivals, message)
        in_order = History(*apart, *sorted([*arrivals, message], key=lambda each: each.offset))
        assert times_of(history.order) == times_of(in_order.order)
        assert history.order.lane_ends.keys() == {LANE.format(0), LANE.format(1)}


def test_a_late_message_does_not_push_one_that_waits_for_its_number() -> None:
    """That one's time is made when its turn comes."""
    history = History(created(sequence=1), updated(at_ns=4, sequence=4), updated(at_ns=9, sequence=9))
    history.release((2, 3))
    history.tell(updated(at_ns=50, sequence=3))
    [waiting] = history.order.held
    assert waiting.effective_at_ns == waiting.message.happened_at_ns
    lane_ends = history.order.lane_ends["sequence"]
    assert lane_ends == (4, history.events[-1].effective_at_ns + 1)


def test_a_message_whose_number_is_taken_counts_as_later_than_that_one() -> None:
    """The evidence has a time of its own, and moves no clock."""
    history = History(created(sequence=1), updated(at_ns=50, sequence=2), updated(at_ns=80, sequence=3))
    lane_ends = history.order.lane_ends
    for number, at_ns in ((2, 1), (3, 81)):
        [event] = history.tell(completed(at_ns=5, sequence=number, content=f"{number}"))
        assert isinstance(event, MessageRejected)
        assert event.refusal is Refusal.SEQUENCE_TAKEN
        assert event.effective_at_ns - history.events[0].effective_at_ns == max(at_ns, 5)
        assert history.order.lane_ends == lane_ends


def test_a_message_whose_number_was_taken_moves_no_time_in_its_lane() -> None:
    """Not that of a number that was given up and comes after all, nor of what is behind that one."""
    late = updated(at_ns=4, sequence=4, cashback="4")
    arrivals = (created(), updated(at_ns=1, offset=1), completed(at_ns=10**15, sequence=2))
    history = History(*arrivals, updated(at_ns=5, sequence=5, cashback="5"))
    history.release((3, 4))
    history.tell(late)
    assert history.events[-1].effective_at_ns == late.happened_at_ns
    history.tell(updated(at_ns=7_200 * SECOND_NS, offset=2, cashback="9"))
    assert history.outcome == ("PENDING", Decimal(9))


def test_a_message_that_waited_for_a_number_that_was_then_taken_moves_no_time_either() -> None:
    """It waited in vain."""
    late = updated(at_ns=5, sequence=5)
    usurper = completed(at_ns=10**15, sequence=3)
    history = History(created(sequence=1), updated(at_ns=3, sequence=3), usurper, updated(at_ns=2, sequence=2))
    assert (kinds_of(history.events)[-1], history.events[-1].held_version) == ("message-rejected", 3)
    history.tell(updated(at_ns=6, sequence=6))
    history.release((4, 5))
    history.tell(late)
    assert history.events[-1].effective_at_ns == late.happened_at_ns


# Who was seen where.


def test_a_message_that_waited_is_remembered_with_the_event_that_decided_about_it() -> None:
    """And once: one place, one identity."""
    update = updated(at_ns=5, offset=1, ce_id="a")
    history = History(updated(at_ns=9, offset=2), update, created())
    assert [(each.digest, each.version) for each in history.order.history()] == [
        (history.events[2].message.digest, 3),
        (update.digest, 4),
        (history.events[0].message.digest, 5),
    ]
    seen = history.order.seen_message_of(update)
    assert seen is not None
    assert (seen.lanes, seen.identities, seen.counts) == ((LANE.format(0),), ("a",), True)


def test_a_copy_elsewhere_leaves_the_message_where_it_was() -> None:
    """It counts with its first place and time; both places are known from then on."""
    update = updated(at_ns=5, offset=1)
    history = History(created(), update)
    before = history.order.history()
    history.tell(replace(update, partition=1, offset=7))
    assert history.order.history() == before
    seen = history.order.seen_message_of(update)
    assert seen is not None
    assert seen.lanes == (LANE.format(0), LANE.format(1))
    for partition in (0, 1):
        assert history.tell(replace(update, partition=partition, offset=9)) == ()


@pytest.mark.parametrize(("first", "second"), [(None, "a"), ("a", None)])
def test_a_message_is_known_by_every_name_that_it_came_under(first: str | None, second: str | None) -> None:
    """Another content under one of them contradicts it."""
    history = History(created(), updated(at_ns=5, offset=1, ce_id=first))
    history.tell(updated(at_ns=5, partition=1, ce_id=second))
    [event] = history.tell(completed(at_ns=9, offset=2, ce_id="a"))
    assert isinstance(event, MessageRejected)
    assert event.refusal is Refusal.CONFLICT


def test_a_name_belongs_to_the_message_that_came_under_it_first() -> None:
    """A copy of another one that borrows it doesn't take it along."""
    update = updated(at_ns=5, offset=1)
    history = History(created(ce_id="a"), update, replace(update, identity="a", partition=1))
    assert kinds_of(history.events)[2:] == ["repeat-seen-elsewhere"]
    assert [seen.identities for seen in history.order.seen_messages] == [("a",), (update.digest,)]


def test_a_copy_without_a_name_is_a_copy_of_the_first_that_it_may_be_one_of() -> None:
    """Two facts of one content, on two partitions: the place of the first one is in question."""
    update = updated(at_ns=5, offset=1, ce_id="a")
    history = History(created(), update, replace(update, identity="b", partition=1))
    copy = replace(update, identity=update.digest, partition=1, offset=7)
    assert kinds_of(history.tell(copy)) == ["repeat-seen-elsewhere"]


@pytest.mark.parametrize(("first", "second"), [(None, 2), (2, None)])
def test_a_copy_that_lacks_the_number_is_a_copy_under_whatever_name(first: int | None, second: int | None) -> None:
    """The content says that it is the same; that names differ says nothing where one has a number."""
    update = updated(at_ns=5, offset=1, sequence=first, ce_id="a")
    history = History(created(sequence=first and 1), update)
    assert history.tell(replace(update, sequence=second, identity="b")) == ()


# Contradictions.


def test_a_contradiction_of_a_numbered_fact_needs_no_number() -> None:
    """One fact can't have two contents."""
    history = History(created(sequence=1), updated(at_ns=5, sequence=2, transaction="t"))
    [event] = history.tell(updated(at_ns=5, transaction="t", cashback="9"))
    assert isinstance(event, MessageRejected)
    assert event.refusal is Refusal.CONFLICT


def test_what_contradicts_the_name_of_a_held_message_does_not_stop_it() -> None:
    """Only the first content under a name decides."""
    held = updated(at_ns=9, sequence=3, ce_id="a", cashback="2")
    history = History(created(sequence=1), held, updated(at_ns=5, offset=7, ce_id="a", cashback="9"))
    assert kinds_of(history.events)[2:] == ["message-rejected"]
    assert kinds_of(history.tell(updated(at_ns=3, sequence=2))) == ["cashback-updated", "cashback-updated"]
    assert history.outcome == ("PENDING", Decimal(2))


def test_what_contradicts_a_held_fact_does_not_stop_it() -> None:
    """Nor does another content of the same transaction and date."""
    held = updated(at_ns=9, sequence=3, cashback="2")
    history = History(created(sequence=1), held, updated(at_ns=9, offset=7, cashback="9"))
    assert kinds_of(history.events)[2:] == ["message-rejected"]
    assert kinds_of(history.tell(updated(at_ns=3, sequence=2))) == ["cashback-updated", "cashback-updated"]
    assert history.outcome == ("PENDING", Decimal(2))


def test_a_number_below_those_that_came_without_one_is_taken() -> None:
    """The unstamped messages counted; nobody has given their numbers up. What is refused begins no stamps."""
    history = History(created(), updated(at_ns=5, offset=1))
    [event] = history.tell(cancelled(at_ns=9, sequence=2))
    assert isinstance(event, MessageRejected)
    assert event.refusal is Refusal.SEQUENCE_TAKEN
    history.tell(updated(at_ns=10, offset=2))
    assert history.order.last_sequence == 3


def test_an_end_that_is_held_twice_is_seen_once() -> None:
    """First for its number, then for its create."""
    history = History(completed(at_ns=9, sequence=2), updated(at_ns=1, sequence=1))
    assert kinds_of(history.events) == ["message-held"] * 3
    assert (history.order.updates_seen, history.order.ends_seen) == (1, 1)


# When.


def test_an_order_knows_when_it_began_and_when_it_was_last_decided_about() -> None:
    """By a message or by a person; and since when each doubt is open."""
    order = Order(ORDER_ID)
    assert (order.began_at_ns, order.recorded_at_ns) == (0, 0)
    arrivals: list[Message] = [created(), completed(at_ns=1, offset=1), cancelled(at_ns=2, offset=2)]
    for now_ns, message in enumerate(arrivals, start=100):
        order = fold(order, decide(order, message, now_ns=now_ns)) or order
    assert (order.began_at_ns, order.recorded_at_ns) == (100, 102)
    assert order.open_doubts == (OpenDoubt(Doubt.AFTER_END, 3, 102, Decimal(-6)),)


# Doubts of streams that were written before their events told them.


def without_doubt_of_repeat(events: Sequence[MessageEvent]) -> list[MessageEvent]:
    def stripped(event: MessageEvent) -> MessageEvent:
        kept = [doubt for doubt in event.doubts if doubt is not Doubt.UNCERTAIN_ORDER]
        return replace(event, doubt=kept[0] if kept else None, further_doubts=tuple(kept[1:]))

    return [stripped(event) for event in events]


def test_an_old_stream_has_the_doubt_of_a_repeat_elsewhere_too() -> None:
    """Once, by the event by which the repeat mattered, beside whatever else is in doubt there."""
    update = updated(at_ns=1, offset=5)
    history = History(
        created(),
        update,
        replace(update, partition=1),
        completed(at_ns=9, offset=6, buyer="9"),
        updated(at_ns=11, offset=8, cashback="7"),
    )
    order = fold(None, without_doubt_of_repeat(history.events))
    assert order is not None
    assert order.open_doubts == (
        OpenDoubt(Doubt.BUYER_CHANGED, 4, NOW_NS, Decimal(0)),
        OpenDoubt(Doubt.UNCERTAIN_ORDER, 4, NOW_NS, None),
        OpenDoubt(Doubt.AFTER_END, 5, NOW_NS, Decimal(1)),
    )
    assert [(each.doubt, each.version) for each in history.order.open_doubts] == [
        (each.doubt, each.version) for each in order.open_doubts
    ]


def test_a_doubt_of_before_is_not_taken_for_that_of_a_repeat() -> None:
    """An earlier event raised one of the same kind."""
    update = updated(at_ns=1, offset=5)
    history = History(created(), update, updated(at_ns=2, partition=2), replace(update, partition=1))
    assert [(each.doubt, each.version) for each in history.order.open_doubts] == [
        (Doubt.UNCERTAIN_ORDER, 3),
        (Doubt.UNCERTAIN_ORDER, 4),
    ]
    stream = [*history.events[:3], *without_doubt_of_repeat(history.events[3:])]
    order = fold(None, stream)
    assert order is not None
    assert [(each.doubt, each.version) for each in order.open_doubts] == [
        (Doubt.UNCERTAIN_ORDER, 3),
        (Doubt.UNCERTAIN_ORDER, 4),
    ]


# What is owed, and under which terms.


@pytest.mark.parametrize(
    ("history", "owed"),
    [
        ([], 0),
        ([created()], 0),
        ([created(), updated(at_ns=1, cashback="2")], 0),
        ([created(), completed(at_ns=1)], 6),
        ([created(), completed(at_ns=1), cancelled(at_ns=2)], 0),
        ([created(), completed(at_ns=1), cancelled(at_ns=2), completed(at_ns=3)], 6),
        ([created(at_ns=5), updated(at_ns=1, cashback="2"), completed(at_ns=9)], 2),
        ([completed(at_ns=9), updated(at_ns=7, cashback="3"), updated(at_ns=1, cashback="2"), created()], 3),
    ],
)
def test_what_is_owed_follows_from_the_messages_in_their_right_order(history: list[Message], owed: int) -> None:
    """The create first, whatever its date; nothing, unless the last end completes."""
    assert amount_owed([placed_of(each, each.happened_at_ns, 0) for each in history]) == owed


@pytest.mark.parametrize(
    "refused",
    [
        updated(at_ns=5, offset=5, cashback="50", buyer="9"),
        updated(at_ns=5, offset=5, cashback="-50", negative=True),
        updated(at_ns=1, offset=5, cashback="50"),
        created(at_ns=5, offset=5, cashback="50"),
    ],
)
def test_what_was_refused_does_not_count_in_corrections(refused: Message) -> None:
    """Taken back and given again, the amount is the one of the messages that count."""
    history = History(created(), updated(at_ns=1, offset=1, cashback="2"), completed(at_ns=2, offset=2))
    history = History(*[event.message for event in history.events], refused, policy=CORRECTING)
    assert kinds_of(history.events)[3:] == ["message-rejected"]
    history.tell(cancelled(at_ns=6, offset=6))
    assert history.outcome == ("COMPLETED", Decimal(0))
    history.tell(completed(at_ns=7, offset=7))
    assert history.outcome == ("COMPLETED", Decimal(2))


@pytest.mark.parametrize("cashback", ["2", "6"])
@pytest.mark.parametrize("end", [completed, cancelled])
def test_an_update_after_the_end_is_in_force_and_the_end_stays(end: Callable[..., Message], cashback: str) -> None:
    """Where the third party takes corrections, also if the update happened before the end."""
    history = History(
        created(store="5"),
        end(at_ns=5 * SECOND_NS, offset=5),
        updated(at_ns=SECOND_NS, offset=1, store="7", cashback=cashback),
        policy=CORRECTING,
    )
    stage = history.order.stage
    assert isinstance(stage, Completed | Cancelled)
    assert stage.terms.update is not None
    assert (stage.terms.update.version, stage.terms.store_no, stage.end.version) == (3, "7", 2)


def test_the_store_of_an_order_is_that_of_its_create() -> None:
    """Until an update names another one."""
    order = History(created(store="5")).order
    assert order.terms is not None
    assert order.terms.store_no == "5"
