"""The order as an aggregate: its state, and `evolve`, which only records what was decided.

`evolve` has no guards: a rule tightened later must not break old streams. The rules are in `decision.py`.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, ClassVar, Final
from uuid import UUID

import msgspec
from msgspec.structs import replace

from domain.events import (
    Accepted,
    CashbackCancelled,
    CashbackCompleted,
    CashbackCorrected,
    CashbackCreated,
    CashbackUpdated,
    CorrectionNotNeeded,
    CreateGivenUp,
    Doubt,
    DoubtSettled,
    EventLost,
    GapAccepted,
    MessageEvent,
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
from domain.money import ZERO


class Placed(msgspec.Struct, frozen=True, gc=False):
    """A message with the place and the time that it counts with."""

    kind: Kind
    place: Place | None
    effective_at_ns: int
    digest: str
    version: int
    """Of the event that decided about it; 0 before there is one."""
    happened_at_ns: int
    """Its own date."""
    witness_ns: int | None = None
    """When Kafka got it, where that is known."""
    cashback: Decimal | None = None
    """What a CREATED or UPDATED earns."""


def placed_of(message: Message, effective_at_ns: int, version: int) -> Placed:
    return Placed(
        message.kind,
        message.place,
        effective_at_ns,
        message.digest,
        version,
        message.happened_at_ns,
        message.witness_ns,
        message.cashback,
    )


_RANK = {Kind.CREATED: 0, Kind.UPDATED: 1, Kind.CANCELLED: 2, Kind.COMPLETED: 2}
_NOWHERE = Place("", 0)


def order_key(placed: Placed) -> tuple[int, int, str, int, str]:
    """Sorts messages in the order in which they happened.

    Total, and never against the order of a lane: along a lane the effective time grows strictly.
    """
    place = placed.place or _NOWHERE
    return (placed.effective_at_ns, _RANK[placed.kind], place.lane, place.offset, placed.digest)


class Terms(msgspec.Struct, frozen=True, gc=False):
    """What was agreed when the order was created, and last changed."""

    created: Placed
    store_no: str | None
    buyer_id: str | None
    update: Placed | None
    """The last accepted update."""
    cashback: Decimal
    """What the third party was told last, or will be."""


class NotCreated(msgspec.Struct, frozen=True, gc=False):
    STATUS: ClassVar = Status.NOT_CREATED


class Pending(msgspec.Struct, frozen=True, gc=False):
    STATUS: ClassVar = Status.PENDING
    terms: Terms


class Completed(msgspec.Struct, frozen=True, gc=False):
    STATUS: ClassVar = Status.COMPLETED
    terms: Terms
    end: Placed


class Cancelled(msgspec.Struct, frozen=True, gc=False):
    STATUS: ClassVar = Status.CANCELLED
    terms: Terms
    end: Placed


Stage = NotCreated | Pending | Completed | Cancelled


class Held(msgspec.Struct, frozen=True, gc=False):
    """A message that waits. Its version is that of the event that holds it."""

    message: Message
    effective_at_ns: int
    waits_for: WaitsFor
    version: int
    since_ns: int
    is_closed: bool = False
    """A person has given up what it waits for. Should that come after all, the message still has its turn."""


class OpenDoubt(msgspec.Struct, frozen=True, gc=False):
    """A doubt that nobody has settled."""

    doubt: Doubt
    version: int
    """Of the event that raised it."""
    since_ns: int
    at_stake: Decimal | None


class SeenMessage(msgspec.Struct, frozen=True, gc=False):
    """A message that the order has received, once or more."""

    digest: str
    placed: Placed
    """As decided last."""
    fact: tuple[Kind, str, int]
    sequence: int | None
    lanes: tuple[str | None, ...]
    """Where it was seen, the first place first."""
    identities: tuple[str, ...]
    """The names that it came under and that were new to the order."""
    names_itself: bool
    """The publisher gave it an identity of its own."""
    counts: bool
    """It is a part of the order's history: neither refused nor still waiting."""
    had_its_turn: bool
    """It counts along its lane: neither waiting for its number, nor refused because another message had that."""


class Order(msgspec.Struct, frozen=True):
    """The state of one order, folded from its stream. Version 0 has no events."""

    order_id: int
    version: int = 0
    stage: Stage = NotCreated()
    held: tuple[Held, ...] = ()
    seen_messages: tuple[SeenMessage, ...] = ()
    """Every message ever recorded, the first one first: few, so that to look through them beats tables."""
    lane_ends: Mapping[str, tuple[int, int]] = msgspec.field(default_factory=dict)
    """The greatest offset in each lane whose message had its turn, and its effective time, in nanoseconds."""
    last_sequence: int = 0
    """The number of the last message whose turn has come. Unstamped messages count until stamps begin."""
    accepted_gaps: tuple[tuple[int, int], ...] = ()
    """Numbers, first and last, that a person has given up."""
    is_stamped: bool = False
    stated_at_ns: int | None = None
    """The greatest date that the third party was given."""
    updates_seen: int = 0
    ends_seen: int = 0
    rejected: int = 0
    superseded: int = 0
    recorded_at_ns: int = 0
    """When the last event was recorded."""
    began_at_ns: int = 0
    """When the first one was."""
    is_repeated_elsewhere: bool = False
    is_repeat_doubted: bool = False
    """The doubt that follows from a repeat elsewhere has been raised."""
    open_doubts: tuple[OpenDoubt, ...] = ()
    missing: tuple[tuple[int, int], ...] = ()
    """Versions, first and last, that the stream lacks. All else is as it was before the first of them; nothing may
    be decided until a person has repaired the stream."""
    has_lost: bool = False
    """Events of the stream were lost, and a person has accepted it."""

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
        """Why a person should look at the order; empty if its state is certain, or a person has settled it."""
        return frozenset([each.doubt for each in self.open_doubts])

    @property
    def waiting(self) -> tuple[Held, ...]:
        """The held messages that nobody has given up."""
        return tuple([held for held in self.held if not held.is_closed])

    def seen_message_of(self, message: Message) -> SeenMessage | None:
        """None if the message is new to the order.

        The same content under two numbers, or under two identities of the publisher's own, is two messages. A copy
        that lacks what the other one has counts as the same.
        """
        similar = None
        digest = message.digest
        for seen in self.seen_messages:
            if seen.digest == digest:
                if seen.sequence is None and message.sequence is None:
                    if message.identity in seen.identities:
                        return seen
                    is_other = seen.names_itself and message.names_itself
                else:
                    if seen.sequence == message.sequence:
                        return seen
                    is_other = seen.sequence is not None and message.sequence is not None
                if not is_other and similar is None:
                    similar = seen
        return similar

    def is_contradicted(self, message: Message) -> bool:
        """True if the first message about the same fact, or with the same identity, had other content.

        Messages with different numbers are different facts, whatever else they share.
        """
        fact, identity, sequence = message.fact, message.identity, message.sequence
        told = namesake = None
        for seen in self.seen_messages:
            if sequence is None or seen.sequence is None or seen.sequence == sequence:
                if told is None and seen.fact == fact:
                    told = seen
                if namesake is None and identity in seen.identities:
                    namesake = seen
        if told is not None and told.digest != message.digest:
            return True
        return namesake is not None and namesake.digest != message.digest

    def is_number_taken(self, sequence: int) -> bool:
        """True if the number is gone: its message has come, or would have had to before others that counted."""
        return sequence <= self.last_sequence and not (
            (self.has_lost or any(first <= sequence <= last for first, last in self.accepted_gaps))
            and all(seen.sequence != sequence for seen in self.seen_messages)
        )

    def effective_time(self, message: Message) -> int:
        """When the message counts as having happened, in nanoseconds since 1970.

        Its own date, unless a message before it in its lane has a later time: publishers' clocks differ, the order
        within a lane doesn't (a hybrid logical clock, one for each lane of the order).
        """
        place = message.place
        if place is None or place.lane not in self.lane_ends:
            return message.happened_at_ns
        offset, effective_at_ns = self.lane_ends[place.lane]
        if place.offset < offset:
            earlier = [each.effective_at_ns for each in self._lane(place.lane) if _offset(each) < place.offset]
            if not earlier:
                return message.happened_at_ns
            effective_at_ns = max(earlier)
        return max(message.happened_at_ns, effective_at_ns + 1)

    def _lane(self, lane: str) -> list[Placed]:
        """The messages in a lane that had their turn."""
        return [
            seen.placed
            for seen in self.seen_messages
            if seen.placed.place is not None and seen.placed.place.lane == lane and seen.had_its_turn
        ]

    def history(self) -> list[Placed]:
        """The messages that count, in the order in which they happened."""
        return sorted([seen.placed for seen in self.seen_messages if seen.counts], key=order_key)


def amount_owed(history: Iterable[Placed]) -> Decimal:
    """What the buyer is owed after these messages, if an end isn't final: zero unless the last one completes."""
    amount, is_completed = ZERO, False
    for placed in sorted(history, key=lambda each: (each.kind is not Kind.CREATED, order_key(each))):
        if placed.kind.is_end:
            is_completed = placed.kind is Kind.COMPLETED
        else:
            amount = placed.cashback or ZERO
    return amount if is_completed else ZERO


_COUNTING: Final = (Accepted, UpdateSuperseded, CorrectionNotNeeded)
_AFTER_THE_END: Final = (CashbackCorrected, CorrectionNotNeeded)


def evolve(order: Order, event: OrderEvent) -> Order:
    """The order after one more event of its stream."""
    if not isinstance(event, MessageEvent):
        return _decided_by_a_person(order, event)
    message = event.message
    placed = placed_of(message, event.effective_at_ns, event.originator_version)
    changes = _memory(order, event, placed)
    match event:
        case Accepted():
            changes["stage"] = _stage_after(order, event, placed)
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
        case CorrectionNotNeeded():
            pass
        case _:
            raise TypeError(f"no rule for {type(event).__name__}")
    after = replace(order, **changes)
    if message.kind is Kind.UPDATED and isinstance(event, _AFTER_THE_END):
        after = _with_last_update(after, placed, message)
    if after.is_repeated_elsewhere and not after.is_repeat_doubted and repeat_matters(after):
        after = _with_doubt_of_repeat(after)
    place = placed.place
    if place is not None and place.offset < order.lane_ends.get(place.lane, (place.offset, 0))[0]:
        return _pushed_on(after, placed, place)
    return after


def fold(order: Order | None, events: Iterable[OrderEvent]) -> Order | None:
    """The state after the events; None if there is neither a state nor an event.

    In a stream that has lost an event it is the state before that: of what is behind only the version counts.
    """
    for event in events:
        order = order or Order(event.order_id)
        version = event.originator_version
        if version > order.version + 1:
            order = replace(order, missing=(*order.missing, (order.version + 1, version - 1)))
        order = replace(order, version=version) if order.missing else evolve(order, event)
    return order


def _stage_after(order: Order, event: Accepted, placed: Placed) -> Stage:
    message = event.message
    match event:
        case CashbackCreated():
            return Pending(Terms(placed, message.store_no, message.buyer_id, None, event.cashback))
        case CashbackUpdated():
            terms = _terms(order, event, placed)
            return Pending(replace(terms, update=placed, cashback=event.cashback, store_no=message.store_no))
        case CashbackCompleted():
            return Completed(_terms(order, event, placed), placed)
        case CashbackCancelled():
            return Cancelled(_terms(order, event, placed), placed)
        case CashbackCorrected():
            assert isinstance(order.stage, Completed) or order.has_lost, "only what was completed is corrected"
            end = order.stage.end if isinstance(order.stage, Completed) else placed
            return Completed(replace(_terms(order, event, placed), cashback=event.cashback), end)
        case _:
            raise TypeError(f"no rule for {type(event).__name__}")


def _with_last_update(order: Order, placed: Placed, message: Message) -> Order:
    """After an update that came after the end: its terms are in force if no other update happened later."""
    updates = [each for each in order.history() if each.kind is Kind.UPDATED]
    if isinstance(order.stage, NotCreated | Pending) or updates[-1] != placed:
        return order
    terms = replace(order.stage.terms, update=placed, store_no=message.store_no)
    return replace(order, stage=replace(order.stage, terms=terms))


def repeat_matters(order: Order) -> bool:
    """True if the order of the messages decides what is owed, so that a copy elsewhere leaves it uncertain."""
    return order.updates_seen > 1 or (order.updates_seen == 1 and order.ends_seen > 0)


def _terms(order: Order, event: Accepted, placed: Placed) -> Terms:
    """Where the creation was lost, as far as the event tells."""
    if order.terms is not None:
        return order.terms
    assert order.has_lost, "a stream has its creation before all that follows from it"
    cashback = ZERO
    if isinstance(event, CashbackUpdated | CashbackCompleted | CashbackCorrected):
        cashback = event.cashback
    return Terms(placed, event.message.store_no, event.message.buyer_id, None, cashback)


def _decided_by_a_person(order: Order, event: OrderEvent) -> Order:
    changes: dict[str, Any] = {"version": event.originator_version, "recorded_at_ns": event.recorded_at_ns}
    match event:
        case DoubtSettled():
            settled = set(event.settled)
            changes["open_doubts"] = tuple(
                [each for each in order.open_doubts if (each.doubt, each.version) not in settled]
            )
        case GapAccepted():
            gaps = (*order.accepted_gaps, (event.first, event.last))
            changes["accepted_gaps"] = gaps
            changes["last_sequence"] = _over_gaps(order.last_sequence, gaps)
        case CreateGivenUp():
            changes["held"] = tuple([replace(held, is_closed=True) for held in order.held])
        case EventLost():
            doubt = OpenDoubt(Doubt.UNCERTAIN_ORDER, event.originator_version, event.recorded_at_ns, None)
            changes |= {"open_doubts": (*order.open_doubts, doubt), "has_lost": True}
            if order.version == 0:
                changes["began_at_ns"] = event.recorded_at_ns
        case _:
            raise TypeError(f"no rule for {type(event).__name__}")
    return replace(order, **changes)


def _with_doubt_of_repeat(order: Order) -> Order:
    """Streams that were written before events told this doubt have it too."""
    doubts = order.open_doubts
    if not any(each.doubt is Doubt.UNCERTAIN_ORDER and each.version == order.version for each in doubts):
        doubts = (*doubts, OpenDoubt(Doubt.UNCERTAIN_ORDER, order.version, order.recorded_at_ns, None))
    return replace(order, open_doubts=doubts, is_repeat_doubted=True)


def _memory(order: Order, event: MessageEvent, placed: Placed) -> dict[str, Any]:
    """What every event about a message changes in the memory of the order."""
    message = event.message
    lane = placed.place.lane if placed.place else None
    changes: dict[str, Any] = {
        "version": event.originator_version,
        "recorded_at_ns": event.recorded_at_ns,
        "seen_messages": _seen_messages(order, event, placed, lane),
    }
    if order.version == 0:
        changes["began_at_ns"] = event.recorded_at_ns
    if event.held_version is not None:
        changes["held"] = tuple([held for held in order.held if held.version != event.held_version])
    if event.doubt is not None:
        raised = [
            OpenDoubt(doubt, event.originator_version, event.recorded_at_ns, event.at_stake)
            for doubt in event.doubts
        ]
        changes["open_doubts"] = (*order.open_doubts, *raised)
    if isinstance(event, Accepted):
        changes["stated_at_ns"] = event.stated_at_ns
    if not isinstance(event, RepeatSeenElsewhere):
        if event.held_version is None and message.kind is Kind.UPDATED:
            changes["updates_seen"] = order.updates_seen + 1
        if event.held_version is None and message.kind.is_end:
            changes["ends_seen"] = order.ends_seen + 1
        if _had_its_turn(event):
            _advance(order, event, placed, changes)
    return changes


def _seen_messages(order: Order, event: MessageEvent, placed: Placed, lane: str | None) -> tuple[SeenMessage, ...]:
    """The order's, with this one."""
    message = event.message
    counts = isinstance(event, _COUNTING)
    seen = order.seen_message_of(message)
    if seen is None:
        first = SeenMessage(
            message.digest,
            placed,
            message.fact,
            message.sequence,
            (lane,),
            (message.identity,),
            message.names_itself,
            counts,
            _had_its_turn(event),
        )
        return (*order.seen_messages, first)
    before = seen
    if event.held_version is not None:
        seen = replace(seen, placed=placed, counts=counts, had_its_turn=_had_its_turn(event))
    if lane not in seen.lanes:
        seen = replace(seen, lanes=(*seen.lanes, lane))
    if all(message.identity not in each.identities for each in order.seen_messages):
        seen = replace(seen, identities=(*seen.identities, message.identity))
    return tuple([seen if each is before else each for each in order.seen_messages])


def _had_its_turn(event: MessageEvent) -> bool:
    """False if the event left the message's number to wait, or for another message."""
    match event:
        case Accepted():
            return True
        case MessageHeld(waits_for=WaitsFor.SEQUENCE) | MessageRejected(refusal=Refusal.SEQUENCE_TAKEN):
            return False
        case _:
            return True


def _advance(order: Order, event: MessageEvent, placed: Placed, changes: dict[str, Any]) -> None:
    """Moves the order's clock in the message's lane, and its count of messages."""
    place = placed.place
    if place is not None:
        end = order.lane_ends.get(place.lane)
        reached = (place.offset, placed.effective_at_ns)
        if end is None or reached > end:
            changes["lane_ends"] = {**order.lane_ends, place.lane: reached}
    sequence = event.message.sequence
    if sequence is not None:
        changes["last_sequence"] = _over_gaps(max(order.last_sequence, sequence), order.accepted_gaps)
        changes["is_stamped"] = True
    elif event.held_version is None and not order.is_stamped:
        changes["last_sequence"] = order.last_sequence + 1


def _over_gaps(number: int, gaps: tuple[tuple[int, int], ...]) -> int:
    """The last number reached, if those in the gaps will never come."""
    if not gaps:
        return number
    for first, last in sorted(gaps):
        if first <= number + 1:
            number = max(number, last)
    return number


def _offset(placed: Placed) -> int:
    assert placed.place is not None
    return placed.place.offset


def _pushed_on(order: Order, late: Placed, place: Place) -> Order:
    """After a message that came later than others behind it in its lane: those count as later than it, as they
    would if it had come first."""
    times: dict[int, int] = {}
    reached_ns = late.effective_at_ns
    behind = sorted([each for each in order._lane(place.lane) if _offset(each) > place.offset], key=_offset)  # noqa: SLF001
    for placed in behind:
        if placed.effective_at_ns > reached_ns:
            break
        reached_ns += 1
        times[placed.version] = reached_ns
    if not times:
        return order

    def moved(placed: Placed) -> Placed:
        at_ns = times.get(placed.version)
        return placed if at_ns is None else replace(placed, effective_at_ns=at_ns)

    stage = order.stage
    if not isinstance(stage, NotCreated):
        update = stage.terms.update
        terms = replace(
            stage.terms, created=moved(stage.terms.created), update=None if update is None else moved(update)
        )
        stage = replace(stage, terms=terms)
        if isinstance(stage, Completed | Cancelled):
            stage = replace(stage, end=moved(stage.end))
    offset, effective_at_ns = order.lane_ends[place.lane]
    return replace(
        order,
        stage=stage,
        seen_messages=tuple([replace(seen, placed=moved(seen.placed)) for seen in order.seen_messages]),
        held=tuple(
            [replace(held, effective_at_ns=times.get(held.version, held.effective_at_ns)) for held in order.held]
        ),
        lane_ends={**order.lane_ends, place.lane: (offset, max(effective_at_ns, reached_ns))},
    )
