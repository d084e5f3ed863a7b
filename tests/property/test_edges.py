"""The promise at its edges: messages that are read late, clocks that can't be trusted, goods that come back, stores
that are filled anew, and what people decide."""

from collections.abc import Sequence
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from domain.decision import Policy
from domain.effects import EffectKind, effect_of
from domain.events import CashbackCompleted, CashbackCorrected, Doubt, MessageEvent
from domain.messages import Kind, Message, Origin
from projections.republication import republications
from tests.support.deliveries import (
    POLICY,
    TOLERANCE_NS,
    Published,
    anything,
    arrivals,
    kinds_with_returns,
    owed,
    published,
)
from tests.support.messages import TOPIC, History, message

CORRECTING = Policy(clock_tolerance_ns=TOLERANCE_NS, corrections=True)


def told(messages: Sequence[Message], policy: Policy = POLICY) -> History:
    return History(*messages, policy=policy)


def paid(history: History) -> Decimal:
    """What the third party was told last."""
    amount = Decimal(0)
    for event in history.events:
        if isinstance(event, CashbackCompleted | CashbackCorrected):
            amount = event.cashback
    return amount


def keys(history: History) -> list[tuple[str, str]]:
    return [(effect.kind, str(effect.key)) for effect in history.effects]


@st.composite
def with_some_read_late(draw: st.DrawFn, messages: Sequence[Message]) -> list[Message]:
    """Some can't be read when their turn comes, and are repaired at any time later on, in any order."""
    arrived: list[Message] = []
    quarantine: list[Message] = []
    for each in messages:
        if draw(st.integers(0, 3)) == 0:
            quarantine.append(each)
        else:
            arrived.append(each)
        while quarantine and draw(st.integers(0, 4)) == 0:
            arrived.append(quarantine.pop(draw(st.integers(0, len(quarantine) - 1))))
    return arrived + draw(st.permutations(quarantine))


# Messages that are decided later than others behind them.


@given(st.data(), published(partitions=1))
def test_what_is_repaired_in_quarantine_keeps_its_place(data: st.DataObject, sent: Published) -> None:
    """On one partition: the end is right, or a message came after the end and is shown as late or refused."""
    history = told(data.draw(with_some_read_late(sent.messages)))
    if history.outcome != sent.outcome:
        assert history.order.doubts & {Doubt.LATE, Doubt.AFTER_END, Doubt.UNCERTAIN_ORDER}
    if sent.kinds[-1] is Kind.UPDATED:
        assert history.outcome == sent.outcome
        assert history.order.doubts == frozenset()


@given(st.data(), published(max_skew_ns=20 * TOLERANCE_NS))
def test_what_is_repaired_late_is_right_or_flagged_on_any_partition_with_any_clock(
    data: st.DataObject, sent: Published
) -> None:
    """Kafka's own timestamp is true; a date further from it than the tolerance isn't trusted between partitions."""
    logs = [witnessed(log, sent) for log in sent.partitions]
    arrived = data.draw(with_some_read_late(data.draw(arrivals(logs))))
    history = told(arrived)
    assert history.outcome == sent.outcome or history.order.doubts


def witnessed(log: Sequence[Message], sent: Published) -> list[Message]:
    """Kafka got each message at the time when it was published: those of a lifecycle by their numbers."""
    times = {each.digest: number for number, each in enumerate(sent.lifecycle)}
    return [replace(each, timestamp_ms=1_740_744_000_000 + times[each.digest] * 10) for each in log]


@given(st.data(), published(partitions=1))
def test_the_order_in_which_a_lane_is_read_leaves_the_same_times(data: st.DataObject, sent: Published) -> None:
    """Once all have come, each message counts as of the same instant as if they had come in order."""
    late = told(data.draw(with_some_read_late(sent.messages)))
    in_order = told(sent.messages)

    def times(history: History) -> dict[str, int]:
        return {seen.digest: seen.placed.effective_at_ns for seen in history.order.seen_messages}

    assert times(late) == times(in_order)


@given(st.lists(anything, max_size=20))
def test_along_a_lane_the_times_grow_with_the_offsets(arrived: list[Message]) -> None:
    """Whatever arrives, in whatever order: no two messages of a lane contradict its order."""
    order = told(arrived).order
    waiting = {held.version for held in order.held}
    for lane in order.lane_ends:
        placed = sorted(
            (seen.placed.place.offset, seen.placed.effective_at_ns)
            for seen in order.seen_messages
            if seen.placed.place is not None
            and seen.placed.place.lane == lane
            and seen.placed.version not in waiting
        )
        offsets = [offset for offset, _ in placed]
        if len(set(offsets)) == len(offsets) and lane != "sequence":
            times = [at_ns for _, at_ns in placed]
            assert times == sorted(set(times))


# Goods that come back.


@given(st.data(), published(kinds=kinds_with_returns, max_skew_ns=20 * TOLERANCE_NS, copies=True, stamped=True))
def test_with_corrections_stamped_messages_end_at_the_true_amount_in_any_order(
    data: st.DataObject, sent: Published
) -> None:
    """Any permutation with any duplication, any clocks: without a person, and with the very same calls."""
    history = told(data.draw(st.permutations(sent.messages)), CORRECTING)
    assert paid(history) == owed(sent.lifecycle)
    assert history.order.doubts == frozenset()
    assert keys(history) == keys(told(sent.lifecycle, CORRECTING))
    assert_corrections_follow_a_completion(history)


@given(published(kinds=kinds_with_returns, max_skew_ns=20 * TOLERANCE_NS, partitions=1))
def test_with_corrections_one_partition_ends_at_the_true_amount(sent: Published) -> None:
    """The offsets are the truth, whatever the clocks say."""
    history = told(sent.messages, CORRECTING)
    assert paid(history) == owed(sent.lifecycle)
    assert history.order.doubts <= {Doubt.UNCERTAIN_ORDER}
    assert_corrections_follow_a_completion(history)


@given(st.data(), published(kinds=kinds_with_returns, partitions=1))
def test_with_corrections_what_is_repaired_late_ends_right(data: st.DataObject, sent: Published) -> None:
    """Without a person, unless the third party was told of a cancellation before the completion was read: what was
    cancelled there can't be corrected, and a person must look."""
    history = told(data.draw(with_some_read_late(sent.messages)), CORRECTING)
    if history.order.status == "CANCELLED":
        assert not owed(sent.lifecycle) or history.order.doubts
    elif history.order.status != "PENDING":
        assert paid(history) == owed(sent.lifecycle)
        assert history.order.doubts == frozenset()
    assert_corrections_follow_a_completion(history)


def assert_corrections_follow_a_completion(history: History) -> None:
    kinds = [effect.kind for effect in history.effects]
    assert kinds.count(EffectKind.COMPLETE) + kinds.count(EffectKind.CANCEL) <= 1
    if EffectKind.CORRECT in kinds:
        assert EffectKind.COMPLETE in kinds[: kinds.index(EffectKind.CORRECT)]
    for before, after in zip(history.accepted, history.accepted[1:], strict=False):
        assert not isinstance(after, CashbackCorrected) or after.cashback != getattr(before, "cashback", None)


@given(st.data(), published(kinds=kinds_with_returns, copies=True))
def test_without_corrections_what_would_change_an_ended_order_leaves_a_doubt(
    data: st.DataObject, sent: Published
) -> None:
    """The amount is the one that all messages give in their order, or the order is flagged."""
    history = told(data.draw(arrivals(sent.partitions)))
    assert paid(history) == owed(sent.lifecycle) or history.order.doubts


@given(st.data(), published(kinds=kinds_with_returns, max_skew_ns=TOLERANCE_NS - 1))
def test_with_corrections_any_arrival_ends_at_the_true_amount_or_is_flagged(
    data: st.DataObject, sent: Published
) -> None:
    """Spread over partitions, with clocks off by less than the tolerance."""
    history = told(data.draw(arrivals(sent.partitions)), CORRECTING)
    assert paid(history) == owed(sent.lifecycle) or history.order.doubts


# Stores that are filled anew.


@given(st.data(), published(max_skew_ns=20 * TOLERANCE_NS, copies=True, stamped=True))
def test_two_stores_filled_from_one_topic_call_with_the_same_keys(data: st.DataObject, sent: Published) -> None:
    """Stamped, on any partitions, read in two ways: the same calls under the same keys."""
    one, other = (told(data.draw(arrivals(sent.partitions))) for _ in range(2))
    assert keys(one) == keys(other)


@given(st.data(), published(max_skew_ns=20 * TOLERANCE_NS, copies=True))
def test_a_key_never_stands_for_two_messages(data: st.DataObject, sent: Published) -> None:
    """In two stores, whatever they made of the messages: one key, one kind of call about one content."""
    meant: dict[str, tuple[EffectKind, bytes]] = {}
    for _ in range(2):
        for event in told(data.draw(arrivals(sent.partitions))).events:
            effect = effect_of(event)
            if effect is not None:
                what = (effect.kind, event.message.body)
                assert meant.setdefault(str(effect.key), what) == what


@given(st.data(), published(max_skew_ns=20 * TOLERANCE_NS))
def test_what_is_published_again_is_decided_in_an_empty_store_as_it_was_live(
    data: st.DataObject, sent: Published
) -> None:
    """Each copy carries the place of its message: the same end, or one of the two stores shows a doubt."""
    live = told(data.draw(arrivals(sent.partitions)))
    copies = [republished(each.message, offset) for offset, each in enumerate(republications(live.events, [TOPIC]))]
    empty = told(copies)
    assert empty.outcome == live.outcome or live.order.doubts


def republished(said: Message, offset: int) -> Message:
    """As the decoder reads a copy, on one partition of a new topic."""
    origin = said.origin or Origin(said.topic, said.topic_id, said.partition, said.offset, said.timestamp_ms)
    return replace(
        said, topic="new", topic_id="t2", partition=0, offset=offset, replay="r", origin=origin, timestamp_ms=9
    )


@given(st.data(), published(max_skew_ns=20 * TOLERANCE_NS, copies=True))
def test_copies_that_tell_no_place_are_decided_by_their_dates_or_flagged(
    data: st.DataObject, sent: Published
) -> None:
    """Dates that can't decide leave a doubt: closer than the tolerance, or an end before an update."""
    live = told(data.draw(arrivals(sent.partitions)))
    copies = [
        replace(republished(each.message, offset), origin=None)
        for offset, each in enumerate(republications(live.events, [TOPIC]))
    ]
    dates = [each.happened_at_ns for each in copies]
    empty = told(copies)
    if dates == sorted(dates) and not live.order.doubts:
        assert empty.outcome == live.outcome or empty.order.doubts


# What people decide.


@given(st.lists(anything, max_size=20))
def test_a_settled_order_has_no_doubt_and_pays_what_it_stood_at(arrived: list[Message]) -> None:
    """Settling changes neither state nor amount, and asks for no call; what was told before stays a repeat."""
    history = told(arrived)
    if not history.order.open_doubts:
        return
    before = history.order
    (event,) = history.settle()
    assert effect_of(event) is None
    assert history.order.doubts == frozenset()
    assert (history.order.stage, history.order.held) == (before.stage, before.held)
    for each in arrived:
        assert history.tell(each) == ()


@given(st.data(), published(max_skew_ns=50, stamped=True, copies=False))
def test_a_released_order_goes_on_without_the_missing_numbers(data: st.DataObject, sent: Published) -> None:
    """What arrived counts in its order. If the missing ones come after all, they have their place or a flag."""
    missing = data.draw(st.sets(st.sampled_from(sent.messages), max_size=len(sent.messages) - 1))
    came = [each for each in sent.messages if each not in missing]
    history = told(data.draw(st.permutations(came)))
    if history.order.waiting:
        history.release()
    assert history.order.waiting == ()
    if sent.messages[0] not in missing:
        assert history.order.held == ()
        assert history.outcome == Published(tuple(came)).outcome
    for each in data.draw(st.permutations(sorted(missing, key=lambda one: one.sequence or 0))):
        history.tell(each)
    if history.order.waiting:
        history.release()
    assert history.outcome == sent.outcome or history.order.doubts


@given(st.data(), st.lists(anything, max_size=15))
def test_whatever_people_do_the_stream_alone_tells_the_order(data: st.DataObject, arrived: list[Message]) -> None:
    """Settled and released at any time, in any state: versions without a gap, and legal calls."""
    history = told([])
    for each in arrived:
        history.tell(each)
        settles, releases = data.draw(st.booleans()), data.draw(st.booleans())
        if history.order.open_doubts and settles:
            history.settle()
        if history.order.waiting and releases:
            history.release()
            assert history.order.waiting == ()
    versions = [event.originator_version for event in history.stream]
    assert versions == list(range(1, len(versions) + 1))
    assert all(isinstance(event, MessageEvent) or effect_of(event) is None for event in history.stream)
    kinds = [effect.kind for effect in history.effects]
    assert kinds[:1] in ([], [EffectKind.CREATE])
    assert EffectKind.CREATE not in kinds[1:]


def test_the_clock_of_a_publisher_that_is_hours_ahead_is_not_trusted_between_partitions() -> None:
    """Before the topic grew an update was dated three hours ahead; the one after it, on a new partition, wins by no
    date: the amount stays uncertain, and a person must look."""
    hour_ms = 3_600_000
    ahead = message(Kind.UPDATED, at_ns=3 * hour_ms * 10**6, timestamp_ms=0, offset=1, cashback="50")
    later = message(Kind.UPDATED, at_ns=10**9 * 600, partition=1, cashback="2")
    history = History(message(Kind.CREATED), ahead, later)
    assert history.order.doubts == {Doubt.UNCERTAIN_ORDER}
