"""However its messages arrive, an order ends as it should, or a person is asked to look (design.md, The domain)."""

from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from itertools import combinations
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from adapters.postgres.codec import EventMapper
from domain.decision import decide
from domain.events import (
    Accepted,
    CashbackCancelled,
    CashbackCompleted,
    CashbackCreated,
    CashbackUpdated,
    Doubt,
    MessageEvent,
    MessageHeld,
    MessageRejected,
    RepeatSeenElsewhere,
)
from domain.messages import Kind, Message
from domain.order import Order, fold
from tests.support.deliveries import POLICY, TOLERANCE_NS, Published, anything, arrivals, published
from tests.support.messages import NOW_NS, ORDER_ID, History, message

if TYPE_CHECKING:
    from eventsourcing.persistence import StoredEvent

mapper = EventMapper()


def told(messages: Sequence[Message]) -> History:
    return History(*messages, policy=POLICY)


def calls(history: History) -> list[tuple[str, bytes, int, Decimal | None]]:
    """All that the third party is told, in order."""
    return [
        (event.TOPIC, event.message.body, event.stated_at_ns, getattr(event, "cashback", None))
        for event in history.accepted
    ]


def assert_calls_are_legal(events: Sequence[MessageEvent]) -> None:
    """First one create, then updates, then at most one end; stated dates that never go back."""
    accepted = [event for event in events if isinstance(event, Accepted)]
    for number, event in enumerate(accepted):
        assert isinstance(event, CashbackCreated) == (number == 0)
        if isinstance(event, CashbackCompleted | CashbackCancelled):
            assert number == len(accepted) - 1
    dates = [event.stated_at_ns for event in accepted]
    assert dates == sorted(dates)


def assert_nothing_is_lost(events: Sequence[MessageEvent], arrived: Sequence[Message]) -> None:
    """Every distinct message is in the stream, recorded once when it came."""
    firsts = Counter(
        event.message.digest
        for event in events
        if event.held_version is None and not isinstance(event, RepeatSeenElsewhere)
    )
    assert firsts == Counter({each.digest for each in arrived})
    assert [event.originator_version for event in events] == list(range(1, len(events) + 1))


# Unstamped: what Kafka's order and the clocks can tell.


@given(st.data(), published(max_skew_ns=TOLERANCE_NS - 1, copies=True))
def test_any_arrival_ends_as_it_should_or_is_flagged(data: st.DataObject, sent: Published) -> None:
    """Any spread over partitions, any interleaving, copies anywhere, clocks off by less than the tolerance."""
    arrived = data.draw(arrivals(sent.partitions))
    history = told(arrived)
    assert history.outcome == sent.outcome or history.order.doubts
    assert history.order.held == ()
    assert_calls_are_legal(history.events)
    assert_nothing_is_lost(history.events, arrived)


@given(st.data(), published(max_skew_ns=20 * TOLERANCE_NS, partitions=1, copies=True))
def test_on_one_partition_no_clock_matters(data: st.DataObject, sent: Published) -> None:
    """Clocks may be off by anything: the offsets are the truth. There is no doubt unless the dates contradict them
    by more than clocks differ."""
    history = told(data.draw(arrivals(sent.partitions)))
    assert history.outcome == sent.outcome
    dates = [each.happened_at_ns for each in sent.lifecycle]
    contradicted = any(early - late > TOLERANCE_NS for early, late in combinations(dates, 2))
    assert history.order.doubts <= ({Doubt.UNCERTAIN_ORDER} if contradicted else set())
    assert [event.message.transaction_id for event in history.accepted] == [f"t{n}" for n in range(len(sent.kinds))]


@given(st.data(), published())
def test_with_true_clocks_only_a_late_update_can_change_the_end(data: st.DataObject, sent: Published) -> None:
    """Spread over partitions without copies: the end is right, or an update came after the end and is shown as
    late; and the order is only called uncertain if two messages were close in time."""
    history = told(data.draw(arrivals(sent.partitions)))
    assert history.outcome == sent.outcome or Doubt.LATE in history.order.doubts
    if sent.span_ns > TOLERANCE_NS:
        assert Doubt.UNCERTAIN_ORDER not in history.order.doubts
    if sent.kinds[-1] is Kind.UPDATED:
        assert history.outcome == sent.outcome


@given(st.data(), published(max_skew_ns=TOLERANCE_NS - 1, copies=True), st.integers(min_value=1, max_value=5))
def test_stamps_may_begin_in_the_middle_of_an_order(data: st.DataObject, sent: Published, bare: int) -> None:
    """The first messages carry no number, the others their own: the end is right, or the order is flagged."""
    messages = tuple(
        each if number < bare else replace(each, sequence=number + 1)
        for each in sent.messages
        for number in [int(each.transaction_id[1:])]
    )
    arrived = data.draw(arrivals(Published(messages).partitions))
    history = told(arrived)
    assert history.outcome == sent.outcome or history.order.doubts
    assert_calls_are_legal(history.events)


# Stamped: nothing matters but the numbers.


@given(st.data(), published(max_skew_ns=20 * TOLERANCE_NS, copies=True, stamped=True))
def test_stamped_messages_may_arrive_in_any_order(data: st.DataObject, sent: Published) -> None:
    """Any permutation with any duplication: the very same calls, the same end, and no doubt."""
    again = data.draw(st.lists(st.sampled_from(sent.messages), max_size=4))
    arrived = data.draw(st.permutations([*sent.messages, *again]))
    history, undisturbed = told(arrived), told(sent.messages)
    assert calls(history) == calls(undisturbed)
    assert [body for _, body, _, _ in calls(history)] == list(dict.fromkeys(each.body for each in sent.messages))
    assert history.outcome == sent.outcome
    assert history.order.doubts == frozenset()
    assert history.order.held == ()
    assert_nothing_is_lost(history.events, arrived)


@given(
    data=st.data(),
    sent=published(kinds=st.lists(st.sampled_from(Kind), min_size=1, max_size=6), max_skew_ns=50, stamped=True),
    negative=st.booleans(),
)
def test_stamped_messages_that_make_no_sense_make_the_same_of_it_in_any_order(
    data: st.DataObject, sent: Published, *, negative: bool
) -> None:
    """Second creates, updates before the create or after the end: the same calls and the same refusals."""
    messages = [replace(each, is_negative=negative and each.sequence == 2) for each in sent.messages]
    history, undisturbed = told(data.draw(st.permutations(messages))), told(messages)
    assert calls(history) == calls(undisturbed)
    assert history.outcome == undisturbed.outcome
    assert history.order.doubts == undisturbed.order.doubts
    assert refusals(history) == refusals(undisturbed)


def refusals(history: History) -> list[tuple[bytes, str]]:
    return [(event.message.body, event.refusal) for event in history.events if isinstance(event, MessageRejected)]


# Whatever arrives.


@given(st.lists(anything, max_size=25))
def test_whatever_arrives_the_third_party_sees_a_legal_story(arrived: list[Message]) -> None:
    """Even of messages that contradict each other: one create, then updates, then at most one end."""
    history = told(arrived)
    assert_calls_are_legal(history.events)
    order = history.order
    assert order.rejected == sum(isinstance(event, MessageRejected) for event in history.events)
    assert order.superseded == sum(event.TOPIC == "update-superseded" for event in history.events)
    ids = {event.message.digest for event in history.events}
    assert ids == {each.digest for each in arrived}


@given(st.lists(anything, max_size=25))
def test_what_is_held_waits_for_something(arrived: list[Message]) -> None:
    """With the order created only numbers are waited for, and those are all above the next one."""
    order = told(arrived).order
    for held in order.held:
        if held.waits_for == "create":
            assert order.terms is None
        else:
            assert (held.message.sequence or 0) > order.last_sequence + 1


@given(st.lists(anything, max_size=20), st.data())
def test_deciding_needs_the_stream_and_nothing_else(arrived: list[Message], data: st.DataObject) -> None:
    """Deciding twice gives the same, on a state loaded from storage too, which is the state carried along."""
    order = Order(ORDER_ID)
    stored: list[StoredEvent] = []
    for each in arrived:
        events = decide(order, each, now_ns=NOW_NS, policy=POLICY)
        loaded = fold(Order(ORDER_ID), map(mapper.to_domain_event, stored)) or Order(ORDER_ID)
        assert loaded == order
        assert decide(loaded, each, now_ns=NOW_NS, policy=POLICY) == events
        stored += map(mapper.to_stored_event, events)
        order = fold(order, events) or order


@given(st.lists(anything, max_size=20))
def test_what_was_told_before_changes_nothing(arrived: list[Message]) -> None:
    """After any history every message of it, told again as it was, is a repeat: exactly nothing."""
    history = told(arrived)
    for each in arrived:
        assert history.tell(each) == ()


@given(st.lists(anything, max_size=20))
def test_the_first_event_of_a_decision_is_about_the_message_and_the_others_were_held(
    arrived: list[Message],
) -> None:
    """No decision is about a message that neither came nor waited."""
    history = told([])
    for each in arrived:
        waiting = {held.version for held in history.order.held}
        events = history.tell(each)
        if events:
            assert events[0].message == each
            assert events[0].held_version is None
        released = {event.originator_version: event for event in events}
        for event in events[1:]:
            assert event.held_version in waiting or isinstance(released.get(event.held_version or 0), MessageHeld)


@given(st.lists(anything, max_size=20), st.integers(min_value=0, max_value=1))
def test_the_time_of_a_lane_only_grows(arrived: list[Message], partition: int) -> None:
    """Messages that had their turn along one lane have strictly growing effective times."""
    order = Order(ORDER_ID)
    for each in arrived:
        before = order.lane_ends
        order = fold(order, decide(order, each, now_ns=NOW_NS, policy=POLICY)) or order
        assert all(order.lane_ends[lane] >= end_ns for lane, end_ns in before.items())


def test_two_updates_that_swap_partitions_are_flagged() -> None:
    """The least example of what can't be known: two clocks, closer than they can be trusted."""
    first = message(Kind.UPDATED, at_ns=TOLERANCE_NS, partition=1, cashback="1")
    second = message(Kind.UPDATED, at_ns=1, partition=2, cashback="2")
    history = told([message(Kind.CREATED), first, second])
    assert history.outcome == ("PENDING", Decimal(1))
    assert history.order.doubts == {Doubt.UNCERTAIN_ORDER}
    assert isinstance(history.events[1], CashbackUpdated)
