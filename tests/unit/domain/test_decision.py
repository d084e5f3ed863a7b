"""Repeats, contradictions, negative amounts, and what the events say."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from domain.decision import decide, handle
from domain.events import (
    Accepted,
    CashbackCreated,
    CashbackUpdated,
    Doubt,
    MessageEvent,
    MessageRejected,
    OperatorEvent,
    OrderEvent,
    Refusal,
)
from domain.identifiers import stream_id
from domain.lifecycle import Status
from domain.messages import Message
from domain.order import Order, evolve, fold
from tests.support.messages import (
    NOON_NS,
    NOW_NS,
    ORDER_ID,
    History,
    completed,
    created,
    kinds_of,
    updated,
)

LIFECYCLE = [
    created(offset=0),
    updated(at_ns=1, offset=1, cashback="4"),
    updated(at_ns=2, offset=2, cashback="5"),
    completed(at_ns=3, offset=3),
]


def rejection(events: tuple[MessageEvent, ...]) -> MessageRejected:
    (event,) = events
    assert isinstance(event, MessageRejected)
    return event


# Repeats.


@pytest.mark.parametrize("length", range(1, len(LIFECYCLE) + 1))
def test_the_same_message_again_changes_nothing(length: int) -> None:
    """Whatever the state, every message that was told before is a repeat: no event."""
    history = History(*LIFECYCLE[:length])
    for repeat in LIFECYCLE[:length]:
        assert history.tell(repeat) == ()


def test_a_repeat_at_a_later_offset_of_its_partition_changes_nothing() -> None:
    """A publisher that sends twice puts both on the same partition."""
    history = History(*LIFECYCLE)
    for number, repeat in enumerate(LIFECYCLE):
        assert history.tell(replace(repeat, offset=100 + number)) == ()


def test_a_repeat_of_a_held_message_changes_nothing() -> None:
    """A held message counts as known."""
    held = completed(at_ns=9, offset=0)
    history = History(held)
    assert history.tell(held) == ()


def test_a_repeat_of_a_rejected_message_changes_nothing() -> None:
    """A rejected message is known too; it isn't rejected a second time."""
    second = created(at_ns=5, offset=4, cashback="1")
    history = History(*LIFECYCLE, second)
    assert history.tell(second) == ()
    assert history.order.rejected == 1


def test_a_repeat_of_a_superseded_message_changes_nothing() -> None:
    """An update that came too late to matter is known from then on."""
    old = updated(at_ns=-(10**12), partition=1)
    history = History(created(at_ns=-(10**13)), updated(at_ns=1, offset=1), old)
    assert history.order.superseded == 1
    assert history.tell(old) == ()


@pytest.mark.parametrize(("first", "second"), [(None, "a"), ("a", None), ("a", "a")])
def test_a_copy_that_lacks_an_identity_is_a_repeat(first: str | None, second: str | None) -> None:
    """The content says that it is the same message; nothing says that it isn't."""
    history = History(created(ce_id=first))
    assert history.tell(created(ce_id=second, offset=1)) == ()


def test_the_same_content_under_another_identity_of_its_own_is_another_message() -> None:
    """A, then B, then A again: what the publisher names apart is apart, and the last one counts."""
    a, b = updated(at_ns=1, cashback="3", ce_id="a"), updated(at_ns=1, transaction="b", cashback="4", ce_id="b")
    again = replace(a, identity="c", offset=3)
    history = History(created(), replace(a, offset=1), replace(b, offset=2), again)
    assert kinds_of(history.events) == ["cashback-created", *["cashback-updated"] * 3]
    assert history.outcome == ("PENDING", Decimal(3))
    assert len({effect.key for effect in history.effects}) == 4
    assert history.tell(again) == ()
    assert history.order.doubts == frozenset()


def test_a_create_that_is_published_twice_under_two_identities_is_harmless() -> None:
    """The same again changes nothing, on whatever partition: refused, without a doubt."""
    history = History(created(ce_id="a"))
    event = rejection(history.tell(created(ce_id="b", partition=1)))
    assert (event.refusal, event.doubt) == (Refusal.CREATED_TWICE, None)


@pytest.mark.parametrize("copied", [1, 3])
def test_a_repeat_on_another_partition_is_remembered_once(copied: int) -> None:
    """A copy elsewhere makes the place of an update or an end uncertain: an event, a doubt, and no call."""
    history = History(*LIFECYCLE)
    copy = replace(LIFECYCLE[copied], partition=1)
    effects = history.effects
    assert kinds_of(history.tell(copy)) == ["repeat-seen-elsewhere"]
    assert history.tell(copy) == ()
    assert history.tell(replace(copy, offset=7)) == ()
    assert kinds_of(history.tell(replace(copy, partition=2))) == ["repeat-seen-elsewhere"]
    assert history.order.doubts == {Doubt.UNCERTAIN_ORDER}
    assert history.effects == effects
    assert history.outcome == (Status.COMPLETED, Decimal(5))


def test_a_repeated_create_on_another_partition_changes_nothing() -> None:
    """Where the create stood is of no consequence: all else waits for it anyway."""
    history = History(*LIFECYCLE)
    assert history.tell(replace(LIFECYCLE[0], partition=1)) == ()


def test_a_repeat_of_another_generation_of_the_topic_was_seen_elsewhere() -> None:
    """A topic that was deleted and made again has other partitions, though they have the same numbers."""
    history = History(*LIFECYCLE)
    assert kinds_of(history.tell(replace(LIFECYCLE[1], topic_id="topic-2"))) == ["repeat-seen-elsewhere"]


@pytest.mark.parametrize(
    ("beginning", "doubts"),
    [
        ([created()], frozenset()),
        ([created(), completed(at_ns=9, offset=1)], {Doubt.UNCERTAIN_ORDER}),
        ([created(), updated(at_ns=9, offset=1)], {Doubt.UNCERTAIN_ORDER}),
    ],
)
def test_a_repeat_elsewhere_is_doubtful_only_where_its_order_matters(
    beginning: list[Message], doubts: frozenset[Doubt]
) -> None:
    """A lone update, seen on two partitions, can't be in the wrong place; with a second one or an end it can."""
    update = updated(at_ns=1, offset=5)
    history = History(*beginning, update, replace(update, partition=1))
    assert history.order.doubts == doubts


def test_a_repeat_elsewhere_adds_to_the_doubts_that_there_are() -> None:
    """A conflict isn't forgotten over it."""
    history = History(*LIFECYCLE, updated(at_ns=1, offset=9, cashback="4", content="other"))
    history.tell(replace(LIFECYCLE[1], partition=1))
    assert history.order.doubts == {Doubt.CONFLICT, Doubt.UNCERTAIN_ORDER}


def test_the_event_by_which_a_repeat_elsewhere_matters_tells_the_doubt() -> None:
    """Once, beside its own: whoever reads the events alone finds every doubt in them."""
    update = updated(at_ns=1, offset=5)
    history = History(created(), update, replace(update, partition=1))
    history.tell(completed(at_ns=9, offset=6, buyer="9"))
    history.tell(completed(at_ns=10, offset=7))
    told = [event.doubts for event in history.events]
    assert told == [(), (), (), (Doubt.BUYER_CHANGED, Doubt.UNCERTAIN_ORDER), ()]
    assert [each.version for each in history.order.open_doubts] == [4, 4]


def test_an_event_that_is_uncertain_itself_tells_the_doubt_of_a_repeat_once() -> None:
    """The same word twice says no more."""
    update = updated(at_ns=1, offset=5)
    history = History(created(), update, replace(update, partition=1), updated(at_ns=2, partition=2))
    assert history.events[-1].doubts == (Doubt.UNCERTAIN_ORDER,)
    assert len(history.order.open_doubts) == 1


def test_a_repeat_elsewhere_has_the_time_of_its_lane() -> None:
    """And its own event tells the doubt that it raises."""
    history = History(*LIFECYCLE, created(at_ns=50, partition=1, transaction="x"))
    [event] = history.tell(replace(LIFECYCLE[1], partition=1, offset=1))
    assert event.effective_at_ns == NOON_NS + 51
    assert event.doubts == (Doubt.UNCERTAIN_ORDER,)


def test_a_lone_end_on_two_partitions_is_no_doubt() -> None:
    """Without updates there is nothing that the end could have overtaken."""
    end = completed(at_ns=1, offset=1)
    assert History(created(), end, replace(end, partition=1)).order.doubts == frozenset()


# Contradictions.


@pytest.mark.parametrize("first", [created(), updated(at_ns=1, offset=1), completed(at_ns=3, offset=3)])
def test_the_same_fact_with_other_content_is_rejected(first: Message) -> None:
    """Same type, transaction and date but another content: the first stands, and a person must look."""
    history = History(*(LIFECYCLE if first.kind.is_end else [created(), updated(at_ns=1, offset=1)]))
    before = history.order
    other = replace(first, digest="other", identity="other", offset=50)
    event = rejection(history.tell(other))
    assert (event.refusal, event.doubt) == (Refusal.CONFLICT, Doubt.CONFLICT)
    assert history.order.stage == before.stage
    assert history.order.doubts == {Doubt.CONFLICT}
    assert history.tell(other) == ()


@pytest.mark.parametrize("change", ["kind", "transaction", "date"])
def test_another_fact_is_no_contradiction(change: str) -> None:
    """If type, transaction or date differ, it is another message, and it is judged as one."""
    history = History(created(), updated(at_ns=1, offset=1, transaction="a"))
    other = {
        "kind": completed(at_ns=1, offset=2, transaction="a"),
        "transaction": updated(at_ns=1, offset=2, transaction="b", cashback="3"),
        "date": updated(at_ns=2, offset=2, transaction="a", cashback="3"),
    }[change]
    assert kinds_of(history.tell(other)) in (["cashback-completed"], ["cashback-updated"])
    assert history.order.doubts == frozenset()


def test_the_same_ce_id_with_other_content_is_rejected() -> None:
    """One identity can't say two things."""
    history = History(created(ce_id="a"))
    event = rejection(history.tell(updated(at_ns=1, offset=1, ce_id="a")))
    assert (event.refusal, event.doubt) == (Refusal.CONFLICT, Doubt.CONFLICT)


def test_the_first_content_of_a_fact_stands_even_while_it_is_held() -> None:
    """A contradiction is found before the order exists, and the held message is applied."""
    first = updated(at_ns=1, offset=1, cashback="4")
    second = updated(at_ns=1, offset=2, cashback="5")
    history = History(first)
    assert rejection(history.tell(second)).refusal is Refusal.CONFLICT
    history.tell(created(offset=3))
    assert history.outcome == (Status.PENDING, Decimal(4))


def test_a_contradiction_of_a_rejected_message_is_rejected_too() -> None:
    """The first content stands for the fact, whatever became of it."""
    history = History(created(), updated(at_ns=1, offset=1, negative=True))
    assert rejection(history.tell(updated(at_ns=1, offset=2))).refusal is Refusal.CONFLICT


def test_a_contradiction_before_the_create_has_nothing_at_stake() -> None:
    """An order that isn't there owes nothing."""
    history = History(completed(at_ns=1, offset=1))
    event = rejection(history.tell(completed(at_ns=1, offset=2, content="other")))
    assert (event.refusal, event.at_stake) == (Refusal.CONFLICT, Decimal(0))


# Negative amounts.


@pytest.mark.parametrize("kind_of_message", [created, updated])
@pytest.mark.parametrize("beginning", [[], LIFECYCLE[:1], LIFECYCLE])
def test_a_negative_cashback_is_rejected_in_any_state(
    kind_of_message: Callable[..., Message], beginning: list[Message]
) -> None:
    """Nobody takes money from the buyer; the state stays as it was."""
    history = History(*beginning)
    before = history.order
    event = rejection(history.tell(kind_of_message(at_ns=7, offset=7, cashback="-1", negative=True)))
    assert (event.refusal, event.against_version) == (Refusal.NEGATIVE_CASHBACK, None)
    assert event.doubt is Doubt.NEGATIVE_CASHBACK
    assert history.order.stage == before.stage
    assert history.order.held == before.held


def test_a_contradiction_is_named_before_a_negative_amount() -> None:
    """A message that is both is evidence of a conflict, which a person must see."""
    history = History(created(), updated(at_ns=1, offset=1))
    assert rejection(history.tell(updated(at_ns=1, offset=2, negative=True))).refusal is Refusal.CONFLICT


def test_a_cashback_of_zero_is_accepted() -> None:
    """Just not negative."""
    assert History(created(cashback="0")).outcome == (Status.PENDING, Decimal(0))


# The events themselves.


def test_an_event_tells_what_was_decided_about_which_message_and_when() -> None:
    """Stream, version, time of recording, the whole message."""
    first, second = History(*LIFECYCLE[:2]).events
    assert isinstance(first, CashbackCreated)
    assert isinstance(second, CashbackUpdated)
    assert (first.originator_id, first.originator_version, first.recorded_at_ns) == (stream_id(ORDER_ID), 1, NOW_NS)
    assert (second.originator_version, second.message, second.cashback) == (2, LIFECYCLE[1], Decimal(4))
    assert (second.effective_at_ns, second.held_version, second.doubt) == (NOON_NS + 1, None, None)


def test_the_terms_are_those_of_the_create() -> None:
    """The buyer is the one of the CREATED; the store is where the last update says."""
    moved = updated(at_ns=1, offset=1, store="1")
    terms = History(created(), moved).order.terms
    assert terms is not None
    assert (terms.store_no, terms.buyer_id) == ("1", "1234")
    assert terms.update is not None
    assert (terms.created.version, terms.update.version) == (1, 2)


def test_an_order_knows_when_its_last_event_was_recorded() -> None:
    """The time of recording is the caller's clock, not the message's date."""
    order = Order(ORDER_ID)
    for now_ns, message in enumerate(LIFECYCLE, start=100):
        order = fold(order, decide(order, message, now_ns=now_ns)) or order
        assert order.recorded_at_ns == now_ns


def test_what_is_handled_gives_the_order_that_its_events_lead_to() -> None:
    """So that nobody evolves it twice; a repeat gives the order as it was."""
    order = Order(ORDER_ID)
    update = LIFECYCLE[1]
    for message in (update, replace(update, partition=1), *LIFECYCLE, LIFECYCLE[0]):
        events, after = handle(order, message, now_ns=NOW_NS)
        assert after == fold(order, events)
        order = after
    assert order.status is Status.COMPLETED


def test_folding_nothing_leaves_what_was_there() -> None:
    """No state and no events is None; a state without events is itself."""
    assert fold(None, []) is None
    assert fold(Order(5), []) == Order(5)


def test_folding_a_stream_needs_nothing_but_the_stream() -> None:
    """The order's id is in its messages."""
    history = History(*LIFECYCLE)
    assert fold(None, history.events) == history.order


def event_of(base: type[OrderEvent]) -> OrderEvent:
    """An event of a class that nobody has heard of."""

    class Novelty(base, frozen=True, kw_only=True):  # type: ignore[valid-type, misc, call-arg] # of any base
        TOPIC = "novelty"

    fields: dict[str, Any] = {
        "originator_id": stream_id(ORDER_ID),
        "originator_version": 1,
        "recorded_at_ns": 0,
        "message": created(),
        "effective_at_ns": 0,
        "stated_at_ns": 0,
        "decided_by": "support",
        "reason": "asked the shop",
    }
    event: OrderEvent = Novelty(**{name: fields[name] for name in Novelty.__struct_fields__ if name in fields})
    return event


@pytest.mark.parametrize("base", [MessageEvent, Accepted, OperatorEvent])
def test_an_event_without_a_rule_is_an_error(base: type[OrderEvent]) -> None:
    """A new kind of event can't be forgotten in `evolve` without a word."""
    with pytest.raises(TypeError, match=r"^no rule for Novelty$"):
        evolve(Order(ORDER_ID), event_of(base))
