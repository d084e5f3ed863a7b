"""The order as an aggregate: its state, and `evolve`, which only records what was decided.

`evolve` has no guards: a rule tightened later must not break old streams. The rules are in `decision.py`.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, ClassVar
from uuid import UUID

import msgspec
from msgspec.structs import replace

from domain.events import (
    Accepted,
    CashbackCancelled,
    CashbackCompleted,
    CashbackCreated,
    CashbackUpdated,
    Doubt,
    MessageHeld,
    MessageRejected,
    OrderEvent,
    Refusal,
    RepeatSeenElsewhere,
    UpdateSuperseded,
    WaitsFor,
)
from domain.identifiers import stream_id
from domain.lifecycle import Status
from domain.messages import Kind, Message, Place


class Standing(msgspec.Struct, frozen=True, gc=False):
    """A message with the place and the time that it counts with."""

    kind: Kind
    place: Place | None
    effective_at_ns: int
    digest: str
    version: int
    """Of the event that decided about it; 0 before there is one."""


class Terms(msgspec.Struct, frozen=True, gc=False):
    """What was agreed when the order was created, and last changed."""

    created: Standing
    store_no: str | None
    buyer_id: str | None
    update: Standing | None
    """The last accepted update."""
    cashback: Decimal


class NotCreated(msgspec.Struct, frozen=True, gc=False):
    STATUS: ClassVar = Status.NOT_CREATED


class Pending(msgspec.Struct, frozen=True, gc=False):
    STATUS: ClassVar = Status.PENDING
    terms: Terms


class Completed(msgspec.Struct, frozen=True, gc=False):
    STATUS: ClassVar = Status.COMPLETED
    terms: Terms
    end: Standing


class Cancelled(msgspec.Struct, frozen=True, gc=False):
    STATUS: ClassVar = Status.CANCELLED
    terms: Terms
    end: Standing


Stage = NotCreated | Pending | Completed | Cancelled


class Held(msgspec.Struct, frozen=True, gc=False):
    """A message that waits. Its version is that of the event that holds it."""

    message: Message
    effective_at_ns: int
    waits_for: WaitsFor
    version: int
    since_ns: int


class Sighting(msgspec.Struct, frozen=True, gc=False):
    """A message that the order has received, once or more."""

    digest: str
    fact: tuple[Kind, str, int]
    sequence: int | None
    lanes: tuple[str | None, ...]
    """Where it was seen, the first place first."""
    identities: tuple[str, ...]
    """The names that it came under and that were new to the order."""


class Order(msgspec.Struct, frozen=True):
    """The state of one order, folded from its stream. Version 0 has no events."""

    order_id: int
    version: int = 0
    stage: Stage = NotCreated()
    held: tuple[Held, ...] = ()
    sightings: tuple[Sighting, ...] = ()
    """Every message ever recorded, the first one first: few, so that to look through them beats tables."""
    lane_ends: Mapping[str, int] = msgspec.field(default_factory=dict)
    """The effective time, in nanoseconds, of the last message in each lane: it only grows."""
    last_sequence: int = 0
    """The number of the last message whose turn has come. Unstamped messages count until stamps begin."""
    is_stamped: bool = False
    stated_at_ns: int | None = None
    """The greatest date that the third party was given."""
    updates_seen: int = 0
    ends_seen: int = 0
    rejected: int = 0
    superseded: int = 0
    recorded_at_ns: int = 0
    """When the last event was recorded."""
    is_repeated_elsewhere: bool = False
    event_doubts: frozenset[Doubt] = frozenset()

    @property
    def id(self) -> UUID:
        return stream_id(self.order_id)

    @property
    def status(self) -> Status:
        return self.stage.STATUS

    @property
    def terms(self) -> Terms | None:
        return None if isinstance(self.stage, NotCreated) else self.stage.terms

    @property
    def doubts(self) -> frozenset[Doubt]:
        """Why a person should look at the order; empty if its state is certain."""
        order_matters = self.updates_seen > 1 or (self.updates_seen == 1 and self.ends_seen > 0)
        if self.is_repeated_elsewhere and order_matters:
            return self.event_doubts | {Doubt.UNCERTAIN_ORDER}
        return self.event_doubts

    def sighting_of(self, message: Message) -> Sighting | None:
        """None if no message with this content was recorded before."""
        for seen in self.sightings:
            if seen.digest == message.digest:
                return seen
        return None

    def is_contradicted(self, message: Message) -> bool:
        """True if the first message about the same fact, or with the same identity, had other content."""
        fact = message.fact
        for seen in self.sightings:
            if seen.fact == fact:
                if seen.digest != message.digest:
                    return True
                break
        for seen in self.sightings:
            if message.identity in seen.identities:
                return seen.digest != message.digest
        return False

    def effective_time(self, message: Message) -> int:
        """When the message counts as having happened, in nanoseconds since 1970.

        Its own date, unless its lane has reached a later time already: publishers' clocks differ, the order
        within a lane doesn't (a hybrid logical clock, one for each lane of the order).
        """
        place = message.place
        if place is None or place.lane not in self.lane_ends:
            return message.happened_at_ns
        return max(message.happened_at_ns, self.lane_ends[place.lane] + 1)


def evolve(order: Order, event: OrderEvent) -> Order:
    """The order after one more event of its stream."""
    message = event.message
    place = message.place
    standing = Standing(message.kind, place, event.effective_at_ns, message.digest, event.originator_version)
    changes = _memory(order, event, place.lane if place else None)
    match event:
        case CashbackCreated():
            changes["stage"] = Pending(Terms(standing, message.store_no, message.buyer_id, None, event.cashback))
        case CashbackUpdated():
            changes["stage"] = Pending(replace(_terms(order), update=standing, cashback=event.cashback))
        case CashbackCompleted():
            changes["stage"] = Completed(_terms(order), standing)
        case CashbackCancelled():
            changes["stage"] = Cancelled(_terms(order), standing)
        case MessageHeld():
            held = Held(
                message, event.effective_at_ns, event.waits_for, event.originator_version, event.recorded_at_ns
            )
            changes["held"] = (*changes.get("held", order.held), held)
        case MessageRejected():
            changes["rejected"] = order.rejected + 1
        case UpdateSuperseded():
            changes["superseded"] = order.superseded + 1
        case RepeatSeenElsewhere():
            changes["is_repeated_elsewhere"] = True
        case _:
            raise TypeError(f"no rule for {type(event).__name__}")
    return replace(order, **changes)


def fold(order: Order | None, events: Iterable[OrderEvent]) -> Order | None:
    """The state after the events; None if there is neither a state nor an event."""
    for event in events:
        order = evolve(order or Order(event.message.order_id), event)
    return order


def _terms(order: Order) -> Terms:
    assert order.terms is not None, "a stream has its creation before all that follows from it"
    return order.terms


def _memory(order: Order, event: OrderEvent, lane: str | None) -> dict[str, Any]:
    """What every event changes in the memory of the order."""
    message = event.message
    changes: dict[str, Any] = {
        "version": event.originator_version,
        "recorded_at_ns": event.recorded_at_ns,
        "sightings": _sightings(order, message, lane),
    }
    if event.held_version is not None:
        changes["held"] = tuple(held for held in order.held if held.version != event.held_version)
    if event.doubt is not None:
        changes["event_doubts"] = order.event_doubts | {event.doubt}
    if isinstance(event, Accepted):
        changes["stated_at_ns"] = event.stated_at_ns
    if not isinstance(event, RepeatSeenElsewhere):
        if event.held_version is None and message.kind is Kind.UPDATED:
            changes["updates_seen"] = order.updates_seen + 1
        if event.held_version is None and message.kind.is_end:
            changes["ends_seen"] = order.ends_seen + 1
        if _had_its_turn(event):
            _advance(order, event, lane, changes)
    return changes


def _sightings(order: Order, message: Message, lane: str | None) -> tuple[Sighting, ...]:
    """The order's, with this one."""
    seen = order.sighting_of(message)
    if seen is None:
        first = Sighting(message.digest, message.fact, message.sequence, (lane,), (message.identity,))
        return (*order.sightings, first)
    if lane not in seen.lanes:
        seen = replace(seen, lanes=(*seen.lanes, lane))
    if all(message.identity not in each.identities for each in order.sightings):
        seen = replace(seen, identities=(*seen.identities, message.identity))
    return tuple([seen if each.digest == seen.digest else each for each in order.sightings])


def _had_its_turn(event: OrderEvent) -> bool:
    """False if the event left the message's number to wait, or for another message."""
    match event:
        case Accepted():
            return True
        case MessageHeld(waits_for=WaitsFor.SEQUENCE) | MessageRejected(refusal=Refusal.SEQUENCE_TAKEN):
            return False
        case _:
            return True


def _advance(order: Order, event: OrderEvent, lane: str | None, changes: dict[str, Any]) -> None:
    """Moves the order's clock in the message's lane, and its count of messages."""
    if lane is not None and event.effective_at_ns > order.lane_ends.get(lane, event.effective_at_ns - 1):
        changes["lane_ends"] = {**order.lane_ends, lane: event.effective_at_ns}
    sequence = event.message.sequence
    if sequence is not None:
        changes["last_sequence"] = max(order.last_sequence, sequence)
        changes["is_stamped"] = True
    elif event.held_version is None and not order.is_stamped:
        changes["last_sequence"] = order.last_sequence + 1
