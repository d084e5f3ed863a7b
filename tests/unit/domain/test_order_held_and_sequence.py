"""Messages that wait: for their order's create, or for the numbers before theirs."""

from collections.abc import Callable
from decimal import Decimal
from itertools import permutations

import pytest
from msgspec.structs import replace

from domain.decision import Policy
from domain.events import CashbackCompleted, Doubt, MessageEvent, MessageHeld, MessageRejected, Refusal, WaitsFor
from domain.lifecycle import Status
from domain.messages import Kind, Message
from tests.support.messages import History, cancelled, completed, created, kinds_of, message, updated

TOLERANCE_NS = 1000
POLICY = Policy(clock_tolerance_ns=TOLERANCE_NS)
STAMPED = [
    created(at_ns=900, sequence=1, cashback="1"),
    updated(at_ns=500, sequence=2, cashback="2"),
    updated(at_ns=700, sequence=3, cashback="3"),
    completed(at_ns=100, sequence=4),
]


def told(*arrivals: Message) -> History:
    return History(*arrivals, policy=POLICY)


def rejection(events: tuple[MessageEvent, ...]) -> MessageRejected:
    event = events[0]
    assert isinstance(event, MessageRejected)
    return event


# Waiting for the create.


def test_the_create_releases_what_waited_in_the_order_in_which_it_happened() -> None:
    """Across partitions the dates decide; the first event is about the create itself."""
    history = told(
        completed(at_ns=9000, partition=3),
        updated(at_ns=7000, partition=2, cashback="7"),
        updated(at_ns=4000, partition=1, cashback="4"),
    )
    events = history.tell(created())
    assert kinds_of(events) == ["cashback-created", "cashback-updated", "cashback-updated", "cashback-completed"]
    assert [event.message.cashback for event in events[1:3]] == [Decimal(4), Decimal(7)]
    assert [event.held_version for event in events] == [None, 3, 2, 1]
    assert history.outcome == (Status.COMPLETED, Decimal(7))
    assert history.order.held == ()
    assert history.order.doubts == frozenset()


def test_on_one_partition_what_waited_is_released_in_the_order_of_offsets() -> None:
    """Dates that go backwards along the partition change nothing."""
    history = told(
        updated(at_ns=900, offset=0), updated(at_ns=10, offset=1, cashback="2"), cancelled(at_ns=5, offset=2)
    )
    assert kinds_of(history.tell(created(at_ns=1, offset=3))) == [
        "cashback-created",
        "cashback-updated",
        "cashback-updated",
        "cashback-cancelled",
    ]
    assert history.outcome == (Status.CANCELLED, Decimal(2))
    assert history.order.doubts == frozenset()


@pytest.mark.parametrize(("distance_ns", "is_before"), [(0, True), (TOLERANCE_NS, True), (TOLERANCE_NS + 1, False)])
def test_a_waiting_update_goes_before_the_end_unless_it_surely_came_after(
    distance_ns: int, *, is_before: bool
) -> None:
    """Within the clocks' tolerance a legal lifecycle is the likelier story, and the update isn't lost."""
    update = updated(at_ns=5000 + distance_ns, partition=1, cashback="2")
    history = told(completed(at_ns=5000, partition=2), update)
    events = history.tell(created())
    if is_before:
        assert kinds_of(events) == ["cashback-created", "cashback-updated", "cashback-completed"]
        assert history.outcome == (Status.COMPLETED, Decimal(2))
    else:
        assert kinds_of(events) == ["cashback-created", "cashback-completed", "message-rejected"]
        assert events[2].held_version == 2
    assert history.order.doubts == (frozenset() if is_before else {Doubt.AFTER_END})


def test_several_waiting_updates_go_before_the_end_in_their_own_order() -> None:
    """The end waits for all that may have come before it, not only for the first."""
    arrivals = [
        completed(at_ns=5000, partition=2),
        updated(at_ns=5900, partition=1, cashback="3"),
        updated(at_ns=5800, partition=3, cashback="2"),
    ]
    for order in permutations(arrivals):
        history = told(*order, created())
        assert history.outcome == (Status.COMPLETED, Decimal(3))
        assert kinds_of(history.accepted) == [
            "cashback-created",
            "cashback-updated",
            "cashback-updated",
            "cashback-completed",
        ]


def test_two_waiting_updates_are_released_by_their_dates_though_clocks_may_differ() -> None:
    """Within the tolerance too: neither is superseded, and a person is asked."""
    early, late = updated(at_ns=5000, partition=1, cashback="5"), updated(at_ns=5100, partition=2, cashback="7")
    for arrivals in permutations([early, late]):
        history = told(*arrivals, created())
        assert kinds_of(history.accepted) == ["cashback-created", "cashback-updated", "cashback-updated"]
        assert history.outcome == (Status.PENDING, Decimal(7))
        assert history.order.doubts == {Doubt.UNCERTAIN_ORDER}


def test_a_waiting_update_goes_after_an_end_before_it_in_its_lane_whatever_its_date() -> None:
    """The offset decides; the date that contradicts it leaves a doubt."""
    history = told(
        completed(at_ns=5000, offset=1), updated(at_ns=5000 - TOLERANCE_NS - 1, offset=2), created(offset=3)
    )
    assert kinds_of(history.events)[2:] == ["cashback-created", "cashback-completed", "message-rejected"]
    assert history.order.doubts == {Doubt.UNCERTAIN_ORDER}


def test_of_two_waiting_ends_the_earlier_one_counts() -> None:
    """The later one is rejected against it."""
    history = told(completed(at_ns=9000, partition=1), cancelled(at_ns=5000, partition=2))
    events = history.tell(created())
    assert kinds_of(events) == ["cashback-created", "cashback-cancelled", "message-rejected"]
    rejected = events[2]
    assert isinstance(rejected, MessageRejected)
    assert (rejected.refusal, rejected.against_version, rejected.held_version) == (Refusal.ENDED_TWICE, 4, 1)


def test_of_two_waiting_ends_too_close_to_tell_the_earlier_one_counts_after_the_updates() -> None:
    """Only updates go before an end that came before them; a person is asked which end it was."""
    arrivals = [
        completed(at_ns=5000, partition=1),
        cancelled(at_ns=5100, partition=2),
        updated(at_ns=5200, partition=3, cashback="2"),
    ]
    for order in permutations(arrivals):
        history = told(*order, created())
        assert kinds_of(history.events)[4:] == ["cashback-updated", "cashback-completed", "message-rejected"]
        assert history.outcome == (Status.COMPLETED, Decimal(2))
        assert history.order.doubts == {Doubt.UNCERTAIN_ORDER}


def test_a_waiting_end_without_a_place_has_its_date() -> None:
    """A replayed copy goes after the updates that may have come before it."""
    for distance_ns, outcome in ((TOLERANCE_NS, Decimal(2)), (TOLERANCE_NS + 1, Decimal(6))):
        update = updated(at_ns=5000 + distance_ns, offset=1, cashback="2")
        history = told(completed(at_ns=5000, replay="r"), update, created(offset=2))
        assert history.outcome == (Status.COMPLETED, outcome)


def test_a_waiting_update_that_a_later_one_overtakes_on_release_is_accepted_before_it() -> None:
    """Release sorts first, so nothing that waited is superseded by something else that waited."""
    history = told(updated(at_ns=9000, partition=1), updated(at_ns=5000, partition=2), created())
    assert "update-superseded" not in kinds_of(history.events)


def test_a_rejected_create_releases_nothing() -> None:
    """A negative create makes no order; what waits goes on waiting for a good one."""
    history = told(updated(at_ns=10, offset=0), created(offset=1, negative=True))
    assert kinds_of(history.events) == ["message-held", "message-rejected"]
    assert len(history.order.held) == 1


# Waiting for a number.


@pytest.mark.parametrize("arrivals", list(permutations(STAMPED)))
def test_stamped_messages_are_decided_in_the_order_of_their_numbers(arrivals: tuple[Message, ...]) -> None:
    """Whatever the order of arrival and whatever the dates: the same decisions, and no doubt."""
    history = told(*arrivals)
    assert [event.message.sequence for event in history.accepted] == [1, 2, 3, 4]
    assert history.outcome == (Status.COMPLETED, Decimal(3))
    assert history.order.doubts == frozenset()
    assert history.order.held == ()
    assert history.order.last_sequence == 4


def test_a_message_that_skips_a_number_waits_for_it() -> None:
    """Held with the reason; it leaves the count of numbers and the clock of the lane alone."""
    history = told(STAMPED[0], STAMPED[2])
    event = history.events[1]
    assert isinstance(event, MessageHeld)
    assert event.waits_for is WaitsFor.SEQUENCE
    assert history.order.last_sequence == 1
    assert history.tell(STAMPED[2]) == ()
    assert kinds_of(history.tell(STAMPED[1])) == ["cashback-updated", "cashback-updated"]
    assert [event.effective_at_ns - history.events[0].effective_at_ns for event in history.events[2:]] == [1, 2]


def test_a_gap_releases_only_up_to_the_next_gap() -> None:
    """2 releases 3; 5 goes on waiting for 4."""
    history = told(STAMPED[0], completed(at_ns=3, sequence=5), STAMPED[2], STAMPED[1])
    assert [event.message.sequence for event in history.accepted] == [1, 2, 3]
    assert [held.message.sequence for held in history.order.held] == [5]


def test_a_completion_cannot_overtake_an_update_across_partitions() -> None:
    """The number says that one is missing, though everything in sight is in order."""
    history = told(STAMPED[0], completed(at_ns=9000, sequence=3, partition=5))
    assert history.order.status == Status.PENDING
    history.tell(updated(at_ns=1, sequence=2, partition=1, cashback="8"))
    assert history.outcome == (Status.COMPLETED, Decimal(8))


@pytest.mark.parametrize("kind", Kind)
def test_a_number_that_another_message_had_is_rejected_with_a_doubt(kind: Kind) -> None:
    """Two messages under one number contradict each other; the first stands."""
    history = told(*STAMPED[:2])
    event = rejection(history.tell(message(kind, at_ns=5, sequence=2, transaction="x")))
    assert (event.refusal, event.doubt, event.against_version) == (Refusal.SEQUENCE_TAKEN, Doubt.CONFLICT, None)
    assert history.order.last_sequence == 2
    assert kinds_of(history.tell(STAMPED[2])) == ["cashback-updated"]


def test_of_two_held_messages_with_one_number_the_first_that_came_gets_it() -> None:
    """The other one is rejected when its number's turn has come."""
    usurper = completed(at_ns=5, sequence=3)
    history = told(STAMPED[0], STAMPED[2], usurper)
    events = history.tell(STAMPED[1])
    assert kinds_of(events) == ["cashback-updated", "cashback-updated", "message-rejected"]
    rejected = events[2]
    assert isinstance(rejected, MessageRejected)
    assert (rejected.refusal, rejected.held_version, rejected.message) == (Refusal.SEQUENCE_TAKEN, 3, usurper)
    assert history.order.held == ()


def test_a_rejected_message_uses_its_number_up() -> None:
    """A negative amount in the middle doesn't stop what comes after it."""
    history = told(STAMPED[0], updated(at_ns=5, sequence=2, negative=True), STAMPED[2])
    assert kinds_of(history.events) == ["cashback-created", "message-rejected", "cashback-updated"]


def test_the_same_content_under_a_new_number_is_another_message() -> None:
    """Two numbers are two facts, whatever else they share: it counts, and the rest flows on."""
    history = told(*STAMPED[:2])
    again = replace(STAMPED[1], sequence=3)
    assert kinds_of(history.tell(again)) == ["cashback-updated"]
    assert history.order.last_sequence == 3
    assert history.order.doubts == frozenset()
    assert history.tell(again) == ()
    assert kinds_of(history.tell(completed(at_ns=1, sequence=4))) == ["cashback-completed"]


def test_the_same_content_under_a_number_that_is_not_next_waits_for_its_turn() -> None:
    """Held once under the new number, then accepted, and what followed flows on."""
    history = told(*STAMPED[:2], completed(at_ns=1, sequence=5))
    again = replace(STAMPED[1], sequence=4)
    assert kinds_of(history.tell(again)) == ["message-held"]
    assert history.tell(again) == ()
    events = history.tell(STAMPED[2])
    assert kinds_of(events) == ["cashback-updated", "cashback-updated", "cashback-completed"]
    assert history.order.held == ()


def test_a_held_message_again_under_its_own_number_changes_nothing() -> None:
    """Also when the copy lies on another partition."""
    history = told(STAMPED[0], STAMPED[3])
    assert history.tell(replace(STAMPED[3], partition=4)) == ()


def test_a_known_message_under_its_own_number_changes_nothing() -> None:
    """The number is filled already: there is nothing left to say."""
    history = told(*STAMPED[:2])
    assert history.tell(replace(STAMPED[1], offset=7)) == ()


def test_a_known_message_under_the_number_of_another_is_refused() -> None:
    """Two facts can't have one number: the first stands, and a person must look."""
    history = told(*STAMPED[:2])
    event = rejection(history.tell(replace(STAMPED[1], sequence=1)))
    assert (event.refusal, event.doubt) == (Refusal.SEQUENCE_TAKEN, Doubt.CONFLICT)


def test_a_known_message_without_a_number_fills_one_that_nothing_else_can_fill() -> None:
    """It counted when it came without a number: a contradiction, and what follows flows on."""
    history = told(*(replace(each, sequence=None) for each in STAMPED[:2]))
    again = replace(STAMPED[1], sequence=3)
    event = rejection(history.tell(again))
    assert (event.refusal, event.doubt) == (Refusal.CONFLICT, Doubt.CONFLICT)
    assert history.tell(again) == ()
    assert kinds_of(history.tell(completed(at_ns=1, sequence=4))) == ["cashback-completed"]


def test_a_known_message_without_a_number_changes_nothing_where_it_had_one() -> None:
    """A copy that lost its header is a copy; its place was never in question."""
    history = told(*STAMPED[:2])
    bare = replace(STAMPED[1], sequence=None, partition=3)
    assert history.tell(bare) == ()


def test_a_known_message_with_a_number_changes_nothing_where_it_had_none() -> None:
    """It counted when it came, and the number that it brings now is behind us."""
    bare = [replace(each, sequence=None) for each in STAMPED[:2]]
    history = told(*bare)
    assert history.tell(STAMPED[1]) == ()


def test_unstamped_messages_count_until_stamps_begin() -> None:
    """A publisher that starts to stamp in the middle of an order goes on with the number that is next."""
    history = told(created(), updated(at_ns=1, offset=1), completed(at_ns=9, sequence=3))
    assert kinds_of(history.events) == ["cashback-created", "cashback-updated", "cashback-completed"]


def test_a_stamped_message_waits_for_unstamped_ones_that_are_still_missing() -> None:
    """Two messages came before it; only one of them is here."""
    history = told(created(), completed(at_ns=9, sequence=3))
    assert kinds_of(history.events) == ["cashback-created", "message-held"]
    assert kinds_of(history.tell(updated(at_ns=1, offset=1))) == ["cashback-updated", "cashback-completed"]


def test_a_held_message_may_be_superseded_in_its_turn() -> None:
    """A stamped update waits for an unstamped one that turns out to be younger: it leaves the held ones."""
    history = told(created(), updated(at_ns=100, sequence=3), updated(at_ns=5000, partition=1))
    superseded = history.events[-1]
    assert superseded.TOPIC == "update-superseded"
    assert superseded.held_version == 2
    assert history.order.held == ()


def test_unstamped_messages_do_not_count_once_stamps_have_begun() -> None:
    """The numbers are the publisher's own now: a stray message without one uses none up."""
    history = told(*STAMPED[:2], updated(at_ns=5, partition=1))
    assert history.order.last_sequence == 2
    assert kinds_of(history.tell(STAMPED[2])) == ["cashback-updated"]


def test_repeats_and_releases_do_not_count() -> None:
    """Each unstamped message counts once: when it comes, not when it is released or comes again."""
    update = updated(at_ns=1, offset=1)
    history = told(update, update, replace(update, partition=1), created())
    assert history.order.last_sequence == 2


def test_an_unstamped_conflict_counts_as_a_message() -> None:
    """The publisher sent it, and so would have stamped it."""
    history = told(created(), created(content="other"))
    assert history.order.last_sequence == 2


@pytest.mark.parametrize(
    ("ending", "late", "name"),
    [
        (updated, updated(at_ns=3, sequence=3), "cashback-updated"),
        (updated, updated(at_ns=3, sequence=3, buyer="9"), "message-rejected"),
        (updated, updated(at_ns=3, sequence=3, negative=True), "message-rejected"),
        (updated, created(at_ns=3, sequence=3), "message-rejected"),
        (updated, completed(at_ns=3, sequence=3), "cashback-completed"),
        (updated, cancelled(at_ns=3, sequence=3), "cashback-cancelled"),
        (completed, updated(at_ns=3, sequence=3), "message-rejected"),
        (completed, updated(at_ns=3, sequence=3, buyer="9"), "message-rejected"),
        (completed, cancelled(at_ns=3, sequence=3), "message-rejected"),
    ],
)
def test_a_message_that_had_its_turn_is_held_no_longer_whatever_became_of_it(
    ending: Callable[..., Message], late: Message, name: str
) -> None:
    """Its event names the one that held it, and has the time of its lane."""
    history = told(created(sequence=1), late, ending(at_ns=2, sequence=2))
    event = history.events[-1]
    assert (event.TOPIC, event.message, event.held_version) == (name, late, 2)
    assert event.effective_at_ns == late.happened_at_ns
    assert history.order.held == ()


def test_a_create_that_waited_for_its_number_is_held_no_longer() -> None:
    """Its event names the one that held it."""
    history = told(created(sequence=2), updated(at_ns=1, sequence=1))
    assert kinds_of(history.events)[1:] == ["message-held", "cashback-created", "cashback-updated"]
    assert [event.held_version for event in history.events] == [None, None, 1, 2]
    assert history.order.held == ()


def test_a_message_that_waits_for_its_number_has_its_own_date_until_then() -> None:
    """What its lane makes of it shows when its turn comes."""
    history = told(created(at_ns=500, sequence=1), updated(at_ns=3, sequence=3))
    assert history.events[1].effective_at_ns == history.events[1].message.happened_at_ns


def test_a_known_message_without_a_number_does_not_contend_for_one_that_is_filled() -> None:
    """Another message waits under that number: the copy changes nothing."""
    bare = updated(at_ns=1, offset=1)
    history = told(created(), bare, completed(at_ns=9, sequence=5))
    assert history.tell(replace(bare, sequence=5)) == ()
    assert kinds_of(history.tell(replace(bare, sequence=4))) == ["message-held"]


# Waiting for both.


def test_a_message_in_sequence_before_the_create_uses_its_number_up_and_waits() -> None:
    """It isn't asked for twice: first its number's turn, then the create."""
    history = told(updated(at_ns=5, sequence=1, cashback="4"))
    event = history.events[0]
    assert isinstance(event, MessageHeld)
    assert event.waits_for is WaitsFor.CREATE
    assert history.order.last_sequence == 1
    events = history.tell(created(at_ns=6, sequence=2))
    assert kinds_of(events) == ["cashback-created", "cashback-updated"]
    assert history.outcome == (Status.PENDING, Decimal(4))


def test_a_message_that_waited_for_its_number_may_go_on_to_wait_for_the_create() -> None:
    """Held again with the new reason, in place of the first; counted as one message."""
    history = told(updated(at_ns=5, sequence=2), completed(at_ns=6, sequence=1))
    assert kinds_of(history.events) == ["message-held", "message-held", "message-held"]
    second = history.events[2]
    assert isinstance(second, MessageHeld)
    assert (second.waits_for, second.held_version) == (WaitsFor.CREATE, 1)
    assert [held.version for held in history.order.held] == [2, 3]
    assert (history.order.updates_seen, history.order.ends_seen) == (1, 1)


def test_a_create_releases_what_waited_for_it_before_the_next_number() -> None:
    """So that an illegal sequence too ends the same whatever the order of arrival."""
    arrivals = [
        updated(at_ns=9, sequence=1, cashback="1"),
        created(sequence=2),
        updated(at_ns=1, sequence=3, cashback="3"),
    ]
    for order in permutations(arrivals):
        history = told(*order)
        assert [event.message.sequence for event in history.accepted] == [2, 1, 3]
        assert history.outcome == (Status.PENDING, Decimal(3))


def test_a_held_message_that_contradicts_one_before_it_is_rejected_in_its_turn() -> None:
    """Its number is used up, and the contradiction is shown."""
    bare = updated(at_ns=500, offset=1)
    twin = updated(at_ns=500, sequence=3, cashback="7")
    history = told(created(), bare, updated(at_ns=8000, sequence=4), twin)
    assert isinstance(history.events[-2], MessageRejected)
    assert kinds_of(history.events)[-2:] == ["message-rejected", "cashback-updated"]
    assert history.order.doubts == {Doubt.CONFLICT}


def test_a_message_that_contradicts_one_before_it_is_held_no_longer() -> None:
    """Its event names the one that held it."""
    twin = updated(at_ns=500, sequence=4, cashback="7")
    history = told(created(), updated(at_ns=500, offset=1), twin, updated(at_ns=600, sequence=3))
    event = history.events[-1]
    assert isinstance(event, MessageRejected)
    assert (event.refusal, event.held_version) == (Refusal.CONFLICT, 3)
    assert history.order.held == ()


def test_a_completion_that_waited_states_the_amount_at_its_turn() -> None:
    """Not the amount at the time when it came."""
    history = told(STAMPED[0], STAMPED[3], STAMPED[2], STAMPED[1])
    last = history.events[-1]
    assert isinstance(last, CashbackCompleted)
    assert last.cashback == Decimal(3)
