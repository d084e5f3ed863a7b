"""The table of transitions: every kind of message in every state, told in order on one partition."""

from decimal import Decimal
from itertools import product as pairs

import pytest

from domain.events import CashbackCompleted, Doubt, MessageEvent, MessageHeld, MessageRejected, Refusal, WaitsFor
from domain.lifecycle import TRANSITIONS, Status, Step
from domain.messages import Kind, Message
from tests.support.messages import SECOND_NS, History, cancelled, completed, created, kinds_of, message, updated

BEGINNINGS: dict[Status, list[Message]] = {
    Status.NOT_CREATED: [],
    Status.PENDING: [created(at_ns=0, offset=0), updated(at_ns=1, offset=1, cashback="4.50")],
    Status.COMPLETED: [created(at_ns=0, offset=0), completed(at_ns=2, offset=2)],
    Status.CANCELLED: [created(at_ns=0, offset=0), cancelled(at_ns=2, offset=2)],
}

WAITS = ("message-held", None)
TABLE: dict[tuple[Status, Kind], tuple[str, Refusal | None]] = {
    (Status.NOT_CREATED, Kind.CREATED): ("cashback-created", None),
    (Status.NOT_CREATED, Kind.UPDATED): WAITS,
    (Status.NOT_CREATED, Kind.CANCELLED): WAITS,
    (Status.NOT_CREATED, Kind.COMPLETED): WAITS,
    (Status.PENDING, Kind.CREATED): ("message-rejected", Refusal.CREATED_TWICE),
    (Status.PENDING, Kind.UPDATED): ("cashback-updated", None),
    (Status.PENDING, Kind.CANCELLED): ("cashback-cancelled", None),
    (Status.PENDING, Kind.COMPLETED): ("cashback-completed", None),
    (Status.COMPLETED, Kind.CREATED): ("message-rejected", Refusal.CREATED_TWICE),
    (Status.COMPLETED, Kind.UPDATED): ("message-rejected", Refusal.AFTER_END),
    (Status.COMPLETED, Kind.CANCELLED): ("message-rejected", Refusal.ENDED_TWICE),
    (Status.COMPLETED, Kind.COMPLETED): ("message-rejected", Refusal.ENDED_TWICE),
    (Status.CANCELLED, Kind.CREATED): ("message-rejected", Refusal.CREATED_TWICE),
    (Status.CANCELLED, Kind.UPDATED): ("message-rejected", Refusal.AFTER_END),
    (Status.CANCELLED, Kind.CANCELLED): ("message-rejected", Refusal.ENDED_TWICE),
    (Status.CANCELLED, Kind.COMPLETED): ("message-rejected", Refusal.ENDED_TWICE),
}
STATUS_AFTER = {
    "cashback-created": Status.PENDING,
    "cashback-updated": Status.PENDING,
    "cashback-cancelled": Status.CANCELLED,
    "cashback-completed": Status.COMPLETED,
}


def only(events: tuple[MessageEvent, ...]) -> MessageEvent:
    assert len(events) == 1
    return events[0]


def rejection(events: tuple[MessageEvent, ...]) -> MessageRejected:
    event = only(events)
    assert isinstance(event, MessageRejected)
    return event


def test_the_table_says_something_about_every_state_and_kind() -> None:
    """No pair of state and kind is left to chance, here or in the domain."""
    assert set(TABLE) == set(pairs(Status, Kind))
    assert {(status, kind) for status, row in TRANSITIONS.items() for kind in row} == set(TABLE)
    assert {step for row in TRANSITIONS.values() for step in row.values()} == set(Step)


@pytest.mark.parametrize(("status", "kind"), list(TABLE))
def test_a_kind_in_a_state_is_decided_as_the_table_says(status: Status, kind: Kind) -> None:
    """One event of the expected name and refusal; a doubt only if the message would have changed the order."""
    history = History(*BEGINNINGS[status])
    assert history.order.status == status
    event = only(history.tell(message(kind, at_ns=10, offset=10)))
    topic, refusal = TABLE[status, kind]
    assert topic == event.TOPIC
    assert getattr(event, "refusal", None) == refusal
    changes = {(Status.COMPLETED, Kind.CANCELLED), (Status.CANCELLED, Kind.COMPLETED)}
    assert event.doubt == (Doubt.AFTER_END if (status, kind) in changes else None)
    assert history.order.doubts == ({event.doubt} if event.doubt else frozenset())
    assert history.order.status == STATUS_AFTER.get(topic, status)


@pytest.mark.parametrize("status", [Status.PENDING, Status.COMPLETED, Status.CANCELLED])
def test_a_second_create_is_rejected_against_the_first(status: Status) -> None:
    """The evidence is the version of the event that created the order; terms and state stay."""
    history = History(*BEGINNINGS[status])
    before = history.order
    event = rejection(history.tell(created(at_ns=10, offset=10, cashback="99")))
    assert event.against_version == 1
    assert history.order.terms == before.terms
    assert history.order.rejected == before.rejected + 1


@pytest.mark.parametrize("status", [Status.COMPLETED, Status.CANCELLED])
@pytest.mark.parametrize("kind", [Kind.UPDATED, Kind.CANCELLED, Kind.COMPLETED])
def test_what_comes_after_the_end_is_rejected_against_the_end(status: Status, kind: Kind) -> None:
    """The evidence is the version of the event that ended the order; terms and state stay."""
    history = History(*BEGINNINGS[status])
    before = history.order
    event = rejection(history.tell(message(kind, at_ns=10, offset=10, cashback="99")))
    assert event.against_version == 2
    assert history.order.stage == before.stage


@pytest.mark.parametrize("kind", [Kind.UPDATED, Kind.CANCELLED, Kind.COMPLETED])
def test_what_comes_before_the_create_waits_for_it(kind: Kind) -> None:
    """Held, with the reason and the time, and no call to anybody."""
    history = History()
    event = only(history.tell(message(kind, at_ns=10, offset=10)))
    assert isinstance(event, MessageHeld)
    assert event.waits_for is WaitsFor.CREATE
    held = history.order.held[0]
    assert (held.version, held.since_ns, held.waits_for) == (1, event.recorded_at_ns, WaitsFor.CREATE)
    assert history.effects == []


def test_a_completion_states_the_amount_of_the_last_accepted_update() -> None:
    """What the buyer is owed at the end is what the last accepted list earned."""
    history = History(*BEGINNINGS[Status.PENDING])
    event = only(history.tell(completed(at_ns=10, offset=10)))
    assert isinstance(event, CashbackCompleted)
    assert event.cashback == Decimal("4.50")


def test_a_completion_without_updates_states_the_amount_of_the_create() -> None:
    """With no update the first list stands."""
    history = History(created(cashback="6.00"))
    event = only(history.tell(completed(at_ns=10, offset=10)))
    assert isinstance(event, CashbackCompleted)
    assert event.cashback == Decimal("6.00")


def test_an_update_with_an_empty_list_leaves_nothing_to_earn() -> None:
    """An empty UPDATED is accepted, and the order completes with zero."""
    history = History(created(cashback="6"), updated(at_ns=1, offset=1, cashback="0"), completed(at_ns=2, offset=2))
    assert history.outcome == (Status.COMPLETED, Decimal(0))
    assert kinds_of(history.events) == ["cashback-created", "cashback-updated", "cashback-completed"]


def test_an_order_may_end_at_the_instant_of_its_create() -> None:
    """Equal dates are in good order on one partition: the offset decides."""
    history = History(created(offset=0), cancelled(offset=1))
    assert history.order.status == Status.CANCELLED
    assert history.order.doubts == frozenset()


@pytest.mark.parametrize("first", [Kind.CANCELLED, Kind.COMPLETED])
@pytest.mark.parametrize("second", [Kind.CANCELLED, Kind.COMPLETED])
@pytest.mark.parametrize(
    ("gap_seconds", "is_near"), [(-61, False), (-60, True), (0, True), (60, True), (61, False)]
)
def test_a_second_end_is_doubtful_only_if_the_other_one_may_have_been_first(
    first: Kind, second: Kind, gap_seconds: int, *, is_near: bool
) -> None:
    """Two ends of one kind come to the same; of two kinds, one is refused that would change the order."""
    history = History(created(), message(first, at_ns=1000 * SECOND_NS, offset=1))
    event = rejection(
        history.tell(message(second, at_ns=(1000 + gap_seconds) * SECOND_NS, partition=1, transaction="x"))
    )
    assert event.refusal is Refusal.ENDED_TWICE
    assert event.against_version == 2
    surely_after = gap_seconds > 0 and not is_near
    expected = Doubt.AFTER_END if surely_after else Doubt.UNCERTAIN_ORDER
    assert event.doubt == (None if first is second else expected)


@pytest.mark.parametrize(("gap_seconds", "doubt"), [(-61, True), (-1, True), (0, True), (60, True), (61, False)])
def test_a_second_create_is_doubtful_unless_it_surely_came_later(gap_seconds: int, *, doubt: bool) -> None:
    """The one that came first stands; if the other may have been first, a person must look."""
    history = History(created(at_ns=1000 * SECOND_NS))
    event = rejection(history.tell(created(at_ns=(1000 + gap_seconds) * SECOND_NS, partition=1, transaction="x")))
    assert event.refusal is Refusal.CREATED_TWICE
    assert event.doubt == (Doubt.UNCERTAIN_ORDER if doubt else None)
